//! How long a consumer waits before it starts again.

use std::time::Duration;

use rand::RngExt;

const FIRST: Duration = Duration::from_millis(100);
/// With the time to connect this stays under 5 s, the longest a queue may rest after Redis is back.
const LONGEST: Duration = Duration::from_secs(4);
/// A life this long is a success: the next pause is short again.
const LIFE: Duration = Duration::from_secs(10);

/// Pauses that double up to a limit, with jitter so that the consumers of all processes do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The pause after a life that lasted `lived`: between a half and the whole of the current step.
    pub(crate) fn pause(&mut self, lived: Duration) -> Duration {
        if lived >= LIFE {
            self.next = FIRST;
        }
        let step = self.next;
        self.next = (step * 2).min(LONGEST);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q9_pauses_grow_up_to_a_limit_and_shrink_after_a_good_life() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..20).map(|_| backoff.pause(Duration::ZERO)).collect();
        assert!(pauses.iter().all(|pause| *pause >= FIRST / 2 && *pause <= LONGEST));
        assert!(pauses.iter().skip(8).all(|pause| *pause >= LONGEST / 2));
        assert!(backoff.pause(LIFE) <= FIRST);
    }
}
