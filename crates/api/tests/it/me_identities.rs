//! Linking and unlinking identities, and accounts without a password.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::authenticator::enrol;
use testkit::client::{Client, Reply};
use testkit::dump;
use testkit::provider::{Person, Provider};

use crate::oauth::trip::{app, attempt_cookie, back_at, callback, sign_in, way};
use crate::support::{Bearer, OTHER_PASSWORD, count_mails, login_status, reset, reset_token};

/// Asks for a link, and comes back from the provider.
async fn link(browser: &Client, provider: &Provider, name: &str, body: Value) -> Reply {
    let asked = browser.post(&format!("/api/me/identities/{name}/"), body).await.expect(200).json();
    let path = back_at(provider, &way(asked["authorization_url"].as_str().unwrap())).await;
    callback(browser, &path).await
}

async fn identities(browser: &Client) -> Vec<Value> {
    browser.get("/api/me/identities/").await.expect(200).json()["items"].as_array().unwrap().clone()
}

async fn unlink(browser: &Client, identity: &Value) -> Reply {
    let path = format!("/api/me/identities/{}/", identity["id"].as_str().unwrap());
    browser.delete(&path, json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_signed_in_user_links_what_the_provider_vouches_for_and_is_told() {
    let provider = Provider::start().await;
    let mut app = app(&provider).await;
    app.start_worker();
    let ada = app.member("ada").await;
    // Nothing the account knows of: linking wants no address.
    provider.is_good_with(Person { email: None, username: None, ..Person::new("countess") });
    let reply = link(&ada, &provider, "acme", json!({ "next": "/dashboard#account" })).await.expect(303);
    assert_eq!(reply.header("location"), Some("/dashboard#account"));
    let listed = identities(&ada).await;
    assert_eq!(
        (listed.len(), &listed[0]["provider"], &listed[0]["email"]),
        (1, &json!("acme"), &Value::Null)
    );
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", "new way to sign in"), 1);

    let browser = app.client();
    sign_in(&app, &browser, &provider, "acme", "").await.expect(303);
    assert_eq!(browser.get("/api/me/").await.json()["username"], "ada");
    // Again changes nothing.
    link(&ada, &provider, "acme", json!({})).await.expect(303);
    assert_eq!(identities(&ada).await.len(), 1);
    // It is nobody else's to link.
    let eve = app.member("eve").await;
    let reply = link(&eve, &provider, "acme", json!({})).await.expect(409);
    assert_eq!(reply.code(), "identity_taken");
    assert!(identities(&eve).await.is_empty());

    unlink(&eve, &listed[0]).await.expect(404);
    unlink(&ada, &listed[0]).await.expect(204);
    unlink(&ada, &listed[0]).await.expect(404);
    ada.delete("/api/me/identities/nonsense/", json!({})).await.expect(404);
    let events = ada.get("/api/me/security-events/").await.json();
    let names: Vec<_> =
        events["items"].as_array().unwrap().iter().map(|event| event["event"].clone()).collect();
    assert!(
        names.contains(&json!("identity_linked")) && names.contains(&json!("identity_unlinked")),
        "{names:?}"
    );
    // And signs in no more.
    let reply = sign_in(&app, &app.client(), &provider, "acme", "").await.expect(422);
    assert_eq!(reply.code(), "email_missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_a_provider_stands_for_the_password_and_never_for_the_code() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let ada = app.member("ada").await;
    provider.is_good_with(Person { email: None, username: None, ..Person::new("countess") });
    link(&ada, &provider, "acme", json!({})).await.expect(303);
    let (authenticator, _) = enrol(&app, &ada, PASSWORD).await;

    let browser = app.client();
    let reply = sign_in(&app, &browser, &provider, "acme", "?next=/dashboard%23account").await.expect(303);
    let (page, challenge) = reply.header("location").unwrap().split_once("#challenge=").unwrap();
    assert_eq!(page, "/login?next=%2Fdashboard%23account", "in the fragment, which no server sees");
    assert!(browser.cookie("access_token").is_none() && browser.cookie("refresh_token").is_none());
    browser.get("/api/me/").await.expect(401);

    let body = json!({ "challenge": challenge, "code": authenticator.wrong_code(&app) });
    assert_eq!(browser.post("/api/login/factor/", body).await.expect(401).code(), "invalid_code");
    let body = json!({ "challenge": challenge, "code": authenticator.next_code(&app) });
    browser.post("/api/login/factor/", body).await.expect(200);
    assert_eq!(browser.get("/api/me/").await.expect(200).json()["username"], "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_link_belongs_to_the_session_and_the_browser_that_asked_for_it() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let ada = app.member("ada").await;
    let asked = ada.post("/api/me/identities/acme/", json!({})).await.expect(200).json();
    let way = way(asked["authorization_url"].as_str().unwrap());
    let path = back_at(&provider, &way).await;
    // In another browser, signed in or not, it is nothing.
    callback(&app.client(), &path).await.expect(400);
    let eve = app.member("eve").await;
    callback(&eve, &path).await.expect(400);
    // Whoever signed out meanwhile links nothing.
    let (name, cookie) = attempt_cookie(&ada);
    ada.post_empty("/api/logout/").await.expect(204);
    ada.set_cookie(&name, &cookie);
    let reply = callback(&ada, &path).await.expect(401);
    assert_eq!(reply.code(), "unauthenticated");
    let count: i64 = app.database.value("SELECT count(*) FROM identities").await;
    assert_eq!(count, 0);
    // And what was begun as a sign-in links nothing either.
    let grace = app.member("grace").await;
    provider.is_good_with(Person::new("somebody-new"));
    sign_in(&app, &grace, &provider, "acme", "").await.expect(303);
    assert_eq!(grace.get("/api/me/").await.json()["username"], "somebody-new");
    app.client().post("/api/me/identities/acme/", json!({})).await.expect(401);
    ada.clear_cookies();
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_link_wants_the_password_or_a_recent_sign_in() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    app.register("ada", None).await.expect(201);
    let ada = Bearer::login(&app, "ada").await.client;
    let ask = async |body: Value| ada.post("/api/me/identities/acme/", body).await;
    ask(json!({})).await.expect(200);
    assert_eq!(ask(json!({ "password": OTHER_PASSWORD })).await.expect(401).code(), "invalid_credentials");
    app.clock.advance(TimeDelta::minutes(11));
    assert_eq!(ask(json!({})).await.expect(403).code(), "recent_sign_in_needed");
    ask(json!({ "password": PASSWORD })).await.expect(200);
    let reply = ask(json!({ "password": PASSWORD, "next": "//evil.example" })).await.expect(422);
    assert_eq!(reply.errors(), ["/next invalid_value"]);
    let reply = ask(json!({ "password": PASSWORD, "user_id": "x" })).await.expect(422);
    assert_eq!(reply.errors(), ["/user_id unknown_field"]);
    ada.post("/api/me/identities/nobody/", json!({})).await.expect(404);
}

/// cases/accounts 24
#[tokio::test(flavor = "multi_thread")]
async fn unlinking_wants_the_password_or_a_recent_sign_in_and_is_mailed() {
    let provider = Provider::start().await;
    let mut app = app(&provider).await;
    app.start_worker();
    let ada = app.member("ada").await;
    provider.is_good_with(Person { email: None, username: None, ..Person::new("countess") });
    link(&ada, &provider, "acme", json!({})).await.expect(303);
    let linked = identities(&ada).await;
    let bearer = Bearer::login(&app, "ada").await.client;
    app.clock.advance(TimeDelta::minutes(11));
    let path = format!("/api/me/identities/{}/", linked[0]["id"].as_str().unwrap());
    let ask = async |body| bearer.delete(&path, body).await;
    assert_eq!(ask(json!({})).await.expect(403).code(), "recent_sign_in_needed");
    assert_eq!(ask(json!({ "password": OTHER_PASSWORD })).await.expect(401).code(), "invalid_credentials");
    assert_eq!(ask(json!({ "x": 1 })).await.expect(422).errors(), ["/x unknown_field"]);
    ask(json!({ "password": PASSWORD })).await.expect(204);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", "A way to sign in to your account was removed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_way_in_stays() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let ada = app.client();
    sign_in(&app, &ada, &provider, "acme", "").await.expect(303);
    let only = identities(&ada).await;
    assert_eq!(unlink(&ada, &only[0]).await.expect(409).code(), "last_way_in");
    // With a second one either may go, and never both, also at once.
    provider.is_good_with(Person::new("ada"));
    provider.now(|now| now.person.subject = "another".to_owned());
    link(&ada, &provider, "acme", json!({})).await.expect(303);
    let both = identities(&ada).await;
    assert_eq!(both.len(), 2);
    let replies = join_all(both.iter().map(|identity| unlink(&ada, identity))).await;
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
    // A password is a way in.
    ada.post("/api/me/password/", json!({ "password": PASSWORD })).await.expect(204);
    let last = identities(&ada).await;
    unlink(&ada, &last[0]).await.expect(204);
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_password_wants_a_recent_sign_in_and_the_next_one_the_first() {
    let provider = Provider::start().await;
    let mut app = app(&provider).await;
    app.start_worker();
    let (ada, other) = (app.client(), app.client());
    for browser in [&ada, &other] {
        sign_in(&app, browser, &provider, "acme", "").await.expect(303);
    }
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 401);
    let set = async |body: Value| ada.post("/api/me/password/", body).await;
    app.clock.advance(TimeDelta::minutes(11));
    assert_eq!(set(json!({ "password": PASSWORD })).await.expect(403).code(), "recent_sign_in_needed");
    let now = app.clock.now().timestamp();
    provider.now(|behaviour| behaviour.claims = json!({ "iat": now, "exp": now + 300 }));
    sign_in(&app, &ada, &provider, "acme", "").await.expect(303);
    assert_eq!(
        set(json!({ "password": "ada@example.org" })).await.expect(422).errors(),
        ["/password weak_password"]
    );
    set(json!({ "password": PASSWORD })).await.expect(204);
    other.get("/api/me/").await.expect(401);
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 200);
    assert_eq!(ada.get("/api/me/identities/").await.json()["has_password"], true);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", "password was changed"), 1);

    let reply = set(json!({ "password": OTHER_PASSWORD })).await.expect(422);
    assert_eq!(reply.errors(), ["/current_password required"]);
    set(json!({ "password": OTHER_PASSWORD, "current_password": "wrong" })).await.expect(401);
    set(json!({ "password": OTHER_PASSWORD, "current_password": PASSWORD })).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_mail_sets_a_first_password() {
    let provider = Provider::start().await;
    let mut app = app(&provider).await;
    app.start_worker();
    let ada = app.client();
    sign_in(&app, &ada, &provider, "acme", "").await.expect(303);
    let token = reset_token(&app, "ada").await;
    reset(&app, &token, PASSWORD).await.expect(204);
    ada.get("/api/me/").await.expect(401);
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 200);
    let browser = app.client();
    sign_in(&app, &browser, &provider, "acme", "").await.expect(303);
    assert_eq!(identities(&browser).await.len(), 1, "the identity stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_an_account_without_a_password_is_deleted_after_a_recent_sign_in_and_leaves_nothing() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    provider.is_good_with(Person { subject: "v2-canary-subject".to_owned(), ..Person::new("v2-canary") });
    let ada = app.client();
    sign_in(&app, &ada, &provider, "acme", "").await.expect(303);
    app.clock.advance(TimeDelta::minutes(11));
    let reply = ada.delete("/api/me/", json!({})).await.expect(403);
    assert_eq!(reply.code(), "recent_sign_in_needed");
    let now = app.clock.now().timestamp();
    provider.now(|behaviour| behaviour.claims = json!({ "iat": now, "exp": now + 300 }));
    sign_in(&app, &ada, &provider, "acme", "").await.expect(303);
    ada.delete("/api/me/", json!({})).await.expect(202);
    ada.get("/api/me/").await.expect(401);
    for (table, rows) in dump::tables(&app.database, &[]).await {
        for row in rows {
            let leaks = row.contains("v2-canary@") || row.contains("v2-canary-subject");
            assert!(!leaks, "{table}: {row}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_spent_states_are_removed_by_the_schedule() {
    let provider = Provider::start().await;
    let app: TestApp = app(&provider).await;
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
    let count = async || app.database.value::<i64>("SELECT count(*) FROM spent_states").await;
    assert_eq!(count().await, 1);
    let purge = async |days| {
        let at = app.clock.now() + TimeDelta::days(days);
        domain::housekeeping::purge(&app.database.pool(1), at).await.unwrap();
    };
    purge(6).await;
    assert_eq!(count().await, 1);
    purge(8).await;
    assert_eq!(count().await, 0);
}
