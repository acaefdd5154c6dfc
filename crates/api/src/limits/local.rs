//! Counting in this process, while Redis cannot.
//!
//! Each replica allows its share of a quota, so all of them together allow no more than Redis would. The memory is a table
//! of a fixed size: keys that fall on one slot share it, which can only make a limit stricter.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Ask;
use super::decision::Level;
use super::policy::Counts;

/// How many keys are told apart.
const SLOTS: usize = 65_536;

/// The table. It is made when it is first needed.
pub(super) struct Local {
    origin: Instant,
    replicas: u32,
    /// Milliseconds after `origin` at which a quota is whole again.
    slots: OnceLock<Vec<AtomicU64>>,
    /// Members that were counted: the seconds after `origin` until which each is known, and a part of its hash.
    members: OnceLock<Vec<AtomicU64>>,
}

impl Local {
    pub(super) fn new(replicas: u32) -> Self {
        // A slot that was never used is 0: it must lie in the past.
        Self { origin: Instant::now(), replicas, slots: OnceLock::new(), members: OnceLock::new() }
    }

    /// Takes one request of each, or of none.
    pub(super) fn take(&self, asks: &[Ask]) -> (bool, Vec<Level>) {
        let now = self.now();
        let mut levels = Vec::with_capacity(asks.len());
        let mut taken: Vec<Ask> = Vec::with_capacity(asks.len());
        for ask in asks {
            let (allowed, level) = self.take_one(ask, now);
            levels.push(level);
            if !allowed {
                self.give_back(&taken);
                return (false, levels);
            }
            if ask.policy.counts == Counts::Requests {
                taken.push(*ask);
            }
        }
        (true, levels)
    }

    /// Counts a member, unless it was counted in this window. Returns whether that used the limit up. Of two members that
    /// fall on one slot the later displaces the earlier, which can only make the limit stricter.
    pub(super) fn charge(&self, ask: &Ask, member: [u8; 32]) -> bool {
        let seconds = self.now() / 1_000;
        let until = seconds + ask.rate.window.as_secs();
        let [high, low, a, b, c, d, ..] = member;
        let part = u64::from(u32::from_be_bytes([a, b, c, d]));
        let members = self.members.get_or_init(zeros);
        #[allow(clippy::indexing_slicing, reason = "two bytes count to SLOTS")]
        let slot = &members[usize::from(u16::from_be_bytes([high, low]))];
        let add = |known: u64| {
            let is_known = known & u64::from(u32::MAX) == part && known >> 32 > seconds;
            (!is_known).then_some(until << 32 | part)
        };
        if slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            return false;
        }
        let now = self.now();
        let (taken, _) = self.fill(ask, now);
        taken && !self.look(ask, now).0
    }

    /// Gives one request of each back.
    pub(super) fn give_back(&self, asks: &[Ask]) {
        for ask in asks {
            let interval = ask.rate.interval_ms(self.replicas);
            let less = |whole: u64| Some(whole.saturating_sub(interval));
            let _changed = self.slot(ask).fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    fn take_one(&self, ask: &Ask, now: u64) -> (bool, Level) {
        match ask.policy.counts {
            Counts::Requests => self.fill(ask, now),
            Counts::FailedAccounts => self.look(ask, now),
        }
    }

    /// Whether one would fit.
    fn look(&self, ask: &Ask, now: u64) -> (bool, Level) {
        let interval = ask.rate.interval_ms(self.replicas);
        let window = u64::try_from(ask.rate.window.as_millis()).unwrap_or(u64::MAX);
        let whole = self.slot(ask).load(Ordering::Relaxed).max(now);
        let wait = Duration::from_millis((whole + interval).saturating_sub(now + window));
        (wait.is_zero(), Level { wait, whole_in: Duration::from_millis(whole - now) })
    }

    fn fill(&self, ask: &Ask, now: u64) -> (bool, Level) {
        let interval = ask.rate.interval_ms(self.replicas);
        let window = u64::try_from(ask.rate.window.as_millis()).unwrap_or(u64::MAX);
        let more = |whole: u64| Some(whole.max(now) + interval).filter(|next| *next <= now + window);
        match self.slot(ask).fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(before) => {
                let whole_in = Duration::from_millis(before.max(now) + interval - now);
                (true, Level { wait: Duration::ZERO, whole_in })
            }
            Err(whole) => {
                let wait = Duration::from_millis((whole + interval).saturating_sub(now + window));
                (false, Level { wait, whole_in: Duration::from_millis(whole.saturating_sub(now)) })
            }
        }
    }

    fn slot(&self, ask: &Ask) -> &AtomicU64 {
        let slots = self.slots.get_or_init(zeros);
        let [high, low, ..] = ask.blinded;
        #[allow(clippy::indexing_slicing, reason = "two bytes count to SLOTS")]
        &slots[usize::from(u16::from_be_bytes([high, low]))]
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn zeros() -> Vec<AtomicU64> {
    (0..SLOTS).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::policy::{LOGIN, STUFFING};

    fn ask(policy: usize, key: u8) -> Ask {
        Ask::of_default(LOGIN[policy], key)
    }

    #[test]
    fn h6_without_redis_a_replica_allows_its_share_and_no_more() {
        for (replicas, allowed) in [(1, 10), (2, 5), (4, 2), (100, 1)] {
            let local = Local::new(replicas);
            let taken = (0..100).filter(|_| local.take(&[ask(0, 1)]).0).count();
            assert_eq!(taken, allowed, "{replicas} replicas");
            assert!(local.take(&[ask(0, 2)]).0, "another account");
        }
    }

    #[test]
    fn h6_wrong_passwords_at_many_accounts_are_noticed_without_redis_too() {
        let member = |index: u8| [index; 32];
        for (replicas, quota) in [(1, 30), (3, 10)] {
            let local = Local::new(replicas);
            let ask = Ask::of_default(STUFFING, 1);
            for index in 0..quota {
                assert!(local.take(&[ask]).0, "asking costs nothing");
                assert_eq!(local.charge(&ask, member(index)), index + 1 == quota, "{index} of {quota}");
                assert!(!local.charge(&ask, member(index)), "the same account again");
            }
            let (allowed, levels) = local.take(&[ask]);
            assert!(!allowed && !levels[0].wait.is_zero());
            assert!(!local.charge(&ask, member(200)), "it is used up already");
            assert!(local.take(&[Ask::of_default(STUFFING, 2)]).0, "another network");
        }
    }

    #[test]
    fn a_refusal_of_one_limit_charges_none_and_says_how_long_to_wait() {
        let local = Local::new(1);
        for _ in 0..10 {
            assert!(local.take(&[ask(0, 1), ask(1, 9)]).0);
        }
        for _ in 0..200 {
            let (allowed, levels) = local.take(&[ask(1, 9), ask(0, 1)]);
            assert!(!allowed);
            let wait = levels.last().unwrap().wait;
            assert!(wait > Duration::from_secs(80) && wait <= Duration::from_secs(90), "{wait:?}");
        }
        assert!(local.take(&[ask(1, 9)]).0, "the other limit was charged for refusals");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let local = Local::new(1);
        for _ in 0..100 {
            assert!(local.take(&[ask(0, 1)]).0);
            local.give_back(&[ask(0, 1)]);
        }
    }
}
