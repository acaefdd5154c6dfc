//! Typing the password again while signed in: one limit for all that asks for it, so that a stolen session guesses nothing.

use api::limits::policy::PASSWORD_CHECK;
use api::routes::{Row, table};
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

use crate::support::{OTHER_PASSWORD, method};

/// A body for a route that asks for the password, right in all else.
fn body(row: &Row, password: &str) -> Value {
    match (row.method.as_str(), row.path) {
        ("DELETE", "/api/me/") => json!({ "password": password }),
        ("POST", "/api/me/password/") => json!({ "current_password": password, "password": OTHER_PASSWORD }),
        (method, path) => panic!("say here what {method} {path} takes"),
    }
}

async fn call(client: &Client, row: &Row, password: &str) -> Reply {
    let token = client.cookie("csrf_token").unwrap().value;
    client.send(method(row), row.path, Some(body(row, password)), &[("X-CSRF-Token", &token)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_wrong_passwords_of_a_signed_in_user_are_limited_over_all_routes_and_sessions() {
    let app = TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on");
    })
    .await;
    let other = app.replica_with(|_| {}).await;
    let ada = app.member("ada").await;
    let sessions = [ada.clone(), app.login("ada").await.at(&other.base())];
    let bob = app.member("bob").await;
    let rows: Vec<Row> = table().into_iter().filter(|row| row.limits == PASSWORD_CHECK).collect();
    assert!(rows.len() >= 2);
    let mut curve = Vec::new();
    for index in 0..14 {
        let row = &rows[index % rows.len()];
        let reply = call(&sessions[index / 2 % 2], row, "violet-Anchor-93").await;
        assert!(reply.header("ratelimit").unwrap().contains("password-account"));
        curve.push(reply.status);
    }
    assert_eq!(curve, [&[401; 10][..], &[429; 4]].concat());
    // Not even the right one is looked at now; nothing else of the account is touched, nor anybody else.
    let refused = call(&ada, &rows[0], PASSWORD).await.expect(429);
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() <= 900);
    ada.get("/api/me/").await.expect(200);
    app.login("ada").await;
    for row in &rows {
        call(&bob, row, "violet-Anchor-93").await.expect(401);
    }
    let bodies = json!({ "current_password": PASSWORD, "password": OTHER_PASSWORD });
    bob.post("/api/me/password/", bodies).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_is_not_counted() {
    let app = TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on");
    })
    .await;
    let ada = app.member("ada").await;
    let mut passwords = [PASSWORD, OTHER_PASSWORD];
    for _ in 0..12 {
        let body = json!({ "current_password": passwords[0], "password": passwords[1] });
        ada.post("/api/me/password/", body).await.expect(204);
        passwords.swap(0, 1);
    }
}
