//! What the holder of a blocked account reads, and what strangers do not.

use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::authenticator::enrol;
use testkit::client::{Client, Reply};

use crate::support::{OTHER_PASSWORD, assert_alike, count_mails, forgot};

const CONTACT: &str = "mailto:help@trellis.test";

async fn app() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1").set("SUPPORT_URL", CONTACT);
    })
    .await
}

async fn id_of(app: &TestApp, username: &str) -> String {
    app.database.value(&format!("SELECT id::text FROM users WHERE username = '{username}'")).await
}

async fn manager(app: &TestApp) -> Client {
    let client = app.member("boss").await;
    app.database.batch_execute("UPDATE users SET role = 'admin' WHERE username = 'boss'").await.unwrap();
    client
}

async fn decide(boss: &Client, id: &str, what: &str) {
    let body = json!({ "reason": "thirty accounts in one evening" });
    boss.post(&format!("/api/admin/users/{id}/{what}/"), body).await.expect(204);
}

async fn login(app: &TestApp, identifier: &str, password: &str) -> Reply {
    app.client().post("/api/login/", json!({ "identifier": identifier, "password": password })).await
}

/// cases/accounts 14
#[tokio::test(flavor = "multi_thread")]
async fn a3_only_the_right_password_learns_of_a_block() {
    let app = app().await;
    let boss = manager(&app).await;
    let ada = app.member("ada").await;
    let id = id_of(&app, "ada").await;
    decide(&boss, &id, "block").await;
    ada.get("/api/me/").await.expect(401);
    ada.post_empty("/api/token/refresh/").await.expect(401);

    for identifier in ["ada", "ada@example.org"] {
        let reply = login(&app, identifier, PASSWORD).await.expect(403);
        assert_eq!(reply.code(), "account_blocked");
        let body = reply.json();
        assert_eq!(body["reason"], "thirty accounts in one evening");
        assert_eq!(body["contact"], CONTACT);
        let words = body["detail"].as_str().unwrap();
        assert!(words.contains("thirty accounts in one evening.") && words.ends_with("help@trellis.test"));
        assert!(!reply.headers.contains_key("set-cookie"));
    }
    let wrong = login(&app, "ada", OTHER_PASSWORD).await;
    let unknown = login(&app, "unknown", OTHER_PASSWORD).await;
    assert_alike(&[("a blocked account", wrong), ("an unknown account", unknown)]).expect(401);
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM sessions WHERE ended_at IS NULL").await, 1);

    decide(&boss, &id, "unblock").await;
    login(&app, "ada", PASSWORD).await.expect(200);
    ada.get("/api/me/").await.expect(401);
    let kept: Option<String> =
        app.database.value("SELECT blocked_reason FROM users WHERE username = 'ada'").await;
    assert_eq!(kept, None);
}

/// cases/accounts 14
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_person_is_mailed_the_reason() {
    let mut app = app().await;
    let boss = manager(&app).await;
    app.register("ada", None).await.expect(201);
    let id = id_of(&app, "ada").await;
    app.start_worker();
    app.jobs_done().await;
    decide(&boss, &id, "block").await;
    app.jobs_done().await;
    let address = "ada@example.org";
    assert_eq!(count_mails(&app, address, "Your account is blocked"), 1);

    forgot(&app, address).await.expect(202);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, address, "Your account is blocked"), 2);
    assert_eq!(count_mails(&app, address, "Reset"), 0);
    let mails = app.mail.mails();
    let last = format!("{:?}", mails.last().unwrap());
    assert!(last.contains("thirty accounts in one evening") && last.contains("help@trellis.test"), "{last}");
    // Strangers flood no mailbox.
    for _ in 0..5 {
        forgot(&app, address).await.expect(202);
    }
    app.jobs_done().await;
    assert_eq!(count_mails(&app, address, "Your account is blocked"), 4);

    decide(&boss, &id, "unblock").await;
    app.jobs_done().await;
    assert_eq!(count_mails(&app, address, "no longer blocked"), 1);
}

/// cases/accounts 14
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_address_is_not_told_to_log_in() {
    let mut app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1").set("REGISTRATION", "verified");
    })
    .await;
    app.start_worker();
    let body = json!({ "email": "ada@example.org", "username": "ada" });
    app.client().post("/api/register/", body).await.expect(202);
    app.confirm_registration("ada@example.org").await.expect(201);
    let sql = "UPDATE users SET blocked_at = now(), blocked_reason = 'spam'";
    app.database.batch_execute(sql).await.unwrap();
    let body = json!({ "email": "ada@example.org", "username": "again" });
    app.client().post("/api/register/", body).await.expect(202);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", "Your account is blocked"), 1);
    assert_eq!(count_mails(&app, "ada@example.org", "You already have an account"), 0);
}

/// cases/accounts 14
#[tokio::test(flavor = "multi_thread")]
async fn s3_a_block_shows_after_the_second_factor() {
    let app = app().await;
    let ada = app.member("ada").await;
    let (_, codes) = enrol(&app, &ada, PASSWORD).await;
    let sql =
        "UPDATE users SET blocked_at = now(), blocked_reason = 'spam', session_epoch = session_epoch + 1";
    app.database.batch_execute(sql).await.unwrap();
    let asked = login(&app, "ada", PASSWORD).await.expect(401);
    assert_eq!(asked.code(), "second_factor_required");
    let challenge = asked.json()["challenge"].clone();
    let finish = async |code: &str| {
        let body = json!({ "challenge": challenge, "code": code });
        app.client().post("/api/login/factor/", body).await
    };
    assert_eq!(finish("000000").await.expect(401).code(), "invalid_code");
    let reply = finish(&codes[0]).await.expect(403);
    assert_eq!((reply.code().as_str(), &reply.json()["reason"]), ("account_blocked", &json!("spam")));
}
