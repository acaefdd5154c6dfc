//! The SQL of deliveries: what an endpoint was told, or is to be.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::page::Cursor;
use crate::schema::{webhook_deliveries as deliveries, webhook_endpoints as endpoints};

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
pub(in crate::webhooks) struct Open {
    pub(in crate::webhooks) event_id: Uuid,
    pub(in crate::webhooks) event: String,
    pub(in crate::webhooks) created_at: DateTime<Utc>,
    pub(in crate::webhooks) body: String,
    pub(in crate::webhooks) endpoint_id: Uuid,
    pub(in crate::webhooks) url: String,
    pub(in crate::webhooks) sealed_secret: Vec<u8>,
    pub(in crate::webhooks) previous_secret: Option<Vec<u8>>,
    pub(in crate::webhooks) previous_until: Option<DateTime<Utc>>,
    pub(in crate::webhooks) is_disabled: bool,
    pub(in crate::webhooks) is_failing: bool,
    pub(in crate::webhooks) retry_at: Option<DateTime<Utc>>,
}

/// Deliveries that are neither taken nor given up.
macro_rules! waits {
    () => {
        deliveries::delivered_at.is_null().and(deliveries::failed_at.is_null())
    };
}

/// Writes down that an endpoint is to be told. Returns whether it was not before.
pub(in crate::webhooks) async fn insert_delivery(
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
pub(in crate::webhooks) async fn open(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Open>> {
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
pub(in crate::webhooks) struct Attempt<'a> {
    pub(in crate::webhooks) status: Option<i16>,
    pub(in crate::webhooks) error: Option<&'a str>,
    /// Where the delivery stands since.
    pub(in crate::webhooks) state: State,
}

/// Writes an attempt down, if the delivery still waits.
pub(in crate::webhooks) async fn note_attempt(
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
pub(in crate::webhooks) async fn give_up(
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

pub(in crate::webhooks) async fn list_deliveries(
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

/// Lets a delivery wait again that was taken or given up; one that waits already stays so. False when there is none.
pub(in crate::webhooks) async fn reopen(tx: &mut Tx, endpoint_id: Uuid, id: Uuid) -> QueryResult<bool> {
    let reopened = diesel::update(deliveries::table.find(id))
        .filter(deliveries::endpoint_id.eq(endpoint_id))
        .set((
            deliveries::delivered_at.eq(None::<DateTime<Utc>>),
            deliveries::failed_at.eq(None::<DateTime<Utc>>),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(reopened == 1)
}

pub(in crate::webhooks) async fn find_delivery(
    connection: &mut Connection,
    id: Uuid,
) -> QueryResult<Option<Delivery>> {
    deliveries::table.find(id).select(Delivery::as_select()).first(connection).await.optional()
}

pub(in crate::webhooks) async fn delete_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
    limit: i64,
) -> QueryResult<usize> {
    let old = deliveries::table.filter(deliveries::created_at.lt(before));
    let ids: Vec<Uuid> =
        old.order(deliveries::created_at).limit(limit).select(deliveries::id).load(connection).await?;
    diesel::delete(deliveries::table.filter(deliveries::id.eq_any(ids))).execute(connection).await
}

pub(in crate::webhooks) async fn delete_of(
    connection: &mut Connection,
    endpoint_id: Uuid,
    limit: i64,
) -> QueryResult<usize> {
    let own = deliveries::table.filter(deliveries::endpoint_id.eq(endpoint_id));
    let ids: Vec<Uuid> = own.limit(limit).select(deliveries::id).load(connection).await?;
    diesel::delete(deliveries::table.filter(deliveries::id.eq_any(ids))).execute(connection).await
}
