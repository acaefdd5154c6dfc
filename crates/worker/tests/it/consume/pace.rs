//! How soon a job starts, and how many run in a second.

use std::time::{Duration, Instant};

use domain::queue::WINDOW;

use super::harness::{ConsumerHarness, Handler, KEYS, QUEUE, SOON, eventually, ids};
use worker::consume::ConsumerLimits;

#[tokio::test(flavor = "multi_thread")]
async fn q6_an_idle_consumer_picks_a_job_up_at_once() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(16), Handler::quick());
    harness.name().await;
    let mut waits = Vec::new();
    for (number, id) in ids("job", 40).enumerate() {
        // At different moments of the interval.
        tokio::time::sleep(Duration::from_millis(37)).await;
        waits.push(pick_up(&harness, &consumer, number, id).await);
    }
    report("idle", &mut waits);
    assert!(waits[waits.len() / 2] < Duration::from_millis(100), "the notification arrives");
    assert!(waits[waits.len() - 1] < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn q6_a_busy_consumer_with_a_free_slot_picks_a_job_up_at_once() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(4), Handler::gated());
    harness.name().await;
    harness.push(ids("held", 3)).await;
    eventually("held jobs", SOON, async || consumer.handler.started() == 3).await;
    let mut waits = Vec::new();
    for (number, id) in ids("quick", 200).enumerate() {
        waits.push(pick_up(&harness, &consumer, 3 + number, id).await);
    }
    report("busy", &mut waits);
    assert!(waits[waits.len() / 2] < Duration::from_millis(100));
    assert!(waits[waits.len() - 1] < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn q6_a_lost_bell_costs_half_a_second() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(4), Handler::quick());
    harness.name().await;
    harness.ask::<()>(&["HSET", &format!("{KEYS}:data"), "01JD0000000000000000000001", "silent"]).await;
    let meta = format!("{KEYS}:meta:01JD0000000000000000000001");
    harness.ask::<()>(&["HSET", &meta, "attempts", "0", "max_attempts", "25", "status", "Pending"]).await;
    harness.ask::<()>(&["RPUSH", &format!("{KEYS}:active"), "01JD0000000000000000000001"]).await;
    let waited = consumer.finished(1).await;
    assert!(waited < Duration::from_secs(2), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn q5_a_backlog_drains_through_the_window() {
    const JOBS: usize = 10_000;
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(16), Handler::quick());
    harness.name().await;
    let all: Vec<_> = ids("job", JOBS).collect();
    let began = Instant::now();
    let mut rest = &all[..];
    while !rest.is_empty() {
        let depth = harness.depth().await;
        assert!(depth <= WINDOW);
        let (now, later) = rest.split_at((WINDOW - depth).min(rest.len()));
        harness.queues.push(QUEUE, now).await.unwrap();
        rest = later;
    }
    consumer.finished(JOBS).await;
    println!("window: {JOBS} jobs, {:.0} per second", per_second(JOBS, began));
    let mut seen = consumer.handler.ids();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn q5_more_than_the_library_can_unpack_does_not_wedge_the_queue() {
    const JOBS: usize = 12_000;
    let harness = ConsumerHarness::new().await;
    harness.push(ids("job", JOBS)).await;
    assert_eq!(harness.depth().await, JOBS);
    let began = Instant::now();
    let consumer = harness.consume(ConsumerLimits::new(16), Handler::quick());
    consumer.finished(JOBS).await;
    println!("backlog: {JOBS} jobs, {:.0} per second", per_second(JOBS, began));
}

#[tokio::test(flavor = "multi_thread")]
async fn o3_an_id_pushed_twenty_times_is_delivered_and_wedges_nothing() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(4), Handler::quick());
    harness.push(std::iter::repeat_n("same".to_owned(), 20)).await;
    harness.push(ids("other", 20)).await;
    consumer.finished(40).await;
    assert_eq!(consumer.handler.ids().iter().filter(|id| *id == "same").count(), 20);
    eventually("empty queue", SOON, async || harness.depth().await == 0).await;
}

async fn pick_up(
    harness: &ConsumerHarness,
    consumer: &super::harness::Consumer,
    before: usize,
    id: String,
) -> Duration {
    let pushed = Instant::now();
    harness.push([id]).await;
    eventually("start of the job", SOON, async || consumer.handler.started() > before).await;
    consumer.handler.last_start().duration_since(pushed)
}

fn report(name: &str, waits: &mut [Duration]) {
    waits.sort_unstable();
    let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
    println!("pick-up {name}: p50 {:?}, p90 {:?}, p99 {:?}, max {:?}", at(50), at(90), at(99), at(100));
}

fn per_second(jobs: usize, began: Instant) -> f64 {
    f64::from(u32::try_from(jobs).unwrap()) / began.elapsed().as_secs_f64()
}
