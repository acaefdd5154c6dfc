//! Consuming a queue: a consumer that survives every fault of Redis and of the library's worker.
//!
//! One Redis error ends the library's worker for good, so each run of it is supervised here and restarted, under another
//! name, after a pause. Handlers run as tasks of their own (`handlers`), which a lost connection does not interrupt. As far
//! as Redis is concerned a handler always succeeds: PostgreSQL decides whether a job is done, retried or dead.

mod backoff;
mod handlers;
mod health;
mod wake_strategy;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use apalis_core::backend::ext::BackendExt;
use apalis_core::error::WorkerError;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use domain::queue::{ConsumerRegistration, IdBytes, QueueError, QueueName, Queues};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) use backoff::Backoff;
use handlers::{HandlerPool, HandlerService};
pub use health::ConsumerHealth;
use wake_strategy::WakeStrategy;

/// How often a consumer renews its registration and cleans up.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// The most entries fetched at a time. More would wait here for a free slot while other workers are idle.
const MAX_BATCH: usize = 100;

/// How many jobs a consumer runs at once, and how long it may take to stop.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerLimits {
    /// Handlers that run at once.
    pub concurrency: usize,
    /// How long a stop waits for running handlers before it drops them.
    pub drain: Duration,
}

impl ConsumerLimits {
    /// The longest drain: it must end before other consumers consider this one dead.
    pub const DRAIN: Duration = Duration::from_secs(25);

    /// Limits with the longest drain.
    pub const fn new(concurrency: usize) -> Self {
        Self { concurrency, drain: Self::DRAIN }
    }
}

/// Why a run of the library's worker ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the consumer could not be registered")]
    Register(#[source] QueueError),
    #[error("the worker ended")]
    Worker(#[source] WorkerError),
    #[error("the worker ended without an error")]
    Ended,
    #[error("the registration could not be renewed")]
    Heartbeat(#[source] QueueError),
    #[error("Redis has lost the registration")]
    Deregistered,
}

/// Runs `handler` on each id from the queue until `shutdown` turns true or its sender is dropped. Then it waits for running
/// handlers, as long as the limits allow, and drops the rest.
///
/// Dropping the future drops the handlers too. A panicking handler is logged and counted, and ends only itself.
pub async fn supervise<H>(
    queues: Queues,
    queue: QueueName,
    limits: ConsumerLimits,
    handler: H,
    health: ConsumerHealth,
    mut shutdown: watch::Receiver<bool>,
) where
    H: Fn(String) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static,
{
    let handlers = Arc::new(HandlerPool::new(queue, limits.concurrency, handler));
    let mut consumer = Consumer { queues, queue, limits, health, unreleased: Vec::new() };
    let mut backoff = Backoff::default();
    metrics::counter!("trellis_queue_consumer_restarts_total", "queue" => queue.as_str()).increment(0);
    let deadline = loop {
        let began = Instant::now();
        let failure = match consumer.run(&handlers, &mut shutdown).await {
            Ok(deadline) => break deadline,
            Err(failure) => failure,
        };
        let pause = backoff.pause(began.elapsed());
        let error = chain(failure);
        tracing::warn!(%queue, error, ?pause, "queue consumer failed, restarting");
        metrics::counter!("trellis_queue_consumer_restarts_total", "queue" => queue.as_str()).increment(1);
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped(&mut shutdown) => break Instant::now() + limits.drain,
        }
    };
    if !handlers.finish(deadline).await {
        tracing::warn!(%queue, "handlers dropped at the shutdown deadline, their jobs will be retried");
    }
    if let Err(error) = consumer.queues.deregister(queue, &consumer.unreleased).await {
        let error = chain(error);
        tracing::warn!(%queue, error, "queue entries could not be released, other consumers will take them over");
    }
}

/// A consumer across its restarts.
struct Consumer {
    queues: Queues,
    queue: QueueName,
    limits: ConsumerLimits,
    health: ConsumerHealth,
    /// Names of earlier registrations whose entries have not been released.
    unreleased: Vec<String>,
}

impl Consumer {
    /// One run of the library's worker. Returns only after a shutdown, with the deadline for running handlers.
    async fn run<H>(
        &mut self,
        handlers: &Arc<HandlerPool<H>>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<Instant, Failure>
    where
        H: Fn(String) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static,
    {
        let registration = tokio::select! {
            registered = self.register() => registered.map_err(Failure::Register)?,
            () = stopped(shutdown) => return Ok(Instant::now() + self.limits.drain),
        };
        self.unreleased = vec![registration.name().to_owned()];
        let context = WorkerContext::new(registration.name());
        let backend = registration
            .storage()
            .with_codec(IdBytes)
            .poll_with_strategy(WakeStrategy::new(registration.activity()));
        let worker =
            WorkerBuilder::new(&context).backend(backend).build(HandlerService::new(Arc::clone(handlers)));
        let mut work = pin!(worker.run());
        let mut heartbeat = pin!(self.heartbeat(&registration, handlers));
        tokio::select! {
            ended = &mut work => return Err(ended.map_or_else(Failure::Worker, |()| Failure::Ended)),
            failure = &mut heartbeat => return Err(failure),
            () = stopped(shutdown) => {}
        }
        let deadline = Instant::now() + self.limits.drain;
        // Refused only by a worker that has not started, and so holds nothing.
        if context.stop().is_ok() {
            tokio::select! {
                _ = &mut work => {}
                _ = &mut heartbeat => {}
                () = sleep_until(deadline) => {}
            }
        }
        Ok(deadline)
    }

    async fn register(&self) -> Result<ConsumerRegistration, QueueError> {
        let (health, queue) = (self.health.clone(), self.queue);
        let on_answer = Arc::new(move || health.beat(queue));
        self.queues
            .register(self.queue, self.limits.concurrency.min(MAX_BATCH), &self.unreleased, on_answer)
            .await
    }

    /// Renews the registration while the worker is too busy to, and cleans up finished entries. Returns only on failure.
    async fn heartbeat<H>(&self, registration: &ConsumerRegistration, handlers: &HandlerPool<H>) -> Failure {
        loop {
            sleep(HEARTBEAT_INTERVAL).await;
            match registration.heartbeat().await {
                Ok(true) if handlers.is_full() => self.health.beat(self.queue),
                Ok(true) => {}
                Ok(false) => return Failure::Deregistered,
                Err(error) => return Failure::Heartbeat(error),
            }
            if let Err(error) = self.queues.clean(self.queue).await {
                let error = chain(error);
                tracing::warn!(queue = %self.queue, error, "queue cleanup failed");
            }
        }
    }
}

/// Resolves at shutdown.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // A dropped sender counts as a shutdown: no other signal can follow.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// An error and its causes on one line.
fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
