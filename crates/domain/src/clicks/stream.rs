//! The stream in Redis between the api and the worker.
//!
//! An entry is a [`Batch`]. It may be there twice (an answer of Redis that got lost makes the api send it again), and it may
//! come back after it was counted (a Redis that lost its last second): its id decides, in PostgreSQL, so no position has to
//! be kept that an emptied Redis or one with an older clock would make wrong. The worker takes from the head and deletes
//! what is counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::{self, RedisResult};

use super::Batch;
use crate::redis::{Redis, Unavailable};

/// How long the worker waits for a piece of the stream: it has megabytes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What holds when the memory cannot be measured: the oldest entries make room.
const MOST_ENTRIES: usize = 1_000_000;

/// The field that holds the batch.
const FIELD: &str = "b";

/// The stream.
#[derive(Clone)]
pub struct Stream {
    redis: Redis,
    key: Arc<str>,
}

/// The number of an entry, its names and values in turn.
type Raw = (String, Vec<Vec<u8>>);

/// An entry as it lies there.
pub(super) struct Entry {
    pub(super) id: String,
    /// Empty if it is none of ours.
    pub(super) bytes: Vec<u8>,
}

impl Stream {
    /// The stream of an installation.
    pub fn new(redis: Redis, prefix: &str) -> Self {
        Self { redis, key: format!("{prefix}:v1:clicks").into() }
    }

    /// Its key in Redis.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Appends a batch and returns how many bytes the stream has. After an error it may be there or not: append it again.
    pub async fn push(&self, batch: &Batch) -> Result<u64, Unavailable> {
        let bytes = &batch.encode();
        self.redis
            .within_budget(async {
                let mut connection = self.redis.connection().await?;
                let mut commands = redis::pipe();
                commands.cmd("XADD").arg(&*self.key).arg("MAXLEN").arg("~").arg(MOST_ENTRIES);
                commands.arg("*").arg(FIELD).arg(bytes).ignore();
                commands.cmd("MEMORY").arg("USAGE").arg(&*self.key).arg("SAMPLES").arg(5);
                let (bytes,): (Option<u64>,) = commands.query_async(&mut connection).await?;
                Ok(bytes.unwrap_or_default())
            })
            .await
    }

    /// How many bytes it has.
    pub async fn bytes(&self) -> Result<u64, Unavailable> {
        self.redis
            .within_budget(async {
                let mut connection = self.redis.connection().await?;
                let mut command = redis::cmd("MEMORY");
                command.arg("USAGE").arg(&*self.key).arg("SAMPLES").arg(5);
                let bytes: Option<u64> = command.query_async(&mut connection).await?;
                Ok(bytes.unwrap_or_default())
            })
            .await
    }

    /// The first entries, and how many there are.
    pub(super) async fn head(&self, count: usize) -> Result<(Vec<Entry>, u64), Unavailable> {
        patiently(async {
            let mut connection = self.redis.connection().await?;
            let mut commands = redis::pipe();
            commands.cmd("XRANGE").arg(&*self.key).arg("-").arg("+").arg("COUNT").arg(count);
            commands.cmd("XLEN").arg(&*self.key);
            let (range, length): (Vec<Raw>, u64) = commands.query_async(&mut connection).await?;
            let entries = range.into_iter().map(|(id, fields)| match <[Vec<u8>; 2]>::try_from(fields) {
                Ok([name, bytes]) if name == FIELD.as_bytes() => Entry { id, bytes },
                _ => Entry { id, bytes: Vec::new() },
            });
            Ok((entries.collect(), length))
        })
        .await
    }

    /// Deletes entries.
    pub(super) async fn delete(&self, ids: &[String]) -> Result<(), Unavailable> {
        if ids.is_empty() {
            return Ok(());
        }
        patiently(async {
            let mut connection = self.redis.connection().await?;
            redis::cmd("XDEL").arg(&*self.key).arg(ids).exec_async(&mut connection).await
        })
        .await
    }
}

async fn patiently<T>(calls: impl Future<Output = RedisResult<T>>) -> Result<T, Unavailable> {
    tokio::time::timeout(PATIENCE, calls).await.map_err(|_| Unavailable::Slow)?.map_err(Into::into)
}
