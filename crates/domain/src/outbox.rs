//! Jobs: what must happen after a transaction, promised by a row in it.
//!
//! [`enqueue`] takes a [`Tx`], so a promise outside a transaction does not compile. A [`relay`](relay::Relay) in every
//! process pushes the ids of due rows to Redis; a worker claims the row, which counts the attempt and takes a lease, and
//! completes it in the transaction of its effect. Redis may lose, repeat or reorder ids: the row decides. All leases and
//! due times are read off the database's clock.

mod job;
pub mod relay;
mod store;

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{DbError, Pool, Tx};
use crate::queue::QueueName;
pub use job::{Job, Limits};
pub use store::{DeadJob, QueueState};

/// How long a claim holds. Longer than any job may run ([`Limits::time`]), so a lease ends only when its worker died.
pub const LEASE: Duration = Duration::from_secs(30);

/// When an id that was pushed and not claimed is pushed again.
pub const REDELIVERY: Duration = Duration::from_secs(30);

/// How long a job of an unknown kind waits for a worker that knows it (a newer release).
const UNKNOWN_KIND_WAIT: Duration = Duration::from_secs(60);

/// How many jobs one statement removes.
const PURGE_BATCH: i64 = 5_000;

/// How a job is put off or kept single.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Not before this time; `None`: at once.
    pub due_at: Option<DateTime<Utc>>,
    /// At most one job has this key, ever.
    pub dedupe_key: Option<String>,
    /// The request that caused it, for the logs and the record of what it does.
    pub request_id: Option<String>,
}

/// What becomes of events that are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Somebody listens: they are announced.
    Some,
    /// Nobody does: they are on record, as done, until finished jobs go.
    Nobody,
}

/// What can go wrong when a worker reports on a job.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The lease ended and somebody else may hold the job: whatever was done must be rolled back.
    #[error("the lease on the job was lost")]
    LeaseLost,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for OutboxError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// The right to work on a job, until [`LEASE`] has passed.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The job.
    pub id: Uuid,
    /// Proof of this claim (a fencing token): a later claim has another.
    pub(crate) token: Uuid,
    /// Which attempt this is, from 1.
    pub attempt: u16,
    /// When the job was promised, by the database's clock.
    pub promised_at: DateTime<Utc>,
}

/// What a claim found.
#[derive(Debug)]
pub enum Claim {
    /// Ours to run.
    Job {
        /// The right to it.
        lease: Lease,
        /// What to do.
        job: Job,
        /// The request that caused it.
        request_id: Option<String>,
    },
    /// Nothing to do: done, dead, held by somebody else, not due, or no such job.
    Nothing,
    /// A kind or version that this release does not know; it was put off.
    Unknown {
        /// The kind it names.
        kind: String,
    },
    /// Its attempts were used up by workers that died over it; it is dead now.
    Exhausted {
        /// What was to be done.
        job: Job,
    },
}

/// Promises a job. It exists when the transaction commits, and only then.
pub async fn enqueue(tx: &mut Tx, job: &Job, options: Options) -> Result<(), DbError> {
    store::insert(tx, Uuid::now_v7(), job, options).await
}

/// Writes events down, each a job, in the transaction of what they tell of.
pub(crate) async fn enqueue_events(
    tx: &mut Tx,
    events: &[Job],
    audience: Audience,
    request_id: Option<&str>,
) -> Result<(), DbError> {
    store::insert_events(tx, events, audience, request_id).await
}

/// Promises a job outside any other change, such as a schedule's.
pub async fn enqueue_alone(pool: &Pool, job: &Job, options: Options) -> Result<(), DbError> {
    let mut tx = Tx::begin(pool).await?;
    enqueue(&mut tx, job, options).await?;
    tx.commit().await
}

/// Takes the job with this id, in a statement of its own that counts the attempt before any work.
pub async fn claim(pool: &Pool, id: Uuid) -> Result<Claim, DbError> {
    let mut connection = crate::db::get(pool).await?;
    let token = Uuid::new_v4();
    let Some(row) = store::claim(&mut connection, id, token, LEASE).await? else { return Ok(Claim::Nothing) };
    let attempt = u16::try_from(row.attempts).unwrap_or(u16::MAX);
    let lease = Lease { id, token, attempt, promised_at: row.created_at };
    let Some(job) = Job::decode(&row.kind, row.version, &row.payload) else {
        store::put_off(&mut connection, &lease, UNKNOWN_KIND_WAIT).await?;
        return Ok(Claim::Unknown { kind: row.kind });
    };
    if lease.attempt > job.limits().attempts {
        store::kill(&mut connection, &lease, "its workers died").await?;
        return Ok(Claim::Exhausted { job });
    }
    Ok(Claim::Job { lease, job, request_id: row.request_id })
}

/// Marks the job done, in the transaction of its effect: both happen, once, or neither.
pub async fn complete(tx: &mut Tx, lease: &Lease) -> Result<(), OutboxError> {
    if store::complete(tx, lease).await? { Ok(()) } else { Err(OutboxError::LeaseLost) }
}

/// Marks a job done whose effect is outside the database (a mail that was sent).
pub async fn complete_alone(pool: &Pool, lease: &Lease) -> Result<(), OutboxError> {
    let mut tx = Tx::begin(pool).await?;
    complete(&mut tx, lease).await?;
    Ok(tx.commit().await?)
}

/// Puts the job off for `delay` because it came too early, in the transaction that found so: no attempt is counted.
pub async fn put_off(tx: &mut Tx, lease: &Lease, delay: Duration) -> Result<(), OutboxError> {
    if store::put_off(tx, lease, delay).await? { Ok(()) } else { Err(OutboxError::LeaseLost) }
}

/// Lets the job run again after `delay`. `error` is kept for operators: no address, token or link may be in it.
pub async fn retry(pool: &Pool, lease: &Lease, delay: Duration, error: &str) -> Result<(), DbError> {
    let mut connection = crate::db::get(pool).await?;
    Ok(store::retry(&mut connection, lease, delay, error).await?)
}

/// Gives up on the job. `error` as for [`retry`].
pub async fn fail(pool: &Pool, lease: &Lease, error: &str) -> Result<(), DbError> {
    let mut connection = crate::db::get(pool).await?;
    Ok(store::kill(&mut connection, lease, error).await?)
}

/// The dead jobs, newest first.
pub async fn dead(pool: &Pool, limit: u16) -> Result<Vec<DeadJob>, DbError> {
    let mut connection = crate::db::get(pool).await?;
    Ok(store::dead(&mut connection, limit.into()).await?)
}

/// Lets dead jobs run again from their first attempt: the given one, or all. Returns how many.
pub async fn redrive(pool: &Pool, id: Option<Uuid>) -> Result<usize, DbError> {
    let mut connection = crate::db::get(pool).await?;
    Ok(store::redrive(&mut connection, id).await?)
}

/// How far each queue is behind, for metrics.
pub async fn states(pool: &Pool) -> Result<Vec<(QueueName, QueueState)>, DbError> {
    let mut connection = crate::db::get(pool).await?;
    let mut states = Vec::new();
    for queue in QueueName::ALL {
        states.push((queue, store::state(&mut connection, queue).await?));
    }
    Ok(states)
}

/// Removes jobs that were done before `age` ago, a piece at a time: however many there are, no statement takes long, and
/// what is removed stays so when the rest has to wait. Returns how many.
pub async fn purge_done(pool: &Pool, age: Duration) -> Result<usize, DbError> {
    let mut connection = crate::db::get(pool).await?;
    let mut purged = 0;
    loop {
        let piece = store::purge_done(&mut connection, age, PURGE_BATCH).await?;
        purged += piece;
        if piece == 0 {
            return Ok(purged);
        }
    }
}
