//! When the library's worker fetches: at once when the bell rings, else every half second.
//!
//! Left alone it fetches at its heartbeats, and a wake-up that comes while it fetches is lost. Here it is kept until a
//! fetch begins after it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use domain::queue::Line;
use tokio::time::{Instant, Sleep, sleep};

/// How long a job waits whose bell was lost.
const INTERVAL: Duration = Duration::from_millis(500);

/// Polls by the bell, with an interval behind it.
pub(super) struct Doorbell {
    line: Line,
    interval: Pin<Box<Sleep>>,
    /// Something asks for a fetch that has not begun.
    wanted: bool,
    /// How many commands had been sent before the poll.
    sent: u64,
    waker: Option<Waker>,
}

impl Doorbell {
    pub(super) fn new(line: Line) -> Self {
        Self { line, interval: Box::pin(sleep(INTERVAL)), wanted: false, sent: 0, waker: None }
    }
}

impl PollStrategy for Doorbell {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        while self.interval.as_mut().poll(cx).is_ready() {
            self.wanted = true;
            self.interval.as_mut().reset(Instant::now() + INTERVAL);
        }
        self.wanted |= self.line.take_ring(cx.waker());
        self.sent = self.line.sent();
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Ready(Some(()))
    }

    fn on_poll(&mut self, _: &PollSnapshot) {
        if self.line.sent() != self.sent {
            self.wanted = false;
        } else if self.wanted && self.line.at_rest() {
            // The fetch that was under way has come back and could not know; the next poll begins another.
            if let Some(waker) = &self.waker {
                waker.wake_by_ref();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A bell and the worker behind it, whose fetches the test makes.
    struct Bench {
        line: Line,
        bell: Doorbell,
        wakes: Arc<Wakes>,
    }

    impl Bench {
        fn new() -> Self {
            let line = Line::default();
            Self { bell: Doorbell::new(line.clone()), line, wakes: Arc::default() }
        }

        /// One poll of the worker, which does `work` in it; returns how often it has been woken since the last.
        fn poll<T>(&mut self, work: impl FnOnce(&Line) -> T) -> (usize, T) {
            let waker = Waker::from(Arc::clone(&self.wakes));
            let _ = self.bell.poll_drive(&mut Context::from_waker(&waker), &PollSnapshot::new());
            let done = work(&self.line);
            self.bell.on_poll(&PollSnapshot::new());
            (self.wakes.0.swap(0, Ordering::SeqCst), done)
        }
    }

    #[tokio::test]
    async fn q6_a_ring_during_a_fetch_is_followed_by_another_fetch() {
        let mut bench = Bench::new();
        let (_, fetch) = bench.poll(Line::command);
        bench.line.ring();
        assert_eq!(bench.poll(|_| ()).0, 1, "the ring wakes the worker, which still waits for its fetch");
        assert_eq!(bench.poll(|_| drop(fetch)).0, 1, "the fetch found nothing, so there must be another one");
        let (_, fetch) = bench.poll(Line::command);
        assert_eq!(bench.poll(|_| drop(fetch)).0, 0, "that one came after the ring");
    }

    #[tokio::test(start_paused = true)]
    async fn q6_silence_is_interrupted_twice_a_second() {
        let mut bench = Bench::new();
        assert_eq!(bench.poll(|_| ()).0, 0);
        tokio::time::sleep(INTERVAL).await;
        assert!(bench.poll(|_| ()).0 > 0);
    }
}
