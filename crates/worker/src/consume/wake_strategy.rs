//! When the library's worker fetches: at once after a notification, else every half second.
//!
//! By default it fetches at its heartbeats and loses a wake-up that arrives during a fetch. Here the wake-up is kept until
//! the next fetch begins.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use domain::queue::ConnectionActivity;
use tokio::time::{Instant, Sleep, sleep};

/// How long a job waits whose notification was lost.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Polls on notification, and at an interval in case one is lost.
pub(super) struct WakeStrategy {
    activity: ConnectionActivity,
    interval: Pin<Box<Sleep>>,
    /// A fetch was asked for and has not begun.
    wanted: bool,
    /// The number of commands sent before the poll.
    sent: u64,
    waker: Option<Waker>,
}

impl WakeStrategy {
    pub(super) fn new(activity: ConnectionActivity) -> Self {
        Self { activity, interval: Box::pin(sleep(POLL_INTERVAL)), wanted: false, sent: 0, waker: None }
    }
}

impl PollStrategy for WakeStrategy {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        while self.interval.as_mut().poll(cx).is_ready() {
            self.wanted = true;
            self.interval.as_mut().reset(Instant::now() + POLL_INTERVAL);
        }
        self.wanted |= self.activity.take_notification(cx.waker());
        self.sent = self.activity.sent();
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Ready(Some(()))
    }

    fn on_poll(&mut self, _: &PollSnapshot) {
        if self.activity.sent() != self.sent {
            self.wanted = false;
        } else if self.wanted && self.activity.is_idle() {
            // The fetch under way began before the notification; the next poll begins another.
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

    /// A strategy and its worker, whose fetches the test makes.
    struct Bench {
        activity: ConnectionActivity,
        strategy: WakeStrategy,
        wakes: Arc<Wakes>,
    }

    impl Bench {
        fn new() -> Self {
            let activity = ConnectionActivity::default();
            Self { strategy: WakeStrategy::new(activity.clone()), activity, wakes: Arc::default() }
        }

        /// One poll of the worker, which does `work` in it; returns how often it has been woken since the last.
        fn poll<T>(&mut self, work: impl FnOnce(&ConnectionActivity) -> T) -> (usize, T) {
            let waker = Waker::from(Arc::clone(&self.wakes));
            let _ = self.strategy.poll_drive(&mut Context::from_waker(&waker), &PollSnapshot::new());
            let done = work(&self.activity);
            self.strategy.on_poll(&PollSnapshot::new());
            (self.wakes.0.swap(0, Ordering::SeqCst), done)
        }
    }

    #[tokio::test]
    async fn q6_a_notification_during_a_fetch_causes_another() {
        let mut bench = Bench::new();
        let (_, fetch) = bench.poll(ConnectionActivity::command);
        bench.activity.notify();
        assert_eq!(
            bench.poll(|_| ()).0,
            1,
            "the notification wakes the worker, which still waits for its fetch"
        );
        assert_eq!(bench.poll(|_| drop(fetch)).0, 1, "the fetch found nothing, so there must be another one");
        let (_, fetch) = bench.poll(ConnectionActivity::command);
        assert_eq!(bench.poll(|_| drop(fetch)).0, 0, "that one came after the ring");
    }

    #[tokio::test(start_paused = true)]
    async fn q6_without_notifications_it_polls_twice_a_second() {
        let mut bench = Bench::new();
        assert_eq!(bench.poll(|_| ()).0, 0);
        tokio::time::sleep(POLL_INTERVAL).await;
        assert!(bench.poll(|_| ()).0 > 0);
    }
}
