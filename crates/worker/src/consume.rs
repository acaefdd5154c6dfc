//! Consuming a queue: a consumer that outlives every fault of Redis and of the library's worker.
//!
//! One error of Redis ends the library's worker for good, so each of its lives is supervised here: it is followed by
//! another one, under another name, after a pause. Handlers run beside it as tasks of their own (`crew`); a lost
//! connection does not interrupt them. A handler always ends well as far as Redis is concerned: whether a job is done,
//! tried again or dead is decided in PostgreSQL.

mod backoff;
mod crew;
mod doorbell;
mod health;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use apalis_core::backend::ext::BackendExt;
use apalis_core::error::WorkerError;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use domain::queue::{IdBytes, QueueError, QueueName, Queues, Seat};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) use backoff::Backoff;
use crew::{Crew, Hand};
use doorbell::Doorbell;
pub use health::ConsumerHealth;

/// How often a consumer renews its registration and cleans up, apart from fetching.
const PULSE: Duration = Duration::from_secs(5);
/// The most entries fetched at a time. Those that wait here for a free slot could run elsewhere.
const BATCH: usize = 100;

/// How much a consumer does at once, and how long it may take to stop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many handlers run at once.
    pub concurrency: usize,
    /// How long running handlers are waited for at the end; then they are dropped.
    pub drain: Duration,
}

impl Limits {
    /// The longest drain: it must end before other consumers take this one for dead.
    pub const DRAIN: Duration = Duration::from_secs(25);

    /// Limits with the longest drain.
    pub const fn new(concurrency: usize) -> Self {
        Self { concurrency, drain: Self::DRAIN }
    }
}

/// Why a life of the library's worker ended before its time.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no place at the queue")]
    Seat(#[source] QueueError),
    #[error("the worker ended")]
    Worker(#[source] WorkerError),
    #[error("the worker ended without an error")]
    Ended,
    #[error("the registration could not be renewed")]
    Pulse(#[source] QueueError),
    #[error("Redis has lost the registration")]
    Forgotten,
}

/// Runs `handler` on each id that comes out of the queue until `shutdown` turns true (or its sender is gone), then
/// waits for the handlers that run, as long as the limits allow; those that still run then are dropped.
///
/// Dropping the future drops the handlers too. A panic of a handler is logged and counted and ends only that handler.
pub async fn supervise<H>(
    queues: Queues,
    queue: QueueName,
    limits: Limits,
    handler: H,
    health: ConsumerHealth,
    mut shutdown: watch::Receiver<bool>,
) where
    H: Fn(String) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static,
{
    let crew = Arc::new(Crew::new(queue, limits.concurrency, handler));
    let mut consumer = Consumer { queues, queue, limits, health, owed: Vec::new() };
    let mut backoff = Backoff::default();
    metrics::counter!("trellis_queue_consumer_restarts_total", "queue" => queue.as_str()).increment(0);
    let deadline = loop {
        let began = Instant::now();
        let failure = match consumer.live(&crew, &mut shutdown).await {
            Ok(deadline) => break deadline,
            Err(failure) => failure,
        };
        let pause = backoff.pause(began.elapsed());
        let error = chain(failure);
        tracing::warn!(%queue, error, ?pause, "a queue consumer ended and starts again");
        metrics::counter!("trellis_queue_consumer_restarts_total", "queue" => queue.as_str()).increment(1);
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped(&mut shutdown) => break Instant::now() + limits.drain,
        }
    };
    if !crew.finish(deadline).await {
        tracing::warn!(%queue, "dropped handlers that did not end in time; their jobs run again elsewhere");
    }
    if let Err(error) = consumer.queues.leave(queue, &consumer.owed).await {
        let error = chain(error);
        tracing::warn!(%queue, error, "a queue consumer could not hand back what it held; others will take it over");
    }
}

/// A consumer over all its lives.
struct Consumer {
    queues: Queues,
    queue: QueueName,
    limits: Limits,
    health: ConsumerHealth,
    /// Names of earlier lives whose entries have not been handed back.
    owed: Vec<String>,
}

impl Consumer {
    /// One life: ends well only after a shutdown, and then says when running handlers must have ended.
    async fn live<H>(
        &mut self,
        crew: &Arc<Crew<H>>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<Instant, Failure>
    where
        H: Fn(String) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static,
    {
        let seat = tokio::select! {
            seat = self.seat() => seat.map_err(Failure::Seat)?,
            () = stopped(shutdown) => return Ok(Instant::now() + self.limits.drain),
        };
        self.owed = vec![seat.name().to_owned()];
        let context = WorkerContext::new(seat.name());
        let backend = seat.storage().with_codec(IdBytes).poll_with_strategy(Doorbell::new(seat.line()));
        let worker = WorkerBuilder::new(&context).backend(backend).build(Hand::new(Arc::clone(crew)));
        let mut work = pin!(worker.run());
        let mut pulse = pin!(self.pulse(&seat, crew));
        tokio::select! {
            ended = &mut work => return Err(ended.map_or_else(Failure::Worker, |()| Failure::Ended)),
            failure = &mut pulse => return Err(failure),
            () = stopped(shutdown) => {}
        }
        let deadline = Instant::now() + self.limits.drain;
        // Refused only by a worker that has not begun, and so holds nothing.
        if context.stop().is_ok() {
            tokio::select! {
                _ = &mut work => {}
                _ = &mut pulse => {}
                () = sleep_until(deadline) => {}
            }
        }
        Ok(deadline)
    }

    async fn seat(&self) -> Result<Seat, QueueError> {
        let (health, queue) = (self.health.clone(), self.queue);
        let on_answer = Arc::new(move || health.beat(queue));
        self.queues.take_seat(self.queue, self.limits.concurrency.min(BATCH), &self.owed, on_answer).await
    }

    /// Keeps the registration while the worker is too busy to, and forgets what is finished. Ends only in failure.
    async fn pulse<H>(&self, seat: &Seat, crew: &Crew<H>) -> Failure {
        loop {
            sleep(PULSE).await;
            match seat.pulse().await {
                Ok(true) if crew.is_full() => self.health.beat(self.queue),
                Ok(true) => {}
                Ok(false) => return Failure::Forgotten,
                Err(error) => return Failure::Pulse(error),
            }
            if let Err(error) = self.queues.clean(self.queue).await {
                let error = chain(error);
                tracing::warn!(queue = %self.queue, error, "could not clean up a queue in Redis");
            }
        }
    }
}

/// Ends when the process is to stop.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // A sender that is gone means that nobody is left to say stop.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// An error and its causes on one line.
fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}
