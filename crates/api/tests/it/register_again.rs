//! Registrations that are sent again with one `Idempotency-Key`.

use chrono::TimeDelta;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Reply;

use crate::support::OTHER_PASSWORD;

async fn send(app: &TestApp, body: &Value, key: &str) -> Reply {
    let headers = [("Idempotency-Key", key)];
    app.client().send(Method::POST, "/api/register/", Some(body.clone()), &headers).await
}

fn ada() -> Value {
    json!({ "email": "ada@example.org", "username": "ada", "password": PASSWORD })
}

/// Rows of whatever a registration writes.
async fn written(app: &TestApp) -> i64 {
    let rows = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM referrals) + (SELECT count(*) FROM outbox)
                     + (SELECT count(*) FROM email_verifications) + (SELECT count(*) FROM registration_keys)
                     + (SELECT count(*) FROM security_events)";
    app.database.value(rows).await
}

#[tokio::test(flavor = "multi_thread")]
async fn o7_twenty_attempts_with_one_key_make_one_account_and_are_answered_alike() {
    let app = TestApp::api_only().await;
    let friend = app.member("friend").await;
    let mut body = ada();
    body["referral_code"] = friend.get("/api/me/").await.json()["referral_code"].clone();
    let replies = join_all((0..20).map(|_| send(&app, &body, "attempt-1"))).await;
    let first = replies[0].clone().expect(201).json();
    assert_eq!(
        (&first["user"]["username"], &first["referral"]["status"]),
        (&json!("ada"), &json!("pending"))
    );
    for reply in replies {
        assert_eq!(reply.expect(201).json(), first);
    }
    let after = written(&app).await;
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM users").await, 2);
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM referrals").await, 1);

    // The first answer, though the referral has gone on.
    app.database
        .batch_execute("UPDATE referrals SET status = 'review', reason = 'for_review'")
        .await
        .unwrap();
    assert_eq!(send(&app, &body, "attempt-1").await.expect(201).json(), first);
    assert_eq!(written(&app).await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn o7_a_key_names_one_registration_only() {
    let app = TestApp::api_only().await;
    send(&app, &ada(), "attempt-1").await.expect(201);
    let after = written(&app).await;
    let with = |field: &str, value: &str| {
        let mut body = ada();
        body[field] = json!(value);
        body
    };
    for other in [
        with("email", "bob@example.org"),
        with("username", "lovelace"),
        with("password", OTHER_PASSWORD),
        json!({ "email": "bob@example.org", "username": "bob", "password": PASSWORD }),
    ] {
        assert_eq!(
            send(&app, &other, "attempt-1").await.expect(422).code(),
            "idempotency_key_reused",
            "{other}"
        );
    }
    assert_eq!(send(&app, &ada(), "attempt-2").await.expect(409).code(), "username_taken");
    assert_eq!(app.client().post("/api/register/", ada()).await.expect(409).code(), "username_taken");
    for no_key in ["", "a b", &*"k".repeat(256)] {
        assert_eq!(send(&app, &ada(), no_key).await.expect(400).code(), "bad_request", "{no_key}");
    }
    assert_eq!(written(&app).await, after, "nothing was written");

    // Of two at once that share nothing but the key, one is made.
    let people = ["eve", "fay"].map(
        |name| json!({ "email": format!("{name}@example.org"), "username": name, "password": PASSWORD }),
    );
    let replies = join_all(people.iter().map(|body| send(&app, body, "attempt-3"))).await;
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422]);
}

#[tokio::test(flavor = "multi_thread")]
async fn o7_v2_a_key_is_remembered_for_a_day_and_not_after_the_account() {
    let app = TestApp::api_only().await;
    send(&app, &ada(), "attempt-1").await.expect(201);
    let keys = async || app.database.value::<i64>("SELECT count(*) FROM registration_keys").await;
    let purge = async |after| {
        domain::housekeeping::purge(&app.database.pool(1), app.clock.now() + after).await.unwrap();
    };
    purge(TimeDelta::hours(23)).await;
    assert_eq!(keys().await, 1);
    purge(TimeDelta::hours(25)).await;
    assert_eq!(keys().await, 0);
    assert_eq!(send(&app, &ada(), "attempt-1").await.expect(409).code(), "username_taken");

    let bob = json!({ "email": "bob@example.org", "username": "bob", "password": PASSWORD });
    send(&app, &bob, "attempt-2").await.expect(201);
    app.login("bob").await.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    assert_eq!(keys().await, 0);
}
