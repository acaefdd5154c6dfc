//! Whether the consumers of this process live: readiness asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::queue::QueueName;

/// The last sign of life of each consumer of a process: an answer of Redis to its worker, or, while all its slots are
/// taken, to its supervisor.
#[derive(Clone, Debug)]
pub struct ConsumerHealth {
    began: Instant,
    /// Milliseconds from `began` to the last sign of life and one more; 0 before the first.
    beats: Arc<[(QueueName, AtomicU64)]>,
}

impl ConsumerHealth {
    /// A consumer silent for longer is dead. It asks Redis twice a second.
    pub const SILENCE: Duration = Duration::from_secs(15);

    /// Expects a consumer of each of these queues.
    pub fn new(queues: impl IntoIterator<Item = QueueName>) -> Self {
        Self {
            began: Instant::now(),
            beats: queues.into_iter().map(|queue| (queue, AtomicU64::new(0))).collect(),
        }
    }

    /// A consumer of the queue lives.
    pub(super) fn beat(&self, queue: QueueName) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        for (_, beat) in self.beats.iter().filter(|(name, _)| *name == queue) {
            beat.fetch_max(since, Ordering::Relaxed);
        }
    }

    /// How long each consumer has been silent; none if it never gave a sign of life.
    pub fn ages(&self, now: Instant) -> Vec<(QueueName, Option<Duration>)> {
        let age = |beat: u64| {
            let last = self.began + Duration::from_millis(beat.checked_sub(1)?);
            Some(now.saturating_duration_since(last))
        };
        self.beats.iter().map(|(queue, beat)| (*queue, age(beat.load(Ordering::Relaxed)))).collect()
    }

    /// Whether every consumer lives.
    pub fn alive(&self, now: Instant) -> bool {
        self.ages(now).iter().all(|(_, age)| age.is_some_and(|age| age <= Self::SILENCE))
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
        assert!(!health.alive(Instant::now() + ConsumerHealth::SILENCE + Duration::from_secs(1)));
    }
}
