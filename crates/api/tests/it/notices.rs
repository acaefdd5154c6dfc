//! Notices of security events, and what wants the password or a recent sign-in.

use chrono::TimeDelta;
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};
use testkit::smtp::{Mail, Rule, Step};

use crate::support::{Bearer, OTHER_PASSWORD, count_mails};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

async fn start() -> TestApp {
    let mut app = TestApp::api_with(|settings| {
        settings.set("TRUSTED_PROXIES", "127.0.0.0/8").set("SUPPORT_URL", "https://trellis.test/help");
    })
    .await;
    app.start_worker();
    app
}

/// Signs ada in from a network.
async fn sign_in(browser: &Client, network: &str) -> Reply {
    let browser = browser.with_header("X-Forwarded-For", network).with_header("User-Agent", FIREFOX);
    browser.post("/api/login/", json!({ "identifier": "ada", "password": PASSWORD })).await.expect(200)
}

/// The mails to ada with this subject, once every job is done.
async fn notices(app: &TestApp, subject: &str) -> Vec<Mail> {
    app.jobs_done().await;
    app.mail
        .mails()
        .into_iter()
        .filter(|mail| mail.subject == subject && mail.to == ["ada@example.org"])
        .collect()
}

/// cases/accounts 24
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_mailed_when_browser_and_network_are_new() {
    const SUBJECT: &str = "New sign-in to your account";
    let app = start().await;
    app.register("ada", None).await.expect(201);
    let home = app.client();
    sign_in(&home, "198.51.100.7").await;
    assert!(notices(&app, SUBJECT).await.is_empty(), "the first sign-in of an account is no news");
    sign_in(&home, "203.0.113.7").await;
    sign_in(&app.client(), "198.51.100.9").await;
    assert!(notices(&app, SUBJECT).await.is_empty(), "one of the two is known");

    let stranger = app.client();
    sign_in(&stranger, "192.0.2.77").await;
    let mails = notices(&app, SUBJECT).await;
    assert_eq!(mails.len(), 1);
    let text = &mails[0].text;
    for part in
        ["From: Firefox, network 192.0.2.0/24", " UTC", "/dashboard#account", "https://trellis.test/help"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("192.0.2.77"), "{text}");
    // The same device again, wherever it is.
    sign_in(&stranger, "192.0.2.78").await;
    sign_in(&stranger, "100.128.7.7").await;
    assert_eq!(notices(&app, SUBJECT).await.len(), 1);
}

/// cases/accounts 24
#[tokio::test(flavor = "multi_thread")]
async fn an_export_wants_the_password_or_a_recent_sign_in() {
    let app = start().await;
    app.register("ada", None).await.expect(201);
    let ada = Bearer::login(&app, "ada").await.client;
    ada.get("/api/me/export/").await.expect(200);
    ada.post("/api/me/export/", json!({})).await.expect(200);
    app.clock.advance(TimeDelta::minutes(11));
    assert_eq!(ada.get("/api/me/export/").await.expect(403).code(), "recent_sign_in_needed");
    let ask = async |body| ada.post("/api/me/export/", body).await;
    assert_eq!(ask(json!({})).await.expect(403).code(), "recent_sign_in_needed");
    assert_eq!(ask(json!({ "password": OTHER_PASSWORD })).await.expect(401).code(), "invalid_credentials");
    assert_eq!(ask(json!({ "password": 1, "x": 1 })).await.expect(422).errors().len(), 2);
    let export = ask(json!({ "password": PASSWORD })).await.expect(200);
    assert_eq!(export.json()["data"]["account"][0]["username"], "ada");
    app.client().post("/api/me/export/", json!({})).await.expect(401);
    assert_eq!(notices(&app, "Your data was exported").await.len(), 3, "each that was handed out");
}

/// cases/accounts 24
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_mailed_to_the_address_that_it_removes() {
    let app = start().await;
    app.register("ada", None).await.expect(201);
    let ada = app.client();
    sign_in(&ada, "192.0.2.77").await;
    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    let mails = notices(&app, "Your account was deleted").await;
    assert_eq!(mails.len(), 1);
    assert!(mails[0].text.contains("From: Firefox, network 192.0.2.0/24"), "{}", mails[0].text);
    let kept: i64 = app.database.value("SELECT count(*) FROM deletion_notices").await;
    assert_eq!(kept, 0);
}

/// cases/accounts 20
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_bounces_is_shown_and_gets_no_confirmation() {
    let mut app = TestApp::api_only().await;
    app.mail.script(Rule::reply(Step::Rcpt, 550, "5.1.1 no such user").to("ada@example.org"));
    app.start_worker();
    let ada = app.member("ada").await;
    app.jobs_done().await;
    let dead: i64 = app.database.value("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL").await;
    assert_eq!(dead, 0);
    assert!(ada.get("/api/me/").await.expect(200).json()["email_bounced_at"].is_string());
    let reply = ada.post_empty("/api/verify-email/resend/").await.expect(409);
    assert_eq!(reply.code(), "email_undeliverable");

    let body = json!({ "email": "new@example.org", "password": PASSWORD });
    ada.post("/api/me/email/", body).await.expect(202);
    let mail = app.mail.wait_for_to("new@example.org").await.unwrap();
    app.client().post("/api/verify-email/", json!({ "token": mail.token().unwrap() })).await.expect(204);
    assert!(ada.get("/api/me/").await.expect(200).json()["email_bounced_at"].is_null());
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", ""), 0);
}
