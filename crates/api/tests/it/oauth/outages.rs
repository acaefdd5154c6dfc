//! Providers that are slow, broken, huge, or change their keys.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::json;
use testkit::provider::{Fault, Person, Provider};

use super::trip::{app, back_at, begin, callback, sign_in};

#[tokio::test(flavor = "multi_thread")]
async fn a17_a_provider_that_stalls_holds_nobody_up_for_long() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let browser = app.client();
    let path = back_at(&provider, &begin(&browser, "acme", "").await).await;
    provider.now(|now| now.fault = Some(("/token", Fault::Stalls)));
    let begun = Instant::now();
    let stalled = callback(&browser, &path);
    // Whoever wants something else is served meanwhile.
    let served = async {
        for _ in 0..20 {
            app.client().get("/api/oauth/providers/").await.expect(200);
        }
        begun.elapsed()
    };
    let (reply, served) = tokio::join!(stalled, served);
    let reply = reply.expect(503);
    assert_eq!(reply.code(), "unavailable");
    assert!(reply.header("retry-after").is_some());
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert!(served < Duration::from_secs(4), "{served:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_answers_that_are_huge_broken_or_lead_elsewhere_are_no_answers() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    // What is known from before makes the way there possible.
    begin(&app.client(), "acme", "").await;
    for fault in [Fault::Floods, Fault::Breaks, Fault::Redirects, Fault::Babbles] {
        for (name, path) in [
            ("acme", "/token"),
            ("acme", "/userinfo"),
            ("github", "/login/oauth/access_token"),
            ("github", "/api/v3/user"),
            ("github", "/api/v3/user/emails"),
        ] {
            provider.is_good_with(Person::new("ada"));
            provider.now(|now| {
                now.fault = Some((path, fault));
                now.by_user_info = true;
            });
            let browser = app.client();
            let back = back_at(&provider, &begin(&browser, name, "").await).await;
            let elsewhere = provider.count("/userinfo");
            let reply = callback(&browser, &back).await;
            assert!([401, 503].contains(&reply.status), "{fault:?} at {path}: {}", reply.text());
            assert!(["provider_refused", "unavailable"].contains(&reply.code().as_str()));
            assert!(!reply.text().contains("<h1>"), "{}", reply.text());
            if fault == Fault::Redirects && path != "/userinfo" {
                assert_eq!(provider.count("/userinfo"), elsewhere, "no redirect is followed from {path}");
            }
        }
    }
    let users: i64 = app.database.value("SELECT count(*) FROM users").await;
    assert_eq!(users, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_metadata_that_cannot_be_right_send_nobody_anywhere() {
    let provider = Provider::start().await;
    for metadata in [
        json!({ "issuer": "https://evil.example" }),
        json!({ "authorization_endpoint": "http://evil.example/authorize" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
        json!({ "jwks_uri": "http://evil.example/jwks" }),
        json!({ "jwks_uri": null }),
    ] {
        provider.now(|now| now.metadata = metadata.clone());
        let app = app(&provider).await;
        let reply = callback(&app.client(), "/api/oauth/acme/start").await.expect(503);
        assert!(!reply.headers.contains_key("location"), "{metadata}");
    }
    for fault in [Fault::Floods, Fault::Breaks, Fault::Redirects, Fault::Babbles] {
        for path in ["/.well-known/openid-configuration", "/jwks"] {
            provider.is_good_with(Person::new("ada"));
            provider.now(|now| now.fault = Some((path, fault)));
            let app = app(&provider).await;
            callback(&app.client(), "/api/oauth/acme/start").await.expect(503);
            // The provider that failed is left alone for a moment, and then asked again.
            let asked = provider.asked().len();
            callback(&app.client(), "/api/oauth/acme/start").await.expect(503);
            assert_eq!(provider.asked().len(), asked, "{fault:?} at {path}");
            provider.is_good_with(Person::new("ada"));
            app.clock.advance(TimeDelta::seconds(6));
            begin(&app.client(), "acme", "").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a17_keys_that_the_provider_changes_are_read_anew_and_old_ones_forgotten() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
    assert_eq!(provider.count("/jwks"), 1, "what was read is kept");
    provider.rotate_keys();
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
    assert_eq!(provider.count("/jwks"), 2);
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
    assert_eq!(provider.count("/jwks"), 2);
    // While the provider's metadata are away, what is known goes on.
    provider.now(|now| now.fault = Some(("/.well-known/openid-configuration", Fault::Breaks)));
    app.clock.advance(TimeDelta::minutes(61));
    let now = app.clock.now().timestamp();
    provider.now(|behaviour| behaviour.claims = json!({ "iat": now, "exp": now + 300 }));
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_come_at_once_share_one_reading_of_the_metadata() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let browsers: Vec<_> = (0..20).map(|_| app.client()).collect();
    futures_util::future::join_all(browsers.iter().map(|browser| begin(browser, "acme", ""))).await;
    assert_eq!(provider.count("/.well-known/openid-configuration"), 1);
}
