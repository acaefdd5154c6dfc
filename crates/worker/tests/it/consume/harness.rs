//! A Redis, a queue and consumers of it, and what reached their handlers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{FromRedisValue, cmd};
use domain::queue::{QueueName, Queues};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use testkit::redis::RedisServer;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use worker::consume::{ConsumerHealth, ConsumerLimits, supervise};

/// The queue of these tests.
pub(super) const QUEUE: QueueName = QueueName::Rewards;
/// What its keys begin with.
pub(super) const KEYS: &str = "test:v1:rewards";
/// Far longer than anything here takes on a slow machine.
pub(super) const SOON: Duration = Duration::from_secs(20);

pub(super) struct ConsumerHarness {
    pub(super) server: RedisServer,
    pub(super) queues: Queues,
}

impl ConsumerHarness {
    pub(super) async fn new() -> Self {
        let server = RedisServer::start().await.unwrap();
        let queues = Queues::new(&server.url(), "test").unwrap();
        Self { server, queues }
    }

    pub(super) async fn push(&self, ids: impl IntoIterator<Item = String>) {
        let ids: Vec<_> = ids.into_iter().collect();
        self.queues.push(QUEUE, &ids).await.unwrap();
    }

    pub(super) async fn depth(&self) -> usize {
        self.queues.depth(QUEUE).await.unwrap()
    }

    pub(super) async fn connection(&self) -> MultiplexedConnection {
        self.server.connection().await.unwrap()
    }

    /// Asks Redis one thing, as in `redis-cli`.
    pub(super) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut self.connection().await).await.unwrap()
    }

    /// The names of the registered consumers.
    pub(super) async fn names(&self) -> Vec<String> {
        self.ask(&["ZRANGE", &format!("{KEYS}:workers"), "0", "-1"]).await
    }

    /// The only registered consumer, once there is one.
    pub(super) async fn name(&self) -> String {
        eventually("a registration", SOON, async || self.names().await.len() == 1).await;
        self.names().await.remove(0)
    }

    pub(super) fn consume(&self, limits: ConsumerLimits, handler: impl Into<Arc<Handler>>) -> Consumer {
        let handler = handler.into();
        let (shutdown, stop) = watch::channel(false);
        let health = ConsumerHealth::new([QUEUE]);
        let run = {
            let handler = Arc::clone(&handler);
            move |id: String| -> BoxFuture<'static, ()> { Arc::clone(&handler).handle(id).boxed() }
        };
        let task = tokio::spawn(supervise(self.queues.clone(), QUEUE, limits, run, health.clone(), stop));
        Consumer { handler, health, shutdown, task }
    }
}

/// A supervised consumer; it ends when this is dropped.
pub(super) struct Consumer {
    pub(super) handler: Arc<Handler>,
    pub(super) health: ConsumerHealth,
    pub(super) shutdown: watch::Sender<bool>,
    pub(super) task: JoinHandle<()>,
}

impl Consumer {
    pub(super) async fn finished(&self, count: usize) -> Duration {
        eventually(&format!("{count} finished jobs"), SOON, async || self.handler.finished() >= count).await
    }

    /// How long the consumer has been silent.
    pub(super) fn age(&self) -> Option<Duration> {
        self.health.ages(Instant::now())[0].1
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A handler that can be held up and remembers what reached it.
pub(super) struct Handler {
    /// Ids that reach a closed gate wait.
    gate: Option<Semaphore>,
    started: Mutex<Vec<(String, Instant)>>,
    finished: AtomicUsize,
    dropped: AtomicUsize,
}

impl Handler {
    pub(super) fn quick() -> Self {
        Self {
            gate: None,
            started: Mutex::default(),
            finished: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
        }
    }

    /// Each id needs one [`Self::open`], unless it begins with `quick`; one that begins with `panic` panics.
    pub(super) fn gated() -> Self {
        Self { gate: Some(Semaphore::new(0)), ..Self::quick() }
    }

    async fn handle(self: Arc<Self>, id: String) {
        struct Guard(Arc<Handler>, bool);
        impl Drop for Guard {
            fn drop(&mut self) {
                let counter = if self.1 { &self.0.finished } else { &self.0.dropped };
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.started.lock().unwrap().push((id.clone(), Instant::now()));
        let mut guard = Guard(Arc::clone(&self), false);
        assert!(!id.starts_with("panic"), "as the test wants");
        if let Some(gate) = self.gate.as_ref().filter(|_| !id.starts_with("quick")) {
            gate.acquire().await.unwrap().forget();
        }
        guard.1 = true;
    }

    pub(super) fn open(&self, count: usize) {
        self.gate.as_ref().unwrap().add_permits(count);
    }

    pub(super) fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }

    pub(super) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    pub(super) fn started(&self) -> usize {
        self.started.lock().unwrap().len()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.started.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn last_start(&self) -> Instant {
        self.started.lock().unwrap().last().unwrap().1
    }
}

/// Waits for a condition, and returns how long that took.
pub(super) async fn eventually(
    what: &str,
    within: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> Duration {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < within, "no {what} within {within:?}");
        sleep(Duration::from_millis(2)).await;
    }
    began.elapsed()
}

/// `count` ids that begin with `name`.
pub(super) fn ids(name: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{name}-{number:05}"))
}
