//! The cache: nothing in it is the truth, and nothing it does is in the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use api::cache::{Cache, Prefetched};
use api::problem::{Code, Problem};
use chrono::TimeDelta;
use deadpool_redis::redis;
use domain::cache::{Entry, Kind};
use domain::clock::Clock;
use testkit::app::{TestApp, eventually};
use testkit::redis::RedisServer;
use uuid::Uuid;

fn entry(id: u128) -> Entry {
    Entry { kind: Kind::ReferralStats, id: Uuid::from_u128(id) }
}

fn cache(redis: &RedisServer) -> Cache {
    Cache::new(&redis.url(), "t", Clock::system()).unwrap()
}

/// What `get_or_load` gives when a load would give this.
async fn get(cache: &Cache, entry: Entry, version: i64, value: &'static str) -> Bytes {
    let load = async || Ok((version, Bytes::from_static(value.as_bytes())));
    cache.get_or_load(entry, Prefetched::Unknown, load).await.unwrap()
}

/// Waits until a copy with this content is in Redis.
async fn filled(cache: &Cache, entry: Entry, value: &'static str) {
    eventually("the copy is there", async || {
        let [copy] = cache.read([entry]).await;
        if copy.as_deref() == Some(value.as_bytes()) { Ok(()) } else { Err(format!("{copy:?}")) }
    })
    .await;
}

#[tokio::test]
async fn c4_all_who_miss_at_once_share_one_load() {
    let redis = RedisServer::start().await.unwrap();
    let cache = cache(&redis);
    let loads = Arc::new(AtomicUsize::new(0));
    let load = async || {
        loads.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        Ok((1, Bytes::from_static(b"v")))
    };
    let all = (0..500).map(|_| cache.get_or_load(entry(1), Prefetched::Missing, load));
    for value in futures_util::future::join_all(all).await {
        assert_eq!(value.unwrap(), "v");
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    filled(&cache, entry(1), "v").await;
    assert_eq!(get(&cache, entry(1), 2, "other").await, "v", "from the cache");
}

#[tokio::test]
async fn c4_a_failure_is_shared_and_forgotten_and_a_client_that_hangs_up_leaves_the_load_to_another() {
    let redis = RedisServer::start().await.unwrap();
    let cache = cache(&redis);
    let fail = async || {
        tokio::task::yield_now().await;
        Err(Problem::new(Code::Unavailable))
    };
    let all = (0..50).map(|_| cache.get_or_load(entry(1), Prefetched::Missing, fail));
    for result in futures_util::future::join_all(all).await {
        assert_eq!(result.unwrap_err().code(), Code::Unavailable);
    }
    let hung_up = cache.get_or_load(entry(1), Prefetched::Missing, async || std::future::pending().await);
    assert!(futures_util::FutureExt::now_or_never(hung_up).is_none());
    assert_eq!(get(&cache, entry(1), 1, "v").await, "v");
}

#[tokio::test]
async fn a_load_that_takes_long_is_not_joined_by_who_comes_too_late_for_it() {
    let redis = RedisServer::start().await.unwrap();
    let clock = Clock::system();
    let cache = Cache::new(&redis.url(), "t", clock.clone()).unwrap();
    let mut slow =
        Box::pin(cache.get_or_load(entry(1), Prefetched::Missing, async || std::future::pending().await));
    assert!(futures_util::FutureExt::now_or_never(&mut slow).is_none());
    clock.advance(Kind::ReferralStats.believed_for());
    assert_eq!(get(&cache, entry(1), 2, "fresh").await, "fresh");
}

#[tokio::test]
async fn c3_a_late_fill_never_overwrites_what_is_newer() {
    let redis = RedisServer::start().await.unwrap();
    let cache = cache(&redis);
    let copies = domain::cache::Cache::new(
        domain::redis::Redis::new(&redis.url(), 2).unwrap(),
        domain::cache::Layout::new("t", Clock::system()),
    );
    let now = Clock::system().now();
    assert!(copies.fill(entry(1), 5, now, b"five").await.unwrap());
    assert!(!copies.fill(entry(1), 4, now, b"four").await.unwrap(), "older than the copy");
    assert!(copies.fill(entry(1), 6, now, b"six").await.unwrap());
    filled(&cache, entry(1), "six").await;

    // Somebody read version 6 and is slow; meanwhile the rows change.
    cache.invalidate(entry(1), 7).await;
    assert_eq!(cache.read([entry(1)]).await, [None]);
    assert!(!copies.fill(entry(1), 6, now, b"six").await.unwrap(), "older than the invalidation");
    assert!(copies.fill(entry(1), 7, now, b"seven").await.unwrap());
    cache.invalidate(entry(1), 7).await;
    filled(&cache, entry(1), "seven").await;
    // Versions compare as numbers.
    assert!(copies.fill(entry(1), 10, now, b"ten").await.unwrap());
    assert!(!copies.fill(entry(1), 9, now, b"nine").await.unwrap());
    // Of one version, what was read earlier never overwrites what was read later.
    let later = now + TimeDelta::milliseconds(1);
    assert!(copies.fill(entry(1), 10, later, b"ten, later").await.unwrap());
    assert!(!copies.fill(entry(1), 10, now, b"ten").await.unwrap());
    // What is too old when it arrives is not written.
    let old = now - TimeDelta::seconds(3);
    assert!(!copies.fill(entry(1), 11, old, b"eleven").await.unwrap());
}

#[tokio::test]
async fn c5_c7_garbage_is_a_miss_and_every_key_ends_by_itself() {
    let redis = RedisServer::start().await.unwrap();
    let cache = cache(&redis);
    let mut connection = redis.connection().await.unwrap();
    let key = "t:cache:v1:referral-stats:00000000000000000000000000000001";
    for garbage in [&b"garbage"[..], b"", &[0xff; 100], b"00000000000000000001{}"] {
        redis::cmd("SET").arg(key).arg(garbage).exec_async(&mut connection).await.unwrap();
        assert_eq!(get(&cache, entry(1), 3, "good").await, "good");
        filled(&cache, entry(1), "good").await;
    }
    let other = "t:cache:v1:referral-stats:00000000000000000000000000000003";
    redis::cmd("HSET").arg(other).arg("a").arg("b").exec_async(&mut connection).await.unwrap();
    assert_eq!(get(&cache, entry(3), 3, "good").await, "good", "another type");
    filled(&cache, entry(3), "good").await;
    cache.invalidate(entry(2), 1).await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert_eq!(keys.len(), 3);
    for key in keys {
        let ttl: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
        assert!(ttl > 0, "{key} lives for ever");
    }
}

#[tokio::test]
async fn c1_a_frozen_or_dead_redis_is_a_miss_and_is_left_alone() {
    let mut redis = RedisServer::start().await.unwrap();
    let cache = cache(&redis);
    get(&cache, entry(1), 1, "v").await;
    redis.pause().await.unwrap();
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(get(&cache, entry(1), 1, "v").await, "v");
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    redis.resume().await.unwrap();
    redis.stop().await.unwrap();
    assert_eq!(get(&cache, entry(2), 1, "w").await, "w");
    redis.restart().await.unwrap();
    eventually("copies are kept again", async || {
        get(&cache, entry(3), 1, "x").await;
        let [copy] = cache.read([entry(3)]).await;
        copy.map(|_| ()).ok_or_else(|| "no copy".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_an_ended_session_is_refused_on_every_replica_at_once_and_without_word_of_it_within_a_second() {
    let app = TestApp::api_only().await;
    let (second, _handle) = app.second_api().await;
    let second = format!("http://{second}");

    let ada = app.member("ada").await;
    let thief = ada.stolen();
    ada.get("/api/me/").await.expect(200);
    thief.at(&second).get("/api/me/").await.expect(200);
    ada.post_empty("/api/logout/").await.expect(204);
    thief.at(&second).get("/api/me/").await.expect(401);
    thief.get("/api/me/").await.expect(401);

    // The process that ended it died before it told anybody.
    let ada = app.login("ada").await;
    ada.get("/api/me/").await.expect(200);
    ada.at(&second).get("/api/me/").await.expect(200);
    app.database.execute("UPDATE sessions SET ended_at = now(), end_reason = 'test'", &[]).await.unwrap();
    app.clock.advance(TimeDelta::milliseconds(1_000));
    ada.get("/api/me/").await.expect(401);
    ada.at(&second).get("/api/me/").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_t6_a_session_lives_and_ends_with_redis_emptied_and_down() {
    let mut redis = RedisServer::start().await.unwrap();
    let url = secrecy::ExposeSecret::expose_secret(&redis.url()).to_owned();
    let app = TestApp::api_with(|settings| {
        settings.set("REDIS_URL", &url);
    })
    .await;
    let ada = app.member("ada").await;
    ada.get("/api/referral-stats/").await.expect(200);
    let mut connection = redis.connection().await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    ada.get("/api/referral-stats/").await.expect(200);
    let thief = ada.stolen();
    ada.post_empty("/api/logout/").await.expect(204);
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    thief.get("/api/referral-stats/").await.expect(401);

    let ada = app.login("ada").await;
    redis.stop().await.unwrap();
    ada.get("/api/referral-stats/").await.expect(200);
    let thief = ada.stolen();
    ada.post_empty("/api/logout/").await.expect(204);
    thief.get("/api/referral-stats/").await.expect(401);
}
