//! What browsers may be made to send, and what they may read: CSRF and CORS.

use api::routes;
use reqwest::Method;

use super::{Edge, ORIGIN};

fn unsafe_routes() -> Vec<(Method, String)> {
    let rows: Vec<_> = routes::table().into_iter().filter(|row| !row.method.is_safe()).collect();
    assert!(rows.iter().all(routes::Row::is_unsafe) && rows.len() > 5);
    // But for the form of a provider's page, which changes nothing.
    let rows = rows.iter().filter(|row| !row.from_other_sites);
    rows.map(|row| (row.method.as_str().parse().unwrap(), row.path.replace("{id}", "x"))).collect()
}

#[tokio::test]
async fn a15_no_unsafe_route_answers_to_another_site() {
    let edge = Edge::start(&[]).await;
    for (method, path) in unsafe_routes() {
        for headers in [
            &[("Sec-Fetch-Site", "cross-site")][..],
            &[("Sec-Fetch-Site", "same-site")],
            &[("Origin", "https://evil.example")],
            &[("Origin", "null")],
            &[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "same-origin")],
            &[("Origin", "null"), ("Authorization", "Bearer x")],
        ] {
            let reply = edge.client().send(method.clone(), &path, None, headers).await.expect(403);
            assert_eq!(reply.code(), "csrf_failed", "{method} {path} {headers:?}");
        }
        for headers in [
            &[("Sec-Fetch-Site", "same-origin")][..],
            &[("Sec-Fetch-Site", "none")],
            &[("Origin", ORIGIN)],
            &[("Origin", "https://app.example"), ("Sec-Fetch-Site", "cross-site")],
        ] {
            let reply = edge.client().send(method.clone(), &path, None, headers).await;
            assert_ne!(reply.status, 403, "{method} {path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn a15_a_body_that_a_form_could_send_is_no_body() {
    let edge = Edge::start(&[]).await;
    for path in [
        "/api/login/",
        "/api/register/",
        "/api/forgot-password/",
        "/api/reset-password/",
        "/api/verify-email/",
    ] {
        for media_type in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
        {
            let body = Some((media_type, br#"{"identifier":"a","password":"b"}"#.to_vec()));
            let reply = edge.client().send_raw(Method::POST, path, body, &[]).await.expect(415);
            assert_eq!(reply.code(), "unsupported_media_type", "{path} {media_type}");
        }
    }
}

#[tokio::test]
async fn h8_only_listed_origins_may_read_answers() {
    let edge = Edge::start(&[
        ("APP_ENV", "production"),
        ("PUBLIC_URL", "https://trellis.example"),
        ("RATE_LIMITS", "on"),
    ])
    .await;
    for (origin, allowed) in [
        ("https://app.example", true),
        ("https://trellis.example", true),
        ("https://app.example.evil.example", false),
        ("https://evil-app.example", false),
        ("http://app.example", false),
        ("https://app.example:8443", false),
        ("https://APP.example", false),
        ("null", false),
        ("*", false),
        ("http://localhost:3000", false),
    ] {
        for path in ["/health/live", "/api/me/", "/nope"] {
            let reply = edge.client().send(Method::GET, path, None, &[("Origin", origin)]).await;
            assert_eq!(
                reply.header("access-control-allow-origin"),
                allowed.then_some(origin),
                "{origin} {path}"
            );
            let credentials = reply.header("access-control-allow-credentials");
            assert_eq!(credentials, allowed.then_some("true"), "{origin} {path}");
            assert_eq!(reply.header("vary"), Some("origin"), "{origin} {path}");
        }
        let asks = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "content-type, x-csrf-token"),
        ];
        let preflight = edge.client().send(Method::OPTIONS, "/api/login/", None, &asks).await;
        assert_eq!(preflight.status, if allowed { 204 } else { 405 }, "{origin}");
        assert_eq!(preflight.header("access-control-allow-origin"), allowed.then_some(origin), "{origin}");
        if allowed {
            assert!(preflight.header("access-control-allow-methods").unwrap().contains("DELETE"));
            assert!(preflight.header("access-control-allow-headers").unwrap().contains("x-csrf-token"));
        }
    }
    let plain = edge.client().get("/health/live").await;
    assert!(plain.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn h8_front_ends_in_development_are_listed() {
    let edge = Edge::start(&[]).await;
    for origin in ["http://localhost:3000", "http://localhost:5173"] {
        let reply = edge.client().send(Method::GET, "/health/live", None, &[("Origin", origin)]).await;
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
    }
}
