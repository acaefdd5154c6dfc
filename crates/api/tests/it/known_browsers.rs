//! Browsers in which the owner signed in before: strangers who fail in the owner's name do not keep the owner out.

use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

use crate::support::OTHER_PASSWORD;

async fn start() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on").set("TRUSTED_PROXIES", "127.0.0.0/8");
    })
    .await
}

/// Tries to sign in from a network of its own.
async fn sign_in(client: &Client, network: u8, identifier: &str, password: &str) -> Reply {
    let client = client.with_header("X-Forwarded-For", &format!("203.0.{network}.7"));
    client.post("/api/login/", json!({ "identifier": identifier, "password": password })).await
}

/// A browser that remembers who signed in and nothing else.
fn device_only(app: &TestApp, client: &Client) -> Client {
    let browser = app.client();
    browser.set_cookie("device", &client.cookie("device").expect("a sign-in leaves it").value);
    browser
}

/// Strangers use the limit of an account up.
async fn exhaust(app: &TestApp, identifier: &str) {
    for network in 0..12 {
        sign_in(&app.client(), network, identifier, "wrong-Guess-17").await;
    }
    for password in [PASSWORD, OTHER_PASSWORD] {
        sign_in(&app.client(), 99, identifier, password).await.expect(429);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a12_the_owner_gets_in_from_a_known_browser_while_strangers_are_held_up() {
    let app = start().await;
    let ada = app.member("ada").await;
    let bob = app.member("bob").await;
    for identifier in ["ada", "ada@example.org"] {
        exhaust(&app, identifier).await;
        let known = device_only(&app, &ada);
        let reply = sign_in(&known, 50, identifier, PASSWORD).await.expect(200);
        assert_eq!(reply.header("ratelimit-policy"), Some("\"login-browser\";q=10;w=900"));
        // Another account's browser is a stranger's, and so is one with a cookie that nobody signed.
        sign_in(&device_only(&app, &bob), 51, identifier, PASSWORD).await.expect(429);
        let forged = app.client();
        let value = ada.cookie("device").unwrap().value;
        // Neither the last letter, of which some bits are padding, nor one that may be there already.
        let (head, tail) = value.split_at(value.len() - 3);
        forged.set_cookie("device", &format!("{head}{}", if tail == "AAA" { "BBB" } else { "AAA" }));
        sign_in(&forged, 52, identifier, PASSWORD).await.expect(429);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a12_a_stolen_device_cookie_is_worth_no_more_guesses_than_a_stranger_has() {
    let app = start().await;
    let home = app.member("ada").await;
    let work = app.login("ada").await;
    let thief = device_only(&app, &work);
    let mut curve = Vec::new();
    for network in 0..30 {
        curve.push(sign_in(&thief, network, "ada", OTHER_PASSWORD).await.status);
    }
    // Its own limit, then that of strangers.
    assert_eq!(curve, [&[401; 20][..], &[429; 10]].concat());
    // Neither what the thief did nor all strangers together concern the other browser.
    sign_in(&device_only(&app, &home), 60, "ada", PASSWORD).await.expect(200);
    // A session that goes on gives no new one: a stolen session is no source of them.
    let before = home.cookie("device").unwrap().value;
    for _ in 0..3 {
        let reply = home.post_empty("/api/token/refresh/").await.expect(200);
        let set: Vec<_> = reply.headers.get_all("set-cookie").iter().map(|l| l.to_str().unwrap()).collect();
        assert!(set.iter().all(|line| !line.starts_with("device=")), "{set:?}");
    }
    assert_eq!(home.cookie("device").unwrap().value, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a12_a_new_password_and_signing_out_everywhere_make_known_browsers_strangers() {
    let app = start().await;
    let ada = app.member("ada").await;
    let elsewhere = app.login("ada").await;
    let old = [device_only(&app, &ada), device_only(&app, &elsewhere)];
    let body = json!({ "current_password": PASSWORD, "password": OTHER_PASSWORD });
    ada.post("/api/me/password/", body).await.expect(204);
    exhaust(&app, "ada").await;
    for browser in &old {
        sign_in(browser, 60, "ada", OTHER_PASSWORD).await.expect(429);
    }
    // The browser in which it was changed proved to be the owner's, and is known again.
    sign_in(&device_only(&app, &ada), 60, "ada", OTHER_PASSWORD).await.expect(200);

    let known = device_only(&app, &ada);
    ada.delete_empty("/api/sessions/").await.expect(204);
    sign_in(&known, 60, "ada", OTHER_PASSWORD).await.expect(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_a_browser_that_is_known_no_more_still_tells_whose_it_is() {
    let app = start().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let browser = device_only(&app, &ada);
    ada.delete_empty("/api/sessions/").await.expect(204);
    let body = json!({
        "email": "ada.two@example.net", "username": "ada-two", "password": PASSWORD, "referral_code": code,
    });
    let reply = browser.post("/api/register/", body).await.expect(201).json();
    assert_eq!(reply["referral"]["status"], "rejected");
}
