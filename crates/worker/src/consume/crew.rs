//! The handlers of a consumer: how many run at once, that a panic stays theirs, and how they end.
//!
//! They run as tasks, so they use every core and outlive a life of the library's worker; the limit holds over all lives.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use apalis_core::layers::Service;
use apalis_core::task::Task;
use domain::queue::QueueName;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// How long dropping the handlers may take.
const CUT: Duration = Duration::from_secs(1);

/// All handlers of a consumer.
pub(super) struct Crew<H> {
    queue: QueueName,
    handler: H,
    size: usize,
    slots: Arc<Semaphore>,
    running: Arc<AtomicUsize>,
    cut: watch::Sender<bool>,
}

/// What a running handler holds.
struct Slot {
    running: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<H> Crew<H> {
    pub(super) fn new(queue: QueueName, size: usize, handler: H) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(size));
        Self { queue, handler, size, slots, running: Arc::default(), cut: watch::Sender::new(false) }
    }

    /// Whether no further handler can start.
    pub(super) fn is_full(&self) -> bool {
        self.running.load(Ordering::SeqCst) >= self.size
    }

    /// Waits for the running handlers, and drops those that still run at the deadline; false if there were any.
    pub(super) async fn finish(&self, deadline: Instant) -> bool {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        let ended = timeout_at(deadline, self.slots.acquire_many(all)).await.is_ok();
        self.cut.send_replace(true);
        // Short, unless a handler blocks its thread; then nothing can be done.
        let _ = timeout(CUT, self.slots.acquire_many(all)).await;
        ended
    }
}

impl<H> Crew<H>
where
    H: Fn(String) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static,
{
    /// Starts a handler. The future ends when the handler has ended of itself, and never if it was dropped.
    fn start(&self, id: String, permit: OwnedSemaphorePermit) -> BoxFuture<'static, ()> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let slot = Slot { running: Arc::clone(&self.running), _permit: permit };
        let (handler, mut cut, queue) = (self.handler.clone(), self.cut.subscribe(), self.queue);
        let task = tokio::spawn(async move {
            let _slot = slot;
            tokio::select! {
                // In a block of its own, so that a handler that panics while it is called panics in the task.
                () = async { handler(id).await } => true,
                _ = cut.wait_for(|cut| *cut) => false,
            }
        });
        async move {
            match task.await {
                Ok(true) => {}
                Err(error) if error.is_panic() => {
                    tracing::error!(%queue, "a job handler panicked");
                    metrics::counter!("trellis_queue_handler_panics_total", "queue" => queue.as_str())
                        .increment(1);
                }
                // Unacknowledged, the entry is handed back.
                Ok(false) | Err(_) => pending().await,
            }
        }
        .boxed()
    }
}

/// The crew as the library's worker sees it: ready when a slot is free.
pub(super) struct Hand<H> {
    crew: Arc<Crew<H>>,
    waiting: Option<BoxFuture<'static, Option<OwnedSemaphorePermit>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl<H> Hand<H> {
    pub(super) fn new(crew: Arc<Crew<H>>) -> Self {
        Self { crew, waiting: None, permit: None }
    }
}

impl<H> Service<Task<String>> for Hand<H>
where
    H: Fn(String) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static,
{
    type Response = ();
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<(), Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.permit.is_none() {
            let slots = &self.crew.slots;
            let waiting =
                self.waiting.get_or_insert_with(|| Arc::clone(slots).acquire_owned().map(Result::ok).boxed());
            self.permit = ready!(waiting.poll_unpin(cx));
            self.waiting = None;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<String>) -> Self::Future {
        match self.permit.take() {
            Some(permit) => self.crew.start(task.args, permit).map(Ok).boxed(),
            // Not called before it was ready: the entry stays unacknowledged and is handed back.
            None => pending().boxed(),
        }
    }
}
