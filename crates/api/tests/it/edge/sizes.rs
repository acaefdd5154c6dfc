//! Everything that can be too large, each too large: answered at once, with no more work than looking at it.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Edge;

/// How soon what is too large must be refused.
const AT_ONCE: Duration = Duration::from_millis(50);

/// Says all of it and reads the answer, also when it is answered and closed on before the end.
async fn say(edge: &Edge, bytes: Vec<u8>) -> (u16, String) {
    let (mut reading, mut writing) = edge.connect().await.into_split();
    let writer = tokio::spawn(async move {
        let _refused = writing.write_all(&bytes).await;
        writing
    });
    let mut answer = Vec::new();
    let read = reading.read_to_end(&mut answer);
    let _ended = tokio::time::timeout(Duration::from_secs(30), read).await.expect("it is closed");
    drop(writer.await);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default(), answer)
}

#[tokio::test]
async fn h3_requests_that_are_too_large_anywhere_are_refused() {
    let edge = Edge::start(&[]).await;
    let many = |size: usize| "a".repeat(size);
    let get = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").into_bytes()
    };
    for (what, request, statuses) in [
        // What is only long is a path, a query or a cookie that nobody knows.
        ("a path of 16 KiB", get(&format!("/{}", many(16 << 10)), ""), &[404][..]),
        ("a query of 16 KiB", get(&format!("/health/live?x={}", many(16 << 10)), ""), &[200]),
        (
            "a cookie of 16 KiB",
            get("/api/me/", &format!("Cookie: access_token={}\r\n", many(16 << 10))),
            &[401],
        ),
        (
            "a token of 16 KiB",
            get("/api/me/", &format!("Authorization: Bearer {}\r\n", many(16 << 10))),
            &[401],
        ),
        ("4,000 cookies", get("/api/me/", &format!("Cookie: {}\r\n", "a=b; ".repeat(4_000))), &[401]),
        ("5,000 parameters", get(&format!("/health/live?{}", "limit=1&".repeat(5_000)), ""), &[200]),
        (
            "a thousand hops",
            get("/health/live", &format!("X-Forwarded-For: {}\r\n", "6.6.6.6,".repeat(1_000))),
            &[200],
        ),
        // Beyond that the HTTP library says no.
        ("97 headers", get("/health/live", &"X-H: 1\r\n".repeat(97)), &[431]),
        ("a path of 1 MiB", get(&format!("/{}", many(1 << 20)), ""), &[400, 414, 431]),
        ("a header of 1 MiB", get("/health/live", &format!("X-H: {}\r\n", many(1 << 20))), &[431]),
        (
            "a cookie of 1 MiB",
            get("/api/me/", &format!("Cookie: access_token={}\r\n", many(1 << 20))),
            &[431],
        ),
        (
            "a method of 1 MiB",
            format!("{} / HTTP/1.1\r\nHost: x\r\n\r\n", many(1 << 20)).into_bytes(),
            &[400, 431],
        ),
    ] {
        let began = Instant::now();
        let (status, answer) = say(&edge, request).await;
        assert!(statuses.contains(&status), "{what}: {status}: {answer:.300}");
        // The HTTP library lets a client it refused read its answer for two seconds before it closes.
        assert!(began.elapsed() < Duration::from_secs(4), "{what} took {:?}", began.elapsed());
    }
    // And it serves on.
    edge.client().get("/health/live").await.expect(200);
}

#[tokio::test]
async fn a8_a_password_of_a_megabyte_is_refused_within_fifty_milliseconds() {
    let edge = Edge::start(&[]).await;
    let client = edge.client();
    client.get("/health/live").await.expect(200);
    let body = format!("{{\"identifier\":\"ada\",\"password\":\"{}\"}}", "x".repeat(1 << 20)).into_bytes();
    for path in ["/api/login/", "/api/register/", "/api/reset-password/"] {
        // The length is said beforehand: nothing of it is waited for.
        let mut stream = edge.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let began = Instant::now();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body[..1_000]).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 413", "{path}");
        assert!(began.elapsed() < AT_ONCE, "{path} took {:?}", began.elapsed());
    }
    // Within the size of a body, a password that no account can have is refused before it is hashed.
    let long = serde_json::json!({ "identifier": "ada", "password": "x".repeat(60_000) });
    let began = Instant::now();
    let reply = client.send(Method::POST, "/api/login/", Some(long), &[]).await.expect(422);
    assert_eq!(reply.errors(), ["/password too_long"]);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a14_json_of_any_depth_is_refused_at_once() {
    let edge = Edge::start(&[]).await;
    let client = edge.client();
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        for depth in [1_000, 10_000] {
            let body = format!("{{\"identifier\":{}1{}}}", open.repeat(depth), close.repeat(depth));
            if body.len() > 65_536 {
                continue;
            }
            let began = Instant::now();
            let body = Some(("application/json", body.into_bytes()));
            let reply = client.send_raw(Method::POST, "/api/login/", body, &[]).await.expect(400);
            assert_eq!(reply.code(), "malformed_json");
            assert!(began.elapsed() < AT_ONCE * 4, "{depth} of {open} took {:?}", began.elapsed());
        }
    }
}
