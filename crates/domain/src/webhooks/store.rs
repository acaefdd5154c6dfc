//! The SQL of webhooks.

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, select};
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use uuid::Uuid;

use super::Event;
use crate::db::{Connection, Tx};
use crate::page::Cursor;
use crate::schema::{webhook_deliveries as deliveries, webhook_endpoints as endpoints};

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

/// What an endpoint was told, or is to be.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = deliveries, check_for_backend(diesel::pg::Pg))]
pub struct Delivery {
    /// Its id.
    pub id: Uuid,
    /// The event, as the receiver knows it.
    pub event_id: Uuid,
    /// What happened.
    pub event: String,
    /// What is sent.
    pub body: String,
    /// When it was promised.
    pub created_at: DateTime<Utc>,
    /// How often it was tried.
    pub attempts: i32,
    /// When it was tried last.
    pub last_attempt_at: Option<DateTime<Utc>>,
    /// The status of the last answer.
    pub last_status: Option<i16>,
    /// Why there was no good one.
    pub last_error: Option<String>,
    /// When it was taken.
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it was given up.
    pub failed_at: Option<DateTime<Utc>>,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be tried, perhaps again.
    Waiting,
    /// Taken.
    Delivered,
    /// Given up.
    Failed,
}

/// A delivery that waits, with what is needed to send it.
#[derive(Queryable)]
pub(super) struct Open {
    pub(super) event_id: Uuid,
    pub(super) event: String,
    pub(super) created_at: DateTime<Utc>,
    pub(super) body: String,
    pub(super) endpoint_id: Uuid,
    pub(super) url: String,
    pub(super) sealed_secret: Vec<u8>,
    pub(super) previous_secret: Option<Vec<u8>>,
    pub(super) previous_until: Option<DateTime<Utc>>,
    pub(super) is_disabled: bool,
    pub(super) is_failing: bool,
    pub(super) retry_at: Option<DateTime<Utc>>,
}

/// What changes of an endpoint; `None` leaves it.
#[derive(Default, AsChangeset)]
#[diesel(table_name = endpoints)]
pub(super) struct Change<'a> {
    pub(super) url: Option<&'a str>,
    pub(super) description: Option<&'a str>,
    pub(super) events: Option<Vec<&'static str>>,
}

/// The endpoints that are told of an event.
macro_rules! listening {
    ($event:expr) => {
        endpoints::table.filter(endpoints::disabled_at.is_null()).filter(
            endpoints::events.eq(Vec::<String>::new()).or(endpoints::events.contains(vec![$event.as_str()])),
        )
    };
}

/// Deliveries that are neither taken nor given up.
macro_rules! waits {
    () => {
        deliveries::delivered_at.is_null().and(deliveries::failed_at.is_null())
    };
}

/// Whether any endpoint is told of this event.
pub(super) async fn is_heard(tx: &mut Tx, event: Event) -> QueryResult<bool> {
    select(exists(listening!(event))).get_result(&mut **tx).await
}

/// The endpoints that are told of this event.
pub(super) async fn listening(tx: &mut Tx, event: Event) -> QueryResult<Vec<Uuid>> {
    listening!(event).order(endpoints::id).select(endpoints::id).load(&mut **tx).await
}

/// Waits for everybody who has looked whether anybody listens and not committed yet, and lets nobody look before this
/// transaction ends: what commits later is told to whoever listens by then, and nothing falls between.
pub(super) async fn lock_all(tx: &mut Tx) -> QueryResult<()> {
    tx.batch_execute("LOCK TABLE webhook_endpoints IN ACCESS EXCLUSIVE MODE").await
}

pub(super) async fn count(tx: &mut Tx) -> QueryResult<i64> {
    endpoints::table.count().get_result(&mut **tx).await
}

pub(super) async fn insert(
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

pub(super) async fn list(
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

pub(super) async fn find(connection: &mut Connection, id: Uuid) -> QueryResult<Option<Endpoint>> {
    endpoints::table.find(id).select(Endpoint::as_select()).first(connection).await.optional()
}

/// As [`find`]; locked, beside others who only promise it something.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Endpoint>> {
    let row = endpoints::table.find(id).select(Endpoint::as_select()).for_no_key_update();
    row.first(&mut **tx).await.optional()
}

pub(super) async fn change(tx: &mut Tx, id: Uuid, change: Change<'_>) -> QueryResult<()> {
    if change.url.is_some() || change.description.is_some() || change.events.is_some() {
        diesel::update(endpoints::table.find(id)).set(change).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Sends nothing there any more. Returns whether something was until now.
pub(super) async fn disable(tx: &mut Tx, now: DateTime<Utc>, id: Uuid, reason: &str) -> QueryResult<bool> {
    let disabled = diesel::update(endpoints::table.find(id))
        .filter(endpoints::disabled_at.is_null())
        .set((endpoints::disabled_at.eq(now), endpoints::disabled_reason.eq(reason)))
        .execute(&mut **tx)
        .await?;
    Ok(disabled == 1)
}

/// Sends there again.
pub(super) async fn enable(tx: &mut Tx, id: Uuid) -> QueryResult<()> {
    diesel::update(endpoints::table.find(id))
        .set((
            endpoints::disabled_at.eq(None::<DateTime<Utc>>),
            endpoints::disabled_reason.eq(None::<String>),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn delete(tx: &mut Tx, id: Uuid) -> QueryResult<bool> {
    Ok(diesel::delete(endpoints::table.find(id)).execute(&mut **tx).await? == 1)
}

/// Puts a secret in place of the one there, which signs on until `until`; unless another signs on already: whoever exchanges
/// twice within that time has perhaps not seen the one between. Returns until when, as it is kept.
pub(super) async fn rotate(
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
pub(super) async fn reseal(tx: &mut Tx, id: Uuid, former: &[u8], sealed: &[u8]) -> QueryResult<()> {
    diesel::update(endpoints::table.find(id))
        .filter(endpoints::sealed_secret.eq(former))
        .set(endpoints::sealed_secret.eq(sealed))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes down that an endpoint is to be told. Returns whether it was not before.
pub(super) async fn insert_delivery(
    tx: &mut Tx,
    now: DateTime<Utc>,
    id: Uuid,
    endpoint_id: Uuid,
    (event_id, event, body): (Uuid, &str, &str),
) -> QueryResult<bool> {
    let inserted = diesel::insert_into(deliveries::table)
        .values((
            deliveries::id.eq(id),
            deliveries::endpoint_id.eq(endpoint_id),
            deliveries::event_id.eq(event_id),
            deliveries::event.eq(event),
            deliveries::body.eq(body),
            deliveries::created_at.eq(now),
        ))
        .on_conflict((deliveries::endpoint_id, deliveries::event_id))
        .do_nothing()
        .execute(&mut **tx)
        .await?;
    Ok(inserted == 1)
}

/// A delivery that waits, with its endpoint.
pub(super) async fn open(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Open>> {
    deliveries::table
        .inner_join(endpoints::table)
        .filter(deliveries::id.eq(id))
        .filter(waits!())
        .select((
            deliveries::event_id,
            deliveries::event,
            deliveries::created_at,
            deliveries::body,
            endpoints::id,
            endpoints::url,
            endpoints::sealed_secret,
            endpoints::previous_secret,
            endpoints::previous_until,
            endpoints::disabled_at.is_not_null(),
            endpoints::failures.gt(0),
            endpoints::retry_at,
        ))
        .first(&mut **tx)
        .await
        .optional()
}

/// How an attempt ended.
pub(super) struct Attempt<'a> {
    pub(super) status: Option<i16>,
    pub(super) error: Option<&'a str>,
    /// Where the delivery stands since.
    pub(super) state: State,
}

/// Writes an attempt down, if the delivery still waits.
pub(super) async fn note_attempt(
    tx: &mut Tx,
    now: DateTime<Utc>,
    id: Uuid,
    attempt: Attempt<'_>,
) -> QueryResult<()> {
    let at = |state| (attempt.state == state).then_some(now);
    diesel::update(deliveries::table.find(id))
        .filter(waits!())
        .set((
            deliveries::attempts.eq(deliveries::attempts + 1),
            deliveries::last_attempt_at.eq(now),
            deliveries::last_status.eq(attempt.status),
            deliveries::last_error.eq(attempt.error),
            deliveries::delivered_at.eq(at(State::Delivered)),
            deliveries::failed_at.eq(at(State::Failed)),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Gives a delivery up that waits, without an attempt.
pub(super) async fn give_up(
    connection: &mut Connection,
    now: DateTime<Utc>,
    id: Uuid,
    why: &str,
) -> QueryResult<()> {
    diesel::update(deliveries::table.find(id))
        .filter(waits!())
        .set((deliveries::failed_at.eq(now), deliveries::last_error.eq(why)))
        .execute(connection)
        .await?;
    Ok(())
}

/// How an endpoint fails: since when, how many rounds of attempts, and when the next may begin.
#[derive(Clone, Copy, Default, Queryable, AsChangeset)]
#[diesel(table_name = endpoints, treat_none_as_null = true)]
pub(super) struct Failures {
    #[diesel(column_name = failing_since)]
    pub(super) since: Option<DateTime<Utc>>,
    #[diesel(column_name = failures)]
    pub(super) rounds: i32,
    pub(super) retry_at: Option<DateTime<Utc>>,
}

/// Lets one of many try an endpoint that fails: nobody else may until `until`.
pub(super) async fn begin_probe(
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

/// Lets another try it: the one that was to does not.
pub(super) async fn end_probe(tx: &mut Tx, id: Uuid) -> QueryResult<()> {
    diesel::update(endpoints::table.find(id))
        .set(endpoints::retry_at.eq(None::<DateTime<Utc>>))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Locks an endpoint, beside others who only promise it something.
pub(super) async fn lock_failures(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Failures>> {
    endpoints::table
        .find(id)
        .select((endpoints::failing_since, endpoints::failures, endpoints::retry_at))
        .for_no_key_update()
        .first(&mut **tx)
        .await
        .optional()
}

/// An endpoint took something: whatever failed before is forgotten.
pub(super) async fn recover(tx: &mut Tx, id: Uuid, before: &Failures) -> QueryResult<()> {
    if before.since.is_none() {
        return Ok(());
    }
    note_failures(tx, id, &Failures::default()).await
}

pub(super) async fn note_failures(tx: &mut Tx, id: Uuid, failures: &Failures) -> QueryResult<()> {
    diesel::update(endpoints::table.find(id)).set(failures).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn list_deliveries(
    connection: &mut Connection,
    endpoint_id: Uuid,
    state: Option<State>,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<Delivery>> {
    let mut query = deliveries::table
        .filter(deliveries::endpoint_id.eq(endpoint_id))
        .order((deliveries::created_at.desc(), deliveries::id.desc()))
        .limit(limit)
        .into_boxed();
    query = match state {
        Some(State::Waiting) => query.filter(waits!()),
        Some(State::Delivered) => query.filter(deliveries::delivered_at.is_not_null()),
        Some(State::Failed) => query.filter(deliveries::failed_at.is_not_null()),
        None => query,
    };
    if let Some(Cursor { at, id }) = after {
        query = query.filter(
            deliveries::created_at.lt(at).or(deliveries::created_at.eq(at).and(deliveries::id.lt(id))),
        );
    }
    query.select(Delivery::as_select()).load(connection).await
}

/// Lets a delivery wait again that was taken or given up; one that waits already stays so. `None` when there is none, else
/// whether it changed.
pub(super) async fn reopen(tx: &mut Tx, endpoint_id: Uuid, id: Uuid) -> QueryResult<Option<bool>> {
    let own = || deliveries::table.filter(deliveries::id.eq(id).and(deliveries::endpoint_id.eq(endpoint_id)));
    let reopened = diesel::update(own())
        .filter(deliveries::delivered_at.is_not_null().or(deliveries::failed_at.is_not_null()))
        .set((
            deliveries::delivered_at.eq(None::<DateTime<Utc>>),
            deliveries::failed_at.eq(None::<DateTime<Utc>>),
        ))
        .execute(&mut **tx)
        .await?;
    if reopened == 1 {
        return Ok(Some(true));
    }
    let found: bool = select(exists(own())).get_result(&mut **tx).await?;
    Ok(found.then_some(false))
}

pub(super) async fn find_delivery(connection: &mut Connection, id: Uuid) -> QueryResult<Option<Delivery>> {
    deliveries::table.find(id).select(Delivery::as_select()).first(connection).await.optional()
}

pub(super) async fn delete_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> QueryResult<usize> {
    let old = deliveries::table.filter(deliveries::created_at.lt(before));
    let ids: Vec<Uuid> =
        old.order(deliveries::created_at).limit(limit).select(deliveries::id).load(connection).await?;
    diesel::delete(deliveries::table.filter(deliveries::id.eq_any(ids))).execute(connection).await
}

pub(super) async fn delete_of(
    connection: &mut Connection,
    endpoint_id: Uuid,
    limit: i64,
) -> QueryResult<usize> {
    let own = deliveries::table.filter(deliveries::endpoint_id.eq(endpoint_id));
    let ids: Vec<Uuid> = own.limit(limit).select(deliveries::id).load(connection).await?;
    diesel::delete(deliveries::table.filter(deliveries::id.eq_any(ids))).execute(connection).await
}
