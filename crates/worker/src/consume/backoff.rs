//! How long a consumer waits before it starts again.

use std::time::Duration;

use rand::RngExt;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// With the time to connect this stays under 5 s, the longest a queue may stay idle after Redis is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A run this long counts as a success: the next pause is short again.
const HEALTHY_RUN: Duration = Duration::from_secs(10);

/// Pauses that double up to a limit, with jitter so that the consumers of all processes do not reconnect at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST_PAUSE }
    }
}

impl Backoff {
    /// The pause after a run of length `ran`: between half and all of the current step.
    pub(crate) fn pause(&mut self, ran: Duration) -> Duration {
        if ran >= HEALTHY_RUN {
            self.next = FIRST_PAUSE;
        }
        let step = self.next;
        self.next = (step * 2).min(LONGEST_PAUSE);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q9_pauses_grow_to_a_limit_and_reset() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..20).map(|_| backoff.pause(Duration::ZERO)).collect();
        assert!(pauses.iter().all(|pause| *pause >= FIRST_PAUSE / 2 && *pause <= LONGEST_PAUSE));
        assert!(pauses.iter().skip(8).all(|pause| *pause >= LONGEST_PAUSE / 2));
        assert!(backoff.pause(HEALTHY_RUN) <= FIRST_PAUSE);
    }
}
