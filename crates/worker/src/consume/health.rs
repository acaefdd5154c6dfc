//! Liveness of this process's consumers, for the readiness check.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::queue::QueueName;

/// The last heartbeat of each consumer of a process: an answer of Redis to its worker or, while all its slots are taken, to
/// its supervisor.
#[derive(Clone, Debug)]
pub struct ConsumerHealth {
    began: Instant,
    /// Milliseconds from `began` to the last heartbeat, plus one; 0 before the first.
    beats: Arc<[(QueueName, AtomicU64)]>,
}

impl ConsumerHealth {
    /// A consumer without a heartbeat for longer is dead; a healthy one polls Redis twice a second.
    pub const MAX_SILENCE: Duration = Duration::from_secs(15);

    /// Expects a consumer of each of these queues.
    pub fn new(queues: impl IntoIterator<Item = QueueName>) -> Self {
        Self {
            began: Instant::now(),
            beats: queues.into_iter().map(|queue| (queue, AtomicU64::new(0))).collect(),
        }
    }

    /// Records a heartbeat.
    pub(super) fn beat(&self, queue: QueueName) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        for (_, beat) in self.beats.iter().filter(|(name, _)| *name == queue) {
            beat.fetch_max(since, Ordering::Relaxed);
        }
    }

    /// The time since each consumer's last heartbeat; `None` before its first.
    pub fn ages(&self, now: Instant) -> Vec<(QueueName, Option<Duration>)> {
        let age = |beat: u64| {
            let last = self.began + Duration::from_millis(beat.checked_sub(1)?);
            Some(now.saturating_duration_since(last))
        };
        self.beats.iter().map(|(queue, beat)| (*queue, age(beat.load(Ordering::Relaxed)))).collect()
    }

    /// Whether every consumer is alive.
    pub fn alive(&self, now: Instant) -> bool {
        self.ages(now).iter().all(|(_, age)| age.is_some_and(|age| age <= Self::MAX_SILENCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q9_one_silent_consumer_is_enough_to_be_dead() {
        let health = ConsumerHealth::new([QueueName::Mail, QueueName::Rewards]);
        health.beat(QueueName::Mail);
        assert!(!health.alive(Instant::now()));
        health.beat(QueueName::Rewards);
        assert!(health.alive(Instant::now()));
        assert!(!health.alive(Instant::now() + ConsumerHealth::MAX_SILENCE + Duration::from_secs(1)));
    }
}
