//! Clients that send a byte now and then: how long they are borne, by the proxy and by an api alone.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use testkit::balancer::Balancer;
use testkit::client::Client;
use testkit::stack::Stack;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::interval;

use super::{answer, host_of, stage};

const HEAD: &str = "POST /api/login/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/// Says the beginning, then one byte four times a second; what is answered after it, and how long its first word took.
async fn drip(stream: TcpStream, beginning: &str, byte: u8) -> (String, Duration) {
    let (mut reading, mut writing) = stream.into_split();
    writing.write_all(beginning.as_bytes()).await.unwrap();
    let began = Instant::now();
    let dripping = tokio::spawn(async move {
        let mut tick = interval(Duration::from_millis(250));
        while writing.write_all(&[byte]).await.is_ok() {
            tick.tick().await;
        }
    });
    let first =
        tokio::time::timeout(Duration::from_secs(30), reading.read_u8()).await.expect("it is answered");
    let took = began.elapsed();
    let mut said = vec![first.expect("something is said before it is closed")];
    let read = reading.read_to_end(&mut said);
    // A close with bytes of ours unread may come as a reset, after the answer.
    let _ended = tokio::time::timeout(Duration::from_secs(30), read).await.expect("it is closed");
    dripping.abort();
    (String::from_utf8_lossy(&said).into_owned(), took)
}

/// A connection that has been used, and is kept.
async fn used(base: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host_of(base)).await.unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"{\"status\":\"live\"}") {
        let mut some = [0; 1_024];
        let length = stream.read(&mut some).await.unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&some[..length]);
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_headers_that_drip_end_any_request_behind_the_proxy_and_the_first_of_a_connection_without_it() {
    let (stack, proxy) = stage(&[]).await;
    let [proxied, direct] = [proxy.base(), stack.apis[0].base()];
    let first = async |base: &str| {
        let stream = TcpStream::connect(host_of(base)).await.unwrap();
        drip(stream, "GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ", b'a').await
    };
    let second = async {
        let stream = used(&proxied).await;
        drip(stream, "GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ", b'a').await
    };
    let (through_it, alone, second) = tokio::join!(first(&proxied), first(&direct), second);
    for (said, took) in [through_it, alone, second] {
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        assert!((4.0..6.5).contains(&took.as_secs_f64()), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h1_a_body_that_drips_ends_within_eleven_seconds_behind_the_proxy_and_without_it() {
    let (stack, proxy) = stage(&[]).await;
    let start = |base: String, length: usize, sent: usize| async move {
        let stream = TcpStream::connect(host_of(&base)).await.unwrap();
        let beginning = format!("{HEAD}Content-Length: {length}\r\n\r\n{}", " ".repeat(sent));
        drip(stream, &beginning, b' ').await
    };
    // A short one waits in the proxy; of a long one the api sees the beginning, and its own clock ends it.
    for (said, took) in join_all([
        start(proxy.base(), 1_000, 1),
        start(proxy.base(), 60_000, 40_000),
        start(stack.apis[0].base(), 1_000, 1),
    ])
    .await
    {
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        assert!(said.contains("\"code\":\"request_timeout\""), "{said}");
        assert!(took < Duration::from_secs(11), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_clients_that_drip_cost_no_place_in_an_api() {
    let (stack, proxy): (Stack, Balancer) = stage(&[]).await;
    let base = proxy.base();
    let mut held = Vec::new();
    for number in 0..150 {
        let mut stream = TcpStream::connect(host_of(&base)).await.unwrap();
        let body = format!("{HEAD}Content-Length: 1000\r\n\r\n{{");
        let said = if number % 2 == 0 { HEAD } else { &body };
        stream.write_all(said.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let began = Instant::now();
    for _ in 0..20 {
        Client::new(&base).get("/health/ready").await.expect(200);
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // The apis never heard of any of them.
    for api in &stack.apis {
        let log = api.log();
        assert!(!log.contains("/api/login/"), "{log}");
    }
    for mut stream in held {
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 408 "));
    }
}
