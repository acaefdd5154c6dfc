//! The job handlers of a consumer: bounded concurrency, contained panics, and an orderly end.
//!
//! Handlers run as tasks, so they use every core and survive a restart of the library's worker; the limit holds across
//! restarts.

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
const CANCEL_TIMEOUT: Duration = Duration::from_secs(1);

/// All handlers of a consumer.
pub(super) struct HandlerPool<H> {
    queue: QueueName,
    handler: H,
    size: usize,
    slots: Arc<Semaphore>,
    running: Arc<AtomicUsize>,
    cancel: watch::Sender<bool>,
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

impl<H> HandlerPool<H> {
    pub(super) fn new(queue: QueueName, size: usize, handler: H) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(size));
        Self { queue, handler, size, slots, running: Arc::default(), cancel: watch::Sender::new(false) }
    }

    /// Whether no further handler can start.
    pub(super) fn is_full(&self) -> bool {
        self.running.load(Ordering::SeqCst) >= self.size
    }

    /// Waits for the running handlers and drops those still running at the deadline. Returns false if there were any.
    pub(super) async fn finish(&self, deadline: Instant) -> bool {
        let all = u32::try_from(self.size).unwrap_or(u32::MAX);
        let ended = timeout_at(deadline, self.slots.acquire_many(all)).await.is_ok();
        self.cancel.send_replace(true);
        // Short, unless a handler blocks its thread; then nothing can be done.
        let _ = timeout(CANCEL_TIMEOUT, self.slots.acquire_many(all)).await;
        ended
    }
}

impl<H> HandlerPool<H>
where
    H: Fn(String) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static,
{
    /// Starts a handler. The future resolves when the handler has ended by itself, and never if it was dropped.
    fn start(&self, id: String, permit: OwnedSemaphorePermit) -> BoxFuture<'static, ()> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let slot = Slot { running: Arc::clone(&self.running), _permit: permit };
        let (handler, mut cancel, queue) = (self.handler.clone(), self.cancel.subscribe(), self.queue);
        let task = tokio::spawn(async move {
            let _slot = slot;
            tokio::select! {
                // In a block of its own, so that a handler that panics when called panics in the task.
                () = async { handler(id).await } => true,
                _ = cancel.wait_for(|cancel| *cancel) => false,
            }
        });
        async move {
            match task.await {
                Ok(true) => {}
                Err(error) if error.is_panic() => {
                    tracing::error!(%queue, "job handler panicked");
                    metrics::counter!("trellis_queue_handler_panics_total", "queue" => queue.as_str())
                        .increment(1);
                }
                // Unacknowledged, the entry is released.
                Ok(false) | Err(_) => pending().await,
            }
        }
        .boxed()
    }
}

/// The pool as the library's worker sees it: ready when a slot is free.
pub(super) struct HandlerService<H> {
    handlers: Arc<HandlerPool<H>>,
    waiting: Option<BoxFuture<'static, Option<OwnedSemaphorePermit>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl<H> HandlerService<H> {
    pub(super) fn new(handlers: Arc<HandlerPool<H>>) -> Self {
        Self { handlers, waiting: None, permit: None }
    }
}

impl<H> Service<Task<String>> for HandlerService<H>
where
    H: Fn(String) -> BoxFuture<'static, ()> + Clone + Send + Sync + 'static,
{
    type Response = ();
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<(), Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.permit.is_none() {
            let slots = &self.handlers.slots;
            let waiting =
                self.waiting.get_or_insert_with(|| Arc::clone(slots).acquire_owned().map(Result::ok).boxed());
            self.permit = ready!(waiting.poll_unpin(cx));
            self.waiting = None;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<String>) -> Self::Future {
        match self.permit.take() {
            Some(permit) => self.handlers.start(task.args, permit).map(Ok).boxed(),
            // Called before it was ready: the entry stays unacknowledged and is released.
            None => pending().boxed(),
        }
    }
}
