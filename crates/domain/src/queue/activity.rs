//! The connection of a consumer, observed: commands are counted, answers reported, and notifications kept until taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::{Cmd, Pipeline, RedisFuture, Value};
use futures_util::task::AtomicWaker;

/// What a consumer's connection is doing, known without asking Redis.
///
/// The library's worker does not say when it begins to fetch or when it is idle; the commands on its connection do. A
/// notification that arrives during a fetch must be followed by another fetch, or its job waits for the polling interval.
#[derive(Clone, Debug, Default)]
pub struct ConnectionActivity(Arc<State>);

#[derive(Debug, Default)]
struct State {
    notified: AtomicBool,
    waker: AtomicWaker,
    sent: AtomicU64,
    open: AtomicUsize,
}

impl ConnectionActivity {
    /// Reports that there may be entries to fetch.
    pub fn notify(&self) {
        self.0.notified.store(true, Ordering::SeqCst);
        self.0.waker.wake();
    }

    /// Takes the pending notification, if any, and wakes this waker at the next one.
    pub fn take_notification(&self, waker: &Waker) -> bool {
        self.0.waker.register(waker);
        self.0.notified.swap(false, Ordering::SeqCst)
    }

    /// Counts a command as open until the guard is dropped.
    pub fn command(&self) -> OpenCommand {
        self.0.sent.fetch_add(1, Ordering::SeqCst);
        self.0.open.fetch_add(1, Ordering::SeqCst);
        OpenCommand(self.clone())
    }

    /// The number of commands sent so far.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::SeqCst)
    }

    /// Whether no command awaits its answer.
    pub fn is_idle(&self) -> bool {
        self.0.open.load(Ordering::SeqCst) == 0
    }
}

/// The connection the library's worker uses. Each answer calls `on_answer`, which health checks count as a heartbeat.
#[derive(Clone)]
pub struct ObservedConnection {
    conn: MultiplexedConnection,
    activity: ConnectionActivity,
    on_answer: Arc<dyn Fn() + Send + Sync>,
}

impl ObservedConnection {
    pub(super) fn new(
        conn: MultiplexedConnection,
        activity: ConnectionActivity,
        on_answer: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self { conn, activity, on_answer }
    }
}

/// A command that awaits its answer. Its future may be dropped before that.
#[derive(Debug)]
#[must_use]
pub struct OpenCommand(ConnectionActivity);

impl Drop for OpenCommand {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ConnectionLike for ObservedConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let _open = self.activity.command();
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
            let _open = self.activity.command();
            let answers = self.conn.req_packed_commands(pipeline, offset, count).await?;
            (self.on_answer)();
            Ok(answers)
        })
    }

    fn get_db(&self) -> i64 {
        self.conn.get_db()
    }
}
