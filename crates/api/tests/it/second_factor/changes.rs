//! Losing the factor, and new recovery codes.

use chrono::TimeDelta;
use domain::accounts::Email;
use domain::factors::{self, Reset};
use futures_util::future::join_all;
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::authenticator::{enrol, recovery_codes};

use super::{FACTORS, Owner, RECOVERY_CODES, TOTP, count_events, first_half, sign_in, with_code};
use crate::support::{OTHER_PASSWORD, count_mails};

const REMOVED: &str = "The second step of your account was removed";

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_factor_goes_with_password_and_code_and_with_neither_alone() {
    let app = TestApp::start().await;
    let mut ada = Owner::new(&app, "ada").await;
    let bob = Owner::new(&app, "bob").await;
    let code = ada.authenticator.next_code(&app);
    for (body, status, code) in [
        (json!({ "password": PASSWORD }), 422, "validation"),
        (json!({ "code": code }), 422, "validation"),
        (json!({ "password": OTHER_PASSWORD, "code": code }), 401, "invalid_credentials"),
        (with_code(&ada.authenticator.wrong_code(&app)), 401, "invalid_code"),
        (with_code(&bob.authenticator.code(&app)), 401, "invalid_code"),
        (with_code(&bob.recovery_codes[0]), 401, "invalid_code"),
    ] {
        for path in [TOTP, RECOVERY_CODES] {
            let reply = match path {
                TOTP => ada.client.delete(path, body.clone()).await,
                _ => ada.client.post(path, body.clone()).await,
            };
            assert_eq!((reply.status, reply.code().as_str()), (status, code), "{path} {body}");
        }
    }
    // A wrong password took no code.
    ada.client.delete(TOTP, with_code(&code)).await.expect(204);
    first_half(&app.client(), "ada").await.expect(200);
    let none = json!({ "factors": [], "recovery_codes_left": 0, "password_needed": true });
    assert_eq!(ada.client.get(FACTORS).await.expect(200).json(), none);
    ada.client.delete(TOTP, with_code(&code)).await.expect(404);
    ada.client.post(RECOVERY_CODES, with_code(&code)).await.expect(404);
    assert_eq!(count_events(&app, "factor_removed", "account").await, 1);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", REMOVED), 1);

    // Again, and this time the app is lost.
    (ada.authenticator, ada.recovery_codes) = enrol(&app, &ada.client, PASSWORD).await;
    ada.client.delete(TOTP, with_code(&ada.recovery_codes[9])).await.expect(204);
    first_half(&app.client(), "ada").await.expect(200);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", REMOVED), 2);
    assert_eq!(count_mails(&app, "ada@example.org", "A recovery code was used"), 1);
    assert_eq!(count_mails(&app, "bob@example.org", REMOVED), 0);
    assert_eq!(bob.client.get(FACTORS).await.expect(200).json()["recovery_codes_left"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_new_recovery_codes_make_the_old_ones_good_for_nothing() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    sign_in(&app, "ada", &ada.recovery_codes[0]).await.expect(200);
    let body = with_code(&ada.authenticator.next_code(&app));
    let reply = ada.client.post(RECOVERY_CODES, body.clone()).await.expect(200);
    let new = recovery_codes(&reply.json());
    assert_eq!(new.len(), 10);
    assert!(new.iter().all(|code| !ada.recovery_codes.contains(code)));
    assert_eq!(ada.client.get(FACTORS).await.expect(200).json()["recovery_codes_left"], 10);
    // Its code is taken.
    ada.client.post(RECOVERY_CODES, body).await.expect(401);
    for code in [&ada.recovery_codes[0], &ada.recovery_codes[1]] {
        assert_eq!(sign_in(&app, "ada", code).await.expect(401).code(), "invalid_code");
    }
    sign_in(&app, "ada", &new[0]).await.expect(200);
    assert_eq!(count_events(&app, "recovery_codes_renewed", "account").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_of_parallel_changes_with_one_code_one_happens() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    let body = with_code(&ada.authenticator.next_code(&app));
    let changes = (0..8).map(|index| {
        let (client, body) = (&ada.client, body.clone());
        async move {
            if index % 2 == 0 {
                client.delete(TOTP, body).await
            } else {
                client.post(RECOVERY_CODES, body).await
            }
        }
    });
    let statuses: Vec<u16> = join_all(changes).await.iter().map(|reply| reply.status).collect();
    let happened = statuses.iter().filter(|status| [200, 204].contains(status)).count();
    assert_eq!(happened, 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 204, 401, 404].contains(status)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_an_operator_takes_a_lost_factor_away_which_is_recorded_and_told() {
    let app = TestApp::start().await;
    let ada = Owner::new(&app, "ada").await;
    app.member("bob").await;
    let pool = app.database.pool(1);
    let reset = async |email: &str| {
        factors::reset(&pool, app.clock.now(), &Email::parse(email).unwrap()).await.unwrap()
    };
    assert_eq!(reset("nobody@example.org").await, Reset::NoAccount);
    assert_eq!(reset("bob@example.org").await, Reset::NoFactor);
    assert_eq!(reset("Ada@example.org").await, Reset::Done);
    assert_eq!(reset("ada@example.org").await, Reset::NoFactor);
    first_half(&app.client(), "ada").await.expect(200);
    assert_eq!(ada.client.get(FACTORS).await.expect(200).json()["recovery_codes_left"], 0);
    assert_eq!(count_events(&app, "factor_removed", "operator").await, 1);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", REMOVED), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_a_deletion_takes_every_factor_along() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    let bob = app.member("bob").await;
    bob.post(TOTP, json!({ "password": PASSWORD })).await.expect(201);
    for client in [&ada.client, &bob] {
        client.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    }
    for table in ["totp_factors", "recovery_codes"] {
        let left: i64 = app.database.value(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(left, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_an_app_that_was_never_confirmed_is_removed() {
    let app = TestApp::api_only().await;
    let ada = Owner::new(&app, "ada").await;
    let bob = app.member("bob").await;
    bob.post(TOTP, json!({ "password": PASSWORD })).await.expect(201);
    let pool = app.database.pool(1);
    for (minutes, purged) in [(14, 0), (2, 1), (0, 0)] {
        app.clock.advance(TimeDelta::minutes(minutes));
        let found = domain::housekeeping::purge(&pool, app.clock.now()).await.unwrap();
        assert_eq!(found.factors, purged);
    }
    sign_in(&app, "ada", &ada.authenticator.code(&app)).await.expect(200);
}
