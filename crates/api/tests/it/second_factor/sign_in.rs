//! Being asked for a code, whichever way one signs in.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};

use super::{Owner, TOTP, challenge, count_events, first_half, second_half, sign_in, with_code};
use crate::support::{Bearer, OTHER_PASSWORD, RESET, assert_alike, forgot, reset, tokens};

#[tokio::test(flavor = "multi_thread")]
async fn s3_the_password_alone_starts_nothing_and_a_code_finishes_in_either_transport() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    let sessions = async || app.database.value::<i64>("SELECT count(*) FROM sessions").await;
    let before = sessions().await;

    let browser = app.client();
    let reply = first_half(&browser, "ada").await.expect(401);
    assert_eq!(reply.code(), "second_factor_required");
    assert!(!reply.headers.contains_key("set-cookie") && !reply.text().contains("token\""), "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let problem = reply.json();
    assert_eq!(problem["expires_in"], 300);
    assert_eq!(problem["factors"], json!(["totp", "recovery_code"]));
    let challenge = problem["challenge"].as_str().unwrap();
    // The challenge is no token of anything.
    for headers in [
        [("Authorization", format!("Bearer {challenge}"))],
        [("Cookie", format!("access_token={challenge}"))],
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        app.client().send(Method::GET, "/api/me/", None, &headers).await.expect(401);
    }
    let wrong = second_half(&browser, challenge, &ada.authenticator.wrong_code(&app)).await.expect(401);
    assert_eq!(wrong.code(), "invalid_code");
    assert_eq!(sessions().await, before);
    assert_eq!(count_events(&app, "factor_failed", "unknown").await, 1);
    assert_eq!(count_events(&app, "signed_in", "account").await, before);

    // A wrong code costs no new first half.
    let reply = second_half(&browser, challenge, &ada.authenticator.next_code(&app)).await.expect(200).json();
    let mut members: Vec<_> = reply.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["csrf_token", "expires_in", "user"]);
    assert_eq!(reply["user"]["username"], "ada");
    browser.get("/api/me/").await.expect(200);
    assert_eq!(sessions().await, before + 1);

    let body = json!({ "identifier": "ada", "password": PASSWORD, "transport": "bearer" });
    let reply = app.client().post("/api/login/", body).await.expect(401);
    let body = json!({ "challenge": reply.json()["challenge"], "code": ada.authenticator.next_code(&app),
                       "transport": "bearer" });
    let reply = app.client().post("/api/login/factor/", body).await.expect(200);
    assert!(!reply.headers.contains_key("set-cookie"));
    Bearer::of(&app, &reply.json()).client.get("/api/me/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_somebody_without_a_factor_is_not_asked_and_a_wrong_password_tells_nothing_of_one() {
    let app = TestApp::api_only().await;
    Owner::new(&app, "ada").await;
    app.member("bob").await;
    let wrong = async |name: &str| {
        let body = json!({ "identifier": name, "password": OTHER_PASSWORD });
        app.client().post("/api/login/", body).await
    };
    let wrongs = [("with", wrong("ada").await), ("without", wrong("bob").await)];
    assert_eq!(assert_alike(&wrongs).code(), "invalid_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_a_challenge_ends_after_five_minutes_and_with_whatever_ends_all_sessions() {
    let app = TestApp::start().await;
    let ada = Owner::new(&app, "ada").await;
    let bob = Owner::new(&app, "bob").await;
    let client = app.client();
    let refused = async |challenge: &str, code: &str| {
        let reply = second_half(&client, challenge, code).await.expect(401);
        assert_eq!(reply.code(), "invalid_challenge");
        assert!(!reply.headers.contains_key("set-cookie"));
    };
    let late = challenge(&client, "ada").await;
    app.clock.advance(TimeDelta::seconds(300));
    refused(&late, &ada.authenticator.code(&app)).await;

    let good = challenge(&client, "ada").await;
    for forged in ["x", ".", &good[1..], &format!("{good}A"), &good.replace('-', "_")] {
        refused(forged, &ada.authenticator.code(&app)).await;
    }
    // What else we sign is no challenge, and the code of somebody else is none of this account's.
    refused(&ada.client.cookie("device").unwrap().value, &ada.authenticator.code(&app)).await;
    let reply = second_half(&client, &good, &bob.authenticator.next_code(&app)).await.expect(401);
    assert_eq!(reply.code(), "invalid_code");

    let before = challenge(&client, "ada").await;
    let body = json!({ "current_password": PASSWORD, "password": OTHER_PASSWORD });
    ada.client.post_empty("/api/token/refresh/").await.expect(200);
    ada.client.post("/api/me/password/", body).await.expect(204);
    refused(&before, &ada.authenticator.next_code(&app)).await;

    let before = challenge(&client, "bob").await;
    bob.client.post_empty("/api/token/refresh/").await.expect(200);
    bob.client.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    refused(&before, &bob.authenticator.next_code(&app)).await;

    let eve = Owner::new(&app, "eve").await;
    let before = challenge(&client, "eve").await;
    eve.client.delete(TOTP, with_code(&eve.authenticator.next_code(&app))).await.expect(204);
    refused(&before, &eve.authenticator.next_code(&app)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_a_sign_in_that_is_under_way_when_the_factor_is_added_has_to_start_over() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let checked = domain::accounts::credentials(&app.database.pool(1), "ada").await.unwrap().unwrap();
    testkit::authenticator::enrol(&app, &ada, PASSWORD).await;
    // Its password was checked before; the factor is there by the time its session would start.
    let origin = domain::sessions::Origin {
        user_agent: String::new(),
        ip_prefix: String::new(),
        known_browser: false,
    };
    let trace = domain::audit::Trace::default();
    let (pool, lifetime) = (app.database.pool(1), chrono::TimeDelta::days(30));
    let started =
        domain::sessions::start(&pool, app.clock.now(), lifetime, &checked, &origin, None, &trace).await;
    assert!(matches!(started, Err(domain::sessions::StartError::Overtaken)), "{started:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_new_password_by_mail_leaves_the_factor_and_half_a_sign_in_leaves_the_mail() {
    let app = TestApp::start().await;
    let ada = Owner::new(&app, "ada").await;
    // Of a confirmed account: a first proof of the mailbox takes the factor away.
    app.database.batch_execute("UPDATE users SET email_verified_at = now()").await.unwrap();
    forgot(&app, "ada@example.org").await.expect(202);
    app.jobs_done().await;
    let token = tokens(&app, "ada@example.org", RESET).remove(0);
    // The password alone is no sign-in: it makes no link void.
    challenge(&app.client(), "ada").await;
    reset(&app, &token, OTHER_PASSWORD).await.expect(204);

    let client = app.client();
    let body = json!({ "identifier": "ada", "password": OTHER_PASSWORD });
    let reply = client.post("/api/login/", body).await.expect(401);
    assert_eq!(reply.code(), "second_factor_required");
    let challenge = reply.json()["challenge"].as_str().unwrap().to_owned();
    second_half(&client, &challenge, &ada.recovery_codes[0]).await.expect(200);
    client.get("/api/me/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_the_second_half_may_not_come_from_another_site() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    let challenge = challenge(&app.client(), "ada").await;
    let body = json!({ "challenge": challenge, "code": ada.authenticator.next_code(&app) });
    for header in [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example"), ("Origin", "null")] {
        let sent = app
            .client()
            .send(Method::POST, "/api/login/factor/", Some(body.clone()), &[header])
            .await
            .expect(403);
        assert_eq!(sent.code(), "csrf_failed");
    }
    let code = with_code(&ada.authenticator.code(&app));
    for (method, path) in [(Method::DELETE, TOTP), (Method::POST, super::RECOVERY_CODES)] {
        let sent = ada.client.send(method, path, Some(code.clone()), &[]).await.expect(403);
        assert_eq!(sent.code(), "csrf_failed");
    }
    // None of them took the code.
    app.client().send(Method::POST, "/api/login/factor/", Some(body), &[]).await.expect(200);
    let failed = sign_in(&app, "ada", &ada.authenticator.code(&app)).await.expect(401);
    assert_eq!(failed.code(), "invalid_code");
}
