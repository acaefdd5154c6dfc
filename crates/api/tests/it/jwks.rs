//! Access tokens with Ed25519: what a third party needs to verify them, and nothing that lets it make any.
//!
//! The verifier here knows the key set and the API's document, and nothing of how we sign: `make jwks-test` does the same
//! with a library in another language.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation};
use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::{Client, Reply};
use testkit::keys::Ed25519Pair;

use crate::support::{Bearer, refresh};

const PATH: &str = "/.well-known/jwks.json";

async fn start(ed25519: &str) -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("JWT_ED25519_KEYS", ed25519);
    })
    .await
}

/// What somebody else's service does with a token.
async fn verify_elsewhere(keys: &Client, token: &str) -> jsonwebtoken::errors::Result<TokenData<Value>> {
    let set: JwkSet = serde_json::from_slice(&keys.get(PATH).await.expect(200).body).unwrap();
    let header = jsonwebtoken::decode_header(token)?;
    let jwk = set.find(&header.kid.unwrap()).expect("the key is published");
    assert_eq!(jwk.common.key_algorithm, Some(KeyAlgorithm::EdDSA));
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["trellis"]);
    validation.set_issuer(&["http://trellis.test"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    jsonwebtoken::decode(token, &DecodingKey::from_jwk(jwk)?, &validation)
}

async fn assert_refused(app: &TestApp, token: &str, what: &str) {
    let reply: Reply =
        app.client().with_header("Authorization", &format!("Bearer {token}")).get("/api/me/").await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_whoever_has_the_key_set_can_verify_our_tokens() {
    let pair = Ed25519Pair::new();
    let app = start(&pair.private).await;
    let me = app.register("ada", None).await.expect(201).json()["user"]["id"].clone();
    let ada = Bearer::login(&app, "ada").await;
    ada.client.get("/api/me/").await.expect(200);

    let token = verify_elsewhere(&app.client(), &ada.access).await.unwrap();
    assert_eq!(token.claims["sub"], me);
    assert_eq!(token.header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(token.header.alg, Algorithm::EdDSA);

    let (message, signature) = ada.access.rsplit_once('.').unwrap();
    let other = format!("{}.{signature}", message.replace('.', ".A"));
    assert!(verify_elsewhere(&app.client(), &other).await.is_err());

    let reply = app.client().get(PATH).await.expect(200);
    assert_eq!(reply.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(reply.header("cache-control"), Some("public, max-age=300"));
    let keys = reply.json();
    let mut members: Vec<_> = keys["keys"][0].as_object().unwrap().keys().cloned().collect();
    members.sort();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x"], "and not `d`, the private half");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ed25519_keys_the_set_is_empty() {
    let app = TestApp::api_only().await;
    let reply = app.client().get(PATH).await.expect(200);
    assert_eq!(reply.text(), r#"{"keys":[]}"#, "an HS256 key is nobody else's business");
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t2_no_token_is_forged_with_what_is_published() {
    let pair = Ed25519Pair::new();
    let app = start(&pair.private).await;
    app.register("ada", None).await.expect(201);
    let ada = Bearer::login(&app, "ada").await;
    let set = app.client().get(PATH).await.expect(200).json();
    let jwk = &set["keys"][0];
    let kid = jwk["kid"].as_str().unwrap();
    let claims = ada.access.split('.').nth(1).unwrap();

    let der: String = pair.public.lines().filter(|line| !line.starts_with('-')).collect();
    let x = jwk["x"].as_str().unwrap();
    let secrets: Vec<(&str, Vec<u8>)> = vec![
        ("PEM", pair.public.clone().into_bytes()),
        ("trimmed PEM", pair.public.trim().as_bytes().to_vec()),
        ("DER", STANDARD.decode(der).unwrap()),
        ("x", x.as_bytes().to_vec()),
        ("x decoded", URL_SAFE_NO_PAD.decode(x).unwrap()),
        ("JWK", jwk.to_string().into_bytes()),
        ("JWKS", app.client().get(PATH).await.body),
        ("nothing", Vec::new()),
    ];
    let header = |alg: &str, kid: &str| json!({ "typ": "at+jwt", "alg": alg, "kid": kid });
    let mut headers = Vec::new();
    for alg in ["HS256", "HS384", "HS512", "EdDSA", "RS256", "PS256", "ES256", "none", "NONE"] {
        for kid in [kid, "../../x", "' OR 1=1", "", "/dev/null"] {
            headers.push(header(alg, kid));
        }
    }
    for (name, value) in [
        ("jwk", jwk.clone()),
        ("jku", json!("http://127.0.0.1:1/jwks.json")),
        ("x5u", json!("http://127.0.0.1:1/cert.pem")),
        ("x5c", json!(["MIIB"])),
    ] {
        for alg in ["EdDSA", "HS256"] {
            let mut header = header(alg, kid);
            header[name] = value.clone();
            headers.push(header);
        }
    }
    for header in &headers {
        // Both in the order of our own headers and in that of an alphabet.
        let ours = format!(r#"{{"typ":"at+jwt","alg":{},"kid":{}}}"#, header["alg"], header["kid"]);
        for header in [header.to_string(), ours] {
            let message = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(&header));
            for (what, secret) in &secrets {
                let key = EncodingKey::from_secret(secret);
                let signature =
                    jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
                assert_refused(&app, &format!("{message}.{signature}"), &format!("{header} by {what}")).await;
            }
            assert_refused(&app, &format!("{message}."), &format!("{header} unsigned")).await;
        }
    }
    // A key of somebody else under our key's name, and a header that brings its own key.
    let thief = Ed25519Pair::new();
    let encoding = EncodingKey::from_ed_pem(thief.v1().as_bytes()).unwrap();
    let mut theirs = Header::new(Algorithm::EdDSA);
    theirs.typ = Some("at+jwt".to_owned());
    theirs.kid = Some(kid.to_owned());
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_refused(&app, &jsonwebtoken::encode(&theirs, &claims, &encoding).unwrap(), "another key").await;
    theirs.jwk = Some(jsonwebtoken::jwk::Jwk::from_encoding_key(&encoding, Algorithm::EdDSA).unwrap());
    assert_refused(&app, &jsonwebtoken::encode(&theirs, &claims, &encoding).unwrap(), "its own key").await;
    // The refresh token is no access token.
    assert_refused(&app, &ada.refresh, "the refresh token").await;
    ada.client.get("/api/me/").await.expect(200);
}

/// From HS256 to Ed25519 the way a deployment does: the public half first, then the whole, then HS256 no more.
#[tokio::test(flavor = "multi_thread")]
async fn t3_from_hs256_to_ed25519_without_a_refused_request() {
    let pair = Ed25519Pair::new();
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let steps =
        [("", ""), ("", pair.public.as_str()), ("", pair.private.as_str()), ("off", pair.private.as_str())];
    let at = async |(jwt, ed25519): (&str, &str)| {
        app.replica_with(|settings| {
            settings.set("JWT_KEYS", jwt).set("JWT_ED25519_KEYS", ed25519);
        })
        .await
    };
    let mut bearer = Bearer::login(&app, "ada").await;
    for pair in steps.windows(2) {
        let replicas = [at(pair[0]).await, at(pair[1]).await];
        for signer in &replicas {
            for verifier in &replicas {
                // Before HS256 is turned off, what it signed has run out or been refreshed.
                let body = json!({ "refresh_token": bearer.refresh });
                let reply =
                    app.client().at(&signer.base()).post("/api/token/refresh/", body).await.expect(200);
                bearer = Bearer::of(&app, &reply.json());
                bearer.client.at(&verifier.base()).get("/api/me/").await.expect(200);
            }
        }
    }
    let before = Bearer::login(&app, "ada").await;
    let last = at(steps[3]).await;
    before.client.at(&last.base()).get("/api/me/").await.expect(401);
    let reply = refresh(&app, &before.refresh).await.expect(200);
    assert!(reply.json()["access_token"].is_string());
}
