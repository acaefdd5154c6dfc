//! Starting, being asked for health, and stopping.

use std::net::TcpListener;
use std::time::Duration;

use domain::clock::Clock;
use domain::config::Settings;
use reqwest::Method;
use testkit::app::{TestApp, eventually};
use testkit::redis::RedisServer;

use super::Edge;

#[tokio::test]
async fn p1_alive_touches_nothing_and_ready_says_what_is_down() {
    let edge = Edge::start(&[]).await;
    let client = edge.client();
    assert_eq!(client.get("/health/live").await.expect(200).json()["status"], "live");
    let reply = client.try_send(Method::GET, "/health/ready", None, &[]).await.unwrap().expect(503);
    assert_eq!(reply.code(), "unavailable");
    assert_eq!(
        reply.json()["checks"],
        serde_json::json!({ "postgresql": "down", "redis": "down", "cache": "down" })
    );
    assert!(reply.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_redis_down_is_degraded_and_still_ready() {
    let mut redis = RedisServer::start().await.unwrap();
    let url = secrecy::ExposeSecret::expose_secret(&redis.url()).to_owned();
    let app = TestApp::api_with(|settings| {
        settings.set("REDIS_URL", &url);
    })
    .await;
    let status = async || app.client().get("/health/ready").await.expect(200).json()["status"].clone();
    assert_eq!(status().await, "ready");
    redis.stop().await.unwrap();
    assert_eq!(status().await, "degraded");
    redis.restart().await.unwrap();
    eventually("it is ready again", async || match status().await {
        status if status == "ready" => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
}

#[tokio::test]
async fn p2_told_to_stop_it_first_says_so_and_serves_on() {
    let edge = Edge::with(&[], |config| config.drain = Duration::from_secs(3_600)).await;
    let client = edge.client();
    edge.handle.shutdown();
    eventually("it drains", async || {
        let reply = client.try_send(Method::GET, "/health/ready", None, &[]).await.unwrap().expect(503);
        let detail = reply.json()["detail"].to_string();
        // The database is down too, which comes first until then.
        let live = client.get("/health/live").await.expect(200);
        if live.header("connection") == Some("close") { Ok(()) } else { Err(detail) }
    })
    .await;
    // A second word ends it at once.
    edge.handle.shutdown();
    eventually("it has stopped", async || match tokio::net::TcpStream::connect(edge.addr).await {
        Ok(_) => Err("it still listens".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h11_with_every_connection_in_use_the_answer_is_503_within_moments() {
    let app = TestApp::api_with(|settings| {
        settings.set("DATABASE_POOL", "2");
    })
    .await;
    let lock = app.database.connect().await;
    lock.batch_execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let login = || {
        let body = Some(("application/json", br#"{"identifier":"nobody","password":"x"}"#.to_vec()));
        let client = app.client();
        async move { client.try_send(Method::POST, "/api/login/", body, &[]).await.unwrap() }
    };
    let (first, second) = (tokio::spawn(login()), tokio::spawn(login()));
    eventually("both connections wait for the lock", async || {
        let waiting: i64 = app
            .database
            .value("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass")
            .await;
        if waiting == 2 { Ok(()) } else { Err(waiting.to_string()) }
    })
    .await;
    let begun = std::time::Instant::now();
    let reply = login().await.expect(503);
    assert_eq!(reply.code(), "unavailable");
    assert!(reply.header("retry-after").is_some());
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    lock.batch_execute("ROLLBACK").await.unwrap();
    first.await.unwrap().expect(401);
    second.await.unwrap().expect(401);
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for setting in ["HTTP_ADDR", "METRICS_ADDR"] {
        let mut settings = std::collections::BTreeMap::from([
            ("APP_ENV", "development"),
            ("HTTP_ADDR", "127.0.0.1:0"),
            ("METRICS_ADDR", "127.0.0.1:0"),
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
            ("REDIS_URL", "redis://127.0.0.1:1/"),
            ("SECRET_KEY", "k3Zq8vYw0pLm5Rt7Xc2Nb9Hs4Jd6Gf1A-testing"),
        ]);
        settings.insert(setting, &addr);
        let config = api::Config::read(Settings::from_map(settings)).unwrap();
        let error = api::build(config, Clock::system()).await.err().unwrap().to_string();
        assert!(error.contains(&addr) && error.contains(setting) && !error.contains('\n'), "{error}");
    }
}
