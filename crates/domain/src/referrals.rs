//! Referrals: who brought whom, what becomes of it, and the figures about it.
//!
//! A referral is made with the account of the referred person and never again. Each move is one
//! `UPDATE .. WHERE status = <expected>`; the transaction that moves it also moves the counters, writes the audit row and
//! announces the move (a row of the outbox, see [`webhooks`]).
//! Locks are always taken in one order: users (by id), the referral, the counters (by user id), the balances.
//!
//! ```text
//! pending -> successful | rejected | expired     by the worker (settle), or a manager who rejects
//! pending -> review                              by the worker, or at registration: signals reach the limit
//! review  -> pending                             by a manager who approves, or when the limits were raised
//! review  -> rejected                            by a manager, by lowered limits, or with a deleted account
//! successful -> reversed                         by a manager
//! ```

pub mod abuse;
mod code;
mod disposable;
mod evidence;
mod review;
mod series;
mod settle;
mod stats;
mod store;

use std::fmt;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::accounts::{Account, Email};
use crate::audit::{self, Actor, Entry, Event, Trace};
use crate::config::{Keys, QualifiesOn, ReferralPolicy};
use crate::db::{self, DbError, Pool, Tx};
use crate::outbox::{self, Job};
use crate::page::Cursor;
use crate::webhooks;
pub use abuse::Limits;
use abuse::{Assessment, Decision};
pub use code::{MalformedCode, ReferralCode};
pub use disposable::Disposable;
use evidence::Newcomer;
pub use review::{Reviewed, Ruled, Ruling, RulingError, Search, Side, Verdict, review_one, rule, search};
pub use series::{Day, LONGEST_SERIES, Standing, Window, is_named, leaderboard, series, set_named};
pub use settle::{Rechecked, Settlement, close_orphans, expire, recheck, settle};
pub use stats::{Discount, NextMilestone, Stats, stats};
pub use store::ReferralView;

/// The reason of a referral whose friend has not confirmed the address.
const AWAITING_VERIFICATION: &str = "awaiting_verification";

/// The reason of one that waits for the end of its hold.
const ON_HOLD: &str = "on_hold";

/// The reason of one that a worker decides next.
const AWAITING_SETTLEMENT: &str = "awaiting_settlement";

/// The reason of a referral that a manager is to look at. Which signals led there is not the referrer's to know.
const UNDER_REVIEW: &str = "under_review";

/// The reason of one whose referrer's account was deleted before it was decided.
const REFERRER_DELETED: &str = "referrer_deleted";

/// The reason of one whose friend's was.
const REFERRED_DELETED: &str = "referred_deleted";

/// How many waiting referrals of one state a deletion rejects by itself.
const CLOSED_AT_ONCE: i64 = 2_000;

/// The reason of a referral that too many signals speak against.
const SUSPECTED: &str = "suspected_abuse";

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

    /// Whether it is decided.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Pending | Self::Review)
    }

    /// What other systems are told of a move to it.
    const fn announcement(self) -> webhooks::Event {
        match self {
            Self::Pending => webhooks::Event::ReferralPending,
            Self::Review => webhooks::Event::ReferralReview,
            Self::Successful => webhooks::Event::ReferralSuccessful,
            Self::Rejected => webhooks::Event::ReferralRejected,
            Self::Expired => webhooks::Event::ReferralExpired,
            Self::Reversed => webhooks::Event::ReferralReversed,
        }
    }

    /// What the record calls a move to it.
    const fn event(self) -> Event {
        match self {
            Self::Pending => Event::ReferralReleased,
            Self::Review => Event::ReferralHeld,
            Self::Successful => Event::ReferralSuccessful,
            Self::Rejected => Event::ReferralRejected,
            Self::Expired => Event::ReferralExpired,
            Self::Reversed => Event::ReferralReversed,
        }
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

/// Writes the referral of an account that is being made: pending, for a manager to look at, or refused. Promises its
/// settlement if registering is enough.
pub(crate) async fn attribute(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    attribution: Attribution<'_>,
    trace: &Trace,
) -> Result<Attributed, DbError> {
    let Attribution { referrer, referred, known_as } = attribution;
    let email = Email::from_stored(referred.email.clone());
    let newcomer = Newcomer { email: &email, known_as, network: trace.network(), id: referred.id };
    let (identity, facts) = evidence::at_registration(tx, now, keys, policy, &referrer, &newcomer).await?;
    let assessment = abuse::assess(facts, policy.limits, abuse::refuse(identity));
    // It begins anew when the address is confirmed, if it is not yet.
    let qualifies_at = now + policy.hold;
    let waits = waits_for(policy, referred.email_verified_at.is_some(), qualifies_at, now);
    let (status, reason) = at_first(&assessment, waits);
    let id = Uuid::now_v7();
    let row = store::NewReferral {
        id,
        referrer_id: referrer.id,
        referred_user_id: referred.id,
        date_referred: now,
        status: status.as_str(),
        reason,
        qualifies_at,
        settled_at: status.is_settled().then_some(now),
        network: newcomer.network,
        assessment: serde_json::to_value(&assessment).ok(),
    };
    store::insert(tx, row).await?;
    let counters = store::count(tx, now, &[(referrer.id, None, Some(status), 1)]).await?;
    if status == ReferralStatus::Pending {
        // The account's own entry in the record says it.
        announce(tx, &[id], Step::new(status, reason), trace).await?;
    } else {
        note(tx, now, id, Step::new(status, reason), Actor::System, trace).await?;
    }
    if status == ReferralStatus::Pending && policy.qualifies_on == QualifiesOn::Registration {
        enqueue_settlement(tx, id, "registered", qualifies_at, now, trace.request_id.clone()).await?;
    }
    let version = counters.first().map_or(0, |row| row.version);
    Ok(Attributed { status, referrer_id: referrer.id, version })
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
    let Some((id, from)) = store::lock_undecided_of(tx, user_id).await? else { return Ok(()) };
    let Some(referrer) = store::referrer_of(tx, id).await? else { return Ok(()) };
    let identity = evidence::by_address(tx, keys, &referrer, user_id, email).await?;
    let Some(refusal) = abuse::refuse(identity) else { return Ok(()) };
    let (to, reason) = (ReferralStatus::Rejected, refusal.as_str());
    settle::store::shift(tx, now, id, from, to, reason, None).await?;
    note(tx, now, id, Step::new(to, reason), Actor::System, &Trace::default()).await?;
    store::count(tx, now, &[(referrer.id, Some(from), Some(to), 1)]).await?;
    Ok(())
}

/// Where a referral begins that waits for something, unless something speaks against it.
fn at_first(assessment: &Assessment, waits_for: &'static str) -> (ReferralStatus, &'static str) {
    match (assessment.decision, assessment.refusal) {
        (_, Some(refusal)) => (ReferralStatus::Rejected, refusal.as_str()),
        (Decision::Deny, None) => (ReferralStatus::Rejected, SUSPECTED),
        (Decision::Review, None) => (ReferralStatus::Review, UNDER_REVIEW),
        (Decision::Allow, None) => (ReferralStatus::Pending, waits_for),
    }
}

/// A step of a referral: where to, and why.
#[derive(Clone, Copy)]
struct Step<'a> {
    to: ReferralStatus,
    /// In words of a closed set, which the referrer reads.
    reason: &'a str,
    /// In a manager's own words, for the record only.
    because: Option<&'a str>,
}

impl<'a> Step<'a> {
    fn new(to: ReferralStatus, reason: &'a str) -> Self {
        Self { to, reason, because: None }
    }
}

/// Writes a move into the record, and announces it to whoever listens. The record names the referral and nobody: it is about
/// no account's security.
async fn note(
    tx: &mut Tx,
    now: DateTime<Utc>,
    referral_id: Uuid,
    step: Step<'_>,
    actor: Actor,
    trace: &Trace,
) -> Result<(), DbError> {
    note_all(tx, now, &[referral_id], step, actor, trace).await
}

async fn note_all(
    tx: &mut Tx,
    now: DateTime<Utc>,
    referral_ids: &[Uuid],
    step: Step<'_>,
    actor: Actor,
    trace: &Trace,
) -> Result<(), DbError> {
    let entry = |id: &Uuid| Entry {
        user_id: None,
        actor,
        event: step.to.event(),
        subject_id: Some(*id),
        reason: step.because.or(Some(step.reason)),
    };
    let entries: Vec<Entry<'_>> = referral_ids.iter().map(entry).collect();
    // Whoever registered is not the one who moved it: their network is not the move's.
    let trace = Trace { ip_hash: trace.ip_hash.clone().filter(|_| actor != Actor::System), ..trace.clone() };
    audit::record_all(tx, now, &entries, &trace).await?;
    announce(tx, referral_ids, step, &trace).await
}

async fn announce(tx: &mut Tx, referral_ids: &[Uuid], step: Step<'_>, trace: &Trace) -> Result<(), DbError> {
    let request_id = trace.request_id.as_deref();
    webhooks::announce(tx, step.to.announcement(), referral_ids, Some(step.reason), request_id).await
}

/// What a pending referral waits for: not for what is there.
fn waits_for(
    policy: ReferralPolicy,
    verified: bool,
    qualifies_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> &'static str {
    if policy.qualifies_on == QualifiesOn::VerifiedEmail && !verified {
        AWAITING_VERIFICATION
    } else if qualifies_at > now {
        ON_HOLD
    } else {
        AWAITING_SETTLEMENT
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

/// The referred person confirmed the address: the hold of the referral begins, and its settlement is promised for the end of
/// it, if it waits. Where registering is enough, both were done then.
pub(crate) async fn verified(
    tx: &mut Tx,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    user_id: Uuid,
    request_id: Option<String>,
) -> Result<(), DbError> {
    if policy.qualifies_on == QualifiesOn::Registration {
        return Ok(());
    }
    let qualifies_at = now + policy.hold;
    if let Some(id) = store::begin_hold(tx, user_id, qualifies_at).await? {
        enqueue_settlement(tx, id, "verified", qualifies_at, now, request_id).await?;
    }
    Ok(())
}

/// Somebody is let in again: promises the settlement of what waits on either side. Whoever brought more than a batch of
/// people who wait leaves the rest to the next look at what stands still.
pub(crate) async fn let_in_again(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    request_id: Option<&str>,
) -> Result<(), DbError> {
    let occasion = format!("let_in:{}", now.timestamp_micros());
    for (id, qualifies_at) in store::waiting_with(tx, user_id, settle::BATCH).await? {
        enqueue_settlement(tx, id, &occasion, qualifies_at, now, request_id.map(str::to_owned)).await?;
    }
    Ok(())
}

/// Rejects what waits on either side of an account that is being deleted, and forgets where it registered. Of somebody for whom
/// very many wait, a job rejects the rest ([`close_orphans`]): a deletion does not take long, and none is refused for that.
pub(crate) async fn close_for_deleted(tx: &mut Tx, now: DateTime<Utc>, user_id: Uuid) -> Result<(), DbError> {
    store::forget_network(tx, user_id).await?;
    let rejected = ReferralStatus::Rejected;
    let mut moves = Vec::new();
    let mut are_left = false;
    for (side, reason) in
        [(store::Side::Referrer, REFERRER_DELETED), (store::Side::Referred, REFERRED_DELETED)]
    {
        for from in [ReferralStatus::Pending, ReferralStatus::Review] {
            let closed = store::reject_of(tx, side, user_id, from, reason, now, CLOSED_AT_ONCE).await?;
            are_left |= closed.len() >= usize::try_from(CLOSED_AT_ONCE).unwrap_or_default();
            moves.extend(settle::tally(&closed, from, rejected));
            settle::record(tx, now, &closed, Step::new(rejected, reason)).await?;
        }
    }
    if are_left {
        let key = format!("recheck_referrals:deleted:{user_id}");
        let options = outbox::Options { dedupe_key: Some(key), ..outbox::Options::default() };
        outbox::enqueue(tx, &Job::RecheckReferrals {}, options).await?;
    }
    // In one go, so that the counters are locked in one order.
    store::count(tx, now, &moves).await?;
    Ok(())
}

/// Who brought whom.
pub(crate) async fn sides(tx: &mut Tx, referral_id: Uuid) -> Result<Option<(Uuid, Uuid)>, DbError> {
    let pair = store::pair_of(tx, referral_id).await?;
    Ok(pair.map(|pair| (pair.referrer_id, pair.referred_id)))
}

/// Forgets the networks of registrations before `before`. Returns how many.
pub(crate) async fn forget_networks(pool: &Pool, before: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::forget_networks_before(&mut connection, before).await?)
}

/// What a user's statistics show besides referrals changes: raises their version, and returns it. Locks the counters, as
/// every change of a balance does before it locks the balance.
pub(crate) async fn touch(tx: &mut Tx, now: DateTime<Utc>, user_id: Uuid) -> Result<i64, DbError> {
    let rows = store::count(tx, now, &[(user_id, None, None, 0)]).await?;
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
    now: DateTime<Utc>,
    referrer_id: Uuid,
    status: Option<ReferralStatus>,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<ReferralView>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::list(&mut connection, now, referrer_id, status, after, limit).await?)
}

/// What may still earn a user something.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Referrals of theirs that wait for what they qualify on.
    pub pending: i64,
    /// Referrals of theirs that managers look at.
    pub in_review: i64,
    /// The referral that brought them, while it has earned them nothing: not decided yet, or not counted.
    pub own: Option<ReferralView>,
}

/// What a user waits for, on either side.
pub async fn waiting(pool: &Pool, now: DateTime<Utc>, user_id: Uuid) -> Result<Waiting, DbError> {
    let mut connection = db::get(pool).await?;
    let (pending, in_review) = store::undecided_counts(&mut connection, user_id).await?;
    let own = store::own_without_reward(&mut connection, now, user_id).await?;
    Ok(Waiting { pending, in_review, own })
}
