//! The SQL of the record.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Entry, Filter, Trace};
use crate::db::{Connection, ROWS_AT_ONCE};
use crate::page::Cursor;
use crate::schema::security_events as events;

/// An event, as it is listed.
#[derive(Clone, Debug, Queryable)]
pub struct SecurityEvent {
    /// The entry.
    pub id: Uuid,
    /// Whose account.
    pub user_id: Option<Uuid>,
    /// `account`, `manager`, `operator`, `system` or `unknown`.
    pub actor: String,
    /// The account or manager who did it.
    pub actor_id: Option<Uuid>,
    /// What happened.
    pub event: String,
    /// The session, factor, identity or referral that it is about.
    pub subject_id: Option<Uuid>,
    /// Why, when somebody gave a reason.
    pub reason: Option<String>,
    /// Keyed hash of the network, while it is kept.
    pub ip_hash: Option<Vec<u8>>,
    /// The request.
    pub request_id: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

pub(super) async fn insert(
    connection: &mut Connection,
    now: DateTime<Utc>,
    entry: Entry<'_>,
    trace: &Trace,
) -> QueryResult<()> {
    insert_all(connection, now, &[entry], trace).await
}

pub(super) async fn insert_all(
    connection: &mut Connection,
    now: DateTime<Utc>,
    entries: &[Entry<'_>],
    trace: &Trace,
) -> QueryResult<()> {
    for entries in entries.chunks(ROWS_AT_ONCE) {
        insert_chunk(connection, now, entries, trace).await?;
    }
    Ok(())
}

async fn insert_chunk(
    connection: &mut Connection,
    now: DateTime<Utc>,
    entries: &[Entry<'_>],
    trace: &Trace,
) -> QueryResult<()> {
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let (actor, actor_id) = entry.actor.columns();
            (
                events::id.eq(Uuid::now_v7()),
                events::user_id.eq(entry.user_id),
                events::actor.eq(actor),
                events::actor_id.eq(actor_id),
                events::event.eq(entry.event.as_str()),
                events::subject_id.eq(entry.subject_id),
                events::reason.eq(entry.reason),
                events::ip_hash.eq(trace.ip_hash.as_deref()),
                events::request_id.eq(trace.request_id.as_deref()),
                events::created_at.eq(now),
            )
        })
        .collect();
    diesel::insert_into(events::table).values(rows).execute(connection).await?;
    Ok(())
}

pub(super) async fn list(
    connection: &mut Connection,
    filter: Filter,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<SecurityEvent>> {
    let mut query =
        events::table.order((events::created_at.desc(), events::id.desc())).limit(limit).into_boxed();
    if let Some(user_id) = filter.user_id {
        query = query.filter(events::user_id.eq(user_id));
    }
    if let Some(event) = filter.event {
        query = query.filter(events::event.eq(event.as_str()));
    }
    if let Some(subject_id) = filter.subject_id {
        query = query.filter(events::subject_id.eq(subject_id));
    }
    if let Some(Cursor { at, id }) = after {
        query = query.filter(events::created_at.lt(at).or(events::created_at.eq(at).and(events::id.lt(id))));
    }
    query.load(connection).await
}

/// Whether there is a sign-in of a user, from a network if one is given.
pub(super) async fn has_signed_in(
    connection: &mut Connection,
    user_id: Uuid,
    network: Option<&[u8]>,
) -> QueryResult<bool> {
    let mut query = events::table
        .filter(events::user_id.eq(user_id).and(events::event.eq(super::Event::SignedIn.as_str())))
        .select(events::id)
        .limit(1)
        .into_boxed();
    if let Some(network) = network {
        query = query.filter(events::ip_hash.eq(network));
    }
    Ok(query.first::<Uuid>(connection).await.optional()?.is_some())
}

pub(super) async fn forget_networks(connection: &mut Connection, user_id: Uuid) -> QueryResult<()> {
    diesel::update(events::table.filter(events::user_id.eq(user_id).and(events::ip_hash.is_not_null())))
        .set(events::ip_hash.eq(None::<Vec<u8>>))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn forget_networks_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(events::table.filter(events::created_at.lt(before).and(events::ip_hash.is_not_null())))
        .set(events::ip_hash.eq(None::<Vec<u8>>))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn delete_before(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    // As the trigger has it: a clock that runs ahead of the database's deletes nothing early, and does not fail.
    let old = sql::<Bool>("created_at < now() - interval '365 days'");
    diesel::delete(events::table.filter(events::created_at.lt(before).and(old))).execute(connection).await
}
