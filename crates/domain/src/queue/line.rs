//! The consumer's connection as the consumer sees it: it counts commands, reports answers, and carries the bell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::{Cmd, Pipeline, RedisFuture, Value};
use futures_util::task::AtomicWaker;

/// What is known of a consumer's connection without asking Redis.
///
/// The library's worker does not tell when it begins to fetch or that it has gone to rest; the commands on its
/// connection do. A bell that rings during a fetch must be followed by another fetch, or its job waits for the interval.
#[derive(Clone, Debug, Default)]
pub struct Line(Arc<State>);

#[derive(Debug, Default)]
struct State {
    rung: AtomicBool,
    waker: AtomicWaker,
    sent: AtomicU64,
    open: AtomicUsize,
}

impl Line {
    /// Says that there may be something to fetch.
    pub fn ring(&self) {
        self.0.rung.store(true, Ordering::SeqCst);
        self.0.waker.wake();
    }

    /// Takes the ring, if there was one, and wakes this waker at the next.
    pub fn take_ring(&self, waker: &Waker) -> bool {
        self.0.waker.register(waker);
        self.0.rung.swap(false, Ordering::SeqCst)
    }

    /// Counts a command as open until the guard is dropped.
    pub fn command(&self) -> OpenCommand {
        self.0.sent.fetch_add(1, Ordering::SeqCst);
        self.0.open.fetch_add(1, Ordering::SeqCst);
        OpenCommand(self.clone())
    }

    /// How many commands were sent so far.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::SeqCst)
    }

    /// Whether no command awaits its answer.
    pub fn at_rest(&self) -> bool {
        self.0.open.load(Ordering::SeqCst) == 0
    }
}

/// The connection the library's worker uses: each answer is a sign of life.
#[derive(Clone)]
pub struct Tapped {
    conn: MultiplexedConnection,
    line: Line,
    on_answer: Arc<dyn Fn() + Send + Sync>,
}

impl Tapped {
    pub(super) fn new(
        conn: MultiplexedConnection,
        line: Line,
        on_answer: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self { conn, line, on_answer }
    }
}

/// A command that awaits its answer; its future may also be dropped before that.
#[derive(Debug)]
#[must_use]
pub struct OpenCommand(Line);

impl Drop for OpenCommand {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ConnectionLike for Tapped {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let _open = self.line.command();
            let answer = self.conn.req_packed_command(cmd).await?;
            (self.on_answer)();
            Ok(answer)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let _open = self.line.command();
            let answers = self.conn.req_packed_commands(pipeline, offset, count).await?;
            (self.on_answer)();
            Ok(answers)
        })
    }

    fn get_db(&self) -> i64 {
        self.conn.get_db()
    }
}
