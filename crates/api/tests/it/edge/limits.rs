//! Limits, by whoever really asks, and what keeps a flood from taking everything.

use std::time::{Duration, Instant};

use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;
use testkit::app::TestApp;
use testkit::client::{Client, Reply};
use testkit::redis::RedisServer;

use super::Edge;

/// A limited route that needs no database for a code that is none: 60 a minute by address.
const LIMITED: &str = "/api/referral-codes/x/";

async fn limited_edge(redis: &RedisServer, settings: &[(&str, &str)]) -> Edge {
    let url = redis.url();
    Edge::start(&[&[("RATE_LIMITS", "on"), ("REDIS_URL", url.expose_secret())][..], settings].concat()).await
}

/// How many of `count` requests were let through.
async fn let_through(client: &Client, count: usize, forwarded: impl Fn(usize) -> String) -> usize {
    let mut through = 0;
    for index in 0..count {
        let reply = client.send(Method::GET, LIMITED, None, &[("X-Forwarded-For", &forwarded(index))]).await;
        match reply.status {
            200 => through += 1,
            status => assert_eq!(status, 429),
        }
    }
    through
}

/// Requests come back one a second while a test runs.
fn assert_about(through: usize, quota: usize) {
    assert!((quota..=quota + 5).contains(&through), "{through} were let through instead of {quota}");
}

#[tokio::test]
async fn h4_an_address_that_a_client_made_up_does_not_help_it() {
    let redis = RedisServer::start().await.unwrap();
    let edge = limited_edge(&redis, &[]).await;
    assert_about(let_through(&edge.client(), 100, |index| format!("6.6.{index}.6")).await, 60);
}

#[tokio::test]
async fn h4_behind_a_trusted_proxy_each_network_is_limited_by_itself() {
    let redis = RedisServer::start().await.unwrap();
    let edge = limited_edge(&redis, &[("TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8")]).await;
    let client = edge.client();
    let spoofed = |index: usize| format!("6.6.{index}.6, 203.0.113.{}, 10.0.0.2", index % 100);
    assert_about(let_through(&client, 100, spoofed).await, 60);
    assert_eq!(let_through(&client, 20, |_| "198.51.100.7".to_owned()).await, 20, "another network");
    let neighbours = |index: usize| format!("2001:db8:0:{index:x}::1");
    assert_about(let_through(&client, 100, neighbours).await, 60);
}

#[tokio::test]
async fn h5_all_replicas_share_one_count_and_tell_it() {
    let redis = RedisServer::start().await.unwrap();
    let edges = [limited_edge(&redis, &[]).await, limited_edge(&redis, &[]).await];
    let clients = [edges[0].client(), edges[1].client()];
    let mut before = 60;
    for index in 0..60 {
        let reply = clients[index % 2].get(LIMITED).await.expect(200);
        assert_eq!(reply.header("ratelimit-policy"), Some("\"referral-code-address\";q=60;w=60"));
        let left = left(&reply);
        // One comes back each second.
        assert!(left + 1 >= before - 1 && left <= before, "{left} after {before}");
        before = left;
    }
    let mut refused = clients[0].get(LIMITED).await;
    while refused.status == 200 {
        refused = clients[1].get(LIMITED).await;
    }
    assert_eq!(refused.code(), "rate_limited");
    assert_eq!(refused.json()["violated-policies"], json!(["referral-code-address"]));
    assert_eq!(left(&refused), 0);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(wait, 1, "one comes back each second");

    let mut connection = redis.connection().await.unwrap();
    let keys: Vec<String> =
        deadpool_redis::redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(
        keys[0].starts_with("edge:limit:v1:referral-code-address:") && !keys[0].contains("127.0"),
        "{keys:?}"
    );
    let ttl: i64 =
        deadpool_redis::redis::cmd("PTTL").arg(&keys[0]).query_async(&mut connection).await.unwrap();
    assert!(ttl > 0 && ttl <= 60_000);
}

fn left(reply: &Reply) -> i64 {
    let text = reply.header("ratelimit").unwrap();
    text.split(";r=").nth(1).and_then(|rest| rest.split(';').next()).unwrap().parse().unwrap()
}

#[tokio::test]
async fn h6_without_redis_a_replica_allows_its_share() {
    let mut redis = RedisServer::start().await.unwrap();
    let edge = limited_edge(&redis, &[("API_REPLICAS", "3")]).await;
    redis.stop().await.unwrap();
    let begun = Instant::now();
    assert_about(let_through(&edge.client(), 100, |_| String::new()).await, 20);
    assert!(begun.elapsed() < Duration::from_secs(10), "a dead Redis costs next to nothing a request");
}

#[tokio::test]
async fn h6_a_frozen_redis_holds_up_one_request_and_no_more() {
    let redis = RedisServer::start().await.unwrap();
    let edge = limited_edge(&redis, &[]).await;
    let client = edge.client();
    client.get(LIMITED).await.expect(200);
    redis.pause().await.unwrap();
    let begun = Instant::now();
    let through = let_through(&client, 40, |_| String::new()).await;
    let took = begun.elapsed();
    redis.resume().await.unwrap();
    assert_eq!(through, 40);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn h6_garbage_in_a_count_is_no_failure() {
    let redis = RedisServer::start().await.unwrap();
    let edge = limited_edge(&redis, &[]).await;
    let client = edge.client();
    client.get(LIMITED).await.expect(200);
    let mut connection = redis.connection().await.unwrap();
    let keys: Vec<String> =
        deadpool_redis::redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    for garbage in ["x", "", "1e400", "nan"] {
        deadpool_redis::redis::cmd("SET")
            .arg(&keys[0])
            .arg(garbage)
            .exec_async(&mut connection)
            .await
            .unwrap();
        client.get(LIMITED).await.expect(200);
    }
}

#[cfg(feature = "governor")]
#[tokio::test]
async fn a_client_that_takes_too_much_of_one_replica_is_fenced_off_but_health_is_not() {
    let redis = RedisServer::start().await.unwrap();
    let edge = limited_edge(&redis, &[]).await;
    let client = edge.client();
    let mut last = client.get("/api/me/").await;
    let mut asked = 1;
    while last.status == 401 {
        last = client.get("/api/me/").await;
        asked += 1;
        assert!(asked < 20_000, "there is no fence");
    }
    // The next request may pass again: the fence lets one through every ten milliseconds.
    let refused = last.expect(429);
    assert_eq!(refused.code(), "rate_limited");
    assert!(refused.header("retry-after").is_some());
    assert!(asked > 400);
    client.get("/health/live").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a13_a_flood_of_logins_is_turned_away_and_the_rest_served() {
    let app = TestApp::api_with(|settings| {
        settings.set("HASH_THREADS", "1").set("HASH_QUEUE", "4");
    })
    .await;
    let login = async || {
        let body = Some((
            "application/json",
            json!({"identifier": "nobody", "password": "x"}).to_string().into_bytes(),
        ));
        app.client().try_send(Method::POST, "/api/login/", body, &[]).await.unwrap()
    };
    let flood = futures_util::future::join_all((0..100).map(|_| login()));
    let health = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..50 {
            let begun = Instant::now();
            app.client().get("/health/live").await.expect(200);
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    let (replies, slowest) = tokio::join!(flood, health);
    let (done, turned_away): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 401);
    assert!(!done.is_empty() && !turned_away.is_empty(), "{} and {}", done.len(), turned_away.len());
    for reply in turned_away {
        let reply = reply.expect(503);
        assert!(["overloaded", "unavailable"].contains(&reply.code().as_str()));
        assert!(reply.header("retry-after").is_some());
    }
    assert!(slowest < Duration::from_secs(2), "health took {slowest:?}");
}
