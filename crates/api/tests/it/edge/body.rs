//! Bodies: their type, size, time and shape.

use std::time::Duration;

use reqwest::Method;
use testkit::client::Reply;
use tokio::io::AsyncWriteExt as _;

use super::{Edge, read_to_close};

const PATH: &str = "/api/login/";

/// Sends a body as JSON.
async fn post(edge: &Edge, body: impl Into<Vec<u8>>) -> Reply {
    let body = Some(("application/json", body.into()));
    edge.client().send_raw(Method::POST, PATH, body, &[]).await
}

#[tokio::test]
async fn what_is_not_json_is_400_and_says_where() {
    let edge = Edge::start(&[]).await;
    let deep = "[".repeat(10_000);
    for body in [
        "",
        "{",
        "{\"identifier\": \"a\",}",
        "nope",
        "{}{}",
        "\u{feff}{}",
        "{\"a\":\"\\ud800\"}",
        deep.as_str(),
    ] {
        let reply = post(&edge, body).await.expect(400);
        assert_eq!(reply.code(), "malformed_json", "{body:.40}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("line 1"), "{body:.40}");
    }
    let reply = post(&edge, b"{\"identifier\":\"\xff\"}").await;
    assert_eq!(reply.expect(400).code(), "malformed_json");
}

#[tokio::test]
async fn a14_fields_are_strict_and_all_errors_come_at_once() {
    let edge = Edge::start(&[]).await;
    for (body, errors) in [
        ("{}", vec!["/identifier required", "/password required"]),
        ("{\"identifier\":null,\"password\":7}", vec!["/identifier wrong_type", "/password wrong_type"]),
        ("{\"identifier\":\"\",\"password\":\"\"}", vec!["/identifier empty", "/password empty"]),
        (
            "{\"identifier\":\"a\\u0000b\",\"password\":\"a\\u0007b\"}",
            vec!["/identifier invalid_character", "/password invalid_character"],
        ),
        (
            "{\"identifier\":\"a\",\"password\":\"b\",\"role\":\"admin\",\"credits\":999}",
            vec!["/credits unknown_field", "/role unknown_field"],
        ),
        ("{\"identifier\":\"a\",\"password\":\"b\",\"password\":\"c\"}", vec!["/password duplicate_field"]),
        (
            "{\"identifier\":\"a\",\"password\":\"b\",\"transport\":\"carrier pigeon\"}",
            vec!["/transport invalid_value"],
        ),
        ("[]", vec![" wrong_type"]),
    ] {
        let reply = post(&edge, body).await.expect(422);
        assert_eq!(reply.code(), "validation", "{body}");
        assert_eq!(reply.errors(), errors, "{body}");
    }
}

#[tokio::test]
async fn h1_a_body_over_64_kib_is_413_however_it_comes() {
    let edge = Edge::start(&[]).await;
    let fits = format!("{{\"identifier\":\"{}\"}}", "x".repeat(65_536 - 17));
    assert_eq!(fits.len(), 65_536);
    post(&edge, fits.clone()).await.expect(422);

    // With its length said beforehand: nothing of it is read.
    let head = "POST /api/login/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let answer = edge.raw(format!("{head}Content-Length: 65537\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"code\":\"payload_too_large\""), "{answer}");

    // In chunks, without a length.
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in format!("{fits}x").as_bytes().chunks(9_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    let answer = edge.raw(&chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn h1_a_body_that_does_not_arrive_in_time_is_408_and_the_connection_closed() {
    let edge = Edge::with(&[], |config| config.body_timeout = Duration::from_millis(300)).await;
    let mut stream = edge.connect().await;
    let head = "POST /api/login/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        while writing.write_all(b" ").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut answer);
    // A close with bytes of ours unread may arrive as a reset, after the answer.
    let _ended = tokio::time::timeout(Duration::from_secs(30), read).await.expect("the connection is closed");
    dripping.abort();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        answer.contains("\"code\":\"request_timeout\"") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[tokio::test]
async fn h1_whoever_is_refused_and_sends_on_in_chunks_is_closed_on() {
    let edge = Edge::with(&[], |config| config.body_timeout = Duration::from_millis(300)).await;
    let json = "Content-Type: application/json\r\n";
    for (path, header, status) in [
        ("/api/login/", json, "408"),
        ("/api/login/", "", "415"),
        ("/nope", json, "404"),
        ("/api/me/", json, "405"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{header}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"
        );
        let answer = edge.raw(head.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn h1_the_default_is_ten_seconds() {
    let edge = Edge::with(&[], |config| assert_eq!(config.body_timeout, Duration::from_secs(10))).await;
    edge.client().get("/health/live").await.expect(200);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_request() {
    let edge = Edge::start(&[]).await;
    let mut stream = edge.connect().await;
    let head = "POST /api/login/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_close(stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn h3_ambiguous_requests_are_refused() {
    let edge = Edge::start(&[]).await;
    let many = "X-H: 1\r\n".repeat(150);
    for (request, status) in [
        ("POST /api/login/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), "400"),
        ("POST /api/login/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x".to_owned(), "400"),
        ("POST /api/login/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(), "400"),
        ("GET /health/live HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(), "400"),
        ("GET /health/live HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{many}\r\n"), "431"),
    ] {
        let answer = edge.raw(request.as_bytes()).await;
        let answered = answer.split(' ').nth(1).unwrap_or_default();
        assert_eq!(answered, status, "{request:.120}: {answer}");
    }
}
