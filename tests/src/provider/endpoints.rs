//! Its endpoints.

use std::collections::HashMap;

use actix_web::http::header;
use actix_web::web::{Bytes, Data, Form, Query, ServiceConfig, get, post};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;
use url::form_urlencoded;

use super::{CLIENT_ID, CLIENT_SECRET, Fault, Grant, Inner, Person, overwrite};

type Parameters = HashMap<String, String>;

pub(super) fn register(config: &mut ServiceConfig) {
    config
        .route("/.well-known/openid-configuration", get().to(metadata))
        .route("/common/v2.0/.well-known/openid-configuration", get().to(tenant_metadata))
        .route("/jwks", get().to(keys))
        .route("/authorize", get().to(authorize))
        .route("/token", post().to(token))
        .route("/userinfo", get().to(user_info))
        .route("/login/oauth/authorize", get().to(authorize))
        .route("/login/oauth/access_token", post().to(github_token))
        .route("/api/v3/user", get().to(github_user))
        .route("/api/v3/user/emails", get().to(github_emails));
}

/// Notes that an endpoint was asked; the fault it has now, as an answer.
async fn fault(inner: &Inner, request: &HttpRequest) -> Option<HttpResponse> {
    inner.asked.lock().unwrap().push(request.path().to_owned());
    let fault = inner.behaviour().fault.filter(|(path, _)| *path == request.path()).map(|(_, fault)| fault);
    Some(match fault? {
        Fault::Stalls => std::future::pending().await,
        Fault::Floods => {
            let chunk = || Ok::<_, actix_web::Error>(Bytes::from_static(&[b' '; 16 * 1024]));
            let stream = futures_util::stream::repeat_with(chunk);
            HttpResponse::Ok().content_type("application/json").streaming(stream)
        }
        Fault::Breaks => HttpResponse::InternalServerError().finish(),
        Fault::Redirects => {
            let elsewhere = format!("{}/userinfo", inner.issuer);
            HttpResponse::TemporaryRedirect().insert_header((header::LOCATION, elsewhere)).finish()
        }
        Fault::Babbles => HttpResponse::Ok().content_type("text/html").body("<h1>Hello</h1>"),
    })
}

async fn metadata(inner: Data<Inner>, request: HttpRequest) -> HttpResponse {
    if let Some(fault) = fault(&inner, &request).await {
        return fault;
    }
    let at = |path: &str| format!("{}{path}", inner.issuer);
    let mut metadata = json!({
        "issuer": inner.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "userinfo_endpoint": at("/userinfo"),
        "jwks_uri": at("/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "none", "HS256"],
        "code_challenge_methods_supported": ["S256"],
    });
    overwrite(&mut metadata, &inner.behaviour().metadata);
    HttpResponse::Ok().json(metadata)
}

/// As Microsoft does for every tenant at once: the issuer is a template.
async fn tenant_metadata(inner: Data<Inner>, request: HttpRequest) -> HttpResponse {
    let issuer = format!("{}/{{tenantid}}/v2.0", inner.issuer);
    inner.behaviour().metadata["issuer"] = issuer.into();
    metadata(inner, request).await
}

async fn keys(inner: Data<Inner>, request: HttpRequest) -> HttpResponse {
    if let Some(fault) = fault(&inner, &request).await {
        return fault;
    }
    HttpResponse::Ok().json(inner.keys.lock().unwrap().published())
}

/// Sends the person back with a code. What its client does wrong ends here, in words for whoever reads the test.
async fn authorize(
    inner: Data<Inner>,
    request: HttpRequest,
    Query(asked): Query<Parameters>,
) -> HttpResponse {
    inner.asked.lock().unwrap().push(request.path().to_owned());
    let of = |name: &str| asked.get(name).cloned().unwrap_or_default();
    for (name, wanted) in
        [("response_type", "code"), ("client_id", CLIENT_ID), ("code_challenge_method", "S256")]
    {
        if of(name) != wanted {
            return HttpResponse::BadRequest().body(format!("{name} is {}", of(name)));
        }
    }
    let is_openid = request.path() == "/authorize";
    if of("state").len() < 22 || of("code_challenge").len() != 43 || is_openid && of("nonce").len() < 22 {
        return HttpResponse::BadRequest().body("state, nonce or challenge is too short");
    }
    if is_openid != of("scope").split(' ').any(|scope| scope == "openid") {
        return HttpResponse::BadRequest().body(format!("scope is {}", of("scope")));
    }
    let behaviour = inner.behaviour().clone();
    let code = domain::token::hex(&rand::random::<[u8; 16]>());
    let grant = Grant {
        person: behaviour.person,
        challenge: of("code_challenge"),
        nonce: asked.get("nonce").cloned(),
        redirect_uri: of("redirect_uri"),
    };
    inner.keep(&code);
    inner.grants.lock().unwrap().insert(code.clone(), grant);
    let mut back = Url::parse(&of("redirect_uri")).unwrap();
    if of("response_mode") == "form_post" {
        // What the page's form would hold; Apple adds the name at the first sign-in.
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("state", &of("state")).append_pair("code", &code);
        form.append_pair("user", r#"{"name":{"firstName":"Ada","lastName":"Lovelace"}}"#);
        return HttpResponse::Ok().content_type("application/x-www-form-urlencoded").body(form.finish());
    }
    back.query_pairs_mut().append_pair("code", &code).append_pair("state", &of("state"));
    if let Some(issuer) = behaviour.names {
        back.query_pairs_mut().append_pair("iss", &issuer);
    }
    HttpResponse::Found().insert_header((header::LOCATION, String::from(back))).finish()
}

/// What a code stands for, once, for the client that it was made for.
fn redeem(inner: &Inner, form: &Parameters) -> Option<(Grant, String)> {
    let of = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let grant = inner.grants.lock().unwrap().remove(of("code"))?;
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(of("code_verifier")));
    let fits = grant.challenge == challenge
        && grant.redirect_uri == of("redirect_uri")
        && of("grant_type") == "authorization_code";
    let token = domain::token::hex(&rand::random::<[u8; 16]>());
    inner.keep(&token);
    inner.keep(of("code_verifier"));
    inner.tokens.lock().unwrap().insert(token.clone(), grant.person.clone());
    fits.then_some((grant, token))
}

async fn token(inner: Data<Inner>, request: HttpRequest, Form(form): Form<Parameters>) -> HttpResponse {
    if let Some(fault) = fault(&inner, &request).await {
        return fault;
    }
    let client_key = inner.behaviour().client_key.clone();
    let is_client = match client_key {
        Some(key) => {
            let secret = form.get("client_secret").cloned().unwrap_or_default();
            inner.keep(&secret);
            key.check(&secret, &inner.issuer).is_ok()
                && form.get("client_id").map(String::as_str) == Some(CLIENT_ID)
        }
        None => is_our_client(&request),
    };
    if !is_client {
        return HttpResponse::Unauthorized().json(json!({ "error": "invalid_client" }));
    }
    let Some((grant, access_token)) = redeem(&inner, &form) else {
        return HttpResponse::BadRequest().json(json!({ "error": "invalid_grant" }));
    };
    let behaviour = inner.behaviour().clone();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({
        "iss": inner.issuer, "aud": CLIENT_ID, "sub": grant.person.subject, "nonce": grant.nonce,
        "iat": now, "exp": now + 300, "at_hash": at_hash(&access_token),
    });
    if !behaviour.by_user_info {
        overwrite(&mut claims, &about(&grant.person));
    }
    overwrite(&mut claims, &behaviour.claims);
    let id_token = inner.keys.lock().unwrap().sign(&claims, behaviour.signature);
    inner.keep(&id_token);
    let mut tokens = json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": 300, "id_token": id_token,
    });
    overwrite(&mut tokens, &behaviour.tokens.unwrap_or_default());
    HttpResponse::Ok().json(tokens)
}

/// HTTP Basic with both parts form-encoded (RFC 6749, 2.3.1).
fn is_our_client(request: &HttpRequest) -> bool {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let wanted = STANDARD.encode(format!("{}:{}", encode(CLIENT_ID), encode(CLIENT_SECRET)));
    bearer_or_basic(request) == Some(format!("Basic {wanted}"))
}

fn bearer_or_basic(request: &HttpRequest) -> Option<String> {
    Some(request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.to_owned())
}

/// OpenID Connect Core 1.0, 3.1.3.6.
fn at_hash(access_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(access_token)[..16])
}

fn about(person: &Person) -> Value {
    let mut claims = json!({ "email_verified": person.email_verified });
    if let Some(email) = &person.email {
        claims["email"] = email.as_str().into();
    }
    if let Some(username) = &person.username {
        claims["preferred_username"] = username.as_str().into();
    }
    claims
}

/// Whom the access token of a request speaks for.
fn bearer(inner: &Inner, request: &HttpRequest) -> Option<Person> {
    let header = bearer_or_basic(request)?;
    inner.tokens.lock().unwrap().get(header.strip_prefix("Bearer ")?).cloned()
}

async fn user_info(inner: Data<Inner>, request: HttpRequest) -> HttpResponse {
    if let Some(fault) = fault(&inner, &request).await {
        return fault;
    }
    let Some(person) = bearer(&inner, &request) else { return HttpResponse::Unauthorized().finish() };
    let mut info = about(&person);
    info["sub"] = person.subject.as_str().into();
    overwrite(&mut info, &inner.behaviour().user_info);
    HttpResponse::Ok().json(info)
}

/// GitHub answers 200 whatever became of it.
async fn github_token(
    inner: Data<Inner>,
    request: HttpRequest,
    Form(form): Form<Parameters>,
) -> HttpResponse {
    if let Some(fault) = fault(&inner, &request).await {
        return fault;
    }
    let of = |name: &str| form.get(name).map(String::as_str);
    if of("client_id") != Some(CLIENT_ID) || of("client_secret") != Some(CLIENT_SECRET) {
        return HttpResponse::Ok().json(json!({ "error": "incorrect_client_credentials" }));
    }
    let Some((_, access_token)) = redeem(&inner, &form) else {
        return HttpResponse::Ok().json(json!({ "error": "bad_verification_code" }));
    };
    let scope = "read:user,user:email";
    HttpResponse::Ok().json(json!({ "access_token": access_token, "token_type": "bearer", "scope": scope }))
}

async fn github_user(inner: Data<Inner>, request: HttpRequest) -> HttpResponse {
    if let Some(fault) = fault(&inner, &request).await {
        return fault;
    }
    let Some(person) = bearer(&inner, &request) else { return HttpResponse::Unauthorized().finish() };
    // A number that stays the same for a person.
    let digest = Sha256::digest(&person.subject);
    let id = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    HttpResponse::Ok().json(json!({ "id": id, "login": person.username, "email": null, "name": null }))
}

async fn github_emails(inner: Data<Inner>, request: HttpRequest) -> HttpResponse {
    if let Some(fault) = fault(&inner, &request).await {
        return fault;
    }
    let Some(person) = bearer(&inner, &request) else { return HttpResponse::Unauthorized().finish() };
    let other =
        json!({ "email": "other@example.net", "primary": false, "verified": true, "visibility": null });
    let mut addresses = vec![other];
    if let Some(email) = person.email {
        let verified = person.email_verified;
        addresses
            .push(json!({ "email": email, "primary": true, "verified": verified, "visibility": "public" }));
    }
    HttpResponse::Ok().json(addresses)
}
