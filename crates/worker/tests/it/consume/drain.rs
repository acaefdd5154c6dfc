//! Stopping: what runs may end, what waits goes elsewhere.

use std::time::{Duration, Instant};

use super::harness::{ConsumerHarness, Handler, SOON, eventually, ids};
use worker::consume::ConsumerLimits;

#[tokio::test(flavor = "multi_thread")]
async fn q8_a_shutdown_lets_running_jobs_end_and_starts_no_more() {
    let harness = ConsumerHarness::new().await;
    let mut consumer = harness.consume(ConsumerLimits::new(2), Handler::gated());
    let name = harness.name().await;
    harness.push(ids("job", 10)).await;
    eventually("two running jobs", SOON, async || consumer.handler.started() == 2).await;
    consumer.shutdown.send(true).unwrap();
    harness.push(ids("late", 10)).await;
    consumer.handler.open(20);
    (&mut consumer.task).await.unwrap();
    assert_eq!(
        (consumer.handler.started(), consumer.handler.finished(), consumer.handler.dropped()),
        (2, 2, 0)
    );
    assert_eq!(harness.depth().await, 18, "what had been fetched but not started waits again");
    assert!(!harness.names().await.contains(&name));

    let next = harness.consume(ConsumerLimits::new(2), Handler::quick());
    next.finished(18).await;
    assert_eq!(next.handler.started(), 18, "no job runs twice after a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn q8_a_job_that_does_not_end_is_dropped_and_runs_elsewhere() {
    let harness = ConsumerHarness::new().await;
    let limits = ConsumerLimits { concurrency: 2, drain: Duration::from_millis(300) };
    let mut consumer = harness.consume(limits, Handler::gated());
    harness.push(["stuck".to_owned(), "quick".to_owned()]).await;
    eventually("running jobs", SOON, async || {
        consumer.handler.started() == 2 && consumer.handler.finished() == 1
    })
    .await;
    let began = Instant::now();
    consumer.shutdown.send(true).unwrap();
    (&mut consumer.task).await.unwrap();
    assert!(began.elapsed() >= limits.drain && began.elapsed() < limits.drain + SOON);
    assert_eq!(consumer.handler.dropped(), 1, "nothing runs on after the drain");

    let next = harness.consume(ConsumerLimits::new(2), Handler::quick());
    // The other one ended well, but Redis may not have heard of it before the drain was over: then it comes again too.
    eventually("the dropped job runs", SOON, async || next.handler.ids().contains(&"stuck".to_owned())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q8_a_shutdown_while_redis_is_down_takes_no_longer_than_the_drain() {
    let mut harness = ConsumerHarness::new().await;
    let mut consumer = harness.consume(ConsumerLimits::new(2), Handler::gated());
    harness.push(ids("job", 1)).await;
    eventually("a running job", SOON, async || consumer.handler.started() == 1).await;
    harness.server.stop().await.unwrap();
    consumer.shutdown.send(true).unwrap();
    consumer.handler.open(1);
    tokio::time::timeout(SOON, &mut consumer.task).await.expect("an end").unwrap();
    assert_eq!(consumer.handler.finished(), 1, "the loss of Redis interrupts no job");
}

#[tokio::test(flavor = "multi_thread")]
async fn q8_a_shutdown_before_redis_was_ever_reached_ends_at_once() {
    let mut harness = ConsumerHarness::new().await;
    harness.server.stop().await.unwrap();
    let mut consumer = harness.consume(ConsumerLimits::new(2), Handler::quick());
    consumer.shutdown.send(true).unwrap();
    tokio::time::timeout(SOON, &mut consumer.task).await.expect("an end").unwrap();
}
