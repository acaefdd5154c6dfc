//! Entries that no job stands behind, and handlers that panic.

use deadpool_redis::redis::pipe;

use super::harness::{ConsumerHarness, Handler, KEYS, SOON, eventually, ids};
use worker::consume::ConsumerLimits;

/// Payloads of entries that the library itself could have written.
const PAYLOADS: [&[u8]; 6] = [b"{\"bad\":1}", b"not json", b"", b"\"", b"\xff\xfe\x00", b"\x00"];

#[tokio::test(flavor = "multi_thread")]
async fn q3_poison_payload_never_stops_a_worker() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(8), Handler::quick());
    let name = harness.name().await;
    harness.push(ids("good", 50)).await;
    let mut conn = harness.connection().await;
    for (number, payload) in PAYLOADS.into_iter().enumerate() {
        entry(&mut conn, &format!("01JD000000000000000000000{number}"), Some(payload), Some("Pending")).await;
    }
    harness.push(ids("late", 50)).await;
    consumer.finished(100 + PAYLOADS.len()).await;
    let seen = consumer.handler.ids();
    assert_eq!(seen.iter().filter(|id| id.starts_with("good") || id.starts_with("late")).count(), 100);
    assert!(
        seen.iter().any(|id| id == "{\"bad\":1}"),
        "the poison reaches the handler, which knows no such job"
    );
    assert_eq!(harness.names().await, [name], "the worker did not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn q3_entries_that_the_library_cannot_read_cost_a_restart_at_most() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(8), Handler::quick());
    harness.name().await;
    let mut conn = harness.connection().await;
    harness.push(ids("good", 50)).await;
    entry(&mut conn, "no id of ours", Some(b"x"), Some("Pending")).await;
    entry(&mut conn, "01JD0000000000000000000001", None, Some("Pending")).await;
    entry(&mut conn, "01JD0000000000000000000002", Some(b"x"), None).await;
    entry(&mut conn, "01JD0000000000000000000003", Some(b"x"), Some("Nonsense")).await;
    entry(&mut conn, "01jd0000000000000000000004", Some(b"x"), Some("Pending")).await;
    entry(&mut conn, "007", Some(b"x"), Some("Pending")).await;
    harness.push(ids("late", 50)).await;
    let good = || {
        consumer.handler.ids().into_iter().filter(|id| id != "x").collect::<std::collections::HashSet<_>>()
    };
    eventually("hundred good jobs", SOON, async || good().len() == 100).await;
    eventually("empty queue", SOON, async || harness.depth().await == 0).await;
    harness.push(ids("after", 1)).await;
    eventually("job after all that", SOON, async || good().contains("after-00000")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q4_panicking_handler_is_contained() {
    let harness = ConsumerHarness::new().await;
    let consumer = harness.consume(ConsumerLimits::new(4), Handler::quick());
    let name = harness.name().await;
    for part in ["first", "second"] {
        harness.push(ids("panic", 10)).await;
        harness.push(ids(part, 50)).await;
    }
    consumer.finished(100).await;
    eventually("all panics", SOON, async || consumer.handler.dropped() == 20).await;
    assert_eq!(harness.names().await, [name], "the worker did not end");
    eventually("acknowledgements", SOON, async || {
        harness.queues.clean(super::harness::QUEUE).await.unwrap();
        !harness.ask::<bool>(&["EXISTS", &format!("{KEYS}:data")]).await
    })
    .await;
}

/// Writes an entry of the queue by hand.
async fn entry(
    conn: &mut deadpool_redis::redis::aio::MultiplexedConnection,
    id: &str,
    payload: Option<&[u8]>,
    status: Option<&str>,
) {
    let mut write = pipe();
    write.atomic();
    if let Some(payload) = payload {
        write.hset(format!("{KEYS}:data"), id, payload).ignore();
    }
    if let Some(status) = status {
        let fields = [("attempts", "0"), ("max_attempts", "25"), ("status", status), ("idempotency_key", "")];
        write.hset_multiple(format!("{KEYS}:meta:{id}"), &fields).ignore();
    }
    write.rpush(format!("{KEYS}:active"), id).ignore();
    write.exec_async(conn).await.unwrap();
}
