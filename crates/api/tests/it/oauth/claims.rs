//! Claims as well-known providers write them.

use serde_json::{Value, json};
use testkit::provider::{CLIENT_ID, Person, Provider, Signature};

use super::trip::{app, sign_in};

/// cases/accounts 9
#[tokio::test(flavor = "multi_thread")]
async fn a17_what_great_providers_write_is_read() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let now = app.clock.now().timestamp();
    let claims = [
        ("auth0", json!({ "updated_at": "2026-11-30T10:00:00.000Z", "picture": "not a URL" }), true),
        ("apple", json!({ "email_verified": "true", "is_private_email": "true", "auth_time": now }), true),
        (
            "cognito",
            json!({ "email_verified": "true", "auth_time": now.to_string(), "aud": [CLIENT_ID] }),
            true,
        ),
        (
            "linkedin",
            json!({ "locale": { "country": "US", "language": "en" }, "email_verified": "True" }),
            true,
        ),
        ("microsoft", json!({ "email_verified": null, "ver": "2.0", "phone_number_verified": "no" }), false),
        (
            "floats",
            serde_json::from_str(&format!(
                r#"{{"exp": {}.5, "iat": {now}.0, "email_verified": 1}}"#,
                now + 300
            ))
            .unwrap(),
            true,
        ),
        ("texts", json!({ "exp": (now + 300).to_string(), "iat": now.to_string(), "at_hash": null }), true),
        (
            "odd",
            json!({ "address": "x", "birthdate": 7, "name": { "firstName": "A" }, "zoneinfo": [] }),
            true,
        ),
        ("upper", json!({ "email": "UPPER@Example.ORG", "email_verified": "false" }), false),
        ("ahead", json!({ "iat": now + 25 }), true),
    ];
    for (name, changes, verified) in claims {
        let mut changes = changes;
        if changes["email"].is_null() {
            changes["email"] = format!("{name}@example.org").into();
        }
        provider.is_good_with(Person::new(name));
        provider.now(|now| now.claims = changes);
        let browser = app.client();
        let reply = sign_in(&app, &browser, &provider, "acme", "").await;
        assert_eq!(reply.status, 303, "{name}: {}", reply.text());
        let me = browser.get("/api/me/").await.json();
        assert_eq!(me["email_verified"], json!(verified), "{name}");
        assert_eq!(me["email"], json!(format!("{name}@example.org")), "{name}");
    }
    provider.is_good_with(Person::new("keyless"));
    provider.now(|now| now.signature = Signature::WithoutKeyId);
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
}

/// cases/accounts 9
#[tokio::test(flavor = "multi_thread")]
async fn a17_an_empty_address_is_no_address() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    for email in [Value::Null, json!(""), json!(7), json!(["ada@example.org"])] {
        provider.is_good_with(Person::new("ada"));
        provider.now(|now| {
            now.claims = json!({ "email": email });
            now.user_info = json!({ "email": email, "updated_at": "yesterday", "address": "x" });
        });
        let reply = sign_in(&app, &app.client(), &provider, "acme", "").await.expect(422);
        assert_eq!(reply.code(), "email_missing");
    }
    // The UserInfo endpoint is read in the same way.
    provider.now(|now| {
        now.user_info = json!({ "email_verified": "true", "updated_at": "x", "locale": { "country": "US" } });
    });
    let browser = app.client();
    sign_in(&app, &browser, &provider, "acme", "").await.expect(303);
    assert_eq!(browser.get("/api/me/").await.json()["email_verified"], json!(true));
}

/// cases/accounts 9
#[tokio::test(flavor = "multi_thread")]
async fn a17_unused_members_of_token_answers_are_ignored() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    for (n, tokens) in [
        json!({ "expires_in": "3599", "scope": ["openid"], "refresh_token": null }),
        json!({ "token_type": "bearer", "expires_in": 1.5 }),
    ]
    .into_iter()
    .enumerate()
    {
        provider.is_good_with(Person::new(&format!("user{n}")));
        provider.now(|now| now.tokens = Some(tokens));
        sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
    }
}
