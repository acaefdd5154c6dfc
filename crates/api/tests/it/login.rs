//! Signing in: by which names, with which passwords, and that failing tells nothing.

use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Reply;

use crate::support::{OTHER_PASSWORD, assert_alike, login_status};

async fn login(app: &TestApp, identifier: &str, password: &str) -> Reply {
    app.client().post("/api/login/", json!({ "identifier": identifier, "password": password })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signs_in_with_either_name_in_any_case_over_either_transport() {
    let app = TestApp::api_only().await;
    app.register("ada.l", None).await.expect(201);
    for names in [
        json!({ "identifier": "ada.l" }),
        json!({ "identifier": " ADA.L " }),
        json!({ "identifier": " Ada.L@EXAMPLE.org" }),
        json!({ "email": "ada.l@example.org" }),
        json!({ "username": "Ada.L" }),
    ] {
        let mut body = names.clone();
        body["password"] = PASSWORD.into();
        let client = app.client();
        let reply = client.post("/api/login/", body.clone()).await.expect(200).json();
        let mut members: Vec<_> = reply.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["csrf_token", "expires_in", "user"], "{names}");
        assert_eq!(reply["csrf_token"], client.cookie("csrf_token").unwrap().value);
        client.get("/api/me/").await.expect(200);

        body["transport"] = "bearer".into();
        let client = app.client();
        let reply = client.post("/api/login/", body).await.expect(200);
        assert!(!reply.headers.contains_key("set-cookie"), "{names}");
        let reply = reply.json();
        assert_eq!((&reply["token_type"], &reply["expires_in"]), (&json!("Bearer"), &json!(900)));
        let bearer = format!("bearer {}", reply["access_token"].as_str().unwrap());
        client.with_header("Authorization", &bearer).get("/api/me/").await.expect(200);
    }
    // Clients send what they leave out as null, too.
    let nulls =
        json!({ "identifier": null, "email": "ada.l@example.org", "username": null, "password": PASSWORD });
    app.client().post("/api/login/", nulls).await.expect(200);
    for (mut names, errors) in [
        (json!({ "email": "ada.l@example.org", "username": "ada.l" }), ["/username duplicate_field"]),
        (json!({ "identifier": "ada.l", "username": "" }), ["/username duplicate_field"]),
        (json!({ "email": 1 }), ["/email wrong_type"]),
        (json!({ "username": "" }), ["/username empty"]),
        (json!({ "email": null }), ["/identifier required"]),
        (json!({ "identifier": null }), ["/identifier wrong_type"]),
    ] {
        names["password"] = PASSWORD.into();
        let reply = app.client().post("/api/login/", names.clone()).await.expect(422);
        assert_eq!(reply.errors(), errors, "{names}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_a_sign_in_brings_the_hash_up_to_date_and_a_failed_one_does_not() {
    let app = TestApp::api_only().await;
    let weaker = app
        .replica_with(|settings| {
            settings.set("ARGON2_MEMORY_KIB", "8192").set("ARGON2_ITERATIONS", "1");
        })
        .await;
    let body = json!({ "email": "ada@example.org", "username": "ada", "password": PASSWORD });
    app.client().at(&weaker.base()).post("/api/register/", body).await.expect(201);
    let hash = async || app.database.value::<String>("SELECT password_hash FROM users").await;
    let old = hash().await;
    assert!(old.starts_with("$argon2id$v=19$m=8192,t=1,p=1$"), "{old}");

    login(&app, "ada", OTHER_PASSWORD).await.expect(401);
    assert_eq!(hash().await, old);
    login(&app, "ada", PASSWORD).await.expect(200);
    let new = hash().await;
    assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
    login(&app, "ada", PASSWORD).await.expect(200);
    assert_eq!(hash().await, new, "a hash that is up to date stays");
    // A process that still runs with the old settings does not make it weaker again.
    let body = json!({ "identifier": "ada", "password": PASSWORD });
    app.client().at(&weaker.base()).post("/api/login/", body).await.expect(200);
    assert_eq!(hash().await, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_every_failed_sign_in_is_answered_alike() {
    let app = TestApp::api_only().await;
    for name in ["ada", "blocked", "no-password"] {
        app.register(name, None).await.expect(201);
    }
    let deleted = app.member("deleted").await;
    deleted.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    app.database
        .batch_execute(
            "UPDATE users SET blocked_at = now() WHERE username = 'blocked';
             UPDATE users SET password_hash = NULL WHERE username = 'no-password'",
        )
        .await
        .unwrap();
    let mut replies = Vec::new();
    for (name, identifier, password) in [
        ("a wrong password", "ada", OTHER_PASSWORD),
        ("a wrong password for an address", "ada@example.org", OTHER_PASSWORD),
        ("an unknown name", "nobody", PASSWORD),
        ("an unknown address", "nobody@example.org", PASSWORD),
        ("no name and no address", "a b\u{fc}", PASSWORD),
        ("a reserved name", "admin", PASSWORD),
        ("a deleted account", "deleted", PASSWORD),
        ("the address of a deleted account", "deleted@example.org", PASSWORD),
        ("a blocked account with a wrong password", "blocked", OTHER_PASSWORD),
        ("an account without a password", "no-password", PASSWORD),
        ("the tombstone of a deleted address", "deleted:0", PASSWORD),
    ] {
        replies.push((name, login(&app, identifier, password).await));
    }
    let reply = assert_alike(&replies).expect(401);
    assert_eq!(reply.code(), "invalid_credentials");
    assert!(!reply.headers.contains_key("set-cookie"));
    let before: i64 = app.database.value("SELECT count(*) FROM sessions").await;
    assert_eq!(before, 1, "only the sign-in before the deletion made a session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a9_a_password_is_one_however_its_letters_were_typed() {
    let app = TestApp::api_only().await;
    let body =
        json!({ "email": "ada@example.org", "username": "ada", "password": "caf\u{e9} Kiln-7 tango " });
    app.client().post("/api/register/", body).await.expect(201);
    for (password, status) in [
        ("caf\u{e9} Kiln-7 tango ", 200),
        ("cafe\u{301} Kiln-7 tango ", 200),
        ("caf\u{e9}\u{a0}Kiln-7\u{3000}tango ", 200),
        ("caf\u{e9} Kiln-7 tango", 401),
        ("CAF\u{c9} KILN-7 TANGO ", 401),
        ("cafe Kiln-7 tango ", 401),
    ] {
        assert_eq!(login_status(&app, "ada", password).await, status, "{password:?}");
    }
}
