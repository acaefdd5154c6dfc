//! What managers see of referrals, and what they decide about them.
//!
//! The row lock on the referral decides between two who click at once: the second finds what the first made of it. The
//! same decision again is answered alike and does nothing; another one is refused.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{ReferralCode, ReferralStatus, Step, enqueue_settlement, note, waits_for};
use crate::audit::{Actor, Trace};
use crate::config::ReferralPolicy;
use crate::db::{self, DbError, Pool, Tx};
use crate::page::Cursor;
use crate::rewards;
pub use store::{Reviewed, Side};

/// How many people a search by name looks at.
const NAMES: i64 = 50;

/// What somebody decides about a referral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Whatever speaks against it, it may go its way: `review -> pending`.
    Approve,
    /// It does not count: `review | pending -> rejected`.
    Reject,
    /// It counted, and does so no more: `successful -> reversed`, with what it earned.
    Reverse,
}

/// A decision about a referral.
#[derive(Clone, Copy, Debug)]
pub struct Ruling<'a> {
    /// The referral.
    pub referral_id: Uuid,
    /// What is decided.
    pub verdict: Verdict,
    /// Who decides.
    pub actor: Actor,
    /// Why. For the record: the referrer does not read it.
    pub reason: &'a str,
}

/// What came of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    /// Where the referral stands.
    pub status: ReferralStatus,
    /// Users and the new versions of their statistics; empty when it was decided so before.
    pub changed: Vec<(Uuid, i64)>,
}

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RulingError {
    /// There is no such referral.
    #[error("there is no such referral")]
    NoSuchReferral,
    /// It stands where this cannot be decided: somebody decided otherwise, or it is not so far.
    #[error("the referral is {0}")]
    Conflict(ReferralStatus),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for RulingError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Where a verdict leads from where a referral stands; `None` when that was decided before.
fn target(verdict: Verdict, stands: ReferralStatus, cleared: bool) -> Result<Option<ReferralStatus>, ()> {
    use ReferralStatus::{Pending, Rejected, Reversed, Review, Successful};
    match (verdict, stands) {
        (Verdict::Approve, Review) => Ok(Some(Pending)),
        (Verdict::Approve, Pending | Successful) if cleared => Ok(None),
        // What a manager approved is for the worker to settle; then it can be reversed.
        (Verdict::Reject, Pending) if cleared => Err(()),
        (Verdict::Reject, Review | Pending) => Ok(Some(Rejected)),
        (Verdict::Reverse, Successful) => Ok(Some(Reversed)),
        (Verdict::Reject, Rejected) | (Verdict::Reverse, Reversed) => Ok(None),
        _ => Err(()),
    }
}

/// Decides about a referral. Once, whoever asks how often: the move, the counters, the record, and what follows (a
/// settlement, or the way back of rewards) are one transaction.
pub async fn rule(
    pool: &Pool,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    ruling: Ruling<'_>,
    trace: &Trace,
) -> Result<Ruled, RulingError> {
    let Ruling { referral_id, verdict, actor, reason } = ruling;
    let mut tx = Tx::begin(pool).await?;
    let pair = super::store::pair_of(&mut tx, referral_id).await?.ok_or(RulingError::NoSuchReferral)?;
    let sides = super::store::lock_sides(&mut tx, pair.referrer_id, pair.referred_id).await?;
    let standing = store::lock(&mut tx, referral_id).await?.ok_or(RulingError::NoSuchReferral)?;
    let stands = standing.status;
    let Some(to) = target(verdict, stands, standing.cleared).map_err(|()| RulingError::Conflict(stands))?
    else {
        return Ok(Ruled { status: stands, changed: Vec::new() });
    };
    // What the referrer reads.
    let public = match verdict {
        Verdict::Approve => waits_for(policy, sides.referred_verified, standing.qualifies_at, now),
        Verdict::Reject => "rejected_by_manager",
        Verdict::Reverse => "reversed_by_manager",
    };
    super::settle::store::shift(&mut tx, now, referral_id, stands, to, public, None).await?;
    if verdict == Verdict::Approve {
        store::clear(&mut tx, referral_id, now).await?;
        let options_key = format!("approved:{}", now.timestamp_micros());
        enqueue_settlement(&mut tx, referral_id, &options_key, now, now, trace.request_id.clone()).await?;
    }
    let step = Step { to, reason: public, because: Some(reason) };
    note(&mut tx, now, referral_id, step, actor, trace).await?;
    let moves = [(pair.referrer_id, Some(stands), Some(to), 1), (pair.referred_id, None, None, 0)];
    let counters = super::store::count(&mut tx, now, &moves).await?;
    if verdict == Verdict::Reverse {
        // It counts no more, on no day: nor on the leaderboard of that week.
        let day = standing.settled_at.unwrap_or(now).date_naive();
        super::store::count_day(&mut tx, pair.referrer_id, day, 0, -1).await?;
        rewards::reverse_referral(&mut tx, now, referral_id, reason).await?;
    }
    tx.commit().await?;
    let changed = counters.into_iter().map(|row| (row.user_id, row.version)).collect();
    Ok(Ruled { status: to, changed })
}

/// What managers look for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Only those of this status.
    pub status: Option<ReferralStatus>,
    /// An id (of a referral or of either side), a referral code, or the beginning of a username.
    pub text: Option<String>,
}

/// Referrals with what was held against them, newest first, after `after`; at most `limit`.
pub async fn search(
    pool: &Pool,
    search: &Search,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Reviewed>, DbError> {
    let mut connection = db::get(pool).await?;
    let people = match search.text.as_deref().map(str::trim) {
        None => None,
        Some(text) => Some(if let Ok(id) = Uuid::try_parse(text) {
            vec![id]
        } else {
            let code = ReferralCode::parse(text).ok();
            store::named(&mut connection, &text.to_lowercase(), code.as_ref(), NAMES).await?
        }),
    };
    Ok(store::search(&mut connection, search.status, people.as_deref(), after, limit).await?)
}

/// One referral, as managers see it.
pub async fn review_one(pool: &Pool, referral_id: Uuid) -> Result<Option<Reviewed>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::one(&mut connection, referral_id).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every verdict on every state: where it leads, `Some(None)` for what was decided before, `None` for what is refused.
    #[test]
    fn every_verdict_on_every_state() {
        use ReferralStatus::{Expired, Pending, Rejected, Reversed, Review, Successful};
        use Verdict::{Approve, Reject, Reverse};
        let allowed = [
            (Approve, Review, false, Some(Pending)),
            (Approve, Review, true, Some(Pending)),
            (Approve, Pending, true, None),
            (Approve, Successful, true, None),
            (Reject, Review, false, Some(Rejected)),
            (Reject, Review, true, Some(Rejected)),
            (Reject, Pending, false, Some(Rejected)),
            (Reject, Rejected, false, None),
            (Reject, Rejected, true, None),
            (Reverse, Successful, false, Some(Reversed)),
            (Reverse, Successful, true, Some(Reversed)),
            (Reverse, Reversed, false, None),
            (Reverse, Reversed, true, None),
        ];
        for verdict in [Approve, Reject, Reverse] {
            for stands in [Pending, Review, Successful, Rejected, Expired, Reversed] {
                for cleared in [false, true] {
                    let expected = allowed
                        .iter()
                        .find(|(v, s, c, _)| (*v, *s, *c) == (verdict, stands, cleared))
                        .map(|(.., to)| *to)
                        .ok_or(());
                    assert_eq!(target(verdict, stands, cleared), expected, "{verdict:?} {stands} {cleared}");
                }
            }
        }
    }
}
