//! The way through Redis: batches that come twice, an emptied Redis, what a newer release wrote.

use deadpool_redis::redis;
use testkit::app::{TestApp, eventually};
use testkit::redis::RedisServer;

use super::{FIREFOX, Owner, click, visitor};

/// An api with a Redis of its own.
async fn app_with(redis: &RedisServer) -> TestApp {
    let url = redis.url();
    TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
        settings.set("TRUSTED_PROXIES", "127.0.0.1");
        settings.set("REDIS_URL", secrecy::ExposeSecret::expose_secret(&url));
    })
    .await
}

fn key(app: &TestApp) -> String {
    format!("{}:v1:clicks", app.settings.get("REDIS_PREFIX").unwrap())
}

/// The entries of the stream, as they lie there.
async fn entries(app: &TestApp, redis: &RedisServer) -> Vec<Vec<u8>> {
    let mut connection = redis.connection().await.unwrap();
    let mut command = redis::cmd("XRANGE");
    let entries: Vec<(String, Vec<Vec<u8>>)> =
        command.arg(key(app)).arg("-").arg("+").query_async(&mut connection).await.unwrap();
    entries.into_iter().map(|(_, mut fields)| fields.pop().unwrap()).collect()
}

async fn append(app: &TestApp, redis: &RedisServer, number: &str, entry: &[u8]) {
    let mut command = redis::cmd("XADD");
    command.arg(key(app)).arg(number).arg("b").arg(entry);
    command.exec_async(&mut redis.connection().await.unwrap()).await.unwrap();
}

async fn until_empty(app: &TestApp, redis: &RedisServer) {
    eventually("the stream is empty", async || match entries(app, redis).await.len() {
        0 => Ok(()),
        left => Err(left.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_a_batch_that_comes_twice_from_whatever_redis_is_counted_once() {
    let redis = RedisServer::start().await.unwrap();
    let mut app = app_with(&redis).await;
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    for n in 0..30 {
        click(&visitor(&app, &format!("203.0.{n}.7"), FIREFOX), link).await;
    }
    let stored = eventually("all of it is in Redis", async || {
        let entries = entries(&app, &redis).await;
        let count: usize =
            entries.iter().map(|entry| domain::clicks::Batch::decode(entry).unwrap().events.len()).sum();
        if count == 30 { Ok(entries) } else { Err(count.to_string()) }
    })
    .await;
    // Twice in one pass.
    for entry in &stored {
        append(&app, &redis, "*", entry).await;
    }
    app.start_worker();
    ada.until(link, "30/30/0/0").await;
    until_empty(&app, &redis).await;
    // Later, from a stream that is another one with an older clock.
    redis.empty().await.unwrap();
    for (index, entry) in stored.iter().enumerate() {
        append(&app, &redis, &format!("{}-1", index + 1), entry).await;
    }
    until_empty(&app, &redis).await;
    assert_eq!(super::summary(&ada.stats(link).await["totals"]), "30/30/0/0");
    // And what is new in that stream counts.
    click(&visitor(&app, "198.51.100.7", FIREFOX), link).await;
    ada.until(link, "31/31/0/0").await;
    // The id of a batch is all that tells: a batch with another id is another batch.
    let mut other = domain::clicks::Batch::decode(&stored[0]).unwrap();
    let more = other.events.len();
    other.id = uuid::Uuid::now_v7();
    append(&app, &redis, "*", &other.encode()).await;
    ada.until(link, &format!("{}/31/0/0", 31 + more)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q3_what_is_no_batch_stops_nothing_and_what_is_too_old_is_not_counted() {
    let redis = RedisServer::start().await.unwrap();
    let mut app = app_with(&redis).await;
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    click(&visitor(&app, "203.0.113.7", FIREFOX), link).await;
    let good =
        eventually("it is in Redis", async || entries(&app, &redis).await.pop().ok_or_else(String::new))
            .await;
    for rubbish in [&b"{\"bad\":1}"[..], b"", &good[..good.len() - 1], b"TC\x01 and what is no batch at all"]
    {
        append(&app, &redis, "*", rubbish).await;
    }
    let mut fields = redis::cmd("XADD");
    fields.arg(key(&app)).arg("*").arg("a").arg("b").arg("c").arg("d");
    fields.exec_async(&mut redis.connection().await.unwrap()).await.unwrap();
    let mut old = domain::clicks::Batch::decode(&good).unwrap();
    old.id = uuid::Uuid::now_v7();
    old.made_at -= chrono::TimeDelta::hours(48);
    append(&app, &redis, "*", &old.encode()).await;
    app.start_worker();
    ada.until(link, "1/1/0/0").await;
    until_empty(&app, &redis).await;
    click(&visitor(&app, "203.0.114.7", FIREFOX), link).await;
    ada.until(link, "2/2/0/0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q11_what_a_newer_release_wrote_waits_for_it_and_nothing_overtakes_it() {
    let redis = RedisServer::start().await.unwrap();
    let mut app = app_with(&redis).await;
    let ada = Owner::of(&app, "ada").await;
    let link = ada.link(&app, "x", "https://example.org/").await;
    app.start_worker();
    click(&visitor(&app, "203.0.113.7", FIREFOX), link).await;
    ada.until(link, "1/1/0/0").await;
    until_empty(&app, &redis).await;
    append(&app, &redis, "*", b"TC\x02 and what nobody knows yet").await;
    click(&visitor(&app, "203.0.114.7", FIREFOX), link).await;
    eventually("both are there", async || match entries(&app, &redis).await.len() {
        2 => Ok(()),
        found => Err(found.to_string()),
    })
    .await;
    assert_eq!(super::summary(&ada.stats(link).await["totals"]), "1/1/0/0");
    // The newer release takes its own.
    let mut trim = redis::cmd("XTRIM");
    trim.arg(key(&app)).arg("MAXLEN").arg(1);
    trim.exec_async(&mut redis.connection().await.unwrap()).await.unwrap();
    ada.until(link, "2/2/0/0").await;
}
