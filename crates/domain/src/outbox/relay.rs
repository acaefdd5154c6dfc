//! Pushes the ids of due jobs to Redis. Runs as a task in every process; any number of relays may run at once.
//!
//! Woken after a commit, and once a second besides: a process that dies between its commit and its push loses nothing.
//! It keeps at most [`WINDOW`] entries waiting in each Redis queue, because apalis-redis cannot
//! promote many thousands at once and because Redis is no store. While Redis is down, jobs wait in PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::{REDELIVERY, store};
use crate::db::{self, DbError, Pool, Tx};
use crate::queue::{QueueError, QueueName, Queues, WINDOW};

/// How often a relay looks without being woken.
const TICK: Duration = Duration::from_secs(1);

/// How many ids one push carries at most.
const BATCH: usize = 500;

/// Wakes the relay of this process; clones wake the same one.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<[Notify; QueueName::ALL.len()]>);

impl Wake {
    /// Says that a job was committed to some queue. Costs next to nothing.
    pub fn wake(&self) {
        for notify in self.0.iter() {
            notify.notify_one();
        }
    }

    fn of(&self, queue: QueueName) -> Option<&Notify> {
        QueueName::ALL.iter().position(|name| *name == queue).and_then(|index| self.0.get(index))
    }
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl From<crate::db::QueryError> for RelayError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// The relay of a process.
#[derive(Clone)]
pub struct Relay {
    pool: Pool,
    queues: Queues,
    wake: Wake,
}

impl Relay {
    /// A relay between the two, woken by `wake`.
    pub fn new(pool: Pool, queues: Queues, wake: Wake) -> Self {
        Self { pool, queues, wake }
    }

    /// Relays until `shutdown` turns true: each queue by itself, so that none waits for another.
    pub async fn run(self, shutdown: watch::Receiver<bool>) {
        let relays = QueueName::ALL.map(|queue| self.clone().run_queue(queue, shutdown.clone()));
        futures_util::future::join_all(relays).await;
    }

    async fn run_queue(self, queue: QueueName, mut shutdown: watch::Receiver<bool>) {
        let mut failing = false;
        let woken = async || match self.wake.of(queue) {
            Some(notify) => notify.notified().await,
            None => std::future::pending().await,
        };
        while !*shutdown.borrow() {
            match self.push_due(queue).await {
                Ok(_) => failing = false,
                // Said once for each time it breaks: it is tried again every second.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        queue = queue.as_str(),
                        error = format!("{:#}", anyhow::Error::from(error)),
                        "jobs wait: they cannot be relayed"
                    );
                }
                Err(_) => {}
            }
            tokio::select! {
                () = woken(), if !failing => {}
                () = tokio::time::sleep(TICK) => {}
                _ = shutdown.changed() => {}
            }
        }
    }

    /// Pushes what is due, as far as the window allows. Returns how many.
    async fn push_due(&self, queue: QueueName) -> Result<usize, RelayError> {
        let mut pushed = 0;
        loop {
            let room = WINDOW.saturating_sub(self.queues.depth(queue).await?).min(BATCH);
            if room == 0 {
                return Ok(pushed);
            }
            let ids = self.take_due(queue, room).await?;
            if ids.is_empty() {
                return Ok(pushed);
            }
            let texts: Vec<String> = ids.iter().map(Uuid::to_string).collect();
            if let Err(error) = self.queues.push(queue, &texts).await {
                let mut connection = db::get(&self.pool).await?;
                store::give_back(&mut connection, &ids).await?;
                return Err(error.into());
            }
            pushed += ids.len();
            if ids.len() < room {
                return Ok(pushed);
            }
        }
    }

    async fn take_due(&self, queue: QueueName, room: usize) -> Result<Vec<Uuid>, RelayError> {
        let mut tx = Tx::begin(&self.pool).await?;
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        let ids = store::take_due(&mut tx, queue, limit, REDELIVERY).await?;
        tx.commit().await?;
        Ok(ids)
    }
}
