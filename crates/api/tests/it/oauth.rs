//! Signing in with identity providers, against one over a socket that misbehaves on demand.

mod arrivals;
mod attacks;
mod claims;
mod github;
mod outages;
mod presets;
pub(crate) mod trip;

use reqwest::Method;
use serde_json::json;
use testkit::app::TestApp;
use testkit::provider::{Person, Provider};

use trip::{app, back_at, callback, sign_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_sign_in_makes_an_account_and_the_next_one_finds_it() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let browser = app.client();
    let reply = sign_in(&app, &browser, &provider, "acme", "").await.expect(303);
    assert_eq!(reply.header("location"), Some("/dashboard"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert!(browser.cookies("sign_in_attempt").is_empty(), "it is over");
    let me = browser.get("/api/me/").await.expect(200).json();
    assert_eq!(
        (&me["username"], &me["email"], &me["email_verified"]),
        (&json!("ada"), &json!("ada@example.org"), &json!(true))
    );
    let row = "SELECT password_hash IS NULL AND password_changed_at IS NULL FROM users";
    assert!(app.database.value::<bool>(row).await);
    assert!(browser.cookie("csrf_token").is_some() && browser.cookie("device").is_some());
    browser.post_empty("/api/logout/").await.expect(204);

    // The provider may call the person something else by then.
    let renamed = Person { email: Some("ada@elsewhere.example".to_owned()), ..Person::new("ada") };
    provider.is_good_with(renamed);
    let other = app.client();
    sign_in(&app, &other, &provider, "acme", "").await.expect(303);
    assert_eq!(other.get("/api/me/").await.expect(200).json()["id"], me["id"]);
    let identity = other.get("/api/me/identities/").await.expect(200).json();
    assert_eq!(identity["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&identity["items"][0]["provider"], &identity["items"][0]["title"], &identity["has_password"]),
        (&json!("acme"), &json!("Acme ID"), &json!(false))
    );
    let events = other.get("/api/me/security-events/").await.expect(200).json();
    let names: Vec<_> =
        events["items"].as_array().unwrap().iter().map(|event| event["event"].clone()).collect();
    let expected =
        ["signed_in", "provider_vouched", "signed_out", "signed_in", "provider_vouched", "account_created"];
    assert_eq!(names, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_are_listed_and_the_pages_lead_to_them() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let listed = app.client().get("/api/oauth/providers/").await.expect(200).json();
    assert_eq!(
        listed,
        json!({ "items": [
            { "name": "acme", "title": "Acme ID", "start_url": "/api/oauth/acme/start" },
            { "name": "github", "title": "GitHub", "start_url": "/api/oauth/github/start" },
        ] })
    );
    let page = app.client().get("/register?referral=abc123defg").await.expect(200).text();
    assert!(page.contains("href=\"/api/oauth/acme/start?referral=abc123defg\""), "{page}");
    let page = app.client().get("/login").await.expect(200).text();
    assert!(
        page.contains("href=\"/api/oauth/github/start\"") && page.contains("Continue with Acme ID"),
        "{page}"
    );

    let none = TestApp::api_only().await;
    assert_eq!(none.client().get("/api/oauth/providers/").await.expect(200).json(), json!({ "items": [] }));
    assert!(!none.client().get("/login").await.text().contains("Continue with"));
    none.client().get("/api/oauth/acme/start").await.expect(404);
    none.client().get("/api/oauth/acme/callback?code=x&state=y").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_the_way_to_the_provider_carries_state_nonce_and_challenge_and_comes_back_here_only() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let first = trip::begin(&app.client(), "acme", "").await;
    let second = trip::begin(&app.client(), "acme", "").await;
    for name in ["state", "nonce", "code_challenge"] {
        assert!(first[name].len() >= 43 && first[name] != second[name], "{name}");
    }
    assert_eq!(first["code_challenge_method"], "S256");
    assert_eq!(first["response_type"], "code");
    assert_eq!(first["redirect_uri"], "http://trellis.test/api/oauth/acme/callback");
    assert_eq!(first["scope"], "openid email profile");
    // A request that names another host is sent back to ours all the same.
    let headers = [("Host", "evil.example"), ("X-Forwarded-Host", "evil.example")];
    let reply = app.client().send(Method::GET, "/api/oauth/acme/start", None, &headers).await.expect(302);
    assert!(!reply.header("location").unwrap().contains("evil"), "{reply:?}");
    let line = reply.header("set-cookie").unwrap();
    assert!(line.contains("; HttpOnly; SameSite=Lax; Path=/; Max-Age=600"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_people_go_on_to_pages_of_ours_only() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    for bad in [
        "//evil.example",
        "///evil.example",
        "\\\\evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/x\r\nSet-Cookie: a=b",
        "dashboard",
    ] {
        let escaped = url_escape(bad);
        let reply = app.client().get(&format!("/api/oauth/acme/start?next={escaped}")).await.expect(400);
        assert_eq!(reply.code(), "bad_request", "{bad}");
        assert!(!reply.headers.contains_key("set-cookie"), "{bad}");
    }
    let browser = app.client();
    let reply = sign_in(&app, &browser, &provider, "acme", "?next=/dashboard%23account").await.expect(303);
    assert_eq!(reply.header("location"), Some("/dashboard#account"));
}

fn url_escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_gets_its_tokens_in_the_body_and_no_cookie_of_a_session() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let browser = app.client();
    let reply = sign_in(&app, &browser, &provider, "acme", "?transport=bearer").await.expect(200);
    assert!(browser.cookie("access_token").is_none() && browser.cookie("csrf_token").is_none());
    let bearer = format!("Bearer {}", reply.json()["access_token"].as_str().unwrap());
    app.client().with_header("Authorization", &bearer).get("/api/me/").await.expect(200);
    let reply = app.client().get("/api/oauth/acme/start?transport=paper").await.expect(422);
    assert_eq!(reply.errors(), ["?transport invalid_value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_a_page_for_people_and_a_problem_for_programs() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let path = "/api/oauth/acme/callback?code=x&state=y";
    assert_eq!(app.client().get(path).await.expect(400).code(), "invalid_state");
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let reply =
        reqwest::Client::new().get(format!("{}{path}", app.base())).header("Accept", accept).send().await;
    let reply = reply.unwrap();
    assert_eq!(reply.status(), 400);
    assert_eq!(reply.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(reply.headers()["cache-control"], "no-store");
    let policy = reply.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
    let page = reply.text().await.unwrap();
    assert!(page.contains("You are not signed in") && page.contains("href=\"/login\""), "{page}");

    // Whoever changed their mind at the provider reads so, and what a stranger wrote is not repeated.
    let browser = app.client();
    let begun = trip::begin(&browser, "acme", "").await;
    let state = &begun["state"];
    let given_up =
        format!("/api/oauth/acme/callback?error=access_denied&error_description=Ring+Mallory&state={state}");
    let reply = browser.get(&given_up).await.expect(401);
    assert_eq!(reply.code(), "provider_refused");
    assert!(reply.text().contains("given up") && !reply.text().contains("Mallory"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sign_in_is_limited_by_network() {
    let provider = Provider::start().await;
    let app = trip::app_with(&provider, |settings| {
        settings.set("RATE_LIMITS", "on");
    })
    .await;
    for _ in 0..60 {
        app.client().get("/api/oauth/acme/callback?code=x&state=y").await.expect(400);
    }
    let reply = app.client().get("/api/oauth/acme/callback?code=x&state=y").await.expect(429);
    assert!(reply.header("retry-after").is_some());
    app.client().get("/api/oauth/acme/start").await.expect(302);
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_session_of_one_attempt_is_made_once_however_many_bring_it_back_at_once() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let replica = app.replica_with(|_| {}).await;
    let browser = app.client();
    let begun = trip::begin(&browser, "acme", "").await;
    let path = back_at(&provider, &begun).await;
    // Each with the same cookie, as if sent before any answer came.
    let tries = (0..10).map(|n| {
        let browser = browser.stolen();
        let browser = if n % 2 == 0 { browser } else { browser.at(&replica.base()) };
        let path = path.clone();
        async move { browser.get(&path).await.status }
    });
    let mut statuses = futures_util::future::join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![303], vec![400; 9]].concat());
    let sessions: i64 = app.database.value("SELECT count(*) FROM sessions").await;
    assert_eq!(sessions, 1);
    assert_eq!(provider.count("/token"), 1, "the code was shown to the provider once");
    let reply = callback(&browser, &path).await.expect(400);
    assert_eq!(reply.code(), "invalid_state");
}
