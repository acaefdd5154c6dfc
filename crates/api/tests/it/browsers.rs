//! What pages in a browser rely on: they act for the account that they show, may be of a sibling origin, and are opened under one
//! host.

use reqwest::Method;
use serde_json::json;
use testkit::app::TestApp;
use testkit::client::Client;

use crate::support::Bearer;

async fn id_of(client: &Client) -> String {
    client.get("/api/me/").await.expect(200).json()["id"].as_str().unwrap().to_owned()
}

/// cases/accounts 17
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_account_is_refused() {
    let app = TestApp::api_only().await;
    let (ada, bob) = (app.member("ada").await, app.member("bob").await);
    let (adas, bobs) = (id_of(&ada).await, id_of(&bob).await);
    let profile = json!({ "bio": "A's text" });
    // The page was loaded by Ada; by now the browser is Bob's.
    for stranger in [adas.as_str(), "", "rubbish"] {
        let page = bob.with_header("X-Trellis-User", stranger);
        for reply in [page.patch("/api/profile/", profile.clone()).await, page.get("/api/me/").await] {
            assert_eq!((reply.status, reply.code().as_str()), (409, "account_changed"), "{stranger}");
        }
    }
    assert_eq!(bob.get("/api/profile/").await.expect(200).json()["bio"], "");
    bob.with_header("X-Trellis-User", &bobs).patch("/api/profile/", profile.clone()).await.expect(200);
    let bearer = Bearer::login(&app, "bob").await.client;
    bearer.with_header("X-Trellis-User", &adas).patch("/api/profile/", profile).await.expect(409);
    // Without a session that comes first, and the CSRF token is needed as ever.
    app.client().with_header("X-Trellis-User", &adas).get("/api/me/").await.expect(401);
    let header = [("X-Trellis-User", bobs.as_str())];
    bob.send(Method::PATCH, "/api/profile/", Some(json!({})), &header).await.expect(403);
}

/// cases/accounts 11
#[tokio::test(flavor = "multi_thread")]
async fn a15_a_sibling_origin_reads_the_csrf_token_from_the_account() {
    let app = TestApp::api_with(|settings| {
        settings
            .set("PUBLIC_URL", "https://api.trellis.test")
            .set("ALLOWED_ORIGINS", "https://app.trellis.test");
    })
    .await;
    let page = [("Origin", "https://app.trellis.test"), ("Sec-Fetch-Site", "same-site")];
    let ada = app.member("ada").await;
    let reply = ada.send(Method::GET, "/api/me/", None, &page).await.expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.trellis.test"));
    assert_eq!(reply.header("access-control-allow-credentials"), Some("true"));
    let token = reply.json()["csrf_token"].as_str().unwrap().to_owned();
    assert_eq!(token, ada.cookie("csrf_token").unwrap().value);
    let headers = [&page[..], &[("X-CSRF-Token", token.as_str())]].concat();
    ada.send(Method::PATCH, "/api/profile/", Some(json!({ "bio": "x" })), &headers).await.expect(200);
    ada.send(Method::POST, "/api/token/refresh/", None, &headers).await.expect(200);
    let asked = [&page[..1], &[("Access-Control-Request-Method", "PATCH")]].concat();
    let preflight = app.client().send(Method::OPTIONS, "/api/me/", None, &asked).await.expect(204);
    let allowed = preflight.header("access-control-allow-headers").unwrap().to_owned();
    assert!(["x-csrf-token", "x-trellis-user"].iter().all(|name| allowed.contains(name)), "{allowed}");
    ada.send(Method::POST, "/api/logout/", None, &headers).await.expect(204);
    // A page of another origin gets no leave to read it, and other transports need none.
    let bob = app.member("bob").await;
    let reply = bob.send(Method::GET, "/api/me/", None, &[("Origin", "https://evil.example")]).await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
    let bearer = Bearer::login(&app, "bob").await.client;
    let reply = bearer.get("/api/me/").await.expect(200);
    assert_eq!((reply.json().get("csrf_token"), reply.header("set-cookie")), (None, None));
}

/// cases/accounts 27
#[tokio::test(flavor = "multi_thread")]
async fn f12_a_page_under_a_second_host_leads_to_the_public_one() {
    let app = TestApp::api_with(|settings| {
        settings
            .set("PUBLIC_URL", "http://trellis.test:8080")
            .set("ALLOWED_ORIGINS", "http://app.trellis.test")
            .set("TRUSTED_PROXIES", "127.0.0.2");
    })
    .await;
    app.register("ada", None).await.expect(201);
    let ask = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let reply = app.client().send(method, path, None, headers).await;
        (reply.status, reply.header("location").map(str::to_owned))
    };
    let moved = |path: &str| (302, Some(format!("http://trellis.test:8080{path}")));
    for path in ["/", "/login?next=/dashboard", "/dashboard", "/reset-password?token=x", "/@ada?x=%0d%0a"] {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(ask(method, path, &[("Host", "www.trellis.test")]).await, moved(path));
        }
    }
    for host in
        ["evil.example", "www.trellis.test:8080", "trellis.test.evil.example", "8.8.8.8", "a.b, trellis.test"]
    {
        assert_eq!(ask(Method::GET, "/login", &[("Host", host)]).await, moved("/login"), "{host}");
    }
    assert_eq!(ask(Method::GET, "/login/", &[("Host", "a.example")]).await, moved("/login"));
    // The public host however it is written, allowed origins, other names of this machine, load balancers and containers.
    for host in [
        "trellis.test",
        "trellis.test:8080",
        "Trellis.Test.",
        "app.trellis.test",
        "localhost:3000",
        "127.0.0.1:9",
        "10.0.0.7",
        "[::1]:8080",
        "api:8080",
        "",
    ] {
        assert_eq!(ask(Method::GET, "/login", &[("Host", host)]).await, (200, None), "{host}");
    }
    // Only pages.
    for (path, status) in
        [("/health/live", 200), ("/api/leaderboard/", 200), ("/robots.txt", 200), ("/l/x", 404)]
    {
        assert_eq!(ask(Method::GET, path, &[("Host", "www.trellis.test")]).await.0, status, "{path}");
    }
    // What a proxy says counts only from one that is trusted.
    let forwarded = [("Host", "trellis.test"), ("X-Forwarded-Host", "www.trellis.test")];
    assert_eq!(ask(Method::GET, "/login", &forwarded).await, (200, None));
    let proxy = app.client().calling_from("127.0.0.2");
    let reply = proxy.send(Method::GET, "/login", None, &forwarded).await.expect(302);
    assert_eq!(reply.header("location"), Some("http://trellis.test:8080/login"));
    let inner = [("Host", "api.internal"), ("X-Forwarded-Host", "trellis.test")];
    proxy.send(Method::GET, "/login", None, &inner).await.expect(200);
}
