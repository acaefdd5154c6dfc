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

pub(super) const CONNECTIONS: &str = "32";

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

/// Requests per second that all succeeded.
pub(super) async fn wrk(url: &str, header: &str, length: Duration) -> f64 {
    let seconds = format!("{}s", length.as_secs().max(1));
    let output = Command::new("wrk")
        .args(["-t1", "-c", CONNECTIONS, "-d", &seconds, "-H", header, url])
        .output()
        .await
        .expect("wrk is installed (Debian: apt-get install wrk)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).expect("wrk prints a rate");
    line.trim().parse().unwrap()
}
