//! Redis forgets everything, stops, starts, freezes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domain::queue::Queues;
use tokio::net::UnixListener;
use tokio::sync::watch;
use worker::consume::{ConsumerHealth, ConsumerLimits, supervise};

use super::harness::{Consumer, ConsumerHarness, Handler, QUEUE, SOON, eventually, ids};

/// The longest a queue may rest after Redis is back.
const BACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn q9_consumes_again_after_redis_forgot_everything() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(4), Handler::quick());
    for round in 0..3 {
        let name = harness.name().await;
        harness.ask::<()>(&["FLUSHALL"]).await;
        let began = Instant::now();
        harness.push(ids("job", 10)).await;
        consumer.finished(10 * (round + 1)).await;
        println!("FLUSHALL {round}: consuming again after {:?}", began.elapsed());
        assert!(began.elapsed() < BACK);
        assert_ne!(harness.name().await, name, "a name is used once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn q9_consumes_again_after_redis_was_gone_and_is_dead_meanwhile() {
    let mut harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(4), Handler::quick());
    eventually("a live consumer", SOON, async || consumer.health.alive(Instant::now())).await;
    harness.server.stop().await.unwrap();
    assert!(harness.queues.ping().await.is_err());
    assert!(harness.queues.push(QUEUE, &["lost".to_owned()]).await.is_err());
    falls_silent(&consumer).await;

    harness.server.restart().await.unwrap();
    let began = Instant::now();
    harness.push(ids("job", 10)).await;
    consumer.finished(10).await;
    println!("restart: consuming again after {:?}", began.elapsed());
    assert!(began.elapsed() < BACK);
    assert!(consumer.health.alive(Instant::now()));
    assert!(harness.queues.ping().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn q9_a_frozen_redis_does_not_end_consumption() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(4), Handler::gated());
    let name = harness.name().await;
    harness.push(ids("job", 3)).await;
    eventually("running jobs", SOON, async || consumer.handler.started() == 3).await;
    harness.server.pause().await.unwrap();
    falls_silent(&consumer).await;
    // Longer than an answer may take, so the worker ends and its next lives find nothing but silence.
    tokio::time::sleep(Duration::from_secs(6)).await;
    consumer.handler.open(100);
    harness.server.resume().await.unwrap();
    let began = Instant::now();
    harness.push(ids("late", 10)).await;
    let seen = || {
        let mut seen = consumer.handler.ids();
        seen.sort_unstable();
        seen.dedup();
        seen.len()
    };
    eventually("every job", BACK, async || seen() == 13).await;
    println!("frozen: consuming again after {:?}", began.elapsed());
    eventually("another registration", SOON, async || {
        harness.names().await.iter().all(|other| *other != name)
    })
    .await;
    eventually("empty queue", SOON, async || harness.depth().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q9_running_jobs_survive_the_loss_of_redis() {
    let mut harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(4), Handler::gated());
    harness.push(ids("job", 6)).await;
    eventually("running jobs", SOON, async || consumer.handler.started() == 4).await;
    harness.server.stop().await.unwrap();
    harness.server.restart().await.unwrap();
    let name = harness.name().await;
    harness.push(ids("more", 6)).await;
    // The slots are taken until the first jobs end, whichever life of the worker they belong to.
    consumer.handler.open(1);
    eventually("one more job", SOON, async || consumer.handler.started() > 4).await;
    assert_eq!((consumer.handler.started(), consumer.handler.finished()), (5, 1));
    consumer.handler.open(100);
    consumer.finished(10).await;
    assert_eq!(consumer.handler.dropped(), 0);
    assert_eq!(harness.names().await, [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_a_connection_that_died_unused_is_made_anew() {
    let harness = ConsumerHarness::new().await;
    for _ in 0..3 {
        harness.push(ids("job", 1)).await;
        harness.ask::<usize>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        harness.queues.ping().await.unwrap();
    }
    assert_eq!(harness.depth().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn q9_a_dead_redis_is_not_asked_in_a_busy_loop() {
    const ATTEMPTS: usize = 5;
    let directory = std::env::temp_dir().join(format!("door-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir(&directory).unwrap();
    let listener = UnixListener::bind(directory.join("s")).unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let counted = Arc::clone(&attempts);
    let door = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let queues =
        Queues::new(&format!("redis+unix://{}", directory.join("s").display()).into(), "test").unwrap();
    let (shutdown, stop) = watch::channel(false);
    let handler = |_| -> futures_util::future::BoxFuture<'static, ()> { Box::pin(async {}) };
    let task = tokio::spawn(supervise(
        queues,
        QUEUE,
        ConsumerLimits::new(1),
        handler,
        ConsumerHealth::new([QUEUE]),
        stop,
    ));
    eventually("attempts", SOON, async || attempts.load(Ordering::SeqCst) >= ATTEMPTS).await;
    // 100, 200, 400 and 800 ms, each halved at the most.
    assert!(began.elapsed() >= Duration::from_millis(750), "{:?}", began.elapsed());
    shutdown.send(true).unwrap();
    task.await.unwrap();
    door.abort();
    std::fs::remove_dir_all(directory).unwrap();
}

/// Waits until the consumer has given no sign of life for longer than it ever rests.
async fn falls_silent(consumer: &Consumer) {
    eventually("silence", SOON, async || consumer.age().is_some_and(|age| age > Duration::from_secs(2)))
        .await;
    let soon = Instant::now() + ConsumerHealth::MAX_SILENCE.saturating_sub(Duration::from_secs(1));
    assert!(!consumer.health.alive(soon), "without a sign of life the consumer is dead before long");
}
