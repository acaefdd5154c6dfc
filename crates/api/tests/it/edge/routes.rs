//! Paths, methods, headers, ids, metrics.

use api::problem::Code;
use api::routes;
use reqwest::Method;
use testkit::client::Reply;

use super::Edge;

/// A path that the pattern of a row matches.
fn example(pattern: &str) -> String {
    let filled = pattern.replace("{code}", "0123456789");
    filled.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
}

const PRODUCTION: [(&str, &str); 3] =
    [("APP_ENV", "production"), ("PUBLIC_URL", "https://trellis.example"), ("RATE_LIMITS", "on")];

fn assert_headers(reply: &Reply, what: &str) {
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{what}");
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{what}");
    assert!(reply.header("content-security-policy").unwrap().starts_with("default-src 'none'"), "{what}");
    assert!(reply.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{what}");
    assert_eq!(
        reply.header("strict-transport-security"),
        Some("max-age=63072000; includeSubDomains"),
        "{what}"
    );
    assert!(reply.header("cache-control").is_some(), "{what}");
    assert!(reply.header("server").is_none() && reply.header("x-powered-by").is_none(), "{what}");
}

#[tokio::test]
async fn h7_every_answer_carries_the_security_headers() {
    let edge = Edge::start(&PRODUCTION).await;
    let client = edge.client();
    for row in routes::table().into_iter().filter(|row| !row.development) {
        let path = example(row.path);
        let reply = client.try_send(row.method.as_str().parse().unwrap(), &path, None, &[]).await.unwrap();
        assert_headers(&reply, &path);
    }
    assert_headers(&client.get("/nope").await.expect(404), "an unknown path");
    assert_headers(&client.send(Method::PUT, "/api/login/", None, &[]).await.expect(405), "a wrong method");
}

#[tokio::test]
async fn h9_unknown_paths_are_problems() {
    let edge = Edge::start(&[]).await;
    let client = edge.client();
    for path in [
        "/nope",
        "/api/",
        "/api",
        "/api/nope/",
        "/api//login/",
        "/api/login/x",
        "/%2e%2e/etc/passwd",
        "/api/login%2f",
        "/api/login/%00/",
        "/api/login.json",
        "/API/login/",
        "//api/login/",
        "/..%2f..%2fetc/passwd",
        "/%ff",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let reply = client.send(method, path, None, &[]).await.expect(404);
            assert_eq!(reply.code(), "not_found", "{path}");
        }
    }
    let problem = client.get("/nope").await.json();
    assert_eq!(problem["type"], format!("{}/problems/not_found", super::ORIGIN));
}

#[tokio::test]
async fn h9_a_wrong_method_is_told_the_right_ones() {
    let edge = Edge::start(&[]).await;
    let client = edge.client();
    let table = routes::table();
    for row in &table {
        let mut allowed: Vec<&str> = Vec::new();
        for other in table.iter().filter(|other| other.path == row.path) {
            allowed.push(other.method.as_str());
            if other.method == "GET" {
                allowed.push("HEAD");
            }
        }
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FROB"] {
            if allowed.contains(&method) {
                continue;
            }
            let path = example(row.path);
            let reply = client.send(method.parse().unwrap(), &path, None, &[]).await.expect(405);
            assert_eq!(reply.code(), "method_not_allowed", "{method} {path}");
            assert_eq!(reply.header("allow"), Some(allowed.join(", ").as_str()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn h9_both_slash_forms_answer_the_same_without_a_redirect() {
    let edge = Edge::start(&[]).await;
    let client = edge.client();
    for row in routes::table() {
        let with = example(row.path);
        let without = with.trim_end_matches('/');
        let (slashed, bare) = (format!("{without}/"), if without.is_empty() { "/" } else { without });
        if !row.path.ends_with('/') && row.path.starts_with("/api/") {
            // A file.
            continue;
        }
        let method: Method = row.method.as_str().parse().unwrap();
        let one = client.try_send(method.clone(), &slashed, None, &[]).await.unwrap();
        let other = client.try_send(method, bare, None, &[]).await.unwrap();
        assert_eq!(one.status, other.status, "{bare}");
        if one.status / 100 == 3 {
            assert_eq!(one.header("location"), other.header("location"), "{bare}");
        }
    }
    // The query stays, and so does the body.
    let body = serde_json::json!({ "email": 1 });
    let errors = client.post("/api/register?referral=x", body.clone()).await.expect(422).errors();
    assert_eq!(client.post("/api/register/?referral=x", body).await.expect(422).errors(), errors);
    assert_eq!(client.get("/health/live/?x=1").await.expect(200).json()["status"], "live");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let edge = Edge::start(&[]).await;
    let reply = edge.client().send(Method::HEAD, "/health/live", None, &[]).await.expect(200);
    assert!(reply.body.is_empty());
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_told_so_before_anything_else() {
    let edge = Edge::start(&[]).await;
    for row in routes::table().into_iter().filter(|row| row.access.is_signed_in()) {
        let path = example(row.path);
        let method: Method = row.method.as_str().parse().unwrap();
        for token in
            [None, Some("Bearer x"), Some("Bearer a.b.c"), Some("Basic eDp4"), Some("Bearer"), Some("")]
        {
            let headers: Vec<_> = token.map(|token| ("Authorization", token)).into_iter().collect();
            let reply = edge.client().send(method.clone(), &path, None, &headers).await.expect(401);
            assert_eq!(reply.code(), "unauthenticated", "{method} {path}");
            assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_sane_request_id_is_taken_over_and_any_other_replaced() {
    let edge = Edge::start(&[]).await;
    let client = edge.client();
    let reply = client.with_header("X-Request-Id", "client-1.a_B").get("/nope").await.expect(404);
    assert_eq!(reply.header("x-request-id"), Some("client-1.a_B"));
    assert_eq!(reply.json()["request_id"], "client-1.a_B");
    let too_long = "x".repeat(129);
    for bad in ["", "a b", "<script>", too_long.as_str()] {
        let reply = client.with_header("X-Request-Id", bad).get("/health/live").await.expect(200);
        let made = reply.header("x-request-id").unwrap();
        assert_eq!(uuid::Uuid::parse_str(made).unwrap().get_version_num(), 7, "{bad}");
    }
}

#[tokio::test]
async fn the_type_of_every_problem_leads_to_a_page() {
    let edge = Edge::start(&[]).await;
    for code in Code::ALL {
        let page = edge.client().get(&format!("/problems/{}", code.slug())).await.expect(200);
        assert!(page.header("content-type").unwrap().starts_with("text/html"));
    }
}

#[tokio::test]
async fn the_document_and_its_page_need_nothing_from_elsewhere() {
    let edge = Edge::start(&[]).await;
    let client = edge.client();
    let document = client.get("/api/openapi.json").await.expect(200);
    assert_eq!(document.header("content-type"), Some("application/json"));
    assert!(document.json()["openapi"].as_str().unwrap().starts_with("3.1."));
    for path in ["/api/docs", "/api/docs/"] {
        let page = client.get(path).await.expect(200);
        assert!(page.header("content-security-policy").unwrap().contains("script-src 'self';"));
        let links = page.text();
        assert!(!links.contains("//"), "something absolute in {links}");
        for part in links.split('"').filter(|part| part.starts_with('/')) {
            client.get(part).await.expect(200);
        }
    }
}

#[tokio::test]
async fn p7_requests_are_measured_by_route_on_a_listener_of_their_own() {
    let edge = Edge::start(&[]).await;
    let client = edge.client();
    client.get("/api/referral-codes/some-persons-code/").await.expect(200);
    client.send("FROB".parse().unwrap(), "/secret-path", None, &[]).await.expect(404);
    let metrics =
        reqwest::get(format!("http://{}/metrics", edge.metrics_addr)).await.unwrap().text().await.unwrap();
    let wanted = "http_server_request_duration_seconds_count{http_route=\"/api/referral-codes/{code}/\",\
                  http_request_method=\"GET\",http_response_status_code=\"200\"}";
    assert!(metrics.contains(wanted), "{metrics}");
    assert!(metrics.contains("http_request_method=\"_OTHER\""));
    assert!(metrics.contains("database_pool_connections_max"));
    for secret in ["some-persons-code", "secret-path", "FROB"] {
        assert!(!metrics.contains(secret), "{secret}");
    }
    client.get("/metrics").await.expect(404);
}
