//! Providers that need more than a client and a secret, several attempts in one browser, and the choice of an account.

use serde_json::json;
use testkit::app::TestApp;
use testkit::provider::{CLIENT_ID, CLIENT_SECRET, ClientKey, KEY_ID, Person, Provider, TEAM_ID};

use super::trip::{
    app, app_with, back_at, begin, callback, come_back_by_form, form_of, post_form, sign_in, way,
};

/// Apple, as its preset has it but for the address.
async fn apple(provider: &Provider, key: &ClientKey) -> TestApp {
    let private_key = key.private_key();
    behaves_as_apple(provider, key, Person::new("ada"));
    app_with(provider, |settings| {
        settings
            .set("OIDC_PROVIDERS", "apple")
            .set("OIDC_APPLE_ISSUER", provider.issuer())
            .set("OIDC_APPLE_CLIENT_ID", CLIENT_ID)
            .set("OIDC_APPLE_TEAM_ID", TEAM_ID)
            .set("OIDC_APPLE_KEY_ID", KEY_ID)
            .set("OIDC_APPLE_PRIVATE_KEY", &private_key);
    })
    .await
}

fn behaves_as_apple(provider: &Provider, key: &ClientKey, person: Person) {
    provider.is_good_with(person);
    provider.now(|now| {
        now.client_key = Some(key.clone());
        now.claims = json!({ "email_verified": "true", "is_private_email": "true" });
        now.metadata = json!({
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "userinfo_endpoint": null,
        });
    });
}

/// cases/accounts 10
#[tokio::test(flavor = "multi_thread")]
async fn a17_apple_comes_back_by_post() {
    let provider = Provider::start().await;
    let key = ClientKey::new();
    let app = apple(&provider, &key).await;
    let browser = app.client();
    let begun = begin(&browser, "apple", "?next=/dashboard%23account").await;
    assert_eq!(
        (begun["response_mode"].as_str(), begun["scope"].as_str()),
        ("form_post", "openid email name")
    );
    let form = form_of(&provider, &begun).await;
    // Without the cookie the redirect leads to nothing.
    let reply = come_back_by_form(&app, &app.client(), "apple", &form).await.expect(400);
    assert_eq!(reply.code(), "invalid_state");
    let reply = come_back_by_form(&app, &browser, "apple", &form).await.expect(303);
    assert_eq!(reply.header("location"), Some("/dashboard#account"));
    let me = browser.get("/api/me/").await.json();
    assert_eq!((&me["email"], &me["email_verified"]), (&json!("ada@example.org"), &json!(true)));
    come_back_by_form(&app, &browser, "apple", &form).await.expect(400);

    // Another key's secret is refused by the provider.
    provider.now(|now| now.client_key = Some(ClientKey::new()));
    let other = app.client();
    let form = form_of(&provider, &begin(&other, "apple", "").await).await;
    let reply = come_back_by_form(&app, &other, "apple", &form).await.expect(401);
    assert_eq!(reply.code(), "provider_refused");

    // Linking comes back in the same way.
    behaves_as_apple(&provider, &key, Person::new("countess"));
    let bob = app.member("bob").await;
    let asked = bob.post("/api/me/identities/apple/", json!({})).await.expect(200).json();
    let form = form_of(&provider, &way(asked["authorization_url"].as_str().unwrap())).await;
    come_back_by_form(&app, &bob, "apple", &form).await.expect(303);
    let linked = bob.get("/api/me/identities/").await.json();
    assert_eq!(linked["items"][0]["provider"], "apple");
}

/// cases/accounts 10
#[tokio::test(flavor = "multi_thread")]
async fn a17_a_posted_form_is_checked() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    for (form, pointer) in
        [("state=a&state=b", "/state"), ("code=a&state=b&code=c", "/code"), ("iss=%0A", "/iss")]
    {
        let reply = post_form(&app, "acme", form).await;
        assert_eq!(reply.status(), 422, "{form}");
        let body: serde_json::Value = reply.json().await.unwrap();
        assert_eq!(body["errors"][0]["pointer"], pointer, "{form}");
    }
    let long = format!("state=b&code={}", "x".repeat(4_097));
    assert_eq!(post_form(&app, "acme", &long).await.status(), 422);
    assert_eq!(post_form(&app, "acme", &format!("user={}", "x".repeat(65_536))).await.status(), 413);
    assert_eq!(post_form(&app, "unknown", "state=b").await.status(), 404);
    let reply = post_form(&app, "acme", "state=b%26x%3D1&user=1&user=2&next=//evil.example").await;
    assert_eq!(reply.headers()["location"], "/api/oauth/acme/callback?state=b%26x%3D1");
    assert!(!reply.headers().contains_key("set-cookie"));
    let json = app.client().post("/api/oauth/acme/callback/", json!({ "state": "b" })).await.expect(415);
    assert_eq!(json.code(), "unsupported_media_type");
}

/// cases/accounts 10
#[tokio::test(flavor = "multi_thread")]
async fn a17_microsoft_tokens_have_the_issuer_of_their_tenant() {
    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    const OTHER: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
    let provider = Provider::start().await;
    let app = app_with(&provider, |settings| {
        settings
            .set("OIDC_PROVIDERS", "microsoft")
            .set("OIDC_MICROSOFT_ISSUER", provider.issuer())
            .set("OIDC_MICROSOFT_CLIENT_ID", CLIENT_ID)
            .set("OIDC_MICROSOFT_CLIENT_SECRET", CLIENT_SECRET);
    })
    .await;
    let issuer = |tenant: &str| format!("{}/{tenant}/v2.0", provider.issuer());
    for (iss, tid) in [
        (issuer(TENANT), json!(OTHER)),
        (issuer(TENANT), json!(null)),
        (issuer("{tenantid}"), json!("{tenantid}")),
        (issuer("evil"), json!("evil")),
        (provider.issuer().to_owned(), json!(TENANT)),
    ] {
        provider.is_good_with(Person::new("ada"));
        provider.now(|now| now.claims = json!({ "iss": iss, "tid": tid }));
        let reply = sign_in(&app, &app.client(), &provider, "microsoft", "").await.expect(401);
        assert_eq!(reply.code(), "provider_refused", "{iss} {tid}");
    }
    // An address counts only when its domain's owner was verified.
    let mut ids = Vec::new();
    for (tenant, edov, verified) in [(TENANT, json!(null), false), (OTHER, json!("1"), true)] {
        provider.is_good_with(Person { email: Some(format!("{tenant}@example.org")), ..Person::new("ada") });
        provider.now(|now| {
            now.claims = json!({
                "iss": issuer(tenant), "tid": tenant, "email_verified": null, "xms_edov": edov,
            });
        });
        let browser = app.client();
        sign_in(&app, &browser, &provider, "microsoft", "").await.expect(303);
        let me = browser.get("/api/me/").await.json();
        assert_eq!(me["email_verified"], json!(verified), "{tenant}");
        ids.push(me["id"].clone());
    }
    assert_ne!(ids[0], ids[1], "a subject is unique within its issuer only");
}

/// cases/accounts 10
#[tokio::test(flavor = "multi_thread")]
async fn a17_two_tabs_of_one_browser_both_sign_in() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let browser = app.client();
    let first = begin(&browser, "acme", "?next=/one").await;
    let second = begin(&browser, "acme", "?next=/two").await;
    let third = begin(&browser, "github", "?next=/three").await;
    assert_eq!(browser.cookies("sign_in_attempt_").len(), 3);
    for (begun, next) in [(&second, "/two"), (&first, "/one")] {
        let reply = callback(&browser, &back_at(&provider, begun).await).await.expect(303);
        assert_eq!(reply.header("location"), Some(next));
    }
    provider.is_good_with(Person::new("bob"));
    let reply = callback(&browser, &back_at(&provider, &third).await).await.expect(303);
    assert_eq!(reply.header("location"), Some("/three"));
    assert!(browser.cookies("sign_in_attempt_").is_empty());
    // A browser keeps a bounded number, and the newest.
    let mut begun = Vec::new();
    for _ in 0..7 {
        begun.push(begin(&browser, "acme", "").await);
    }
    assert_eq!(browser.cookies("sign_in_attempt_").len(), 5);
    callback(&browser, &back_at(&provider, &begun[6]).await).await.expect(303);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_person_may_choose_another_account() {
    let provider = Provider::start().await;
    let app = app_with(&provider, |settings| {
        settings.set("OIDC_ACME_PROMPT", "login").set("OIDC_ACME_RESPONSE_MODE", "form_post");
    })
    .await;
    for name in ["acme", "github"] {
        let begun = begin(&app.client(), name, "?prompt=select_account").await;
        assert_eq!(begun["prompt"], "select_account", "{name}");
    }
    let begun = begin(&app.client(), "acme", "").await;
    assert_eq!((begun["prompt"].as_str(), begun["response_mode"].as_str()), ("login", "form_post"));
    for bad in ["none", "login", "", "select_account&prompt=select_account"] {
        let reply = app.client().get(&format!("/api/oauth/acme/start?prompt={bad}")).await.expect(422);
        assert!(reply.errors()[0].starts_with("?prompt "), "{bad}");
    }
    // The page that says what went wrong offers it.
    let page = reqwest::Client::new()
        .get(format!("{}/api/oauth/acme/callback?state=x", app.base()))
        .header("Accept", "text/html");
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(page.contains("/api/oauth/acme/start?prompt=select_account"), "{page}");
}
