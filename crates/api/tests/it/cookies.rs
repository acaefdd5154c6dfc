//! Cookies as production sets them, and that tokens are nowhere else.

use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Cookie, Reply};

async fn production() -> TestApp {
    TestApp::api_with(|settings| {
        settings
            .set("APP_ENV", "production")
            .set("PUBLIC_URL", "https://trellis.example")
            .set("RATE_LIMITS", "on");
    })
    .await
}

fn set_cookies(reply: &Reply) -> Vec<String> {
    let lines = reply.headers.get_all("set-cookie").iter();
    lines.map(|line| line.to_str().unwrap().to_owned()).collect()
}

fn attributes(cookie: &Cookie) -> Vec<&str> {
    let mut attributes: Vec<_> = cookie.line.split("; ").skip(1).collect();
    attributes.sort_unstable();
    attributes
}

fn of(client: &Client, name: &str) -> Cookie {
    client.cookie(name).unwrap_or_else(|| panic!("there is no cookie {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a16_production_cookies_have_their_prefixes_and_attributes() {
    let app = production().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    ada.get(&format!("/r/{code}")).await.expect(302);
    for (name, wanted) in [
        ("access_token", &["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Lax", "Secure"][..]),
        ("refresh_token", &["HttpOnly", "Max-Age=2592000", "Path=/api/token/", "SameSite=Lax", "Secure"]),
        ("csrf_token", &["Max-Age=2592000", "Path=/", "SameSite=Lax", "Secure"]),
        ("device", &["HttpOnly", "Max-Age=31536000", "Path=/", "SameSite=Lax", "Secure"]),
        ("referral", &["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Lax", "Secure"]),
    ] {
        let cookie = of(&ada, name);
        assert_eq!(attributes(&cookie), wanted, "{name}");
        let prefix = if name == "refresh_token" { "__Secure-" } else { "__Host-" };
        assert!(cookie.line.starts_with(&format!("{prefix}{name}=")), "{}", cookie.line);
    }
    // They work, and signing out takes them away under the same names and paths.
    ada.post_empty("/api/token/refresh/").await.expect(200);
    let reply = ada.post_empty("/api/logout/").await.expect(204);
    let cleared = set_cookies(&reply);
    assert_eq!(cleared.len(), 3, "{cleared:?}");
    for line in cleared {
        assert!(line.starts_with("__") && line.contains("=; ") && line.contains("; Secure"), "{line}");
        assert!(line.ends_with("Max-Age=0"), "{line}");
    }
    assert!(["access_token", "refresh_token", "csrf_token"].iter().all(|name| ada.cookie(name).is_none()));
}

/// Another host of the same domain could set cookies with plain names.
#[tokio::test(flavor = "multi_thread")]
async fn a16_production_takes_no_cookie_without_its_prefix() {
    let app = production().await;
    let ada = app.member("ada").await;
    let thief = app.client();
    for name in ["access_token", "refresh_token", "csrf_token"] {
        thief.set_cookie(name, &of(&ada, name).value);
    }
    thief.get("/api/me/").await.expect(401);
    thief.post_empty("/api/token/refresh/").await.expect(401);
    ada.get("/api/me/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a16_with_the_cookie_transport_no_answer_holds_a_token() {
    let app = production().await;
    app.register("ada", None).await.expect(201);
    let ada = app.client();
    let login = json!({ "identifier": "ada", "password": PASSWORD });
    let mut secrets = Vec::new();
    let mut replies = vec![ada.post("/api/login/", login).await.expect(200)];
    for _ in 0..2 {
        secrets.extend(["access_token", "refresh_token", "device"].map(|name| of(&ada, name).value));
        for path in ["/api/me/", "/api/referral-stats/", "/api/referrals/", "/api/rewards/", "/"] {
            replies.push(ada.get(path).await);
        }
        replies.push(ada.post("/api/me/password/", json!({})).await.expect(422));
        replies.push(ada.post_empty("/api/token/refresh/").await.expect(200));
    }
    replies.push(ada.post_empty("/api/logout/").await.expect(204));
    assert!(secrets.iter().all(|secret| secret.len() > 40), "{secrets:?}");
    for reply in &replies {
        let elsewhere = reply.headers.iter().filter(|(name, _)| *name != "set-cookie");
        let headers: Vec<_> = elsewhere.map(|(name, value)| format!("{name}: {value:?}")).collect();
        let headers = headers.join("\n");
        for secret in &secrets {
            assert!(!reply.text().contains(secret) && !headers.contains(secret), "{reply:?}");
        }
        assert!(!reply.text().contains("eyJ"), "this looks like a JWT: {}", reply.text());
        assert_eq!(
            reply.header("strict-transport-security"),
            Some("max-age=63072000; includeSubDomains"),
            "{reply:?}"
        );
    }
}
