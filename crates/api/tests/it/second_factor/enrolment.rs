//! Adding an authenticator app.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::authenticator::{Authenticator, enrol, recovery_codes};
use testkit::dump;

use super::{CONFIRM, FACTORS, Owner, RECOVERY_CODES, TOTP, challenge, count_events, first_half, with_code};
use crate::support::{Bearer, OTHER_PASSWORD, count_mails, refresh};

#[tokio::test(flavor = "multi_thread")]
async fn s2_an_app_is_added_with_the_password_and_counts_from_its_first_code() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let none = json!({ "factors": [], "recovery_codes_left": 0, "password_needed": true });
    assert_eq!(ada.get(FACTORS).await.expect(200).json(), none);

    let reply = ada.post(TOTP, json!({ "password": OTHER_PASSWORD })).await.expect(401);
    assert_eq!(reply.code(), "invalid_credentials");
    assert_eq!(ada.post(TOTP, json!({})).await.expect(422).errors(), ["/password required"]);

    let reply = ada.post(TOTP, json!({ "password": PASSWORD })).await.expect(201);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let offer = reply.json();
    let authenticator = Authenticator::new(offer["secret"].as_str().unwrap());
    assert_eq!(authenticator.secret.len(), 20);
    let uri = format!("otpauth://totp/trellis.test:ada?secret={}&issuer=trellis.test", authenticator.text);
    assert_eq!(offer["otpauth_uri"], uri);
    let qr = offer["qr_svg"].as_str().unwrap();
    assert!(qr.starts_with("<svg ") && qr.ends_with("</svg>") && !qr.contains("script"), "{qr}");
    assert_eq!(offer["expires_in"], 900);

    // Nobody is asked for it yet, and it is not listed.
    first_half(&app.client(), "ada").await.expect(200);
    assert_eq!(ada.get(FACTORS).await.expect(200).json(), none);
    let reply = ada.post(CONFIRM, json!({ "code": authenticator.wrong_code(&app) })).await.expect(401);
    assert_eq!(reply.code(), "invalid_code");
    first_half(&app.client(), "ada").await.expect(200);

    let body = json!({ "code": authenticator.code(&app) });
    let reply = ada.post(CONFIRM, body.clone()).await.expect(200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let codes = recovery_codes(&reply.json());
    let unique: std::collections::HashSet<_> = codes.iter().collect();
    assert_eq!(unique.len(), 10);
    challenge(&app.client(), "ada").await;

    let listed = ada.get(FACTORS).await.expect(200).json();
    assert_eq!((&listed["factors"][0]["id"], &listed["factors"][0]["kind"]), (&offer["id"], &json!("totp")));
    assert_eq!(listed["recovery_codes_left"], 10);
    assert!(!listed.to_string().contains(&authenticator.text));
    // One at most, and it is confirmed once.
    let reply = ada.post(TOTP, json!({ "password": PASSWORD })).await.expect(409);
    assert_eq!(reply.code(), "factor_exists");
    ada.post(CONFIRM, body).await.expect(404);
    let events = ada.get("/api/me/security-events/").await.expect(200).json();
    let added = events["items"].as_array().unwrap().iter().find(|event| event["event"] == "factor_added");
    assert!(added.is_some(), "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_what_began_without_the_factor_ends_when_it_is_added_and_the_owner_is_told() {
    let app = TestApp::start().await;
    let here = app.member("ada").await;
    let elsewhere = app.login("ada").await;
    let bearer = Bearer::login(&app, "ada").await;
    let bob = app.member("bob").await;
    for client in [&elsewhere, &bearer.client] {
        client.get("/api/me/").await.expect(200);
    }
    enrol(&app, &here, PASSWORD).await;
    for client in [&elsewhere, &bearer.client] {
        client.get("/api/me/").await.expect(401);
    }
    refresh(&app, &bearer.refresh).await.expect(401);
    here.get("/api/me/").await.expect(200);
    here.post_empty("/api/token/refresh/").await.expect(200);
    bob.get("/api/me/").await.expect(200);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", "A second step protects your account"), 1);
    assert_eq!(count_mails(&app, "bob@example.org", "A second step protects your account"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_an_app_waits_for_a_quarter_of_an_hour_and_a_new_one_replaces_it() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let offer = async || {
        let reply = ada.post(TOTP, json!({ "password": PASSWORD })).await.expect(201);
        Authenticator::new(reply.json()["secret"].as_str().unwrap())
    };
    let first = offer().await;
    let second = offer().await;
    assert_ne!(first.secret, second.secret);
    ada.post(CONFIRM, json!({ "code": first.code(&app) })).await.expect(401);
    app.clock.advance(TimeDelta::minutes(15));
    // Whose access token is too old by now.
    ada.post_empty("/api/token/refresh/").await.expect(200);
    ada.post(CONFIRM, json!({ "code": second.code(&app) })).await.expect(404);
    let third = offer().await;
    app.clock.advance(TimeDelta::minutes(14));
    ada.post(CONFIRM, json!({ "code": third.code(&app) })).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_of_parallel_confirmations_one_confirms() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let reply = ada.post(TOTP, json!({ "password": PASSWORD })).await.expect(201);
    let authenticator = Authenticator::new(reply.json()["secret"].as_str().unwrap());
    let body = json!({ "code": authenticator.code(&app) });
    let confirmations = join_all((0..8).map(|_| ada.post(CONFIRM, body.clone()))).await;
    let confirmed = confirmations.iter().filter(|reply| reply.status == 200).count();
    let refused = confirmations.iter().filter(|reply| reply.status == 404).count();
    assert_eq!((confirmed, refused), (1, 7), "{confirmations:?}");
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM recovery_codes").await, 10);
    assert_eq!(count_events(&app, "factor_added", "account").await, 1);
}

/// An account that came by an identity provider has no password to type: there, a sign-in of just now stands in.
#[tokio::test(flavor = "multi_thread")]
async fn s2_without_a_password_a_sign_in_of_just_now_is_wanted() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    app.database.batch_execute("UPDATE users SET password_hash = NULL").await.unwrap();
    assert_eq!(ada.get(FACTORS).await.expect(200).json()["password_needed"], false);
    let reply = ada.post(TOTP, json!({ "password": null })).await.expect(201);
    let authenticator = Authenticator::new(reply.json()["secret"].as_str().unwrap());
    ada.post(CONFIRM, json!({ "code": authenticator.code(&app) })).await.expect(200);

    app.clock.advance(TimeDelta::minutes(10));
    let body = json!({ "code": authenticator.next_code(&app) });
    // A session that goes on is none that began.
    ada.post_empty("/api/token/refresh/").await.expect(200);
    let mut with_password = body.clone();
    with_password["password"] = PASSWORD.into();
    for reply in [
        ada.delete(TOTP, body.clone()).await,
        ada.delete(TOTP, with_password).await,
        ada.post(RECOVERY_CODES, body.clone()).await,
    ] {
        assert_eq!(reply.expect(403).code(), "recent_sign_in_needed");
    }
    let later = "UPDATE sessions SET created_at = created_at + interval '9 minutes'";
    app.database.batch_execute(later).await.unwrap();
    // The code was not looked at before.
    ada.delete(TOTP, body).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_no_field_but_the_known_ones_is_taken_and_nothing_is_written() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    ada.post(TOTP, json!({ "password": PASSWORD })).await.expect(201);
    let bob = Owner::new(&app, "bob").await;
    let unchanging = ["last_seen_at", "generation", "due_at"];
    let before = dump::tables(&app.database, &unchanging).await;
    let extras = json!({
        "user_id": "019a0000-0000-7000-8000-000000000001", "id": "x", "secret": "AAAA", "confirmed_at": "2026-01-01T00:00:00Z",
        "last_step": 0, "created_at": null, "recovery_codes": ["a"], "confirmed": true, "epoch": 0,
    });
    let fields: Vec<String> = extras.as_object().unwrap().keys().cloned().collect();
    let code = bob.authenticator.next_code(&app);
    let challenge = challenge(&app.client(), "bob").await;
    for (client, method, path, body) in [
        (&ada, "POST", TOTP, json!({ "password": PASSWORD })),
        (&ada, "POST", CONFIRM, json!({ "code": "123456" })),
        (&bob.client, "POST", RECOVERY_CODES, with_code(&code)),
        (&bob.client, "DELETE", TOTP, with_code(&code)),
        (&app.client(), "POST", "/api/login/factor/", json!({ "challenge": challenge, "code": code })),
    ] {
        let mut body = body;
        for (name, value) in extras.as_object().unwrap() {
            body[name] = value.clone();
        }
        let reply = match method {
            "POST" => client.post(path, body).await.expect(422),
            _ => client.delete(path, body).await.expect(422),
        };
        let mut wanted: Vec<_> = fields.iter().map(|name| format!("/{name} unknown_field")).collect();
        wanted.sort();
        assert_eq!(reply.errors(), wanted, "{method} {path}");
    }
    for (path, body, errors) in [
        (CONFIRM, json!({ "code": 123_456 }), vec!["/code wrong_type"]),
        (CONFIRM, json!({ "code": "12345" }), vec!["/code invalid_value"]),
        (CONFIRM, json!({ "code": bob.recovery_codes[0] }), vec!["/code invalid_value"]),
        (RECOVERY_CODES, json!({ "code": "" }), vec!["/code empty", "/password required"]),
        (RECOVERY_CODES, json!({ "password": PASSWORD }), vec!["/code required"]),
        ("/api/login/factor/", json!({}), vec!["/challenge required", "/code required"]),
        (
            "/api/login/factor/",
            json!({ "challenge": "x", "code": "1", "transport": "x" }),
            vec!["/code invalid_value", "/transport invalid_value"],
        ),
        (TOTP, json!({ "password": [] }), vec!["/password wrong_type"]),
    ] {
        assert_eq!(bob.client.post(path, body.clone()).await.expect(422).errors(), errors, "{path} {body}");
    }
    assert_eq!(dump::tables(&app.database, &unchanging).await, before);
}
