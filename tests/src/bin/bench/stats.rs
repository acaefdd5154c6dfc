//! `GET /api/referral-stats/` with a warm cache, against a bare actix-web route that returns the same bytes without
//! authentication; both in this process, with as many threads, taken in turn.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::web::Bytes;
use actix_web::{App, HttpResponse, HttpServer, web};
use testkit::app::TestApp;
use tokio::process::Command;
use tokio::sync::oneshot;

use super::{cores, median};

pub(super) const CONNECTIONS: usize = 32;

pub(super) async fn run(rounds: usize, round: Duration) {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let stats = ada.get("/api/referral-stats/").await.expect(200);
    let bare = bare_server("application/json", Bytes::from(stats.body)).await;
    let cookie = format!("Cookie: access_token={}", ada.cookie("access_token").unwrap().value);
    let url = format!("{}/api/referral-stats/", app.base());
    let bare_url = format!("http://{bare}/");

    wrk(&url, &cookie, Duration::from_secs(1)).await;
    wrk(&bare_url, &cookie, Duration::from_secs(1)).await;
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let our = wrk(&url, &cookie, round).await;
        let their = wrk(&bare_url, &cookie, round).await;
        ours.push(our);
        theirs.push(their);
        ratios.push(our / their);
    }
    println!("GET /api/referral-stats/, warm cache, {CONNECTIONS} connections, {rounds} rounds of {round:?}");
    println!("  ours            {:>9.0} requests/s", median(&mut ours));
    println!("  bare actix-web  {:>9.0} requests/s", median(&mut theirs));
    println!("  ratio           {:>9.2}", median(&mut ratios));
}

/// A server of one route that returns `body`.
pub(super) async fn bare_server(content_type: &'static str, body: Bytes) -> SocketAddr {
    let (started, ready) = oneshot::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || {
                let body = body.clone();
                let answer = move || {
                    let body = body.clone();
                    async move { HttpResponse::Ok().content_type(content_type).body(body) }
                };
                App::new().route("/", web::get().to(answer))
            })
            .workers(cores())
            .bind(("127.0.0.1", 0))
            .unwrap();
            started.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    ready.await.unwrap()
}

/// What a load gave; all requests succeeded.
pub(super) struct Load {
    /// Requests per second.
    pub rate: f64,
    /// The time that 99 of 100 were answered in, in milliseconds.
    pub p99: f64,
}

/// Requests per second that all succeeded.
pub(super) async fn wrk(url: &str, header: &str, length: Duration) -> f64 {
    load(url, header, CONNECTIONS, length).await.rate
}

/// Asks on so many connections, each as soon as it has its answer.
pub(super) async fn load(url: &str, header: &str, connections: usize, length: Duration) -> Load {
    let seconds = format!("{}s", length.as_secs().max(1));
    let output = Command::new("wrk")
        .args(["-t1", "--latency", "-c", &connections.to_string(), "-d", &seconds, "-H", header, url])
        .output()
        .await
        .expect("wrk is installed (Debian: apt-get install wrk)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name)).expect("wrk prints it");
        line.trim().to_owned()
    };
    Load { rate: figure("Requests/sec:").parse().unwrap(), p99: milliseconds(&figure("99%")) }
}

/// `1.23ms` and the like.
fn milliseconds(text: &str) -> f64 {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1_000.0)];
    let read = |(unit, factor): (&str, f64)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor);
    units.into_iter().find_map(read).expect("a time of wrk")
}
