//! The SQL of settling, expiring and looking again.

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, not, sql};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Jsonb, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::super::ReferralStatus;
use super::super::abuse::{Assessment, Limits};
use crate::db::Tx;
use crate::schema::{referrals, users};

#[derive(Queryable)]
pub(super) struct Due {
    pub(super) qualifies_at: DateTime<Utc>,
    pub(super) assessment: Option<Value>,
    pub(super) cleared: bool,
}

/// A referral that lies with the managers.
#[derive(Queryable)]
pub(super) struct Reviewed {
    pub(super) id: Uuid,
    pub(super) referrer_id: Uuid,
    pub(super) assessment: Option<Value>,
    pub(super) qualifies_at: DateTime<Utc>,
    /// Whether the friend has confirmed the address.
    pub(super) verified: bool,
}

/// The friend of a referral, once the address is confirmed.
macro_rules! confirmed {
    () => {
        users::table
            .filter(users::id.eq(referrals::referred_user_id).and(users::email_verified_at.is_not_null()))
    };
}

/// Locks the referral if it is pending.
pub(super) async fn lock_pending(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Due>> {
    referrals::table
        .filter(referrals::id.eq(id).and(referrals::status.eq(ReferralStatus::Pending.as_str())))
        .select((referrals::qualifies_at, referrals::assessment, referrals::cleared_at.is_not_null()))
        .for_update()
        .first(&mut **tx)
        .await
        .optional()
}

/// What a move writes; `None` leaves a column as it is.
#[derive(AsChangeset)]
#[diesel(table_name = referrals)]
struct Change<'a> {
    status: &'a str,
    reason: &'a str,
    settled_at: Option<DateTime<Utc>>,
    assessment: Option<Value>,
}

/// Moves a referral from where it is; the caller holds its lock.
pub(in crate::referrals) async fn shift(
    tx: &mut Tx,
    now: DateTime<Utc>,
    id: Uuid,
    from: ReferralStatus,
    to: ReferralStatus,
    reason: &str,
    assessment: Option<&Assessment>,
) -> QueryResult<()> {
    let change = Change {
        status: to.as_str(),
        reason,
        settled_at: to.is_settled().then_some(now),
        assessment: assessment.and_then(|assessment| serde_json::to_value(assessment).ok()),
    };
    let moved = diesel::update(referrals::table)
        .filter(referrals::id.eq(id).and(referrals::status.eq(from.as_str())))
        .set(change)
        .execute(&mut **tx)
        .await?;
    if moved == 1 { Ok(()) } else { Err(diesel::result::Error::NotFound) }
}

/// Expires up to `limit` pending referrals made before `before` whose address was not confirmed; returns them with their
/// referrers. One that was confirmed waits for a worker, and must not lose by that.
pub(super) async fn expire(
    tx: &mut Tx,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<(Uuid, Uuid)>> {
    let ids: Vec<Uuid> = referrals::table
        .filter(
            referrals::status.eq(ReferralStatus::Pending.as_str()).and(referrals::date_referred.lt(before)),
        )
        .filter(not(exists(confirmed!())))
        .order(referrals::date_referred)
        .limit(limit)
        .select(referrals::id)
        .for_update()
        .skip_locked()
        .load(&mut **tx)
        .await?;
    let (from, to) = (ReferralStatus::Pending, ReferralStatus::Expired);
    super::super::store::decide_all(tx, ids, from, to, "not_verified_in_time", now).await
}

#[derive(QueryableByName)]
struct Overdue {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Timestamptz)]
    date_referred: DateTime<Utc>,
}

/// Pending referrals, oldest first, that nothing keeps from being settled since `before`.
pub(super) async fn overdue(
    tx: &mut Tx,
    before: DateTime<Utc>,
    on_registration: bool,
    after: Option<(Uuid, DateTime<Utc>)>,
    limit: i64,
) -> QueryResult<Vec<(Uuid, DateTime<Utc>)>> {
    let (id, at) = after.unwrap_or((Uuid::nil(), DateTime::UNIX_EPOCH));
    let rows: Vec<Overdue> = sql_query(
        "SELECT f.id, f.date_referred FROM referrals f
         JOIN users a ON a.id = f.referrer_id JOIN users b ON b.id = f.referred_user_id
         WHERE f.status = 'pending' AND f.qualifies_at < $1 AND ($2 OR b.email_verified_at < $1)
           AND a.deleted_at IS NULL AND a.blocked_at IS NULL AND b.deleted_at IS NULL AND b.blocked_at IS NULL
           AND (f.date_referred, f.id) > ($3, $4)
         ORDER BY f.date_referred, f.id LIMIT $5",
    )
    .bind::<Timestamptz, _>(before)
    .bind::<Bool, _>(on_registration)
    .bind::<Timestamptz, _>(at)
    .bind::<SqlUuid, _>(id)
    .bind::<BigInt, _>(limit)
    .load(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.date_referred)).collect())
}

/// Referrals in review that were weighed by other limits than these, locked, with their referrers.
pub(super) async fn weighed_by_other_limits(
    tx: &mut Tx,
    limits: Limits,
    limit: i64,
) -> QueryResult<Vec<Reviewed>> {
    let limits = serde_json::to_value(limits).unwrap_or_default();
    let other = sql::<Bool>("(assessment -> 'limits') IS DISTINCT FROM ").bind::<Jsonb, _>(limits);
    referrals::table
        .filter(referrals::status.eq(ReferralStatus::Review.as_str()))
        .filter(other)
        .order(referrals::id)
        .limit(limit)
        .select((
            referrals::id,
            referrals::referrer_id,
            referrals::assessment,
            referrals::qualifies_at,
            exists(confirmed!()),
        ))
        .for_update()
        .skip_locked()
        .load(&mut **tx)
        .await
}
