//! Typing the password again while signed in: one limit for all that asks for it, so that a stolen session guesses nothing.

use api::limits::policy::PASSWORD_CHECK;
use api::routes::table;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

use crate::support::{OTHER_PASSWORD, method};

/// Every route that asks for the password, with a body that is right in all else.
fn routes(password: &str) -> [(Method, &'static str, Value); 7] {
    let alone = json!({ "password": password });
    let with_code = json!({ "password": password, "code": "123456" });
    let with_new = json!({ "current_password": password, "password": OTHER_PASSWORD });
    [
        (Method::POST, "/api/me/password/", with_new),
        (Method::DELETE, "/api/me/", alone.clone()),
        (Method::PATCH, "/api/me/", json!({ "password": password, "username": "countess" })),
        (Method::POST, "/api/me/email/", json!({ "password": password, "email": "new@example.net" })),
        (Method::POST, "/api/me/factors/totp/", alone),
        (Method::DELETE, "/api/me/factors/totp/", with_code.clone()),
        (Method::POST, "/api/me/factors/recovery-codes/", with_code),
    ]
}

async fn call(client: &Client, index: usize, password: &str) -> Reply {
    let routes = routes(password);
    let (method, path, body) = routes[index % routes.len()].clone();
    let token = client.cookie("csrf_token").unwrap().value;
    client.send(method, path, Some(body), &[("X-CSRF-Token", &token)]).await
}

#[test]
fn the_list_has_every_route_that_names_the_limit() {
    let listed = routes("").map(|(method, path, _)| (method, path));
    for row in table().iter().filter(|row| row.limits == PASSWORD_CHECK) {
        assert!(listed.contains(&(method(row), row.path)), "{} {}", row.method, row.path);
    }
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
    let mut curve = Vec::new();
    for index in 0..14 {
        let reply = call(&sessions[index / 2 % 2], index, "violet-Anchor-93").await;
        assert!(reply.header("ratelimit").unwrap().contains("password-account"));
        curve.push(reply.status);
    }
    assert_eq!(curve, [&[401; 10][..], &[429; 4]].concat());
    // Not even the right one is looked at now; nothing else of the account is touched, nor anybody else.
    let refused = call(&ada, 0, PASSWORD).await.expect(429);
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() <= 900);
    ada.get("/api/me/").await.expect(200);
    app.login("ada").await;
    for index in 0..6 {
        call(&bob, index, "violet-Anchor-93").await.expect(401);
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
