//! What the worker does with referrals: decides them when they are due, expires those that waited too long, and looks
//! again at those that stand still.

pub(super) mod store;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::abuse::{self, Assessment, Decision, Facts, Refusal};
use super::{ReferralStatus, Step, enqueue_settlement, evidence, note};
use crate::audit::{Actor, Trace};
use crate::config::{QualifiesOn, ReferralPolicy};
use crate::db::{DbError, Pool, Tx};
use crate::outbox::{self, Lease, OutboxError};
use crate::rewards;

/// A referral whose address is not confirmed by then is over.
pub(super) const PATIENCE: TimeDelta = TimeDelta::days(30);

/// How many referrals one statement moves.
pub(super) const BATCH: i64 = 500;

/// A referral that has been due for so long has lost its job, or its two sides were blocked meanwhile.
const OVERDUE: TimeDelta = TimeDelta::minutes(10);

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
    request_id: Option<&str>,
) -> Result<Settlement, OutboxError> {
    policy.disposable.refresh();
    let mut tx = Tx::begin(pool).await?;
    let settlement = settle_in(&mut tx, now, policy, referral_id, request_id).await?;
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
    request_id: Option<&str>,
) -> Result<Settlement, DbError> {
    let Some(pair) = super::store::pair_of(tx, referral_id).await? else {
        return Ok(Settlement::Unchanged);
    };
    let sides = super::store::lock_sides(tx, pair.referrer_id, pair.referred_id).await?;
    let Some(due) = store::lock_pending(tx, referral_id).await? else { return Ok(Settlement::Unchanged) };
    let (status, reason, assessment) = match verdict(&sides, policy) {
        Verdict::Wait => return Ok(Settlement::Unchanged),
        Verdict::Reject(reason) => (ReferralStatus::Rejected, reason, None),
        Verdict::Ready if due.qualifies_at > now => return Ok(Settlement::Held(due.qualifies_at - now)),
        // A manager let it pass.
        Verdict::Ready if due.cleared => (ReferralStatus::Successful, "qualified", None),
        Verdict::Ready => {
            let later = evidence::later(tx, now, pair.referrer_id, pair.referred_id).await?;
            let facts = evidence::renewed(facts_of(due.assessment), &later, policy, &sides.referred_email);
            let assessment = abuse::assess(facts, policy.limits, later.in_cycle.then_some(Refusal::Cycle));
            let (status, reason) = outcome(&assessment);
            (status, reason, Some(assessment))
        }
    };
    store::shift(tx, now, referral_id, ReferralStatus::Pending, status, reason, assessment.as_ref()).await?;
    let trace = Trace { request_id: request_id.map(str::to_owned), ..Trace::default() };
    note(tx, now, referral_id, Step::new(status, reason), Actor::System, &trace).await?;
    let moves = [
        (pair.referrer_id, Some(ReferralStatus::Pending), Some(status), 1),
        (pair.referred_id, None, None, 0),
    ];
    let counters = super::store::count(tx, now, &moves).await?;
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
    Reject(&'static str),
    Ready,
}

fn verdict(sides: &super::store::SidesState, policy: ReferralPolicy) -> Verdict {
    if sides.referrer_deleted {
        return Verdict::Reject(super::REFERRER_DELETED);
    }
    if sides.referred_deleted {
        return Verdict::Reject(super::REFERRED_DELETED);
    }
    let waits = policy.qualifies_on == QualifiesOn::VerifiedEmail && !sides.referred_verified;
    if sides.any_blocked || waits { Verdict::Wait } else { Verdict::Ready }
}

fn outcome(assessment: &Assessment) -> (ReferralStatus, &'static str) {
    match (assessment.decision, assessment.refusal) {
        (_, Some(refusal)) => (ReferralStatus::Rejected, refusal.as_str()),
        (Decision::Deny, None) => (ReferralStatus::Rejected, super::SUSPECTED),
        (Decision::Review, None) => (ReferralStatus::Review, super::UNDER_REVIEW),
        (Decision::Allow, None) => (ReferralStatus::Successful, "qualified"),
    }
}

/// The facts of a stored assessment. A referral of an older release has none: nothing was noticed.
fn facts_of(assessment: Option<serde_json::Value>) -> Facts {
    let facts =
        assessment.and_then(|mut assessment| assessment.get_mut("facts").map(serde_json::Value::take));
    facts.and_then(|facts| serde_json::from_value(facts).ok()).unwrap_or_default()
}

/// Expires referrals that waited too long. Returns how many; call again while it is not 0.
pub async fn expire(pool: &Pool, now: DateTime<Utc>) -> Result<usize, DbError> {
    let mut tx = Tx::begin(pool).await?;
    let expired = store::expire(&mut tx, now - PATIENCE, now, BATCH).await?;
    let moves = tally(&expired, ReferralStatus::Pending, ReferralStatus::Expired);
    super::store::count(&mut tx, now, &moves).await?;
    record(&mut tx, now, &expired, Step::new(ReferralStatus::Expired, "not_verified_in_time")).await?;
    tx.commit().await?;
    Ok(expired.len())
}

/// Rejects what still waits for referrers whose accounts are deleted: what a deletion left. Returns how many; call again while it
/// is not 0.
pub async fn close_orphans(pool: &Pool, now: DateTime<Utc>) -> Result<usize, DbError> {
    let rejected = ReferralStatus::Rejected;
    let mut tx = Tx::begin(pool).await?;
    let mut moves = Vec::new();
    for from in [ReferralStatus::Pending, ReferralStatus::Review] {
        let orphans =
            super::store::reject_orphans(&mut tx, from, super::REFERRER_DELETED, now, BATCH).await?;
        moves.extend(tally(&orphans, from, rejected));
        record(&mut tx, now, &orphans, Step::new(rejected, super::REFERRER_DELETED)).await?;
    }
    let closed = moves.iter().map(|(.., n)| usize::try_from(*n).unwrap_or_default()).sum();
    // In one go, so that the counters are locked in one order.
    super::store::count(&mut tx, now, &moves).await?;
    tx.commit().await?;
    Ok(closed)
}

/// One move for each referrer, in the order of their ids: locks are taken in one order.
pub(super) fn tally(
    referrals: &[(Uuid, Uuid)],
    from: ReferralStatus,
    to: ReferralStatus,
) -> Vec<super::store::Move> {
    let mut counts = BTreeMap::new();
    for (_, referrer) in referrals {
        *counts.entry(*referrer).or_insert(0_i64) += 1;
    }
    counts.into_iter().map(|(referrer, n)| (referrer, Some(from), Some(to), n)).collect()
}

/// Records that several referrals went one way.
pub(super) async fn record(
    tx: &mut Tx,
    now: DateTime<Utc>,
    referrals: &[(Uuid, Uuid)],
    step: Step<'_>,
) -> Result<(), DbError> {
    let ids: Vec<Uuid> = referrals.iter().map(|(id, _)| *id).collect();
    super::note_all(tx, now, &ids, step, Actor::System, &Trace::default()).await
}

/// What a look at waiting referrals found to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rechecked {
    /// Referrals that were due and had no job; they have one now.
    pub promised: usize,
    /// Referrals that were weighed again because the limits changed.
    pub weighed: usize,
    /// Those of them that went back to waiting.
    pub released: usize,
}

/// Looks again at what stands still: referrals that are due and that nobody settled (their job died, or an account was
/// blocked meanwhile) get a new settlement, and those in review whose limits have changed since are weighed again.
pub async fn recheck(pool: &Pool, now: DateTime<Utc>, policy: ReferralPolicy) -> Result<Rechecked, DbError> {
    let mut done = Rechecked::default();
    loop {
        let (weighed, released) = weigh_again(pool, now, policy).await?;
        done.weighed += weighed;
        done.released += released;
        if weighed == 0 {
            break;
        }
    }
    let mut after = None;
    loop {
        let mut tx = Tx::begin(pool).await?;
        let on_registration = policy.qualifies_on == QualifiesOn::Registration;
        let overdue = store::overdue(&mut tx, now - OVERDUE, on_registration, after, BATCH).await?;
        let Some(last) = overdue.last().copied() else { return Ok(done) };
        for (id, _) in &overdue {
            // Once an hour: the one before may still wait in a long queue.
            let occasion = format!("recheck:{}", now.format("%Y-%m-%dT%H"));
            enqueue_settlement(&mut tx, *id, &occasion, now, now, None).await?;
        }
        tx.commit().await?;
        done.promised += overdue.len();
        after = Some(last);
    }
}

/// Weighs up to a batch of referrals again that lie with the managers by other limits than today's. Returns how many, and
/// how many went back to waiting.
async fn weigh_again(
    pool: &Pool,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
) -> Result<(usize, usize), DbError> {
    let mut tx = Tx::begin(pool).await?;
    let rows = store::weighed_by_other_limits(&mut tx, policy.limits, BATCH).await?;
    let weighed = rows.len();
    let (mut released, mut refused) = (Vec::new(), Vec::new());
    // By what each waits for from now on.
    let mut waiting = BTreeMap::<&str, Vec<(Uuid, Uuid)>>::new();
    for row in rows {
        let assessment = abuse::assess(facts_of(row.assessment), policy.limits, None);
        let (to, reason) = match assessment.decision {
            Decision::Allow => {
                (ReferralStatus::Pending, super::waits_for(policy, row.verified, row.qualifies_at, now))
            }
            Decision::Review => (ReferralStatus::Review, super::UNDER_REVIEW),
            Decision::Deny => (ReferralStatus::Rejected, super::SUSPECTED),
        };
        store::shift(&mut tx, now, row.id, ReferralStatus::Review, to, reason, Some(&assessment)).await?;
        let pair = (row.id, row.referrer_id);
        match to {
            ReferralStatus::Pending => {
                released.push(pair);
                waiting.entry(reason).or_default().push(pair);
            }
            ReferralStatus::Rejected => refused.push(pair),
            _ => {}
        }
    }
    // Both ways in one go, so that the counters are locked in one order.
    let mut moves = tally(&released, ReferralStatus::Review, ReferralStatus::Pending);
    moves.extend(tally(&refused, ReferralStatus::Review, ReferralStatus::Rejected));
    super::store::count(&mut tx, now, &moves).await?;
    for (reason, referrals) in waiting {
        let step = Step { because: Some("limits_changed"), ..Step::new(ReferralStatus::Pending, reason) };
        record(&mut tx, now, &referrals, step).await?;
    }
    record(&mut tx, now, &refused, Step::new(ReferralStatus::Rejected, super::SUSPECTED)).await?;
    for (id, _) in &released {
        let occasion = format!("released:{}", now.timestamp_micros());
        enqueue_settlement(&mut tx, *id, &occasion, now, now, None).await?;
    }
    tx.commit().await?;
    Ok((weighed, released.len()))
}
