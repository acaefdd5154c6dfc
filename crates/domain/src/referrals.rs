//! Referrals: who brought whom, what becomes of it, and the figures about it.
//!
//! A referral is made with the account of the referred person and never again. Each move is one
//! `UPDATE .. WHERE status = <expected>`; the transaction that moves it also moves the counters. Locks are always taken in
//! one order: users (by id), the referral, the counters (by user id), the balances.

pub mod abuse;
mod code;
mod series;
mod stats;
mod store;

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::accounts::{Account, Email, identity_hash};
use crate::config::{Keys, QualifiesOn, ReferralPolicy};
use crate::db::{self, DbError, Pool, Tx};
use crate::outbox::{self, Job, Lease, OutboxError};
use crate::page::Cursor;
use crate::rewards;
use abuse::{Facts, Refusal};
pub use code::{MalformedCode, ReferralCode};
pub use series::{Day, LONGEST_SERIES, Standing, Window, is_named, leaderboard, series, set_named};
pub use stats::{Discount, NextMilestone, Stats, stats};
pub use store::ReferralView;

/// A referral whose address is not confirmed by then is over.
const PATIENCE: TimeDelta = TimeDelta::days(30);

/// How many referrals one statement expires.
const EXPIRY_BATCH: i64 = 500;

/// Where a referral stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferralStatus {
    /// Waits for what it qualifies on.
    Pending,
    /// Waits for a manager.
    Review,
    /// Counts.
    Successful,
    /// Does not count.
    Rejected,
    /// Waited too long.
    Expired,
    /// Counted once, and was taken back.
    Reversed,
}

impl ReferralStatus {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Review, Self::Successful, Self::Rejected, Self::Expired, Self::Reversed];

    /// The word for it, in the database and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Review => "review",
            Self::Successful => "successful",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Reversed => "reversed",
        }
    }

    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl fmt::Display for ReferralStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How somebody says who brought them.
#[derive(Clone, Debug)]
pub enum Claim {
    /// A code that the person typed: an unknown one is an error to be mended.
    Typed(ReferralCode),
    /// What a link carried, a code or a user id: an unknown one never stands in the way.
    Link(String),
}

/// The account that brings somebody.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// Its id.
    pub id: Uuid,
    email: Email,
}

/// The live account that a claim names, locked against deletion until the transaction ends.
pub(crate) async fn find_referrer(tx: &mut Tx, claim: &Claim) -> Result<Option<Referrer>, DbError> {
    let code = match claim {
        Claim::Typed(code) => Some(code.clone()),
        Claim::Link(text) => match Uuid::parse_str(text.trim()) {
            Ok(id) => return Ok(store::referrer_by_id(tx, id).await?),
            Err(_) => ReferralCode::parse(text).ok(),
        },
    };
    let found = match code {
        Some(code) => store::referrer_by_code(tx, &code).await?,
        None => None,
    };
    if found.is_none() && matches!(claim, Claim::Link(_)) {
        tracing::info!(reason = "unknown_code", "a referral link led to nobody");
    }
    Ok(found)
}

/// A referral that was just written.
#[derive(Clone, Debug)]
pub struct Attributed {
    /// Where it stands.
    pub status: ReferralStatus,
    /// The referrer, whose statistics changed.
    pub referrer_id: Uuid,
    /// The version of those statistics since.
    pub version: i64,
}

/// Somebody who was brought by somebody.
pub(crate) struct Attribution<'a> {
    pub(crate) referrer: Referrer,
    pub(crate) referred: &'a Account,
    pub(crate) known_as: &'a [Uuid],
}

/// Writes the referral of an account that is being made, pending or refused, and promises its settlement if registering
/// is enough.
pub(crate) async fn attribute(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    attribution: Attribution<'_>,
    request_id: Option<String>,
) -> Result<Attributed, DbError> {
    let Attribution { referrer, referred, known_as } = attribution;
    let email = Email::from_stored(referred.email.clone());
    let facts = facts_about(tx, keys, &referrer, referred.id, &email, known_as).await?;
    let refusal = abuse::judge(facts);
    let id = Uuid::now_v7();
    let qualifies_at = now + policy.hold;
    let (status, reason) = match refusal {
        Some(refusal) => (ReferralStatus::Rejected, refusal.as_str()),
        None => (ReferralStatus::Pending, waiting_reason(policy)),
    };
    let row = store::NewReferral {
        id,
        referrer_id: referrer.id,
        referred_user_id: referred.id,
        date_referred: now,
        status: status.as_str(),
        reason,
        qualifies_at,
        settled_at: refusal.map(|_| now),
    };
    store::insert(tx, row).await?;
    let counters = store::count(tx, now, &[(referrer.id, None, Some(status), 1)]).await?;
    if status == ReferralStatus::Pending && policy.qualifies_on == QualifiesOn::Registration {
        enqueue_settlement(tx, id, "registered", qualifies_at, now, request_id).await?;
    }
    let version = counters.first().map_or(0, |row| row.version);
    Ok(Attributed { status, referrer_id: referrer.id, version })
}

/// What is known of the two sides by the address of the one who was brought.
async fn facts_about(
    tx: &mut Tx,
    keys: &Keys,
    referrer: &Referrer,
    referred_id: Uuid,
    email: &Email,
    known_as: &[Uuid],
) -> Result<Facts, DbError> {
    let identity = identity_hash(keys, email);
    let had_it = store::had_identity(tx, &identity).await?;
    Ok(Facts {
        same_mailbox: email.canonical() == referrer.email.canonical() || had_it.contains(&referrer.id),
        same_browser: known_as.contains(&referrer.id),
        deleted_before: store::is_deleted_identity(tx, &identity).await?,
        had_by_another: had_it.iter().any(|user_id| *user_id != referred_id),
    })
}

/// Somebody who was brought has another address now: a referral that still waits is judged by it too. Else an address that
/// nobody would be refused with could be registered, and changed to the referrer's own.
pub(crate) async fn address_changed(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &Keys,
    user_id: Uuid,
    email: &Email,
) -> Result<(), DbError> {
    let Some((id, _)) = store::waiting_of(tx, user_id).await? else { return Ok(()) };
    let Some(referrer) = store::referrer_of(tx, id).await? else { return Ok(()) };
    let facts = facts_about(tx, keys, &referrer, user_id, email, &[]).await?;
    let Some(refusal) = abuse::judge(facts) else { return Ok(()) };
    if store::lock_pending(tx, id).await?.is_some() {
        store::settle(tx, id, ReferralStatus::Rejected, refusal.as_str(), now).await?;
        let moved = (referrer.id, Some(ReferralStatus::Pending), Some(ReferralStatus::Rejected), 1);
        store::count(tx, now, &[moved]).await?;
    }
    Ok(())
}

fn waiting_reason(policy: ReferralPolicy) -> &'static str {
    match policy.qualifies_on {
        QualifiesOn::VerifiedEmail => "awaiting_verification",
        QualifiesOn::Registration => "awaiting_settlement",
    }
}

async fn enqueue_settlement(
    tx: &mut Tx,
    referral_id: Uuid,
    occasion: &str,
    qualifies_at: DateTime<Utc>,
    now: DateTime<Utc>,
    request_id: Option<String>,
) -> Result<(), DbError> {
    let options = outbox::Options {
        due_at: (qualifies_at > now).then_some(qualifies_at),
        dedupe_key: Some(format!("referral.settle:{referral_id}:{occasion}")),
        request_id,
    };
    outbox::enqueue(tx, &Job::SettleReferral { referral_id }, options).await
}

/// The referred person confirmed the address: promises the settlement of the referral, if it waits.
pub(crate) async fn verified(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    request_id: Option<String>,
) -> Result<(), DbError> {
    if let Some((id, qualifies_at)) = store::waiting_of(tx, user_id).await? {
        enqueue_settlement(tx, id, "verified", qualifies_at, now, request_id).await?;
    }
    Ok(())
}

/// What a settlement did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The referral was settled before, or is not ready.
    Unchanged,
    /// It is ready but for the hold, which lasts so much longer.
    Held(TimeDelta),
    /// It moved. The statistics of these users changed, to these versions.
    Moved {
        /// Where to.
        status: ReferralStatus,
        /// Users and the new versions of their statistics.
        changed: Vec<(Uuid, i64)>,
    },
}

/// Decides a pending referral, and its rewards with it, and completes the job: all in one transaction. A job that comes
/// before the end of the hold (by this process's clock, which may lag behind the one it was due by) is put off.
pub async fn settle(
    pool: &Pool,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    referral_id: Uuid,
    lease: &Lease,
) -> Result<Settlement, OutboxError> {
    let mut tx = Tx::begin(pool).await?;
    let settlement = settle_in(&mut tx, now, policy, referral_id).await?;
    match &settlement {
        Settlement::Held(left) => outbox::put_off(&mut tx, lease, left.to_std().unwrap_or_default()).await?,
        Settlement::Unchanged | Settlement::Moved { .. } => outbox::complete(&mut tx, lease).await?,
    }
    tx.commit().await?;
    Ok(settlement)
}

async fn settle_in(
    tx: &mut Tx,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    referral_id: Uuid,
) -> Result<Settlement, DbError> {
    let Some(pair) = store::pair_of(tx, referral_id).await? else { return Ok(Settlement::Unchanged) };
    let sides = store::lock_sides(tx, pair.referrer_id, pair.referred_id).await?;
    let Some(due) = store::lock_pending(tx, referral_id).await? else { return Ok(Settlement::Unchanged) };
    let (status, reason) = match verdict(&sides, policy) {
        Verdict::Wait => return Ok(Settlement::Unchanged),
        Verdict::Settle(status, reason) => (status, reason),
    };
    if status == ReferralStatus::Successful && due.qualifies_at > now {
        return Ok(Settlement::Held(due.qualifies_at - now));
    }
    store::settle(tx, referral_id, status, reason, now).await?;
    let moves = [
        (pair.referrer_id, Some(ReferralStatus::Pending), Some(status), 1),
        (pair.referred_id, None, None, 0),
    ];
    let counters = store::count(tx, now, &moves).await?;
    if status == ReferralStatus::Successful {
        let successful =
            counters.iter().find(|row| row.user_id == pair.referrer_id).map_or(0, |row| row.successful);
        let sides =
            rewards::Sides { referral_id, referrer_id: pair.referrer_id, referred_id: pair.referred_id };
        rewards::decide(tx, now, sides, successful).await?;
    }
    let changed = counters.into_iter().map(|row| (row.user_id, row.version)).collect();
    Ok(Settlement::Moved { status, changed })
}

enum Verdict {
    Wait,
    Settle(ReferralStatus, &'static str),
}

fn verdict(sides: &store::SidesState, policy: ReferralPolicy) -> Verdict {
    if sides.referrer_deleted {
        return Verdict::Settle(ReferralStatus::Rejected, "referrer_deleted");
    }
    if sides.referred_deleted {
        return Verdict::Settle(ReferralStatus::Rejected, "referred_deleted");
    }
    let waits = policy.qualifies_on == QualifiesOn::VerifiedEmail && !sides.referred_verified;
    if sides.any_blocked || waits {
        return Verdict::Wait;
    }
    Verdict::Settle(ReferralStatus::Successful, "qualified")
}

/// Expires referrals that waited too long. Returns how many; call again while it is not 0.
pub async fn expire(pool: &Pool, now: DateTime<Utc>) -> Result<usize, DbError> {
    let mut tx = Tx::begin(pool).await?;
    let expired = store::expire(&mut tx, now - PATIENCE, now, EXPIRY_BATCH).await?;
    let moves = tally(&expired, ReferralStatus::Pending, ReferralStatus::Expired);
    store::count(&mut tx, now, &moves).await?;
    tx.commit().await?;
    Ok(expired.len())
}

/// One move for each referrer, in the order of their ids: locks are taken in one order.
fn tally(referrers: &[Uuid], from: ReferralStatus, to: ReferralStatus) -> Vec<store::Move> {
    let mut counts = std::collections::BTreeMap::new();
    for referrer in referrers {
        *counts.entry(*referrer).or_insert(0_i64) += 1;
    }
    counts.into_iter().map(|(referrer, n)| (referrer, Some(from), Some(to), n)).collect()
}

/// Rejects what is pending on either side of an account that is being deleted.
pub(crate) async fn close_for_deleted(tx: &mut Tx, now: DateTime<Utc>, user_id: Uuid) -> Result<(), DbError> {
    let mut referrers = store::reject_brought_by(tx, user_id, now).await?;
    referrers.extend(store::reject_brought(tx, user_id, now).await?);
    let moves = tally(&referrers, ReferralStatus::Pending, ReferralStatus::Rejected);
    store::count(tx, now, &moves).await?;
    Ok(())
}

/// What a user's statistics show besides referrals changes: raises their version, and returns it. Locks the counters, as
/// every change of a balance does before it locks the balance.
pub(crate) async fn touch(tx: &mut Tx, user_id: Uuid) -> Result<i64, DbError> {
    let rows = store::count(tx, &[(user_id, None, None, 0)]).await?;
    Ok(rows.first().map_or(0, |row| row.version))
}

/// Whether somebody can be brought with this code.
pub async fn is_valid(pool: &Pool, code: &ReferralCode) -> Result<bool, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::owner_of(&mut connection, code).await?.is_some())
}

/// Counts a visit of a referral link. Returns whether the code has an owner.
pub async fn visit(pool: &Pool, now: DateTime<Utc>, code: &ReferralCode) -> Result<bool, DbError> {
    let mut connection = db::get(pool).await?;
    let Some(owner) = store::owner_of(&mut connection, code).await? else { return Ok(false) };
    store::count_visit(&mut connection, owner, now.date_naive()).await?;
    Ok(true)
}

/// A referrer's referrals, newest first, after `after`; at most `limit`.
pub async fn list(
    pool: &Pool,
    referrer_id: Uuid,
    status: Option<ReferralStatus>,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<ReferralView>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::list(&mut connection, referrer_id, status, after, limit).await?)
}

impl Refusal {
    /// The reason, as the referrer reads it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SameMailbox => "self_referral_same_email",
            Self::SameBrowser => "self_referral_same_browser",
            Self::DeletedBefore => "email_of_deleted_account",
            Self::HadByAnother => "email_used_before",
        }
    }
}
