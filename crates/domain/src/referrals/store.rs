//! The SQL of referrals.

use chrono::{DateTime, NaiveDate, Utc};
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{ReferralCode, ReferralStatus, Referrer};
use crate::accounts::Email;
use crate::db::{Connection, Tx};
use crate::page::Cursor;
use crate::schema::{
    deleted_identities, former_identities, referral_counters as counters, referral_days as days, referrals,
    users,
};

#[derive(Insertable)]
#[diesel(table_name = referrals)]
pub(super) struct NewReferral<'a> {
    pub(super) id: Uuid,
    pub(super) referrer_id: Uuid,
    pub(super) referred_user_id: Uuid,
    pub(super) date_referred: DateTime<Utc>,
    pub(super) status: &'a str,
    pub(super) reason: &'a str,
    pub(super) qualifies_at: DateTime<Utc>,
    pub(super) settled_at: Option<DateTime<Utc>>,
}

/// Whose counters change: one referral, or `n`, of a referrer from one state (`None`: made just now) to another.
pub(super) type Move = (Uuid, Option<ReferralStatus>, Option<ReferralStatus>, i64);

#[derive(Queryable)]
pub(super) struct CounterRow {
    pub(super) user_id: Uuid,
    pub(super) successful: i64,
    pub(super) version: i64,
}

pub(super) struct Pair {
    pub(super) referrer_id: Uuid,
    pub(super) referred_id: Uuid,
}

#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct SidesState {
    pub(super) referrer_deleted: bool,
    pub(super) referred_deleted: bool,
    pub(super) any_blocked: bool,
    pub(super) referred_verified: bool,
}

#[derive(Queryable)]
pub(super) struct Due {
    pub(super) qualifies_at: DateTime<Utc>,
}

/// A referral, as its referrer sees it: nothing of the other person but the username.
#[derive(Clone, Debug, Queryable)]
pub struct ReferralView {
    /// The referral.
    pub id: Uuid,
    /// The name of the referred person.
    pub username: String,
    /// When that account was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Where it stands, as [`ReferralStatus::as_str`] says it.
    pub status: String,
    /// Why.
    pub reason: String,
    /// When the account was made.
    pub date_referred: DateTime<Utc>,
    /// It is not decided before.
    pub qualifies_at: DateTime<Utc>,
    /// When it was decided.
    pub settled_at: Option<DateTime<Utc>>,
}

fn referrer((id, email): (Uuid, String)) -> Referrer {
    Referrer { id, email: Email::from_stored(email) }
}

/// Locked against deletion (`FOR SHARE`), so that no referral is made for an account that has just gone.
pub(super) async fn referrer_by_code(tx: &mut Tx, code: &ReferralCode) -> QueryResult<Option<Referrer>> {
    let row = users::table
        .filter(users::referral_code.eq(code.as_str()))
        .filter(users::deleted_at.is_null().and(users::blocked_at.is_null()))
        .select((users::id, users::email))
        .for_share()
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(row.map(referrer))
}

pub(super) async fn referrer_by_id(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Referrer>> {
    let row = users::table
        .filter(users::id.eq(id).and(users::deleted_at.is_null()).and(users::blocked_at.is_null()))
        .select((users::id, users::email))
        .for_share()
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(row.map(referrer))
}

pub(super) async fn is_deleted_identity(tx: &mut Tx, hash: &[u8]) -> QueryResult<bool> {
    let found: Option<DateTime<Utc>> = deleted_identities::table
        .filter(deleted_identities::email_hash.eq(hash))
        .select(deleted_identities::deleted_at)
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(found.is_some())
}

/// Whose address it was before they changed it.
pub(super) async fn had_identity(tx: &mut Tx, hash: &[u8]) -> QueryResult<Vec<Uuid>> {
    former_identities::table
        .filter(former_identities::email_hash.eq(hash))
        .select(former_identities::user_id)
        .load(&mut **tx)
        .await
}

/// Who brought the person of a referral.
pub(super) async fn referrer_of(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Referrer>> {
    let row = referrals::table
        .inner_join(users::table.on(users::id.eq(referrals::referrer_id)))
        .filter(referrals::id.eq(id))
        .select((users::id, users::email))
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(row.map(referrer))
}

pub(super) async fn insert(tx: &mut Tx, referral: NewReferral<'_>) -> QueryResult<()> {
    diesel::insert_into(referrals::table).values(referral).execute(&mut **tx).await?;
    Ok(())
}

/// Moves counters, in the order of the users' ids, and raises their versions; adds to the figures of the day. Returns the
/// new rows.
pub(super) async fn count(tx: &mut Tx, now: DateTime<Utc>, moves: &[Move]) -> QueryResult<Vec<CounterRow>> {
    let mut moves = moves.to_vec();
    moves.sort_by_key(|(user_id, ..)| *user_id);
    let mut rows = Vec::with_capacity(moves.len());
    for (user_id, from, to, n) in moves {
        let by = |status| {
            let entered = if to == Some(status) { n } else { 0 };
            let left = if from == Some(status) { n } else { 0 };
            entered - left
        };
        let row = diesel::update(counters::table.find(user_id))
            .set((
                counters::pending.eq(counters::pending + by(ReferralStatus::Pending)),
                counters::review.eq(counters::review + by(ReferralStatus::Review)),
                counters::successful.eq(counters::successful + by(ReferralStatus::Successful)),
                counters::rejected.eq(counters::rejected + by(ReferralStatus::Rejected)),
                counters::expired.eq(counters::expired + by(ReferralStatus::Expired)),
                counters::reversed.eq(counters::reversed + by(ReferralStatus::Reversed)),
                counters::version.eq(counters::version + 1),
            ))
            .returning((counters::user_id, counters::successful, counters::version))
            .get_result(&mut **tx)
            .await?;
        rows.push(row);
        let registrations = if from.is_none() { n } else { 0 };
        let successful = if to == Some(ReferralStatus::Successful) { n } else { 0 };
        if registrations + successful > 0 {
            count_day(tx, user_id, now.date_naive(), registrations, successful).await?;
        }
    }
    Ok(rows)
}

async fn count_day(
    tx: &mut Tx,
    user_id: Uuid,
    day: NaiveDate,
    registrations: i64,
    successful: i64,
) -> QueryResult<()> {
    diesel::insert_into(days::table)
        .values((
            days::user_id.eq(user_id),
            days::day.eq(day),
            days::registrations.eq(registrations),
            days::successful.eq(successful),
        ))
        .on_conflict((days::user_id, days::day))
        .do_update()
        .set((
            days::registrations.eq(days::registrations + registrations),
            days::successful.eq(days::successful + successful),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The referral of this person that waits, if any, and when it may be decided.
pub(super) async fn waiting_of(tx: &mut Tx, referred_id: Uuid) -> QueryResult<Option<(Uuid, DateTime<Utc>)>> {
    referrals::table
        .filter(referrals::referred_user_id.eq(referred_id))
        .filter(referrals::status.eq(ReferralStatus::Pending.as_str()))
        .select((referrals::id, referrals::qualifies_at))
        .first(&mut **tx)
        .await
        .optional()
}

pub(super) async fn pair_of(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Pair>> {
    let row: Option<(Uuid, Uuid)> = referrals::table
        .find(id)
        .select((referrals::referrer_id, referrals::referred_user_id))
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(row.map(|(referrer_id, referred_id)| Pair { referrer_id, referred_id }))
}

type Side = (Uuid, Option<DateTime<Utc>>, Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// Locks both accounts against deletion and blocking, and says how they stand.
pub(super) async fn lock_sides(tx: &mut Tx, referrer: Uuid, referred: Uuid) -> QueryResult<SidesState> {
    let rows: Vec<Side> = users::table
        .filter(users::id.eq_any([referrer, referred]))
        .order(users::id)
        .select((users::id, users::deleted_at, users::blocked_at, users::email_verified_at))
        .for_share()
        .load(&mut **tx)
        .await?;
    let side = |id: Uuid| rows.iter().find(|row| row.0 == id);
    Ok(SidesState {
        referrer_deleted: side(referrer).is_none_or(|row| row.1.is_some()),
        referred_deleted: side(referred).is_none_or(|row| row.1.is_some()),
        any_blocked: rows.iter().any(|row| row.2.is_some()),
        referred_verified: side(referred).is_some_and(|row| row.3.is_some()),
    })
}

/// Locks the referral if it is pending.
pub(super) async fn lock_pending(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Due>> {
    let qualifies_at = referrals::table
        .filter(referrals::id.eq(id).and(referrals::status.eq(ReferralStatus::Pending.as_str())))
        .select(referrals::qualifies_at)
        .for_update()
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(qualifies_at.map(|qualifies_at| Due { qualifies_at }))
}

/// Moves a pending referral; the caller holds its lock.
pub(super) async fn settle(
    tx: &mut Tx,
    id: Uuid,
    status: ReferralStatus,
    reason: &str,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let moved = diesel::update(referrals::table)
        .filter(referrals::id.eq(id).and(referrals::status.eq(ReferralStatus::Pending.as_str())))
        .set((
            referrals::status.eq(status.as_str()),
            referrals::reason.eq(reason),
            referrals::settled_at.eq(now),
        ))
        .execute(&mut **tx)
        .await?;
    if moved == 1 { Ok(()) } else { Err(diesel::result::Error::NotFound) }
}

/// Expires up to `limit` pending referrals made before `before` whose address was not confirmed; returns their referrers.
/// One that was confirmed waits for a worker, and must not lose by that.
pub(super) async fn expire(
    tx: &mut Tx,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<Uuid>> {
    let confirmed = users::table
        .filter(users::id.eq(referrals::referred_user_id).and(users::email_verified_at.is_not_null()));
    let ids: Vec<Uuid> = referrals::table
        .filter(
            referrals::status.eq(ReferralStatus::Pending.as_str()).and(referrals::date_referred.lt(before)),
        )
        .filter(not(exists(confirmed)))
        .order(referrals::date_referred)
        .limit(limit)
        .select(referrals::id)
        .for_update()
        .skip_locked()
        .load(&mut **tx)
        .await?;
    diesel::update(referrals::table.filter(referrals::id.eq_any(ids)))
        .set((
            referrals::status.eq(ReferralStatus::Expired.as_str()),
            referrals::reason.eq("not_verified_in_time"),
            referrals::settled_at.eq(now),
        ))
        .returning(referrals::referrer_id)
        .get_results(&mut **tx)
        .await
}

/// Rejects what is pending by a referrer who is being deleted.
pub(super) async fn reject_brought_by(
    tx: &mut Tx,
    referrer: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<Vec<Uuid>> {
    diesel::update(referrals::table)
        .filter(referrals::referrer_id.eq(referrer))
        .filter(referrals::status.eq_any([ReferralStatus::Pending.as_str(), ReferralStatus::Review.as_str()]))
        .set((
            referrals::status.eq(ReferralStatus::Rejected.as_str()),
            referrals::reason.eq("referrer_deleted"),
            referrals::settled_at.eq(now),
        ))
        .returning(referrals::referrer_id)
        .get_results(&mut **tx)
        .await
}

/// Rejects the pending referral of a person who is being deleted.
pub(super) async fn reject_brought(
    tx: &mut Tx,
    referred: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<Vec<Uuid>> {
    diesel::update(referrals::table)
        .filter(referrals::referred_user_id.eq(referred))
        .filter(referrals::status.eq_any([ReferralStatus::Pending.as_str(), ReferralStatus::Review.as_str()]))
        .set((
            referrals::status.eq(ReferralStatus::Rejected.as_str()),
            referrals::reason.eq("referred_deleted"),
            referrals::settled_at.eq(now),
        ))
        .returning(referrals::referrer_id)
        .get_results(&mut **tx)
        .await
}

pub(super) async fn owner_of(connection: &mut Connection, code: &ReferralCode) -> QueryResult<Option<Uuid>> {
    users::table
        .filter(users::referral_code.eq(code.as_str()))
        .filter(users::deleted_at.is_null().and(users::blocked_at.is_null()))
        .select(users::id)
        .first(connection)
        .await
        .optional()
}

pub(super) async fn count_visit(
    connection: &mut Connection,
    user_id: Uuid,
    day: NaiveDate,
) -> QueryResult<()> {
    diesel::insert_into(days::table)
        .values((days::user_id.eq(user_id), days::day.eq(day), days::visits.eq(1)))
        .on_conflict((days::user_id, days::day))
        .do_update()
        .set(days::visits.eq(days::visits + 1))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn list(
    connection: &mut Connection,
    referrer_id: Uuid,
    status: Option<ReferralStatus>,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<ReferralView>> {
    let mut query = referrals::table
        .inner_join(users::table.on(users::id.eq(referrals::referred_user_id)))
        .filter(referrals::referrer_id.eq(referrer_id))
        .order((referrals::date_referred.desc(), referrals::id.desc()))
        .limit(limit)
        .select((
            referrals::id,
            users::username,
            users::deleted_at,
            referrals::status,
            referrals::reason,
            referrals::date_referred,
            referrals::qualifies_at,
            referrals::settled_at,
        ))
        .into_boxed();
    if let Some(status) = status {
        query = query.filter(referrals::status.eq(status.as_str()));
    }
    if let Some(Cursor { at, id }) = after {
        query = query.filter(
            referrals::date_referred.lt(at).or(referrals::date_referred.eq(at).and(referrals::id.lt(id))),
        );
    }
    query.load(connection).await
}
