//! The SQL of referrals.

use chrono::{DateTime, NaiveDate, Utc};
use diesel::dsl::exists;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::{
    AWAITING_SETTLEMENT, AWAITING_VERIFICATION, ON_HOLD, ReferralCode, ReferralStatus, Referrer, settle,
};
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
    pub(super) network: Option<&'a [u8]>,
    pub(super) assessment: Option<Value>,
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
    /// Of a live account, else what stands in its place.
    pub(super) referred_email: String,
}

/// A referral, as its referrer sees it: nothing of the other person but the username.
#[derive(Clone, Debug)]
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
    /// It is over then, while it waits for an address to be confirmed.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was decided.
    pub settled_at: Option<DateTime<Utc>>,
}

#[derive(Queryable)]
struct ViewRow {
    id: Uuid,
    username: String,
    deleted_at: Option<DateTime<Utc>>,
    verified_at: Option<DateTime<Utc>>,
    blocked_at: Option<DateTime<Utc>>,
    status: String,
    reason: String,
    date_referred: DateTime<Utc>,
    qualifies_at: DateTime<Utc>,
    settled_at: Option<DateTime<Utc>>,
}

impl ViewRow {
    /// Why it stands there. What a pending referral waits for changes without a move of it.
    fn reason(&self, now: DateTime<Utc>) -> String {
        let waits = self.status == ReferralStatus::Pending.as_str();
        if waits && self.blocked_at.is_some() {
            "account_blocked".to_owned()
        } else if waits && (self.verified_at.is_some() || self.reason != AWAITING_VERIFICATION) {
            if self.qualifies_at > now { ON_HOLD } else { AWAITING_SETTLEMENT }.to_owned()
        } else {
            self.reason.clone()
        }
    }

    fn view(self, now: DateTime<Utc>) -> ReferralView {
        let reason = self.reason(now);
        let expires = self.status == ReferralStatus::Pending.as_str() && reason == AWAITING_VERIFICATION;
        ReferralView {
            expires_at: expires.then(|| self.date_referred + settle::PATIENCE),
            reason,
            id: self.id,
            username: self.username,
            deleted_at: self.deleted_at,
            status: self.status,
            date_referred: self.date_referred,
            qualifies_at: self.qualifies_at,
            settled_at: self.settled_at,
        }
    }
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

/// Adds to the figures of a day.
pub(super) async fn count_day(
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

/// From now on the referral of this person is held until `qualifies_at`, unless it is decided. Returns it if it waits for that
/// alone, and for no manager.
pub(super) async fn begin_hold(
    tx: &mut Tx,
    referred_id: Uuid,
    qualifies_at: DateTime<Utc>,
) -> QueryResult<Option<Uuid>> {
    let undecided = [ReferralStatus::Pending, ReferralStatus::Review].map(ReferralStatus::as_str);
    let row: Option<(Uuid, String)> = diesel::update(referrals::table)
        .filter(referrals::referred_user_id.eq(referred_id).and(referrals::status.eq_any(undecided)))
        .set(referrals::qualifies_at.eq(qualifies_at))
        .returning((referrals::id, referrals::status))
        .get_result(&mut **tx)
        .await
        .optional()?;
    Ok(row.filter(|(_, status)| status == ReferralStatus::Pending.as_str()).map(|(id, _)| id))
}

/// Referrals that wait and have this person on either side, with when each may be decided; `limit` at most, those whose
/// address is confirmed first.
pub(super) async fn waiting_with(
    tx: &mut Tx,
    user_id: Uuid,
    limit: i64,
) -> QueryResult<Vec<(Uuid, DateTime<Utc>)>> {
    referrals::table
        .inner_join(users::table.on(users::id.eq(referrals::referred_user_id)))
        .filter(referrals::referrer_id.eq(user_id).or(referrals::referred_user_id.eq(user_id)))
        .filter(referrals::status.eq(ReferralStatus::Pending.as_str()))
        .order((users::email_verified_at.is_null(), referrals::date_referred))
        .limit(limit)
        .select((referrals::id, referrals::qualifies_at))
        .load(&mut **tx)
        .await
}

/// The referral of this person that is not decided, if any, and where it stands; locked.
pub(super) async fn lock_undecided_of(
    tx: &mut Tx,
    referred_id: Uuid,
) -> QueryResult<Option<(Uuid, ReferralStatus)>> {
    let row: Option<(Uuid, String)> = referrals::table
        .filter(referrals::referred_user_id.eq(referred_id))
        .filter(referrals::status.eq_any([ReferralStatus::Pending.as_str(), ReferralStatus::Review.as_str()]))
        .select((referrals::id, referrals::status))
        .for_update()
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(row.and_then(|(id, status)| Some((id, ReferralStatus::parse(&status)?))))
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

type SideRow = (Uuid, Option<DateTime<Utc>>, Option<DateTime<Utc>>, Option<DateTime<Utc>>, String);

/// Locks both accounts against deletion and blocking, and says how they stand.
pub(super) async fn lock_sides(tx: &mut Tx, referrer: Uuid, referred: Uuid) -> QueryResult<SidesState> {
    let rows: Vec<SideRow> = users::table
        .filter(users::id.eq_any([referrer, referred]))
        .order(users::id)
        .select((users::id, users::deleted_at, users::blocked_at, users::email_verified_at, users::email))
        .for_share()
        .load(&mut **tx)
        .await?;
    let side = |id: Uuid| rows.iter().find(|row| row.0 == id);
    Ok(SidesState {
        referrer_deleted: side(referrer).is_none_or(|row| row.1.is_some()),
        referred_deleted: side(referred).is_none_or(|row| row.1.is_some()),
        any_blocked: rows.iter().any(|row| row.2.is_some()),
        referred_verified: side(referred).is_some_and(|row| row.3.is_some()),
        referred_email: side(referred).map(|row| row.4.clone()).unwrap_or_default(),
    })
}

/// Which side of a referral somebody is.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Referrer,
    Referred,
}

/// Rejects up to `limit` referrals that stand at `from` and have this person on this side; returns them with their referrers.
pub(super) async fn reject_of(
    tx: &mut Tx,
    side: Side,
    user_id: Uuid,
    from: ReferralStatus,
    reason: &str,
    now: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<(Uuid, Uuid)>> {
    let waiting = referrals::table.filter(referrals::status.eq(from.as_str()));
    let ids = match side {
        Side::Referrer => {
            let own = waiting.filter(referrals::referrer_id.eq(user_id)).limit(limit);
            own.select(referrals::id).for_update().load(&mut **tx).await?
        }
        Side::Referred => {
            let own = waiting.filter(referrals::referred_user_id.eq(user_id));
            own.select(referrals::id).for_update().load(&mut **tx).await?
        }
    };
    decide_all(tx, ids, from, ReferralStatus::Rejected, reason, now).await
}

/// Rejects up to `limit` referrals that stand at `from` and whose referrer's account is deleted; returns them with their
/// referrers.
pub(super) async fn reject_orphans(
    tx: &mut Tx,
    from: ReferralStatus,
    reason: &str,
    now: DateTime<Utc>,
    limit: i64,
) -> QueryResult<Vec<(Uuid, Uuid)>> {
    let deleted =
        users::table.filter(users::id.eq(referrals::referrer_id).and(users::deleted_at.is_not_null()));
    let ids = referrals::table
        .filter(referrals::status.eq(from.as_str()).and(exists(deleted)))
        .limit(limit)
        .select(referrals::id)
        .for_update()
        .skip_locked()
        .load(&mut **tx)
        .await?;
    decide_all(tx, ids, from, ReferralStatus::Rejected, reason, now).await
}

/// Moves referrals from where they are to where they are decided, and returns them with their referrers; the caller holds their
/// locks.
pub(super) async fn decide_all(
    tx: &mut Tx,
    ids: Vec<Uuid>,
    from: ReferralStatus,
    to: ReferralStatus,
    reason: &str,
    now: DateTime<Utc>,
) -> QueryResult<Vec<(Uuid, Uuid)>> {
    diesel::update(referrals::table)
        .filter(referrals::id.eq_any(ids).and(referrals::status.eq(from.as_str())))
        .set((referrals::status.eq(to.as_str()), referrals::reason.eq(reason), referrals::settled_at.eq(now)))
        .returning((referrals::id, referrals::referrer_id))
        .get_results(&mut **tx)
        .await
}

/// Forgets the network that somebody registered from.
pub(super) async fn forget_network(tx: &mut Tx, referred: Uuid) -> QueryResult<()> {
    diesel::update(referrals::table.filter(referrals::referred_user_id.eq(referred)))
        .set(referrals::network.eq(None::<Vec<u8>>))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn forget_networks_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::update(referrals::table)
        .filter(referrals::network.is_not_null().and(referrals::date_referred.lt(before)))
        .set(referrals::network.eq(None::<Vec<u8>>))
        .execute(connection)
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

/// Referrals with whom they brought, as [`ViewRow`]s.
macro_rules! views {
    () => {
        referrals::table.inner_join(users::table.on(users::id.eq(referrals::referred_user_id))).select((
            referrals::id,
            users::username,
            users::deleted_at,
            users::email_verified_at,
            users::blocked_at,
            referrals::status,
            referrals::reason,
            referrals::date_referred,
            referrals::qualifies_at,
            referrals::settled_at,
        ))
    };
}

/// The referral that brought this user, unless it counted: while it is not decided, and when it earned nothing.
pub(super) async fn own_without_reward(
    connection: &mut Connection,
    now: DateTime<Utc>,
    user_id: Uuid,
) -> QueryResult<Option<ReferralView>> {
    let counted = [ReferralStatus::Successful.as_str(), ReferralStatus::Reversed.as_str()];
    let row: Option<ViewRow> = views!()
        .filter(referrals::referred_user_id.eq(user_id).and(referrals::status.ne_all(counted)))
        .first(connection)
        .await
        .optional()?;
    Ok(row.map(|row| row.view(now)))
}

pub(super) async fn undecided_counts(connection: &mut Connection, user_id: Uuid) -> QueryResult<(i64, i64)> {
    let row = counters::table.find(user_id).select((counters::pending, counters::review));
    Ok(row.first(connection).await.optional()?.unwrap_or_default())
}

pub(super) async fn list(
    connection: &mut Connection,
    now: DateTime<Utc>,
    referrer_id: Uuid,
    status: Option<ReferralStatus>,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<ReferralView>> {
    let mut query = views!()
        .filter(referrals::referrer_id.eq(referrer_id))
        .order((referrals::date_referred.desc(), referrals::id.desc()))
        .limit(limit)
        .into_boxed();
    if let Some(status) = status {
        query = query.filter(referrals::status.eq(status.as_str()));
    }
    if let Some(Cursor { at, id }) = after {
        query = query.filter(
            referrals::date_referred.lt(at).or(referrals::date_referred.eq(at).and(referrals::id.lt(id))),
        );
    }
    let rows: Vec<ViewRow> = query.load(connection).await?;
    Ok(rows.into_iter().map(|row| row.view(now)).collect())
}
