//! Watches how much memory a command takes, in itself and in PostgreSQL, which runs on this machine.

use std::time::Duration;

use testkit::database::TestDatabase;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(100);

/// The most that was seen, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peak {
    /// In the process.
    pub(super) process: u64,
    /// In PostgreSQL's processes for it, besides what they share.
    pub(super) server: u64,
}

/// Goes on until it is stopped.
pub(super) struct Watch {
    stop: oneshot::Sender<()>,
    watching: JoinHandle<Peak>,
}

impl Watch {
    pub(super) async fn start(pid: u32, database: &TestDatabase) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let client = database.connect().await;
        let watching = tokio::spawn(async move {
            let backends = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
            let mut peak = Peak::default();
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                let rows = client.query(backends, &[]).await.unwrap();
                let server = rows.iter().map(|row| memory(row.get::<_, i32>(0), "RssAnon:")).sum();
                peak.server = peak.server.max(server);
                peak.process = peak.process.max(memory(pid, "VmRSS:"));
                tokio::time::sleep(EVERY).await;
            }
            peak
        });
        Self { stop, watching }
    }

    pub(super) async fn stop(self) -> Peak {
        self.stop.send(()).unwrap();
        self.watching.await.unwrap()
    }
}

/// A line of a process's status, in bytes; 0 when it has ended.
fn memory(pid: impl std::fmt::Display, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let found = status.lines().find_map(|candidate| candidate.strip_prefix(line));
    let kilobytes: Option<u64> = found.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kilobytes.unwrap_or(0) * 1_024
}
