//! Answers that stay open: how many there may be, in a process and for each user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// Open streams in a process: each costs a socket and a look at the cache every second.
const MOST: usize = 1_000;

/// Open streams of one user: a few tabs and devices.
const MOST_EACH: usize = 5;

/// Counts the open streams; clones share the count.
#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<HashMap<Uuid, usize>>>);

/// The right to keep one stream open, given back when it is dropped.
pub struct Seat {
    streams: Streams,
    user_id: Uuid,
}

impl Streams {
    /// A seat for a stream of this user; `None` when too many are open.
    pub fn take(&self, user_id: Uuid) -> Option<Seat> {
        let mut open = self.open();
        let own = open.get(&user_id).copied().unwrap_or_default();
        if own >= MOST_EACH || open.values().sum::<usize>() >= MOST {
            return None;
        }
        open.insert(user_id, own + 1);
        metrics::gauge!("streams_open").increment(1);
        Some(Seat { streams: self.clone(), user_id })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        // No code that could panic runs under the lock, so a poisoned one is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        match open.get_mut(&self.user_id) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                open.remove(&self.user_id);
            }
        }
        metrics::gauge!("streams_open").decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_few_seats_and_a_process_many() {
        let streams = Streams::default();
        let ada = Uuid::from_u128(1);
        let mut seats: Vec<_> = (0..MOST_EACH).map(|_| streams.take(ada).unwrap()).collect();
        assert!(streams.take(ada).is_none());
        seats.pop();
        seats.push(streams.take(ada).unwrap());
        let mut others = 2..;
        while seats.len() < MOST {
            seats.push(streams.take(Uuid::from_u128(others.next().unwrap())).unwrap());
        }
        assert!(streams.take(Uuid::from_u128(u128::MAX)).is_none());
        drop(seats);
        assert!(streams.open().is_empty());
    }
}
