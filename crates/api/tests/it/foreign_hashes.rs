//! Password hashes that other systems made: verified at sign-in and replaced, and a damaged one is a wrong password.

use serde_json::json;
use testkit::app::{PASSWORD, TestApp};

use crate::support::{OTHER_PASSWORD, assert_alike, login_status, quick_app};

/// Of [`PASSWORD`], by Django 5.2 and Python's hashlib.
const HASHES: [(&str, &str); 9] = [
    ("argon2i", "$argon2i$v=19$m=256,t=2,p=1$c2l4dGVlbiBieXRlIHNsdA$hq/2QHQ4VaLU6bjMSo1wKA"),
    (
        "django-argon2",
        "argon2$argon2id$v=19$m=1024,t=2,p=2$c2Vhc2FsdDEyMzQ1Njc4$eE9ZGWCvy0mAGqlo04rSe7JG+txW0pRob9Yogk8/tPc",
    ),
    ("bcrypt-b", "$2b$04$DVQaUgRSefoXP2VTMFTzJ.K1zterWU4GIPVJ8ivKpnazD0IIoyry."),
    ("bcrypt-y", "$2y$04$DVQaUgRSefoXP2VTMFTzJ.K1zterWU4GIPVJ8ivKpnazD0IIoyry."),
    ("django-bcrypt", "bcrypt_sha256$$2b$04$JsWEWrNTM3R5dRPHZVzoauZ0PTteID0JLtzpywo/RRc45elMNG3kS"),
    (
        "phc-pbkdf2",
        "$pbkdf2-sha512$i=1000,l=32$c2l4dGVlbiBieXRlIHNsdA$Ixi198vHz3fF8v+MKFnPzRqTHrU1uEP33p2C865ZYCo",
    ),
    ("django-pbkdf2", "pbkdf2_sha256$1000$seasalt12345678$CESmAFmTa03s2rCziONEAnbr6N8+cBU4b6HlwDf3tU0="),
    ("django-pbkdf2-1", "pbkdf2_sha1$1000$seasalt12345678$Bu4Hl8GjiAVKP9ogpu3wo4sDfHs="),
    (
        "phc-scrypt",
        "$scrypt$ln=10,r=8,p=1$c2l4dGVlbiBieXRlIHNsdA$c4vOYjlFiCmM/k28tcPdqbNTQGYYDrxM/x2sInNctgE",
    ),
];

async fn seed(app: &TestApp, username: &str, hash: &str) {
    app.register(username, None).await.expect(201);
    let sql = "UPDATE users SET password_hash = $1 WHERE username = $2";
    app.database.execute(sql, &[&hash, &username]).await.unwrap();
}

async fn stored(app: &TestApp, username: &str) -> String {
    app.database.value(&format!("SELECT password_hash FROM users WHERE username = '{username}'")).await
}

/// cases/accounts 13
#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_another_system_is_renewed_at_login() {
    let app = quick_app().await;
    for (name, hash) in HASHES {
        seed(&app, name, hash).await;
        assert_eq!(login_status(&app, name, OTHER_PASSWORD).await, 401, "{name}");
        assert_eq!(stored(&app, name).await, hash, "{name}");
        assert_eq!(login_status(&app, name, PASSWORD).await, 200, "{name}");
        let renewed = stored(&app, name).await;
        assert!(renewed.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{name}: {renewed}");
        assert_eq!(login_status(&app, name, PASSWORD).await, 200, "{name}");
        assert_eq!(stored(&app, name).await, renewed, "{name}");
    }
}

/// cases/accounts 13
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_hash_is_a_wrong_password() {
    let app = quick_app().await;
    let unknown = json!({ "identifier": "unknown-account", "password": PASSWORD });
    let mut replies = vec![("an unknown account", app.client().post("/api/login/", unknown).await)];
    for (index, hash) in [
        "",
        "garbage",
        "$6$rounds=5000$salt$hash",
        "$2b$12$short",
        "$2b$31$DVQaUgRSefoXP2VTMFTzJ.K1zterWU4GIPVJ8ivKpnazD0IIoyry.",
        "pbkdf2_sha256$999999999$seasalt$CESmAFmTa03s2rCziONEAnbr6N8+cBU4b6HlwDf3tU0=",
        "pbkdf2_sha256$1000$seasalt$",
        "$argon2id$v=19$m=4294967295,t=2,p=1$c2l4dGVlbiBieXRlIHNsdA$vkFI5Ey+69WRH6dvM8AZSQ",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("damaged-{index}");
        seed(&app, &name, hash).await;
        let body = json!({ "identifier": name, "password": PASSWORD });
        replies.push((hash, app.client().post("/api/login/", body).await));
        assert_eq!(stored(&app, &name).await, hash);
    }
    assert_eq!(assert_alike(&replies).expect(401).code(), "invalid_credentials");
}

/// cases/accounts 13
#[tokio::test(flavor = "multi_thread")]
async fn every_password_check_bears_any_stored_hash() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let set = async |hash: &str| {
        app.database.execute("UPDATE users SET password_hash = $1", &[&hash]).await.unwrap();
    };
    set("garbage").await;
    let change = json!({ "current_password": PASSWORD, "password": OTHER_PASSWORD });
    for (path, body) in [
        ("/api/me/password/", change.clone()),
        ("/api/me/email/", json!({ "email": "new@example.org", "password": PASSWORD })),
        ("/api/me/factors/totp/", json!({ "password": PASSWORD })),
    ] {
        assert_eq!(ada.post(path, body).await.expect(401).code(), "invalid_credentials", "{path}");
    }
    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(401);
    set(HASHES[6].1).await;
    ada.post("/api/me/password/", change).await.expect(204);
    assert_eq!(login_status(&app, "ada", OTHER_PASSWORD).await, 200);
}
