//! The SQL of endpoints: who is told, and how they fail.

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, select, sql};
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::page::Cursor;
use crate::schema::webhook_endpoints as endpoints;
use crate::webhooks::Event;

/// An endpoint, as managers see it.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = endpoints, check_for_backend(diesel::pg::Pg))]
pub struct Endpoint {
    /// Its id.
    pub id: Uuid,
    /// Where it is.
    pub url: String,
    /// What managers call it.
    pub description: String,
    /// What it is told of; none: everything.
    pub events: Vec<String>,
    /// Until when the secret before this one signs too.
    pub previous_until: Option<DateTime<Utc>>,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// Since when nothing is sent.
    pub disabled_at: Option<DateTime<Utc>>,
    /// `manager`, `gone` (it answered 410) or `failing` (it took nothing for days).
    pub disabled_reason: Option<String>,
    /// Since when it took nothing, if that is so.
    pub failing_since: Option<DateTime<Utc>>,
}

/// What changes of an endpoint; `None` leaves it.
#[derive(Default, AsChangeset)]
#[diesel(table_name = endpoints)]
pub(in crate::webhooks) struct Change<'a> {
    pub(in crate::webhooks) url: Option<&'a str>,
    pub(in crate::webhooks) description: Option<&'a str>,
    pub(in crate::webhooks) events: Option<Vec<&'static str>>,
}

/// The endpoints that are told of an event.
macro_rules! listening {
    ($event:expr) => {
        endpoints::table.filter(endpoints::disabled_at.is_null()).filter(
            endpoints::events.eq(Vec::<String>::new()).or(endpoints::events.contains(vec![$event.as_str()])),
        )
    };
}

/// Whether any endpoint is told of this event. Whoever changes that waits for the end of this transaction (see
/// [`lock_all`]): `FOR KEY SHARE`, here of no row, takes `ROW SHARE` on the table, before the statement has its snapshot. The lock
/// of a SELECT alone would not do: `pg_dump` has it for as long as it runs.
pub(in crate::webhooks) async fn is_heard(tx: &mut Tx, event: Event) -> QueryResult<bool> {
    let shared = sql::<Bool>("EXISTS (SELECT FROM webhook_endpoints WHERE false FOR KEY SHARE)");
    let (is_heard, _): (bool, bool) =
        select((exists(listening!(event)), shared)).get_result(&mut **tx).await?;
    Ok(is_heard)
}

/// The endpoints that are told of this event.
pub(in crate::webhooks) async fn listening(tx: &mut Tx, event: Event) -> QueryResult<Vec<Uuid>> {
    listening!(event).order(endpoints::id).select(endpoints::id).load(&mut **tx).await
}

/// Waits for everybody who has looked whether anybody listens and not committed yet, and lets nobody look before this
/// transaction ends: what commits later is told to whoever listens by then, and nothing falls between. Not for long: all who
/// come to look wait behind this one.
pub(in crate::webhooks) async fn lock_all(tx: &mut Tx) -> QueryResult<()> {
    tx.batch_execute(
        "SET LOCAL lock_timeout = '2s'; LOCK TABLE webhook_endpoints IN EXCLUSIVE MODE; SET LOCAL lock_timeout = '10s'",
    )
    .await
}

pub(in crate::webhooks) async fn count(tx: &mut Tx) -> QueryResult<i64> {
    endpoints::table.count().get_result(&mut **tx).await
}

pub(in crate::webhooks) async fn insert(
    tx: &mut Tx,
    now: DateTime<Utc>,
    id: Uuid,
    change: Change<'_>,
    sealed_secret: &[u8],
) -> QueryResult<Endpoint> {
    diesel::insert_into(endpoints::table)
        .values((
            endpoints::id.eq(id),
            endpoints::url.eq(change.url.unwrap_or_default()),
            endpoints::description.eq(change.description.unwrap_or_default()),
            endpoints::events.eq(change.events.unwrap_or_default()),
            endpoints::sealed_secret.eq(sealed_secret),
            endpoints::created_at.eq(now),
        ))
        .returning(Endpoint::as_returning())
        .get_result(&mut **tx)
        .await
}

pub(in crate::webhooks) async fn list(
    connection: &mut Connection,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<Endpoint>> {
    let mut query = endpoints::table
        .order((endpoints::created_at.desc(), endpoints::id.desc()))
        .limit(limit)
        .into_boxed();
    if let Some(Cursor { at, id }) = after {
        query = query
            .filter(endpoints::created_at.lt(at).or(endpoints::created_at.eq(at).and(endpoints::id.lt(id))));
    }
    query.select(Endpoint::as_select()).load(connection).await
}

pub(in crate::webhooks) async fn find(
    connection: &mut Connection,
    id: Uuid,
) -> QueryResult<Option<Endpoint>> {
    endpoints::table.find(id).select(Endpoint::as_select()).first(connection).await.optional()
}

/// As [`find`]; locked, beside others who only promise it something.
pub(in crate::webhooks) async fn lock(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Endpoint>> {
    let row = endpoints::table.find(id).select(Endpoint::as_select()).for_no_key_update();
    row.first(&mut **tx).await.optional()
}

pub(in crate::webhooks) async fn change(tx: &mut Tx, id: Uuid, change: Change<'_>) -> QueryResult<()> {
    if change.url.is_some() || change.description.is_some() || change.events.is_some() {
        diesel::update(endpoints::table.find(id)).set(change).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Sends nothing there any more. Returns whether something was until now.
pub(in crate::webhooks) async fn disable(
    tx: &mut Tx,
    now: DateTime<Utc>,
    id: Uuid,
    reason: &str,
) -> QueryResult<bool> {
    let disabled = diesel::update(endpoints::table.find(id))
        .filter(endpoints::disabled_at.is_null())
        .set((endpoints::disabled_at.eq(now), endpoints::disabled_reason.eq(reason)))
        .execute(&mut **tx)
        .await?;
    Ok(disabled == 1)
}

/// Sends there again.
pub(in crate::webhooks) async fn enable(tx: &mut Tx, id: Uuid) -> QueryResult<()> {
    diesel::update(endpoints::table.find(id))
        .set((
            endpoints::disabled_at.eq(None::<DateTime<Utc>>),
            endpoints::disabled_reason.eq(None::<String>),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(in crate::webhooks) async fn delete(tx: &mut Tx, id: Uuid) -> QueryResult<bool> {
    Ok(diesel::delete(endpoints::table.find(id)).execute(&mut **tx).await? == 1)
}

/// Puts a secret in place of the one there, which signs on until `until`; unless another signs on already: whoever exchanges
/// twice within that time has perhaps not seen the one between. Returns until when, as it is kept.
pub(in crate::webhooks) async fn rotate(
    tx: &mut Tx,
    now: DateTime<Utc>,
    id: Uuid,
    sealed_secret: &[u8],
    until: DateTime<Utc>,
) -> QueryResult<Option<DateTime<Utc>>> {
    let over = endpoints::previous_until.is_null().or(endpoints::previous_until.assume_not_null().le(now));
    diesel::update(endpoints::table.find(id).filter(over))
        .set((
            endpoints::previous_secret.eq(endpoints::sealed_secret.nullable()),
            endpoints::previous_until.eq(until),
        ))
        .execute(&mut **tx)
        .await?;
    diesel::update(endpoints::table.find(id))
        .set(endpoints::sealed_secret.eq(sealed_secret))
        .returning(endpoints::previous_until.assume_not_null())
        .get_result(&mut **tx)
        .await
        .optional()
}

/// Keeps a secret under another key, unless it was exchanged meanwhile.
pub(in crate::webhooks) async fn reseal(
    tx: &mut Tx,
    id: Uuid,
    former: &[u8],
    sealed: &[u8],
) -> QueryResult<()> {
    diesel::update(endpoints::table.find(id))
        .filter(endpoints::sealed_secret.eq(former))
        .set(endpoints::sealed_secret.eq(sealed))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// How an endpoint fails: since when, how many rounds of attempts, and when the next may begin.
#[derive(Clone, Copy, Default, Queryable, AsChangeset)]
#[diesel(table_name = endpoints, treat_none_as_null = true)]
pub(in crate::webhooks) struct Failures {
    #[diesel(column_name = failing_since)]
    pub(in crate::webhooks) since: Option<DateTime<Utc>>,
    #[diesel(column_name = failures)]
    pub(in crate::webhooks) rounds: i32,
    pub(in crate::webhooks) retry_at: Option<DateTime<Utc>>,
}

/// Lets one of many try an endpoint that fails: nobody else may until `until`.
pub(in crate::webhooks) async fn begin_probe(
    tx: &mut Tx,
    now: DateTime<Utc>,
    id: Uuid,
    until: DateTime<Utc>,
) -> QueryResult<bool> {
    let begun = diesel::update(endpoints::table.find(id))
        .filter(endpoints::retry_at.is_null().or(endpoints::retry_at.assume_not_null().le(now)))
        .set(endpoints::retry_at.eq(until))
        .execute(&mut **tx)
        .await?;
    Ok(begun == 1)
}

/// Lets another try it: the one that was to until `until` does not. What the endpoint asked for meanwhile stays.
pub(in crate::webhooks) async fn end_probe(tx: &mut Tx, id: Uuid, until: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(endpoints::table.find(id))
        .filter(endpoints::retry_at.eq(until))
        .set(endpoints::retry_at.eq(None::<DateTime<Utc>>))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Locks an endpoint, beside others who only promise it something. Returns where it is too.
pub(in crate::webhooks) async fn lock_failures(
    tx: &mut Tx,
    id: Uuid,
) -> QueryResult<Option<(String, Failures)>> {
    endpoints::table
        .find(id)
        .select((endpoints::url, (endpoints::failing_since, endpoints::failures, endpoints::retry_at)))
        .for_no_key_update()
        .first(&mut **tx)
        .await
        .optional()
}

/// An endpoint took something: whatever failed before is forgotten.
pub(in crate::webhooks) async fn recover(tx: &mut Tx, id: Uuid, before: &Failures) -> QueryResult<()> {
    if before.since.is_none() {
        return Ok(());
    }
    note_failures(tx, id, &Failures::default()).await
}

pub(in crate::webhooks) async fn note_failures(
    tx: &mut Tx,
    id: Uuid,
    failures: &Failures,
) -> QueryResult<()> {
    diesel::update(endpoints::table.find(id)).set(failures).execute(&mut **tx).await?;
    Ok(())
}
