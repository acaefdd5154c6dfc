//! The registration of a consumer at a queue, for one run of the library's worker: its name, connection and metadata.
//!
//! A registration lasts until the first error. Then the worker registers again under another name, and the entries that
//! the earlier registration held are released.

use std::sync::Arc;

use apalis_redis::{Config, RedisStorage};
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisResult, pipe,
};
use uuid::Uuid;

use super::link::{ANSWER, CONNECT};
use super::{ConnectionActivity, ObservedConnection, QueueError, QueueName, Queues, scripts};

/// Seconds after which a dead consumer's metadata expires: longer than the orphan window.
const METADATA_TTL: u64 = 300;

/// A registered consumer, or one that the library is about to register.
pub struct ConsumerRegistration {
    name: String,
    keys: Config,
    conn: MultiplexedConnection,
    activity: ConnectionActivity,
    connection: ObservedConnection,
}

impl ConsumerRegistration {
    /// A name that no other registration has ever had.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The library's view of the queue, on this registration's connection.
    pub fn storage(&self) -> RedisStorage<String, ObservedConnection> {
        RedisStorage::new(self.connection.clone()).with_config(self.keys.clone())
    }

    /// The activity of this registration's connection, with its notifications.
    pub fn activity(&self) -> ConnectionActivity {
        self.activity.clone()
    }

    /// Renews the registration, which the library omits while fetched jobs wait for a free slot and while it drains. Returns
    /// false if Redis has lost it.
    pub async fn heartbeat(&self) -> Result<bool, QueueError> {
        Ok(scripts::heartbeat(&mut self.conn.clone(), &self.keys, &self.name, METADATA_TTL).await?)
    }
}

impl Queues {
    /// Registers a consumer that fetches `batch` entries at a time: connects, subscribes to notifications, and releases
    /// what its earlier registrations (`unreleased`) held. `on_answer` is called at each answer the worker gets.
    pub async fn register(
        &self,
        queue: QueueName,
        batch: usize,
        unreleased: &[String],
        on_answer: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<ConsumerRegistration, QueueError> {
        let keys = self.keys(queue).batch_size(batch.max(1));
        let name = format!("{queue}-{}", Uuid::now_v7());
        let activity = ConnectionActivity::default();
        let mut conn = self.subscribe(&self.channel(queue), activity.clone()).await?;
        // First, because a full Redis still deletes but no longer writes.
        scripts::sweep(&mut conn, &keys).await?;
        scripts::release(&mut conn, &keys, false, unreleased).await?;
        scripts::notify(&mut conn, &keys, None).await?;
        let dropped = scripts::drop_unreadable(&mut conn, &keys).await?;
        if dropped > 0 {
            tracing::warn!(%queue, dropped, "unreadable queue entries dropped");
        }
        // Before the library writes it, so that it never exists without an expiry.
        let metadata = scripts::metadata(&keys, &name);
        let ttl = i64::try_from(METADATA_TTL).unwrap_or(i64::MAX);
        let _: () = pipe()
            .hset(&metadata, "service", "")
            .ignore()
            .expire(&metadata, ttl)
            .ignore()
            .query_async(&mut conn)
            .await?;
        let connection = ObservedConnection::new(conn.clone(), activity.clone(), on_answer);
        Ok(ConsumerRegistration { name, keys, conn, activity, connection })
    }

    /// Ends registrations: their entries wait again, and other consumers are notified.
    pub async fn deregister(&self, queue: QueueName, names: &[String]) -> Result<(), QueueError> {
        if names.is_empty() {
            return Ok(());
        }
        let (keys, channel) = (&self.keys(queue), &self.channel(queue));
        self.link
            .run(CONNECT, |mut conn| async move {
                if scripts::release(&mut conn, keys, false, names).await? > 0 {
                    scripts::notify(&mut conn, keys, Some(channel)).await?;
                }
                Ok(())
            })
            .await
    }

    /// One connection for commands and notifications (RESP3), so that neither can be lost alone.
    async fn subscribe(
        &self,
        channel: &str,
        activity: ConnectionActivity,
    ) -> RedisResult<MultiplexedConnection> {
        let info = self.address.clone().into_connection_info()?;
        let resp3 = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(move |push: PushInfo| -> Result<(), std::convert::Infallible> {
                if matches!(push.kind, PushKind::Message | PushKind::Disconnection) {
                    activity.notify();
                }
                Ok(())
            });
        let client = Client::open(info.set_redis_settings(resp3))?;
        let mut conn = client.get_multiplexed_async_connection_with_config(&config).await?;
        conn.subscribe(channel).await?;
        Ok(conn)
    }
}
