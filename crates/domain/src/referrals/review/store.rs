//! The SQL of what managers see and decide.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::super::{ReferralCode, ReferralStatus};
use crate::db::{Connection, Tx};
use crate::page::Cursor;
use crate::schema::{referrals, users};

diesel::alias!(users as referrer: ReferrerAlias, users as referred: ReferredAlias);

/// One side of a referral: a name, and what the account's state says.
#[derive(Clone, Debug, Queryable)]
pub struct Side {
    /// The account.
    pub id: Uuid,
    /// Its name.
    pub username: String,
    /// When the address was confirmed.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// When it was blocked.
    pub blocked_at: Option<DateTime<Utc>>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// A referral, as managers see it.
#[derive(Clone, Debug, Queryable)]
pub struct Reviewed {
    /// The referral.
    pub id: Uuid,
    /// Where it stands, as [`ReferralStatus::as_str`] says it.
    pub status: String,
    /// Why, as its referrer reads it.
    pub reason: String,
    /// When the account was made.
    pub date_referred: DateTime<Utc>,
    /// It is not decided before.
    pub qualifies_at: DateTime<Utc>,
    /// When it was decided.
    pub settled_at: Option<DateTime<Utc>>,
    /// When a manager let it pass.
    pub cleared_at: Option<DateTime<Utc>>,
    /// Keyed hash of the network of the registration, while it is kept.
    pub network: Option<Vec<u8>>,
    /// What it was last judged by: an [`Assessment`](super::super::abuse::Assessment).
    pub assessment: Option<Value>,
    /// Who brought.
    pub referrer: Side,
    /// Who was brought.
    pub referred: Side,
}

macro_rules! side {
    ($side:ident) => {
        (
            $side.field(users::id),
            $side.field(users::username),
            $side.field(users::email_verified_at),
            $side.field(users::blocked_at),
            $side.field(users::deleted_at),
        )
    };
}

macro_rules! reviewed {
    () => {
        referrals::table
            .inner_join(referrer.on(referrer.field(users::id).eq(referrals::referrer_id)))
            .inner_join(referred.on(referred.field(users::id).eq(referrals::referred_user_id)))
            .select((
                referrals::id,
                referrals::status,
                referrals::reason,
                referrals::date_referred,
                referrals::qualifies_at,
                referrals::settled_at,
                referrals::cleared_at,
                referrals::network,
                referrals::assessment,
                side!(referrer),
                side!(referred),
            ))
    };
}

/// Where a referral stands.
pub(super) struct Standing {
    pub(super) status: ReferralStatus,
    /// Whether a manager let it pass.
    pub(super) cleared: bool,
    pub(super) settled_at: Option<DateTime<Utc>>,
    pub(super) qualifies_at: DateTime<Utc>,
}

type StandingRow = (String, bool, Option<DateTime<Utc>>, DateTime<Utc>);

/// Where a referral stands; locked.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Standing>> {
    let row: Option<StandingRow> = referrals::table
        .find(id)
        .select((
            referrals::status,
            referrals::cleared_at.is_not_null(),
            referrals::settled_at,
            referrals::qualifies_at,
        ))
        .for_update()
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(row.and_then(|(status, cleared, settled_at, qualifies_at)| {
        Some(Standing { status: ReferralStatus::parse(&status)?, cleared, settled_at, qualifies_at })
    }))
}

pub(super) async fn clear(tx: &mut Tx, id: Uuid, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(referrals::table.find(id)).set(referrals::cleared_at.eq(now)).execute(&mut **tx).await?;
    Ok(())
}

/// The accounts whose name begins so, or that have this code.
pub(super) async fn named(
    connection: &mut Connection,
    beginning: &str,
    code: Option<&ReferralCode>,
    limit: i64,
) -> QueryResult<Vec<Uuid>> {
    if let Some(code) = code {
        let owner = users::table.filter(users::referral_code.eq(code.as_str())).select(users::id);
        let owner: Vec<Uuid> = owner.load(connection).await?;
        if !owner.is_empty() {
            return Ok(owner);
        }
    }
    users::table
        .filter(users::username.like(crate::db::beginning_with(beginning)))
        .order(users::username)
        .limit(limit)
        .select(users::id)
        .load(connection)
        .await
}

/// `people` are sides of the referral, or the referral itself.
pub(super) async fn search(
    connection: &mut Connection,
    status: Option<ReferralStatus>,
    people: Option<&[Uuid]>,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<Reviewed>> {
    let mut query =
        reviewed!().order((referrals::date_referred.desc(), referrals::id.desc())).limit(limit).into_boxed();
    if let Some(status) = status {
        query = query.filter(referrals::status.eq(status.as_str()));
    }
    if let Some(people) = people {
        query = query.filter(
            referrals::referrer_id
                .eq_any(people)
                .or(referrals::referred_user_id.eq_any(people))
                .or(referrals::id.eq_any(people)),
        );
    }
    if let Some(Cursor { at, id }) = after {
        query = query.filter(
            referrals::date_referred.lt(at).or(referrals::date_referred.eq(at).and(referrals::id.lt(id))),
        );
    }
    query.load(connection).await
}

pub(super) async fn one(connection: &mut Connection, id: Uuid) -> QueryResult<Option<Reviewed>> {
    reviewed!().filter(referrals::id.eq(id)).first(connection).await.optional()
}
