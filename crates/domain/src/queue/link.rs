//! The connection of a process to the queue's Redis for everything but consuming: one, made when first needed.
//!
//! A failure drops the connection, so the next call reconnects at once, and no call outlasts its timeout.
//! `ConnectionManager` would answer the first call after an outage with the error of an attempt made long before.

use std::future::Future;
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisResult};
use tokio::sync::Mutex;

use super::QueueError;

/// How long making a connection may take.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// A connection made lazily and dropped on failure.
pub(super) struct Link {
    client: Client,
    slot: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    /// Checks the address and contacts nothing.
    pub(super) fn new(address: impl IntoConnectionInfo) -> RedisResult<Self> {
        Ok(Self { client: Client::open(address)?, slot: Mutex::new(None) })
    }

    /// Runs `work` on the connection, within `timeout` in all. It runs once more on a new connection if the old one has
    /// died while idle, so `work` must be safe to repeat.
    pub(super) async fn run<T, F>(
        &self,
        timeout: Duration,
        work: impl Fn(MultiplexedConnection) -> F,
    ) -> Result<T, QueueError>
    where
        F: Future<Output = Result<T, QueueError>>,
    {
        let attempt = async {
            if let Some(conn) = self.used().await {
                match work(conn).await {
                    Err(error) if error.doubts_connection() => self.drop_connection().await,
                    outcome => return outcome,
                }
            }
            work(self.connection().await?).await
        };
        let outcome = tokio::time::timeout(timeout, attempt).await.unwrap_or(Err(QueueError::Timeout));
        if outcome.as_ref().is_err_and(QueueError::doubts_connection) {
            self.drop_connection().await;
        }
        outcome
    }

    async fn used(&self) -> Option<MultiplexedConnection> {
        self.slot.lock().await.clone()
    }

    async fn drop_connection(&self) {
        self.slot.lock().await.take();
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut slot = self.slot.lock().await;
        if let Some(conn) = slot.as_ref() {
            return Ok(conn.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let conn = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(slot.insert(conn).clone())
    }
}
