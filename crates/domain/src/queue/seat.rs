//! A consumer's place at a queue, for one life of the library's worker: its name, its connection, its registration.
//!
//! The running of it is the worker's business. A seat lasts until the first error; then another one is taken, under
//! another name, and what the earlier one held is handed back.

use std::sync::Arc;

use apalis_redis::{Config, RedisStorage};
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisResult, pipe,
};
use uuid::Uuid;

use super::link::{ANSWER, CONNECT};
use super::{Line, QueueError, QueueName, Queues, Tapped, script};

/// How long a dead consumer's metadata may stay behind, in seconds: longer than the orphan window.
const METADATA_TTL: u64 = 300;

/// A registered consumer, or one that is about to be.
pub struct Seat {
    name: String,
    keys: Config,
    conn: MultiplexedConnection,
    line: Line,
    tapped: Tapped,
}

impl Seat {
    /// The name of this life; no other has ever had it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The library's view of the queue, on this seat's connection.
    pub fn storage(&self) -> RedisStorage<String, Tapped> {
        RedisStorage::new(self.tapped.clone()).with_config(self.keys.clone())
    }

    /// The bell of this seat.
    pub fn line(&self) -> Line {
        self.line.clone()
    }

    /// Renews the registration, which the library forgets to do while jobs it fetched wait for a free slot and while it
    /// drains; false if Redis has lost it.
    pub async fn pulse(&self) -> Result<bool, QueueError> {
        Ok(script::pulse(&mut self.conn.clone(), &self.keys, &self.name, METADATA_TTL).await?)
    }
}

impl Queues {
    /// Takes a seat at a queue that fetches `batch` entries at a time: connects, listens for the bell, and puts right
    /// what earlier lives (`owed`) and others left behind. `on_answer` is called at each answer the worker gets.
    pub async fn take_seat(
        &self,
        queue: QueueName,
        batch: usize,
        owed: &[String],
        on_answer: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Seat, QueueError> {
        let keys = self.keys(queue).batch_size(batch.max(1));
        let name = format!("{queue}-{}", Uuid::now_v7());
        let line = Line::default();
        let mut conn = self.listening(&self.channel(queue), line.clone()).await?;
        // First, because a full Redis still forgets but no longer takes anything.
        script::sweep(&mut conn, &keys).await?;
        script::release(&mut conn, &keys, false, owed).await?;
        script::ring(&mut conn, &keys, None).await?;
        let dropped = script::scrub(&mut conn, &keys).await?;
        if dropped > 0 {
            tracing::warn!(%queue, dropped, "dropped entries of a queue in Redis that no worker could have read");
        }
        // Before the library writes it, so that it never exists without a limit to its life.
        let metadata = script::metadata(&keys, &name);
        let ttl = i64::try_from(METADATA_TTL).unwrap_or(i64::MAX);
        let _: () = pipe()
            .hset(&metadata, "service", "")
            .ignore()
            .expire(&metadata, ttl)
            .ignore()
            .query_async(&mut conn)
            .await?;
        let tapped = Tapped::new(conn.clone(), line.clone(), on_answer);
        Ok(Seat { name, keys, conn, line, tapped })
    }

    /// Ends registrations: what they held waits again, and other consumers hear of it.
    pub async fn leave(&self, queue: QueueName, names: &[String]) -> Result<(), QueueError> {
        if names.is_empty() {
            return Ok(());
        }
        let (keys, channel) = (&self.keys(queue), &self.channel(queue));
        self.link
            .run(CONNECT, |mut conn| async move {
                if script::release(&mut conn, keys, false, names).await? > 0 {
                    script::ring(&mut conn, keys, Some(channel)).await?;
                }
                Ok(())
            })
            .await
    }

    /// One connection for commands and for the bell (RESP3), so that neither can be lost alone.
    async fn listening(&self, channel: &str, line: Line) -> RedisResult<MultiplexedConnection> {
        let info = self.address.clone().into_connection_info()?;
        let resp3 = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_push_sender(move |push: PushInfo| -> Result<(), std::convert::Infallible> {
                if matches!(push.kind, PushKind::Message | PushKind::Disconnection) {
                    line.ring();
                }
                Ok(())
            });
        let client = Client::open(info.set_redis_settings(resp3))?;
        let mut conn = client.get_multiplexed_async_connection_with_config(&config).await?;
        conn.subscribe(channel).await?;
        Ok(conn)
    }
}
