//! Starting, being asked for health, and stopping.

use std::net::TcpListener;
use std::time::Duration;

use domain::clock::Clock;
use domain::config::Settings;
use futures_util::future::join_all;
use reqwest::Method;
use testkit::app::{TestApp, eventually, within};
use testkit::redis::RedisServer;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

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

/// Says that somebody registers, and does not wait for the answer.
async fn begin_to_register(app: &TestApp, username: &str) -> TcpStream {
    let body = serde_json::json!({
        "email": format!("{username}@example.org"), "username": username, "password": testkit::app::PASSWORD,
    })
    .to_string();
    let head = "POST /api/register/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let mut stream = TcpStream::connect(app.addr).await.unwrap();
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// So many clients of the database as `what` says.
async fn sessions(app: &TestApp, what: &str) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
               AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND ";
    app.database.value(&format!("{sql}{what}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn h12_a_thousand_clients_that_hang_up_leave_no_transaction_open() {
    const POOL: usize = 8;
    let app = TestApp::api_with(|settings| {
        settings.set("DATABASE_POOL", &POOL.to_string());
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1").set("HASH_QUEUE", "1000");
    })
    .await;
    // In the midst of a transaction, on every connection of the pool.
    let lock = app.database.connect().await;
    lock.batch_execute("BEGIN; LOCK TABLE users IN SHARE MODE").await.unwrap();
    let begun = join_all((0..POOL).map(async |index| {
        let username = format!("held-{index}");
        begin_to_register(&app, &username).await
    }))
    .await;
    eventually("every transaction waits", async || {
        let waiting = sessions(&app, "wait_event_type = 'Lock' AND xact_start IS NOT NULL").await;
        if usize::try_from(waiting) == Ok(POOL) { Ok(()) } else { Err(waiting.to_string()) }
    })
    .await;
    drop(begun);
    lock.batch_execute("ROLLBACK").await.unwrap();
    // And wherever they are by then.
    for round in 0..20_u64 {
        join_all((0..50_u64).map(async |index| {
            let stream = begin_to_register(&app, &format!("gone-{round}-{index}")).await;
            tokio::time::sleep(Duration::from_micros(400 * index)).await;
            drop(stream);
        }))
        .await;
    }
    within(Duration::from_secs(5), "no transaction is open", async || {
        match sessions(&app, "xact_start IS NOT NULL").await {
            0 => Ok(()),
            open => Err(open.to_string()),
        }
    })
    .await;
    // No place of the pool is lost, and nothing was done by halves.
    let names: Vec<String> = (0..2 * POOL).map(|index| format!("after-{index}")).collect();
    for reply in join_all(names.iter().map(|name| app.register(name, None))).await {
        reply.expect(201);
    }
    let halves = "SELECT count(*) FROM users WHERE NOT EXISTS \
                  (SELECT FROM email_verifications WHERE user_id = users.id)";
    assert_eq!(app.database.value::<i64>(halves).await, 0);
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
