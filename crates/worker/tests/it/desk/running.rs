//! Workers and relays that run in this process, as they do in their own.

use domain::outbox::relay::{Relay, Wake};
use testkit::app::PATIENCE;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Desk;

/// A worker that runs in this process until it is dropped.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    work: JoinHandle<()>,
}

/// A relay by itself, as every process has one; it ends when this is dropped.
pub(crate) struct Relaying {
    pub(crate) wake: Wake,
    _stop: watch::Sender<bool>,
    work: JoinHandle<()>,
}

impl Desk {
    /// Starts a worker.
    pub(crate) fn work(&self) -> Running {
        let worker = worker::build(self.config.clone(), self.clock.clone()).unwrap();
        let (stop, shutdown) = watch::channel(false);
        Running { stop, work: tokio::spawn(worker.run(shutdown)) }
    }

    /// Starts a relay.
    pub(crate) fn relay(&self) -> Relaying {
        let wake = Wake::default();
        let (stop, shutdown) = watch::channel(false);
        let relay = Relay::new(self.database.pool(4), self.queues(), wake.clone());
        Relaying { wake, _stop: stop, work: tokio::spawn(relay.run(shutdown)) }
    }
}

impl Running {
    /// Stops it as SIGTERM does, and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, &mut self.work).await.unwrap().unwrap();
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.work.is_finished()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.work.abort();
    }
}
