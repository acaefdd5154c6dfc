//! The figures that a referrer sees. They cost the same whatever the number of referrals: counters, not counts.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{DbError, Pool, Tx};
use crate::rewards::{self, Amount, RewardKind};
pub use store::Discount;

/// The figures of one referrer.
#[derive(Clone, Debug)]
pub struct Stats {
    /// The order of cached copies: a higher version is newer.
    pub version: i64,
    /// The referral code.
    pub referral_code: String,
    /// Visits of the referral link.
    pub clicks: i64,
    /// Referrals in all.
    pub total: i64,
    /// Referrals that wait.
    pub pending: i64,
    /// Referrals that a manager looks at.
    pub in_review: i64,
    /// Referrals that count.
    pub successful: i64,
    /// Referrals that do not.
    pub rejected: i64,
    /// Credits to spend.
    pub credits: Amount,
    /// When premium ends, if it lasts.
    pub premium_until: Option<DateTime<Utc>>,
    /// Coupons to use.
    pub discounts: Vec<Discount>,
    /// The next milestone, if one is left.
    pub next_milestone: Option<NextMilestone>,
}

/// A milestone ahead.
#[derive(Clone, Debug)]
pub struct NextMilestone {
    /// Successful referrals it takes.
    pub at: i64,
    /// Successful referrals that are missing.
    pub remaining: i64,
    /// What it gives.
    pub kind: RewardKind,
    /// How much of it: credits, days, or percent.
    pub amount: Amount,
}

/// The figures of a user; `None` when there is no such live account.
pub async fn stats(pool: &Pool, now: DateTime<Utc>, user_id: Uuid) -> Result<Option<Stats>, DbError> {
    // Figures of one instant: counters and balances move together.
    let mut tx = Tx::snapshot(pool).await?;
    let Some(row) = store::counters(&mut tx, user_id).await? else { return Ok(None) };
    let clicks = store::visits(&mut tx, user_id).await?;
    let credits = store::balance(&mut tx, user_id, RewardKind::Credits).await?;
    let premium_until = store::premium_until(&mut tx, user_id, now).await?;
    let discounts = store::discounts(&mut tx, user_id).await?;
    let milestone = rewards::next_milestone(&mut tx, now, user_id, row.successful).await?;
    tx.commit().await?;
    Ok(Some(Stats {
        version: row.version,
        referral_code: row.referral_code,
        clicks,
        total: row.pending + row.review + row.successful + row.rejected + row.expired + row.reversed,
        pending: row.pending,
        in_review: row.review,
        successful: row.successful,
        rejected: row.rejected,
        credits,
        premium_until,
        discounts,
        next_milestone: milestone.map(|(at, kind, amount)| NextMilestone {
            at,
            remaining: at - row.successful,
            kind,
            amount,
        }),
    }))
}
