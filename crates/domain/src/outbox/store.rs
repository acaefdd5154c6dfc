//! The SQL of the outbox.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::dsl::{IntervalDsl, now, sql};
use diesel::pg::data_types::PgInterval;
use diesel::prelude::*;
use diesel::sql_types::{Interval, Nullable, Timestamptz};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::job::{Job, VERSION};
use super::{Audience, Lease, Options, REDELIVERY};
use crate::db::{Connection, DbError, ROWS_AT_ONCE, Tx};
use crate::queue::QueueName;
use crate::schema::outbox;

/// The longest error text that is kept, in characters.
const LONGEST_ERROR: usize = 500;

/// A job that nobody tries any more.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = outbox, check_for_backend(diesel::pg::Pg))]
pub struct DeadJob {
    /// The job.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// How often it was tried.
    pub attempts: i16,
    /// When it was given up.
    pub dead_at: Option<DateTime<Utc>>,
    /// The last error.
    pub last_error: Option<String>,
}

/// How far a queue is behind.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueState {
    /// Jobs that are due, or being worked on.
    pub waiting: i64,
    /// When the oldest of those was due.
    pub oldest: Option<DateTime<Utc>>,
    /// Dead jobs.
    pub dead: i64,
}

#[derive(Queryable)]
pub(super) struct Claimed {
    pub(super) kind: String,
    pub(super) version: i16,
    pub(super) payload: serde_json::Value,
    pub(super) attempts: i16,
    pub(super) request_id: Option<String>,
    pub(super) created_at: DateTime<Utc>,
}

fn interval(duration: Duration) -> PgInterval {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).microseconds()
}

/// The database's time, `duration` from now.
macro_rules! after {
    ($duration:expr) => {
        now.into_sql::<Timestamptz>() + interval($duration).into_sql::<Interval>()
    };
}

/// Jobs that are neither done nor dead.
macro_rules! open {
    () => {
        outbox::done_at.is_null().and(outbox::dead_at.is_null())
    };
}

fn payload(job: &Job) -> QueryResult<serde_json::Value> {
    job.payload().map_err(|error| diesel::result::Error::SerializationError(Box::new(error)))
}

pub(super) async fn insert_events(
    tx: &mut Tx,
    events: &[Job],
    audience: Audience,
    request_id: Option<&str>,
) -> Result<(), DbError> {
    let done = match audience {
        Audience::Some => sql::<Nullable<Timestamptz>>("NULL"),
        Audience::Nobody => sql("now()"),
    };
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        rows.push((
            outbox::id.eq(Uuid::now_v7()),
            outbox::queue.eq(event.queue().as_str()),
            outbox::kind.eq(event.kind()),
            outbox::version.eq(VERSION),
            outbox::payload.eq(payload(event)?),
            outbox::request_id.eq(request_id),
            outbox::due_at.eq(now),
            outbox::done_at.eq(done.clone()),
        ));
    }
    while !rows.is_empty() {
        let rest = rows.split_off(rows.len().min(ROWS_AT_ONCE));
        diesel::insert_into(outbox::table).values(rows).execute(&mut **tx).await?;
        rows = rest;
    }
    Ok(())
}

pub(super) async fn insert(tx: &mut Tx, id: Uuid, job: &Job, options: Options) -> Result<(), DbError> {
    let row = (
        outbox::id.eq(id),
        outbox::queue.eq(job.queue().as_str()),
        outbox::kind.eq(job.kind()),
        outbox::version.eq(VERSION),
        outbox::payload.eq(payload(job)?),
        outbox::dedupe_key.eq(options.dedupe_key),
        outbox::request_id.eq(options.request_id),
    );
    let insert = diesel::insert_into(outbox::table);
    // clock_timestamp-like `now` is the transaction's start: never later than the commit that makes the row visible.
    match options.due_at {
        Some(due_at) => {
            insert
                .values((row, outbox::due_at.eq(due_at)))
                .on_conflict(outbox::dedupe_key)
                .do_nothing()
                .execute(&mut **tx)
                .await?
        }
        None => {
            insert
                .values((row, outbox::due_at.eq(now)))
                .on_conflict(outbox::dedupe_key)
                .do_nothing()
                .execute(&mut **tx)
                .await?
        }
    };
    Ok(())
}

pub(super) async fn claim(
    connection: &mut Connection,
    id: Uuid,
    token: Uuid,
    lease: Duration,
) -> QueryResult<Option<Claimed>> {
    diesel::update(outbox::table)
        .filter(outbox::id.eq(id).and(open!()))
        .filter(
            outbox::leased_until
                .is_null()
                .or(outbox::leased_until.le(now.into_sql::<Timestamptz>().nullable())),
        )
        .set((
            outbox::attempts.eq(outbox::attempts + 1),
            outbox::lease_token.eq(token),
            outbox::leased_until.eq((after!(lease)).nullable()),
            outbox::due_at.eq(after!(lease)),
        ))
        .returning((
            outbox::kind,
            outbox::version,
            outbox::payload,
            outbox::attempts,
            outbox::request_id,
            outbox::created_at,
        ))
        .get_result(connection)
        .await
        .optional()
}

/// Marks it done if the lease still holds.
pub(super) async fn complete(tx: &mut Tx, lease: &Lease) -> QueryResult<bool> {
    let updated = diesel::update(outbox::table)
        .filter(outbox::id.eq(lease.id).and(outbox::lease_token.eq(lease.token)).and(open!()))
        .set((
            outbox::done_at.eq(now.into_sql::<Timestamptz>().nullable()),
            outbox::leased_until.eq(None::<DateTime<Utc>>),
            outbox::last_error.eq(None::<String>),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(updated == 1)
}

pub(super) async fn retry(
    connection: &mut Connection,
    lease: &Lease,
    delay: Duration,
    error: &str,
) -> QueryResult<()> {
    let error: String = error.chars().take(LONGEST_ERROR).collect();
    diesel::update(outbox::table)
        .filter(outbox::id.eq(lease.id).and(outbox::lease_token.eq(lease.token)).and(open!()))
        .set((
            outbox::lease_token.eq(None::<Uuid>),
            outbox::leased_until.eq((after!(delay)).nullable()),
            outbox::due_at.eq(after!(delay)),
            outbox::last_error.eq(error),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// As if it had never been pushed or claimed, but not before `delay` has passed. Does nothing when the lease was lost.
pub(super) async fn put_off(
    connection: &mut Connection,
    lease: &Lease,
    delay: Duration,
) -> QueryResult<bool> {
    let updated = diesel::update(outbox::table)
        .filter(outbox::id.eq(lease.id).and(outbox::lease_token.eq(lease.token)).and(open!()))
        .set((
            outbox::attempts.eq(outbox::attempts - 1),
            outbox::generation.eq(0),
            outbox::lease_token.eq(None::<Uuid>),
            outbox::leased_until.eq((after!(delay)).nullable()),
            outbox::due_at.eq(after!(delay)),
        ))
        .execute(connection)
        .await?;
    Ok(updated == 1)
}

pub(super) async fn kill(connection: &mut Connection, lease: &Lease, error: &str) -> QueryResult<()> {
    let error: String = error.chars().take(LONGEST_ERROR).collect();
    diesel::update(outbox::table)
        .filter(outbox::id.eq(lease.id).and(outbox::lease_token.eq(lease.token)).and(open!()))
        .set((
            outbox::dead_at.eq(now.into_sql::<Timestamptz>().nullable()),
            outbox::leased_until.eq(None::<DateTime<Utc>>),
            outbox::last_error.eq(error),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// The ids of up to `limit` due jobs of a queue, each put off by `redelivery`. Relays that run at once take different ones.
pub(super) async fn take_due(
    tx: &mut Tx,
    queue: QueueName,
    limit: i64,
    redelivery: Duration,
) -> QueryResult<Vec<Uuid>> {
    let ids: Vec<Uuid> = outbox::table
        .filter(outbox::queue.eq(queue.as_str()).and(open!()))
        .filter(outbox::due_at.le(now))
        .order(outbox::due_at)
        .limit(limit)
        .select(outbox::id)
        .for_update()
        .skip_locked()
        .load(&mut **tx)
        .await?;
    if !ids.is_empty() {
        diesel::update(outbox::table.filter(outbox::id.eq_any(&ids)))
            .set((outbox::due_at.eq(after!(redelivery)), outbox::generation.eq(outbox::generation + 1)))
            .execute(&mut **tx)
            .await?;
    }
    Ok(ids)
}

/// Makes jobs due again whose push failed.
pub(super) async fn give_back(connection: &mut Connection, ids: &[Uuid]) -> QueryResult<()> {
    diesel::update(outbox::table.filter(outbox::id.eq_any(ids)))
        .filter(
            outbox::leased_until
                .is_null()
                .or(outbox::leased_until.le(now.into_sql::<Timestamptz>().nullable())),
        )
        .set(outbox::due_at.eq(now))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn dead(connection: &mut Connection, limit: i64) -> QueryResult<Vec<DeadJob>> {
    outbox::table
        .filter(outbox::dead_at.is_not_null())
        .order(outbox::dead_at.desc())
        .limit(limit)
        .select(DeadJob::as_select())
        .load(connection)
        .await
}

pub(super) async fn redrive(connection: &mut Connection, id: Option<Uuid>) -> QueryResult<usize> {
    let reset = (
        outbox::dead_at.eq(None::<DateTime<Utc>>),
        outbox::lease_token.eq(None::<Uuid>),
        outbox::attempts.eq(0),
        outbox::due_at.eq(now),
    );
    let dead = diesel::update(outbox::table).filter(outbox::dead_at.is_not_null());
    match id {
        Some(id) => dead.filter(outbox::id.eq(id)).set(reset).execute(connection).await,
        None => dead.set(reset).execute(connection).await,
    }
}

/// When a waiting job was due. A push moves `due_at` ahead, so of one that was pushed and not claimed it is that less what
/// the pushes added; a job that was put off, or held from the start, is due no earlier than it was to be.
fn due_since() -> String {
    format!(
        "CASE WHEN generation = 0 OR attempts > 0 THEN due_at
              ELSE greatest(created_at, due_at - generation * interval '{} seconds') END",
        REDELIVERY.as_secs()
    )
}

pub(super) async fn state(connection: &mut Connection, queue: QueueName) -> QueryResult<QueueState> {
    let queue = queue.as_str();
    let free = outbox::leased_until
        .is_null()
        .or(outbox::leased_until.le(now.into_sql::<Timestamptz>().nullable()))
        .assume_not_null();
    let pushed = outbox::generation.gt(0).and(outbox::attempts.eq(0)).and(free);
    let (waiting, oldest): (i64, Option<DateTime<Utc>>) = outbox::table
        .filter(outbox::queue.eq(queue).and(open!()))
        .filter(outbox::due_at.le(now).or(pushed))
        .select((diesel::dsl::count_star(), diesel::dsl::min(sql::<Timestamptz>(&due_since()))))
        .first(connection)
        .await?;
    let dead = outbox::table
        .filter(outbox::queue.eq(queue).and(outbox::dead_at.is_not_null()))
        .count()
        .get_result(connection)
        .await?;
    Ok(QueueState { waiting, oldest, dead })
}

pub(super) async fn purge_done(connection: &mut Connection, age: Duration, limit: i64) -> QueryResult<usize> {
    let before = now.into_sql::<Timestamptz>() - interval(age).into_sql::<Interval>();
    let ids: Vec<Uuid> = outbox::table
        .filter(outbox::done_at.lt(before.nullable()))
        .order(outbox::done_at)
        .limit(limit)
        .select(outbox::id)
        .load(connection)
        .await?;
    if ids.is_empty() {
        return Ok(0);
    }
    diesel::delete(outbox::table.filter(outbox::id.eq_any(ids))).execute(connection).await
}
