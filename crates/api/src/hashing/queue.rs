//! A bounded queue between the threads that serve requests and those that hash.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// First in, first out, and never longer than its bound.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    bound: usize,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

/// What a taker gets.
pub(super) enum Next<T> {
    Item(T),
    /// Nothing came for a while.
    Idle,
    /// Nothing will come any more.
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new(bound: usize) -> Self {
        let state = State { items: VecDeque::with_capacity(bound.min(1_024)), closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), bound }
    }

    /// Adds an item, or gives it back when the queue is full.
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.items.len() >= self.bound || state.closed {
            return Err(item);
        }
        state.items.push_back(item);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes an item, waiting for one at most `patience`.
    pub(super) fn pop(&self, patience: Duration) -> Next<T> {
        let waiting = |state: &mut State<T>| state.items.is_empty() && !state.closed;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        match state.items.pop_front() {
            Some(item) => Next::Item(item),
            None if state.closed => Next::Closed,
            None => Next::Idle,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Takes no more items; what waits is still handed out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// No code that could panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_items_back_and_a_closed_one_hands_out_what_waits() {
        let queue = Queue::new(2);
        assert!(matches!(queue.pop(Duration::ZERO), Next::Idle));
        assert_eq!([queue.push(1), queue.push(2), queue.push(3)], [Ok(()), Ok(()), Err(3)]);
        assert!(matches!(queue.pop(Duration::ZERO), Next::Item(1)));
        queue.close();
        assert_eq!((queue.push(4), queue.len()), (Err(4), 1));
        assert!(matches!(queue.pop(Duration::ZERO), Next::Item(2)));
        assert!(matches!(queue.pop(Duration::ZERO), Next::Closed));
    }
}
