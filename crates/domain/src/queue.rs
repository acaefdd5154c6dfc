//! The queues: which exist, and what a process may do with them.
//!
//! PostgreSQL owns the jobs (see [`crate::outbox`]); Redis carries their ids, and losing or repeating an id does no harm.
//! apalis-redis stores the entries; only this module and the worker's `consume` name it. Where version 1.0 loses, keeps or
//! blocks entries, a script of ours makes up for it: due entries are made available in chunks (8,000 at once block the
//! queue for good), finished entries are deleted, and the entries of a dead consumer are released. The worker runs jobs;
//! PostgreSQL alone decides about retries.

mod activity;
mod link;
mod payload;
mod registration;
mod scripts;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use apalis_core::task::builder::TaskBuilder;
use apalis_redis::queries::push_tasks;
use apalis_redis::{Config, RedisTask};
use deadpool_redis::redis::{ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, pipe};
use secrecy::{ExposeSecret, SecretString};

pub use activity::{ConnectionActivity, ObservedConnection, OpenCommand};
use link::{ANSWER, CONNECT, Link};
pub use payload::IdBytes;
pub use registration::ConsumerRegistration;

/// The most due entries that the relay keeps in Redis per queue. Each pusher may exceed it by one push; the library's own
/// scripts fail near 8,000.
pub const WINDOW: usize = 2_000;

/// How often the library renews a consumer's registration.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Missed heartbeats after which a consumer's entries go to others: 40 s in all, longer than a drain.
const MISSED_HEARTBEATS: usize = 4;
/// Entries that one script call pushes, so that Redis serves other clients in between.
const PUSH_CHUNK: usize = 500;

/// A queue. The kind of a job decides its queue, so that neither a dead mail server nor a hanging webhook receiver delays
/// rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueName {
    /// Mails to people.
    Mail,
    /// Referrals to settle.
    Rewards,
    /// Expiry and purges.
    Maintenance,
    /// Deliveries to webhook endpoints.
    Webhooks,
}

impl QueueName {
    /// All queues.
    pub const ALL: [Self; 4] = [Self::Mail, Self::Rewards, Self::Maintenance, Self::Webhooks];

    /// The name in Redis keys, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Rewards => "rewards",
            Self::Maintenance => "maintenance",
            Self::Webhooks => "webhooks",
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No queue has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such queue")]
pub struct UnknownQueue;

impl FromStr for QueueName {
    type Err = UnknownQueue;
    fn from_str(name: &str) -> Result<Self, UnknownQueue> {
        Self::ALL.into_iter().find(|queue| queue.as_str() == name).ok_or(UnknownQueue)
    }
}

/// Why a queue operation failed. No job is lost by it.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The URL cannot be parsed. It is not repeated here: it may hold a password.
    #[error("the URL of the queue's Redis is invalid")]
    Address,
    /// Redis was unreachable or answered with an error.
    #[error("the queue's Redis failed")]
    Redis(#[from] RedisError),
    /// The library could not push.
    #[error("the ids could not be pushed")]
    Push(#[source] apalis_redis::Error),
    /// Redis did not answer in time.
    #[error("the queue's Redis did not answer in time")]
    Timeout,
}

impl QueueError {
    /// Whether the connection itself may be broken, so that a new one may succeed.
    fn doubts_connection(&self) -> bool {
        match self {
            Self::Redis(error) | Self::Push(apalis_redis::Error::Database(error)) => {
                !matches!(error.kind(), ErrorKind::Server(_)) || error.is_unrecoverable_error()
            }
            Self::Timeout => true,
            Self::Address | Self::Push(_) => false,
        }
    }
}

/// The queues of a process. Cheap to clone; connects when first used.
#[derive(Clone)]
pub struct Queues {
    link: Arc<Link>,
    address: ConnectionInfo,
    prefix: Arc<str>,
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Queues {
    /// Reads the address and contacts nothing, so a process starts and accepts registrations while Redis is down.
    pub fn new(redis_url: &SecretString, prefix: &str) -> Result<Self, QueueError> {
        let address = redis_url.expose_secret().into_connection_info().map_err(|_| QueueError::Address)?;
        let link = Link::new(address.clone()).map_err(|_| QueueError::Address)?;
        Ok(Self { link: Arc::new(link), address, prefix: prefix.into() })
    }

    /// The number of entries waiting in Redis. The relay fills up to [`WINDOW`].
    pub async fn depth(&self, queue: QueueName) -> Result<usize, QueueError> {
        let keys = &self.keys(queue);
        let (scheduled, active): (u32, u32) = self
            .link
            .run(ANSWER, |mut conn| async move {
                let mut sizes = pipe();
                sizes.zcard(keys.scheduled_jobs_set()).llen(keys.active_jobs_list());
                Ok(sizes.query_async(&mut conn).await?)
            })
            .await?;
        let depth = scheduled.saturating_add(active);
        metrics::gauge!("trellis_queue_depth", "queue" => queue.as_str()).set(f64::from(depth));
        Ok(usize::try_from(depth).unwrap_or(usize::MAX))
    }

    /// Pushes ids and notifies the consumers. The same id may be pushed again at any time: PostgreSQL decides what runs.
    ///
    /// After an error any number of them may have been pushed; push them all again later.
    pub async fn push(&self, queue: QueueName, ids: &[String]) -> Result<(), QueueError> {
        let (keys, channel) = (&self.keys(queue), &self.channel(queue));
        for ids in ids.chunks(PUSH_CHUNK) {
            let tasks: &Vec<RedisTask> =
                &ids.iter().map(|id| TaskBuilder::new(id.clone().into_bytes()).build()).collect();
            self.link
                .run(ANSWER, |mut conn| async move {
                    push_tasks(&mut conn, keys, tasks).await.map_err(QueueError::Push)?;
                    Ok(scripts::notify(&mut conn, keys, Some(channel)).await?)
                })
                .await?;
        }
        Ok(())
    }

    /// Deletes the entries of finished jobs, releases those of dead consumers, and returns how many were deleted. Waiting
    /// and running entries are never touched.
    pub async fn clean(&self, queue: QueueName) -> Result<u64, QueueError> {
        let (keys, channel) = (&self.keys(queue), &self.channel(queue));
        self.link
            .run(ANSWER, |mut conn| async move {
                if scripts::release(&mut conn, keys, true, &[]).await? > 0 {
                    scripts::notify(&mut conn, keys, Some(channel)).await?;
                }
                Ok(scripts::sweep(&mut conn, keys).await?)
            })
            .await
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), QueueError> {
        self.link.run(CONNECT, |mut conn| async move { Ok(pipe().ping().exec_async(&mut conn).await?) }).await
    }

    /// The library's settings and key names for a queue.
    fn keys(&self, queue: QueueName) -> Config {
        Config::default()
            .queue(format!("{}:v1:{queue}", self.prefix))
            .heartbeat_interval(HEARTBEAT)
            .missed_heartbeats(MISSED_HEARTBEATS)
            // A lock costs a round trip a job and guards nothing: PostgreSQL's lease does.
            .lock_tasks(false)
            // Off, it would switch acknowledgements off as well.
            .persist_results(true)
            .emit_events(false)
    }

    /// The channel on which consumers of a queue are notified. Its name is older than the term: a process of the release
    /// before must still reach ours.
    fn channel(&self, queue: QueueName) -> String {
        format!("{}:v1:{queue}:bell", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for queue in QueueName::ALL {
            assert_eq!(queue.to_string().parse(), Ok(queue));
        }
        assert_eq!("Mail".parse::<QueueName>(), Err(UnknownQueue));
    }

    #[test]
    fn o2_nothing_is_contacted_to_begin_with() {
        let queues = Queues::new(&SecretString::from("redis://127.0.0.1:1/0"), "trellis");
        assert!(queues.is_ok());
    }

    #[test]
    fn an_invalid_url_is_refused_without_repeating_it() {
        for address in ["postgres://user:hunter2@host", "redis://user:hunter2@host:port", "", "hunter2"] {
            let refused = Queues::new(&SecretString::from(address), "trellis").map(|_| ()).unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains("hunter2"));
        }
    }
}
