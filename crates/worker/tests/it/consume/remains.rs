//! What finished jobs and dead consumers leave in Redis.

use std::time::Instant;

use domain::queue::WINDOW;

use super::harness::{ConsumerHarness, Handler, KEYS, QUEUE, SOON, eventually, ids};
use worker::consume::ConsumerLimits;

#[tokio::test(flavor = "multi_thread")]
async fn q12_redis_stays_as_small_as_it_was() {
    const JOBS: usize = 20_000;
    const MEGABYTE: u64 = 1 << 20;
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(16), Handler::quick());
    harness.name().await;
    // Scripts and buffers are there before anything is compared.
    harness.push(ids("first", 500)).await;
    consumer.finished(500).await;
    tidy(&harness).await;
    let (keys, memory) = (keys(&harness).await, memory(&harness).await);

    let began = Instant::now();
    for piece in ids("job", JOBS).collect::<Vec<_>>().chunks(WINDOW / 2) {
        eventually("room", SOON, async || harness.depth().await <= WINDOW / 2).await;
        harness.queues.push(QUEUE, piece).await.unwrap();
    }
    consumer.finished(500 + JOBS).await;
    let rate = f64::from(u32::try_from(JOBS).unwrap()) / began.elapsed().as_secs_f64();
    tidy(&harness).await;
    let (keys_after, memory_after) = (self::keys(&harness).await, self::memory(&harness).await);
    println!("{JOBS} jobs, {rate:.0} per second; memory {memory} then {memory_after}; keys {keys_after:?}");
    assert_eq!(keys_after, keys);
    assert!(memory_after < memory + MEGABYTE);
}

#[tokio::test(flavor = "multi_thread")]
async fn q12_a_consumer_cleans_up_after_itself() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(16), Handler::quick());
    harness.push(ids("job", 1_000)).await;
    consumer.finished(1_000).await;
    eventually("clean Redis", SOON, async || {
        !harness.ask::<bool>(&["EXISTS", &format!("{KEYS}:data")]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q12_cleaning_never_touches_what_waits_or_runs() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(2), Handler::gated());
    harness.push(ids("quick", 5)).await;
    consumer.finished(5).await;
    harness.push(ids("job", 10)).await;
    eventually("two running jobs", SOON, async || consumer.handler.started() == 7).await;
    eventually("acknowledgements", SOON, async || {
        harness.queues.clean(QUEUE).await.unwrap();
        harness.ask::<usize>(&["HLEN", &format!("{KEYS}:data")]).await == 10
    })
    .await;
    assert_eq!(harness.queues.clean(QUEUE).await.unwrap(), 0);
    consumer.handler.open(10);
    consumer.finished(15).await;
    assert_eq!(consumer.handler.started(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn q7_a_dead_consumer_is_forgotten_and_its_jobs_wait_again() {
    let harness = ConsumerHarness::new().await;
    let dead = harness.consume(ConsumerLimits::new(2), Handler::gated());
    let name = harness.name().await;
    harness.push(ids("job", 10)).await;
    eventually("two running jobs", SOON, async || dead.handler.started() == 2).await;
    dead.task.abort();
    eventually("an end of the handlers", SOON, async || dead.handler.dropped() == 2).await;
    harness.queues.clean(QUEUE).await.unwrap();
    assert_eq!(harness.names().await, [name.as_str()], "a consumer is not dead before its time");

    harness.ask::<()>(&["ZADD", &format!("{KEYS}:workers"), "XX", "1", &name]).await;
    harness.queues.clean(QUEUE).await.unwrap();
    assert!(harness.names().await.is_empty());
    assert_eq!(harness.depth().await, 10);
    let next = harness.consume(ConsumerLimits::new(2), Handler::quick());
    next.finished(10).await;
    assert!(keys(&harness).await.iter().all(|key| !key.contains(&name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn q12_a_redis_that_finished_jobs_have_filled_is_freed() {
    let harness = ConsumerHarness::new().await;
    let mut first = harness.consume(ConsumerLimits::new(16), Handler::quick());
    for part in ["one", "two"] {
        harness.push(ids(part, 2_000)).await;
    }
    first.finished(4_000).await;
    first.shutdown.send(true).unwrap();
    (&mut first.task).await.unwrap();
    let full = (memory(&harness).await - 100_000).to_string();
    harness.ask::<()>(&["CONFIG", "SET", "maxmemory", &full]).await;
    assert!(harness.queues.push(QUEUE, &["refused".to_owned()]).await.is_err());

    let next = harness.consume(ConsumerLimits::new(16), Handler::quick());
    let job = ["job".to_owned()];
    eventually("room in Redis", SOON, async || harness.queues.push(QUEUE, &job).await.is_ok()).await;
    next.finished(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q7_a_full_consumer_is_not_taken_for_dead() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(2), Handler::gated());
    let name = harness.name().await;
    harness.push(ids("one", 1)).await;
    eventually("a running job", SOON, async || consumer.handler.started() == 1).await;
    // Of these two, fetched together, one has to wait in the worker: the library makes no heartbeat until it starts.
    harness.push(ids("two", 2)).await;
    eventually("two running jobs", SOON, async || consumer.handler.started() == 2).await;
    let workers = format!("{KEYS}:workers");
    harness.ask::<()>(&["ZADD", &workers, "XX", "1", &name]).await;
    eventually("a renewed registration", SOON, async || {
        harness.ask::<f64>(&["ZSCORE", &workers, &name]).await > 1.0
    })
    .await;
    assert!(consumer.health.alive(Instant::now()));
    consumer.handler.open(3);
    consumer.finished(3).await;
    assert_eq!(harness.names().await, [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn q12_metadata_of_consumers_does_not_stay_for_ever() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(2), Handler::quick());
    let name = harness.name().await;
    let ttl: i64 = harness.ask(&["TTL", &format!("{KEYS}:workers:metadata:{name}")]).await;
    assert!(ttl > 0, "{ttl}");
    drop(consumer);
}

/// Waits for the last acknowledgements, and cleans.
async fn tidy(harness: &ConsumerHarness) {
    eventually("clean Redis", SOON, async || {
        harness.queues.clean(QUEUE).await.unwrap();
        !harness.ask::<bool>(&["EXISTS", &format!("{KEYS}:data")]).await
    })
    .await;
}

async fn keys(harness: &ConsumerHarness) -> Vec<String> {
    let mut keys: Vec<String> = harness.ask(&["KEYS", "*"]).await;
    keys.sort_unstable();
    keys
}

async fn memory(harness: &ConsumerHarness) -> u64 {
    harness.ask::<()>(&["MEMORY", "PURGE"]).await;
    let info: String = harness.ask(&["INFO", "memory"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.trim().parse().unwrap()
}
