//! Access tokens: only those that we signed, for what we signed them for, and by a key that is still in the ring.

use api::config::Config;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use domain::config::SigningKey;
use domain::token::Key;
use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::Reply;

use crate::support::{Bearer, refresh};

/// The key that the app signs with.
fn signing_key(app: &TestApp) -> SigningKey {
    Config::read(app.settings.settings()).unwrap().common.keys.jwt.remove(0)
}

fn decode(part: &str) -> String {
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// A token of any header and claims, truly signed with HMAC-SHA-256.
fn forge(header: &str, claims: &str, key: &Key) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.mac_message(message.as_bytes()));
    format!("{message}.{signature}")
}

/// A token as it was given out, taken apart.
struct Parts {
    header: String,
    claims: Value,
    key: Key,
}

impl Parts {
    fn of(app: &TestApp, token: &str) -> Self {
        let parts: Vec<&str> = token.split('.').collect();
        let claims = serde_json::from_str(&decode(parts[1])).unwrap();
        Self { header: decode(parts[0]), claims, key: signing_key(app).key }
    }

    fn with_header(&self, name: &str, value: Value) -> String {
        let mut header: Value = serde_json::from_str(&self.header).unwrap();
        header[name] = value;
        forge(&header.to_string(), &self.claims.to_string(), &self.key)
    }

    fn with_claim(&self, name: &str, value: Option<Value>) -> String {
        let mut claims = self.claims.clone();
        match value {
            Some(value) => claims[name] = value,
            None => drop(claims.as_object_mut().unwrap().remove(name)),
        }
        forge(&self.header, &claims.to_string(), &self.key)
    }
}

async fn use_token(app: &TestApp, token: &str) -> Reply {
    app.client().with_header("Authorization", &format!("Bearer {token}")).get("/api/me/").await
}

async fn assert_refused(app: &TestApp, token: &str, why: &str) {
    let reply = use_token(app, token).await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"), "{why}: {reply:?}");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"trellis\""), "{why}");
    // As a cookie it is worth no more.
    let browser = app.client();
    browser.set_cookie("access_token", token);
    assert_eq!(browser.get("/api/me/").await.status, 401, "{why}, as a cookie");
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_the_header_of_a_token_chooses_nothing() {
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let ada = Bearer::login(&app, "ada").await;
    let parts = Parts::of(&app, &ada.access);
    // The forge works: what it makes of the same parts is taken.
    use_token(&app, &forge(&parts.header, &parts.claims.to_string(), &parts.key)).await.expect(200);

    let secret = URL_SAFE_NO_PAD.encode(parts.key.expose());
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("NONE")),
        ("alg", json!("RS256")),
        ("alg", json!("ES256")),
        ("alg", json!("EdDSA")),
        ("alg", json!("HS512")),
        ("kid", json!("../../x")),
        ("kid", json!("/dev/null")),
        ("kid", json!("' OR 1=1")),
        ("kid", json!("")),
        ("kid", json!(null)),
        ("kid", json!(0)),
        ("typ", json!("JWT")),
        ("jwk", json!({ "kty": "oct", "k": secret })),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
    ] {
        assert_refused(&app, &parts.with_header(name, value.clone()), &format!("{name} = {value}")).await;
    }
    let claims = parts.claims.to_string();
    // The kid is known to whoever has a token; what it names is not. An empty and a guessed key, and the public parts.
    for key in [[0; 32], [1; 32]] {
        assert_refused(&app, &forge(&parts.header, &claims, &Key::new(key)), "another key").await;
    }
    let good = forge(&parts.header, &claims, &parts.key);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#),
        URL_SAFE_NO_PAD.encode(&claims)
    );
    let (start, end) = signature.split_at(10);
    let swapped = if start.starts_with('A') { "B" } else { "A" };
    for (why, bad) in [
        ("no signature", format!("{message}.")),
        ("two parts", message.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("a longer signature", format!("{good}A")),
        ("another signature", format!("{message}.{swapped}{}{end}", &start[1..])),
        ("padding", format!("{good}=")),
        ("unsigned", none),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("much", "A".repeat(5_000)),
    ] {
        assert_refused(&app, &bad, why).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_every_claim_is_required_and_checked() {
    let app = TestApp::api_only().await;
    for name in ["ada", "bob"] {
        app.register(name, None).await.expect(201);
    }
    let ada = Bearer::login(&app, "ada").await;
    let bob = Bearer::login(&app, "bob").await;
    let (parts, bobs) = (Parts::of(&app, &ada.access), Parts::of(&app, &bob.access));
    let now = app.clock.now().timestamp();
    for name in ["exp", "iat", "iss", "aud", "sub", "sid", "typ"] {
        assert_refused(&app, &parts.with_claim(name, None), &format!("no {name}")).await;
        for value in [json!(null), json!(""), json!("x"), json!(true), json!([parts.claims[name]]), json!({})]
        {
            let token = parts.with_claim(name, Some(value.clone()));
            assert_refused(&app, &token, &format!("{name} = {value}")).await;
        }
    }
    for (name, value, why) in [
        ("exp", json!(now - 10), "expired ten seconds ago"),
        ("exp", json!(now + 86_400), "for longer than we give"),
        ("exp", json!(now.to_string()), "a time that is a text"),
        ("iat", json!(now + 60), "from the future"),
        ("iss", json!("http://trellis.test/"), "almost our issuer"),
        ("iss", json!("https://evil.example"), "another issuer"),
        ("aud", json!("other"), "another audience"),
        ("typ", json!("refresh"), "for another purpose"),
        ("sub", bobs.claims["sub"].clone(), "somebody else's session"),
        ("sid", bobs.claims["sid"].clone(), "of somebody else's session"),
        ("sid", json!("019a0000-0000-7000-8000-000000000001"), "of no session"),
    ] {
        assert_refused(&app, &parts.with_claim(name, Some(value)), why).await;
    }
    assert_refused(&app, &ada.refresh, "a refresh token").await;
    ada.client.get("/api/me/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn t2_a_token_ends_after_its_time_with_five_seconds_of_leeway() {
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let ada = Bearer::login(&app, "ada").await;
    app.clock.advance(TimeDelta::seconds(900));
    ada.client.get("/api/me/").await.expect(200);
    app.clock.advance(TimeDelta::seconds(10));
    ada.client.get("/api/me/").await.expect(401);
    // The session goes on, and its refresh token gives a new one.
    let reply = refresh(&app, &ada.refresh).await.expect(200);
    Bearer::of(&app, &reply.json()).client.get("/api/me/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn t8_a_session_ends_after_thirty_days_however_often_it_is_refreshed() {
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let mut ada = Bearer::login(&app, "ada").await;
    for _ in 0..29 {
        app.clock.advance(TimeDelta::days(1));
        let reply = refresh(&app, &ada.refresh).await.expect(200);
        ada = Bearer::of(&app, &reply.json());
    }
    ada.client.get("/api/me/").await.expect(200);
    app.clock.advance(TimeDelta::hours(23) + TimeDelta::minutes(50));
    let reply = refresh(&app, &ada.refresh).await.expect(200);
    ada = Bearer::of(&app, &reply.json());
    app.clock.advance(TimeDelta::minutes(11));
    ada.client.get("/api/me/").await.expect(401);
    refresh(&app, &ada.refresh).await.expect(401);
}

/// Keys are rotated the way a deployment does: replica by replica, a new key known everywhere before it signs anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn t3_keys_rotate_under_traffic_and_a_retired_one_is_refused() {
    const OLD: &str = "old:Wq2sX8vB5nM1kL7jH4gF9dS3aP6oI0uY";
    const NEW: &str = "new:Zr6tG1yH8uJ3iK5oL9pQ2wE7aS4dF0xC";
    let rings = [OLD, &format!("{OLD},{NEW}"), &format!("{NEW},{OLD}"), NEW].map(str::to_owned);
    let ring = |index: usize| rings[index].clone();

    let app = TestApp::api_with(|settings| {
        settings.set("JWT_KEYS", &ring(0));
    })
    .await;
    app.register("ada", None).await.expect(201);
    let at = async |index: usize| {
        let ring = ring(index);
        app.replica_with(move |settings| {
            settings.set("JWT_KEYS", &ring);
        })
        .await
    };
    let body = json!({ "identifier": "ada", "password": testkit::app::PASSWORD, "transport": "bearer" });
    let mut given: Vec<Bearer> = Vec::new();
    // Each step replaces one of two replicas.
    for (one, other) in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)] {
        let replicas = [at(one).await, at(other).await];
        for replica in &replicas {
            let reply = app.client().at(&replica.base()).post("/api/login/", body.clone()).await.expect(200);
            given.push(Bearer::of(&app, &reply.json()));
        }
        for replica in &replicas {
            for bearer in &given {
                bearer.client.at(&replica.base()).get("/api/me/").await.expect(200);
            }
        }
    }
    let retired = at(3).await;
    let (mut taken, mut refused) = (0, 0);
    for bearer in &given {
        let header: Value = serde_json::from_str(&decode(bearer.access.split('.').next().unwrap())).unwrap();
        let reply = bearer.client.at(&retired.base()).get("/api/me/").await;
        match header["kid"].as_str().unwrap() {
            "new" => taken += u32::from(reply.status == 200),
            "old" => refused += u32::from(reply.status == 401),
            kid => panic!("signed by {kid}"),
        }
    }
    assert_eq!((taken, refused), (3, 7));
    // Nobody is signed out by it: the session goes on with a token of the new key.
    let body = json!({ "refresh_token": given[0].refresh });
    let reply = app.client().at(&retired.base()).post("/api/token/refresh/", body).await.expect(200);
    Bearer::of(&app, &reply.json()).client.at(&retired.base()).get("/api/me/").await.expect(200);
}
