//! Rewards: what a successful referral earns, and the books about it.
//!
//! Every decision is written, granted or not; every grant is one `rewards` row, one ledger entry and one change of a
//! balance, in the transaction that makes the referral successful. UNIQUE keys refuse a second grant whatever happens.

mod adjustment;
mod amount;
mod check;
mod coupons;
mod redemption;
mod reversal;
mod rules;
mod settlement;
mod store;

use std::fmt;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{self, Connection, DbError, Pool, Tx};
use crate::page::Cursor;
pub use adjustment::{AdjustError, Adjusted, Adjustment, adjust, adjust_and_record};
pub use amount::{Amount, MalformedAmount};
pub use check::{INVARIANTS, Invariant, Violations, check_ledger};
pub use coupons::{Coupon, CouponError, Till, use_coupon};
pub use redemption::{CatalogOption, RedeemError, Redemption, Wish, catalog, redeem};
pub use reversal::{Reversal, reverse_referral};
pub use rules::{ReplaceError, Replacement, RuleError, RuleSet, RuleSpec, check_set, replace_rules, rules};
pub(crate) use settlement::{Sides, decide};
pub(crate) use store::Earned;
pub use store::RewardView;
use store::{Cause, Entry};

/// What is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewardKind {
    /// An amount of credits.
    Credits,
    /// Days of premium.
    Premium,
    /// A coupon of some percent.
    Discount,
}

impl RewardKind {
    /// The word for it, in the database and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credits => "credits",
            Self::Premium => "premium",
            Self::Discount => "discount",
        }
    }

    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Credits, Self::Premium, Self::Discount].into_iter().find(|kind| kind.as_str() == word)
    }

    /// What a grant of `amount` adds to the balance: a coupon counts as one, whatever its percent.
    fn entry(self, amount: Amount) -> Amount {
        match self {
            Self::Credits | Self::Premium => amount,
            Self::Discount => Amount::from_whole(1),
        }
    }
}

impl fmt::Display for RewardKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The side of a referral that is rewarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beneficiary {
    /// Who brought somebody.
    Referrer,
    /// Who was brought.
    Referred,
}

impl Beneficiary {
    /// The word for it, in the database and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Referrer => "referrer",
            Self::Referred => "referred",
        }
    }

    /// Reads the word for it.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Referrer, Self::Referred].into_iter().find(|side| side.as_str() == word)
    }
}

/// Closes what credits a user has left, when the account is deleted.
pub(crate) async fn forfeit_credits(tx: &mut Tx, now: DateTime<Utc>, user_id: Uuid) -> Result<(), DbError> {
    let left = store::lock_balance(tx, user_id, RewardKind::Credits).await?;
    if left <= Amount::ZERO {
        return Ok(());
    }
    let balance_after = store::take_from_balance(tx, user_id, RewardKind::Credits, left).await?;
    let entry = Entry::new((user_id, RewardKind::Credits), -left, balance_after, Cause::Forfeit, now);
    Ok(store::insert_entries(tx, &[entry]).await?)
}

/// Whether a user has premium at an instant.
pub(crate) async fn has_premium(
    connection: &mut Connection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, DbError> {
    Ok(store::has_premium(connection, user_id, now).await?)
}

/// Whether a user has premium now.
pub async fn is_premium(pool: &Pool, user_id: Uuid, now: DateTime<Utc>) -> Result<bool, DbError> {
    has_premium(&mut *db::get(pool).await?, user_id, now).await
}

/// The lowest milestone above a count that a user can still reach: at how many, what, and how much.
pub(crate) async fn next_milestone(
    connection: &mut Connection,
    now: DateTime<Utc>,
    user_id: Uuid,
    successful: i64,
) -> Result<Option<(i64, RewardKind, Amount)>, DbError> {
    let next = store::next_milestone(connection, now, user_id, successful).await?;
    Ok(next.and_then(|rule| {
        Some((i64::from(rule.milestone?), RewardKind::parse(&rule.reward_type)?, rule.amount))
    }))
}

/// What a referral earned both sides, taken back or not.
pub(crate) async fn of_referral(tx: &mut Tx, referral_id: Uuid) -> Result<Vec<Earned>, DbError> {
    Ok(store::of_referral(tx, referral_id).await?)
}

/// A redemption and who made it.
pub(crate) async fn find_redemption(tx: &mut Tx, id: Uuid) -> Result<Option<(Uuid, Redemption)>, DbError> {
    redemption::find(tx, id).await
}

/// What was decided for a user, newest first, after `after`; at most `limit`.
pub async fn list(
    pool: &Pool,
    user_id: Uuid,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<RewardView>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::list(&mut connection, user_id, after, limit).await?)
}
