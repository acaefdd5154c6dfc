//! Relays, Redis and workers together: nothing that was promised is lost, whatever becomes of Redis.

use domain::outbox::Job;
use domain::queue::QueueName;
use secrecy::ExposeSecret;
use serde_json::json;
use testkit::app::{TestApp, eventually};
use testkit::redis::RedisServer;
use uuid::Uuid;

use super::desk::Desk;

/// More than the window, less than what wedged the library: many due jobs of a queue, each of nothing.
const BACKLOG: &str = "INSERT INTO outbox (id, queue, kind, version, payload, due_at)
     SELECT gen_random_uuid(), 'rewards', 'referral.settle', 1,
            jsonb_build_object('referral_id', gen_random_uuid()), now()
     FROM generate_series(1, {count})";

fn backlog(count: usize) -> String {
    BACKLOG.replace("{count}", &count.to_string())
}

/// A desk with a Redis of its own, which may be stopped and emptied.
async fn desk_with_redis() -> (Desk, RedisServer) {
    let redis = RedisServer::start().await.unwrap();
    let desk = Desk::with(|settings| {
        settings.set("REDIS_URL", redis.url().expose_secret());
    })
    .await;
    (desk, redis)
}

/// Asks Redis one thing, as in `redis-cli`.
async fn ask<T: deadpool_redis::redis::FromRedisValue>(redis: &RedisServer, words: &[&str]) -> T {
    let mut command = deadpool_redis::redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query_async(&mut redis.connection().await.unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_with_redis_down_requests_succeed_and_their_mails_arrive_after() {
    let mut redis = RedisServer::start().await.unwrap();
    let mut app = TestApp::api_with(|settings| {
        settings.set("REDIS_URL", redis.url().expose_secret());
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await;
    app.start_worker();
    app.register("before", None).await.expect(201);
    app.mail.wait_for_to("before@example.org").await.unwrap();

    redis.stop().await.unwrap();
    for number in 0..10 {
        app.register(&format!("friend{number}"), None).await.expect(201);
    }
    for number in 0..5 {
        let email = format!("friend{number}@example.org");
        app.client().post("/api/forgot-password/", json!({ "email": email })).await.expect(202);
    }
    let ada = app.login("before").await;
    ada.get("/api/referral-stats/").await.expect(200);
    redis.restart().await.unwrap();
    app.jobs_done().await;
    let mails = app.mail.mails();
    assert_eq!(mails.len(), 1 + 10 + 5, "each mail once");
    for number in 0..10 {
        let to = format!("friend{number}@example.org");
        let wanted = if number < 5 { 2 } else { 1 };
        assert_eq!(mails.iter().filter(|mail| mail.to == [to.as_str()]).count(), wanted, "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn o3_relays_beside_each_other_lose_nothing_and_repeat_no_effect() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 20, &ada).await;
    for friend in &friends {
        desk.confirm(friend.id).await;
    }
    // A hundred jobs for each of twenty referrals.
    desk.sql(
        "DELETE FROM outbox;
         INSERT INTO outbox (id, queue, kind, version, payload, due_at)
         SELECT gen_random_uuid(), 'rewards', 'referral.settle', 1, jsonb_build_object('referral_id', r.id), now()
         FROM referrals r CROSS JOIN generate_series(1, 100)",
    )
    .await;
    let _relays = [desk.relay(), desk.relay()];
    let _worker = desk.work();
    desk.all_done().await;
    assert_eq!(desk.count("outbox WHERE queue = 'rewards' AND done_at IS NOT NULL").await, 2_000);
    assert_eq!(desk.count("referrals WHERE status = 'successful'").await, 20);
    assert_eq!(desk.balances(ada.id).await["credits"], "200.00");
    desk.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o3_no_row_is_skipped_or_pushed_by_two_relays() {
    let (desk, _redis) = desk_with_redis().await;
    desk.sql(&backlog(1_500)).await;
    let _relays = [desk.relay(), desk.relay(), desk.relay()];
    let depth = async || desk.queues().depth(QueueName::Rewards).await.unwrap();
    eventually("all are in Redis", async || {
        let depth = depth().await;
        if depth >= 1_500 { Ok(()) } else { Err(format!("{depth}")) }
    })
    .await;
    let taken_twice = desk.count("outbox WHERE generation > 1").await;
    assert_eq!(depth().await, 1_500 + usize::try_from(taken_twice).unwrap());
    assert_eq!(desk.count("outbox WHERE generation = 0").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn o4_what_an_emptied_redis_forgot_is_pushed_again() {
    let (desk, redis) = desk_with_redis().await;
    desk.sql(&backlog(200)).await;
    {
        let _relay = desk.relay();
        eventually("all are in Redis", async || {
            match desk.queues().depth(QueueName::Rewards).await.unwrap() {
                200 => Ok(()),
                depth => Err(format!("{depth}")),
            }
        })
        .await;
    }
    redis.empty().await.unwrap();
    assert_eq!(desk.queues().depth(QueueName::Rewards).await.unwrap(), 0);
    assert_eq!(
        desk.count("outbox WHERE due_at <= now() + interval '60 seconds'").await,
        200,
        "due again soon"
    );
    // That time passes.
    desk.let_leases_end().await;
    desk.sql("UPDATE outbox SET due_at = now()").await;
    let _worker = desk.work();
    desk.all_done().await;
    assert_eq!(
        desk.count("outbox WHERE queue = 'rewards' AND done_at IS NOT NULL AND attempts = 1").await,
        200
    );
}

/// The consumers themselves lose their registration and what they had fetched.
#[tokio::test(flavor = "multi_thread")]
async fn o4_redis_emptied_under_running_workers_costs_no_job() {
    let (desk, redis) = desk_with_redis().await;
    let _workers = [desk.work(), desk.work()];
    desk.sql(&backlog(400)).await;
    eventually("half are done", async || {
        let done = desk.count("outbox WHERE done_at IS NOT NULL AND queue = 'rewards'").await;
        if done >= 100 { Ok(()) } else { Err(format!("{done}")) }
    })
    .await;
    redis.empty().await.unwrap();
    desk.sql("UPDATE outbox SET due_at = now() WHERE done_at IS NULL").await;
    desk.all_done().await;
    assert_eq!(desk.count("outbox WHERE dead_at IS NOT NULL").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn o5_without_a_worker_redis_holds_a_bounded_part_of_the_backlog() {
    let (desk, redis) = desk_with_redis().await;
    desk.sql(&backlog(10_000)).await;
    let relays = [desk.relay(), desk.relay(), desk.relay()];
    let depth = async || {
        let prefix = &desk.config.common.redis_prefix;
        let scheduled: usize = ask(&redis, &["ZCARD", &format!("{prefix}:v1:rewards:scheduled")]).await;
        let active: usize = ask(&redis, &["LLEN", &format!("{prefix}:v1:rewards:active")]).await;
        scheduled + active
    };
    eventually("the window is full", async || match depth().await {
        full if full >= domain::queue::WINDOW => Ok(()),
        depth => Err(format!("{depth}")),
    })
    .await;
    // Each relay looks again several times, woken as if more were committed.
    let looks = async || -> usize {
        let stats: String = ask(&redis, &["INFO", "commandstats"]).await;
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_zcard:calls="));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
    };
    let before = looks().await;
    eventually("every relay has looked again", async || {
        for relay in &relays {
            relay.wake.wake();
        }
        // This test asks with ZCARD too, once more than here.
        let more = looks().await - before;
        if more >= 50 { Ok(()) } else { Err(format!("{more}")) }
    })
    .await;
    let held = depth().await;
    assert!(held <= 5_000, "{held} entries");
    let pushed = desk.count("outbox WHERE generation > 0").await;
    assert_eq!(usize::try_from(pushed).unwrap(), held, "the rest waits in the database");
}

#[tokio::test(flavor = "multi_thread")]
async fn q5_a_backlog_beyond_the_window_drains() {
    let desk = Desk::new().await;
    desk.sql(&backlog(3_000)).await;
    let _worker = desk.work();
    desk.all_done().await;
    assert_eq!(desk.count("outbox WHERE queue = 'rewards' AND done_at IS NOT NULL").await, 3_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn q3_entries_that_are_no_jobs_stop_nothing() {
    let desk = Desk::new().await;
    let worker = desk.work();
    let queues = desk.queues();
    let mut poison = vec![
        String::new(),
        "{\"bad\":1}".to_owned(),
        "not json".to_owned(),
        "\u{0}\u{1}".to_owned(),
        "0".repeat(100_000),
        Uuid::nil().to_string(),
        format!("{}x", Uuid::now_v7()),
    ];
    poison.extend((0..20).map(|_| Uuid::now_v7().to_string()));
    let mut good = Vec::new();
    for number in 0..100 {
        good.push(desk.promise_settlement(Uuid::now_v7()).await);
        for queue in QueueName::ALL {
            queues.push(queue, &[poison[number % poison.len()].clone()]).await.unwrap();
        }
        queues.push(QueueName::Rewards, &[good[number].to_string()]).await.unwrap();
    }
    desk.all_done().await;
    assert_eq!(desk.count("outbox WHERE queue = 'rewards' AND attempts = 1").await, 100);
    assert_eq!(desk.count("outbox WHERE dead_at IS NOT NULL").await, 0);
    assert!(!worker.has_ended());
    eventually("nothing is left in Redis", async || {
        let mut left = 0;
        for queue in QueueName::ALL {
            left += queues.depth(queue).await.unwrap();
        }
        if left == 0 { Ok(()) } else { Err(format!("{left} entries")) }
    })
    .await;
    worker.stop().await;
}

/// A finished job, a dead one and one that is held, pushed once more, are left as they are.
#[tokio::test(flavor = "multi_thread")]
async fn q3_ids_that_come_late_or_again_do_nothing() {
    let desk = Desk::new().await;
    let done = desk.promise_settlement(Uuid::now_v7()).await;
    desk.run(done).await;
    let dead = desk.promise(&Job::Purge {}).await;
    desk.sql(&format!("UPDATE outbox SET dead_at = now(), attempts = 5 WHERE id = '{dead}'")).await;
    let held = desk.promise_settlement(Uuid::now_v7()).await;
    desk.sql(&format!(
        "UPDATE outbox SET due_at = now() + interval '1 hour', leased_until = now() + interval '1 hour',
                attempts = 2 WHERE id = '{held}'"
    ))
    .await;
    let good = desk.promise_settlement(Uuid::now_v7()).await;
    let before = [desk.job(done).await, desk.job(dead).await];
    let ids: Vec<_> = [done, dead, held, good].iter().map(Uuid::to_string).collect();
    for _ in 0..5 {
        desk.queues().push(QueueName::Rewards, &ids).await.unwrap();
    }
    let worker = desk.work();
    eventually("the good one is done", async || match desk.job(good).await {
        row if row.done => Ok(()),
        row => Err(format!("{row:?}")),
    })
    .await;
    eventually("Redis is empty", async || match desk.queues().depth(QueueName::Rewards).await.unwrap() {
        0 => Ok(()),
        depth => Err(format!("{depth}")),
    })
    .await;
    worker.stop().await;
    assert_eq!([desk.job(done).await, desk.job(dead).await], before);
    let held = desk.job(held).await;
    assert!(held.attempts == 2 && !held.done && !held.dead, "{held:?}");
}
