//! Where handlers lay down what they saw, until the flusher comes for it.
//!
//! The flusher comes 20 times a second and is woken only when much lies here: waking it for each click would cost a
//! request more than all the rest of noting it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Seen;

/// How many requests may be noted and not yet looked at.
const ROOM: usize = 16_384;

/// From how many on the flusher comes at once.
const MUCH: usize = 4_096;

/// Requests that were noted.
#[derive(Default)]
pub(super) struct Inbox {
    noted: Mutex<Noted>,
    much: Notify,
}

#[derive(Default)]
struct Noted {
    seen: Vec<Seen>,
    closed: bool,
}

impl Inbox {
    /// Lays one down. `false`: there is no room, or nobody comes any more.
    pub(super) fn put(&self, seen: Seen) -> bool {
        let mut noted = self.lock();
        if noted.closed || noted.seen.len() >= ROOM {
            return false;
        }
        noted.seen.push(seen);
        let much = noted.seen.len() == MUCH;
        drop(noted);
        if much {
            self.much.notify_one();
        }
        true
    }

    /// Ends when much lies here.
    pub(super) async fn much(&self) {
        self.much.notified().await;
    }

    /// Takes all of it, in exchange for an empty list.
    pub(super) fn take(&self, empty: &mut Vec<Seen>) {
        std::mem::swap(&mut self.lock().seen, empty);
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        // No code that could panic runs under the lock, so a poisoned one is as good as any.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
