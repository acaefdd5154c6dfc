//! What is answered from the cache, over several replicas: the same as from the database, soon, and only to its owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use deadpool_redis::redis::{self, FromRedisValue};
use futures_util::future::join_all;
use secrecy::ExposeSecret;
use serde_json::Value;
use testkit::app::{TestApp, eventually};
use testkit::client::Client;
use testkit::redis::RedisServer;

use crate::crowd::Crowd;

const STATS: &str = "/api/referral-stats/";

/// An api on a Redis of its own.
async fn app_on(redis: &RedisServer) -> TestApp {
    TestApp::api_with(|settings| {
        settings
            .set("REDIS_URL", redis.url().expose_secret())
            .set("ARGON2_MEMORY_KIB", "64")
            .set("ARGON2_ITERATIONS", "1");
    })
    .await
}

/// Asks Redis one thing, as in `redis-cli`.
async fn ask<T: FromRedisValue>(redis: &RedisServer, words: &[&[u8]]) -> T {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command.query_async(&mut redis.connection().await.unwrap()).await.unwrap()
}

/// The keys of the cache.
async fn cache_keys(redis: &RedisServer) -> Vec<String> {
    ask(redis, &[b"KEYS", b"*:cache:*"]).await
}

/// Reads until there is a copy in Redis of what was read.
async fn warm(redis: &RedisServer, client: &Client) -> Value {
    eventually("there is a copy", async || {
        let stats = client.get(STATS).await.expect(200).json();
        let id = client.get("/api/me/").await.json()["id"].as_str().unwrap().replace('-', "");
        let keys: Vec<String> = ask(redis, &[b"KEYS", format!("*:cache:*:{id}").as_bytes()]).await;
        if keys.is_empty() { Err("none".to_owned()) } else { Ok(stats) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_redis_emptied_again_and_again_changes_no_answer() {
    let redis = RedisServer::start().await.unwrap();
    let app = app_on(&redis).await;
    let (second, _handle) = app.second_api().await;
    let second = format!("http://{second}");
    let ada = app.member("ada").await;
    Crowd::at(&app).bring("friend", 3, &app.code_of(&ada).await).await;
    app.clock.advance(TimeDelta::seconds(2));
    let expected = ada.get(STATS).await.expect(200).json();
    assert_eq!(expected["pending"], 3);
    let revoked = app.login("ada").await;
    let thief = revoked.stolen();
    revoked.get("/api/me/").await.expect(200);
    revoked.post_empty("/api/logout/").await.expect(204);

    let over = AtomicBool::new(false);
    let empty = async {
        for _ in 0..50 {
            redis.empty().await.unwrap();
            thief.get(STATS).await.expect(401);
            thief.at(&second).get(STATS).await.expect(401);
        }
        over.store(true, Ordering::Relaxed);
    };
    let read = async |client: Client| {
        while !over.load(Ordering::Relaxed) {
            assert_eq!(client.get(STATS).await.expect(200).json(), expected);
        }
    };
    tokio::join!(empty, read(ada.clone()), read(ada.at(&second)));
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_change_is_seen_within_two_seconds_and_never_unseen() {
    let mut app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await;
    let (second, _handle) = app.second_api().await;
    app.start_worker();
    let ada = app.member("ada").await;
    let crowd = Crowd::at(&app);
    let friends = crowd.bring("friend", 12, &app.code_of(&ada).await).await;

    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = [app.base(), format!("http://{second}")]
        .into_iter()
        .map(|base| {
            let (client, over) = (ada.at(&base), Arc::clone(&over));
            tokio::spawn(async move {
                // When each count was first asked for in vain, and how far it had come.
                let mut seen: Vec<(Instant, i64)> = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let successful =
                        client.get(STATS).await.expect(200).json()["successful"].as_i64().unwrap();
                    let last = seen.last().map_or(0, |(_, successful)| *successful);
                    assert!(successful >= last, "back from {last} to {successful}");
                    seen.push((asked, successful));
                }
                seen
            })
        })
        .collect();
    let mut changes = Vec::new();
    for (index, friend) in friends.iter().enumerate() {
        crowd.confirm(&[*friend]).await;
        let wanted = i64::try_from(index + 1).unwrap();
        eventually("the database has it", async || {
            let successful: i64 =
                app.database.value("SELECT count(*) FROM referrals WHERE status = 'successful'").await;
            if successful >= wanted { Ok(()) } else { Err(format!("{successful}")) }
        })
        .await;
        changes.push((Instant::now(), wanted));
    }
    eventually("both replicas have it all", async || {
        for base in [app.base(), format!("http://{second}")] {
            let stats = ada.at(&base).get(STATS).await.expect(200).json();
            if stats["successful"] != 12 {
                return Err(stats.to_string());
            }
        }
        Ok(())
    })
    .await;
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        let seen = reader.await.unwrap();
        for (changed, successful) in &changes {
            let stale = seen
                .iter()
                .find(|(asked, seen)| *asked > *changed + Duration::from_secs(2) && seen < successful);
            assert!(
                stale.is_none(),
                "asked {:?} after the change",
                stale.map(|(asked, _)| *asked - *changed)
            );
        }
    }
}

/// The word of a change is lost: its maker died before it could say so.
#[tokio::test(flavor = "multi_thread")]
async fn c2_a_copy_is_believed_for_two_seconds_at_most() {
    let redis = RedisServer::start().await.unwrap();
    let app = app_on(&redis).await;
    let (second, _handle) = app.second_api().await;
    let ada = app.member("ada").await;
    let there = ada.at(&format!("http://{second}"));
    assert_eq!(warm(&redis, &ada).await["clicks"], 0);
    app.database
        .batch_execute("INSERT INTO referral_days SELECT id, current_date, 7 FROM users")
        .await
        .unwrap();
    assert_eq!(there.get(STATS).await.expect(200).json()["clicks"], 0, "from the other replica's copy");
    app.clock.advance(TimeDelta::seconds(2));
    assert_eq!(there.get(STATS).await.expect(200).json()["clicks"], 7);
    assert_eq!(ada.get(STATS).await.expect(200).json()["clicks"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_two_hundred_who_miss_at_once_cost_one_load_a_replica() {
    let redis = RedisServer::start().await.unwrap();
    let app = app_on(&redis).await;
    let (second, _handle) = app.second_api().await;
    let ada = app.member("ada").await;
    let replicas = [ada.clone(), ada.at(&format!("http://{second}"))];
    for replica in &replicas {
        replica.get("/api/me/").await.expect(200);
    }
    // A load reads this table, and waits for it.
    let gate = app.database.connect().await;
    gate.batch_execute("BEGIN; LOCK TABLE reward_rules IN ACCESS EXCLUSIVE MODE").await.unwrap();
    // Reads travel together, so it is the keys that are counted.
    let misses = async || -> u64 {
        let stats: String = ask(&redis, &[b"INFO", b"stats"]).await;
        stats.lines().find_map(|line| line.strip_prefix("keyspace_misses:")).unwrap().parse().unwrap()
    };
    let before = misses().await;
    let asking = join_all((0..200).map(|number| {
        let client = replicas[number % 2].clone();
        async move { client.get(STATS).await.expect(200).json() }
    }));
    let opening = async {
        eventually("all have missed", async || {
            let missed = misses().await - before;
            if missed >= 200 { Ok(()) } else { Err(format!("{missed}")) }
        })
        .await;
        let loads = eventually("each replica loads", async || {
            let loads: i64 = app
                .database
                .value(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'reward_rules'::regclass
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
                )
                .await;
            if loads >= 2 { Ok(loads) } else { Err(format!("{loads}")) }
        })
        .await;
        gate.batch_execute("COMMIT").await.unwrap();
        loads
    };
    let (answers, loads) = tokio::join!(asking, opening);
    assert_eq!(loads, 2, "one for a hundred requests at each of two replicas");
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn c5_whatever_lies_under_the_keys_the_answers_are_right() {
    let redis = RedisServer::start().await.unwrap();
    let app = app_on(&redis).await;
    let ada = app.member("ada").await;
    Crowd::at(&app).bring("friend", 2, &app.code_of(&ada).await).await;
    app.clock.advance(TimeDelta::seconds(2));
    let expected = warm(&redis, &ada).await;
    assert_eq!(expected["pending"], 2);
    let keys = cache_keys(&redis).await;
    assert!(keys.len() >= 2, "a session and its figures: {keys:?}");
    let huge = vec![b'9'; 200_000];
    let future =
        [b"9".repeat(20), b"9".repeat(20), b"0123456789abcdef".to_vec(), b"{\"pending\":9}".to_vec()]
            .concat();
    for garbage in [
        &b"garbage"[..],
        b"",
        b"\x00\xff\xfe",
        b"{\"pending\":9}",
        b"null",
        b"00000000000000000000",
        b"00000000000000000009{\"pending\":9}",
        &huge,
        &future,
    ] {
        for key in &keys {
            ask::<()>(&redis, &[b"SET", key.as_bytes(), garbage]).await;
        }
        assert_eq!(
            ada.get(STATS).await.expect(200).json(),
            expected,
            "{:?}",
            String::from_utf8_lossy(&garbage[..garbage.len().min(60)])
        );
        ada.get("/api/me/").await.expect(200);
    }
    for kind in ["RPUSH", "SADD"] {
        for key in &keys {
            // At once: a fill may still be on its way.
            let replace = b"redis.call('DEL', KEYS[1]) redis.call(ARGV[1], KEYS[1], 'x')";
            ask::<()>(&redis, &[b"EVAL", replace, b"1", key.as_bytes(), kind.as_bytes()]).await;
        }
        assert_eq!(ada.get(STATS).await.expect(200).json(), expected, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c6_nobody_is_answered_with_somebody_elses_copy() {
    let redis = RedisServer::start().await.unwrap();
    let app = app_on(&redis).await;
    let (second, _handle) = app.second_api().await;
    let second = format!("http://{second}");
    let mut people = Vec::new();
    for name in ["ada", "bob", "eve"] {
        let client = app.member(name).await;
        let code = app.code_of(&client).await;
        people.push((client, code));
    }
    let asking = (0..120).map(|number| {
        let (client, code) = &people[number % 3];
        let client = if number % 2 == 0 { client.clone() } else { client.at(&second) };
        async move {
            let reply = client.get(STATS).await.expect(200);
            assert_eq!(reply.json()["referral_code"], code.as_str());
            assert_eq!(reply.header("cache-control"), Some("no-store"));
        }
    });
    join_all(asking).await;

    // Copies that were put under another's key.
    for (client, _) in &people {
        warm(&redis, client).await;
    }
    let mut keys = cache_keys(&redis).await;
    keys.sort();
    let mut values: Vec<Vec<u8>> = Vec::new();
    for key in &keys {
        values.push(ask(&redis, &[b"GET", key.as_bytes()]).await);
    }
    values.rotate_left(1);
    for (key, value) in keys.iter().zip(&values) {
        ask::<()>(&redis, &[b"SET", key.as_bytes(), value, b"PX", b"5000"]).await;
    }
    for (client, code) in &people {
        for client in [client.clone(), client.at(&second)] {
            assert_eq!(client.get(STATS).await.expect(200).json()["referral_code"], code.as_str());
            assert_eq!(client.get("/api/me/").await.expect(200).json()["referral_code"], code.as_str());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c7_every_key_of_the_cache_ends_by_itself() {
    let redis = RedisServer::start().await.unwrap();
    let mut app = app_on(&redis).await;
    app.start_worker();
    let ada = app.member("ada").await;
    let crowd = Crowd::at(&app);
    let friends = crowd.bring("friend", 3, &app.code_of(&ada).await).await;
    crowd.confirm(&friends).await;
    app.stats_when(&ada, |stats| stats["successful"] == 3).await;
    app.login("ada").await.post_empty("/api/logout/").await.expect(204);
    warm(&redis, &ada).await;
    let keys = cache_keys(&redis).await;
    assert!(keys.len() >= 3, "copies, and marks of what ended: {keys:?}");
    for key in &keys {
        let ttl: i64 = ask(&redis, &[b"PTTL", key.as_bytes()]).await;
        // -2: it has just ended.
        assert!(ttl > 0 || ttl == -2, "{key} lives for ever");
        assert!(ttl <= 60_000, "{key} lives for {ttl} ms");
        assert!(key.contains(":cache:v1:"), "{key} carries the version of its layout");
    }
}
