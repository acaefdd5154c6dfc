//! Rewards: what a successful referral earns, and the books about it.
//!
//! Every decision is written, granted or not; every grant is one `rewards` row, one ledger entry and one change of a
//! balance, in the transaction that makes the referral successful. UNIQUE keys refuse a second grant whatever happens.

mod adjustment;
mod amount;
mod check;
mod reversal;
mod store;

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::db::{self, Connection, DbError, Pool, Tx};
use crate::page::Cursor;
use crate::token::Token;
pub use adjustment::{AdjustError, Adjusted, Adjustment, adjust, adjust_and_record};
pub use amount::Amount;
pub use check::{INVARIANTS, Invariant, Violations, check_ledger};
pub use reversal::{Reversal, reverse_referral};
pub use store::RewardView;
use store::{Cause, Entry, Rule};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beneficiary {
    Referrer,
    Referred,
}

impl Beneficiary {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Referrer => "referrer",
            Self::Referred => "referred",
        }
    }
}

/// A referral that has just become successful, and its two sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides {
    pub(crate) referral_id: Uuid,
    pub(crate) referrer_id: Uuid,
    pub(crate) referred_id: Uuid,
}

/// One grant that a rule gives.
struct Grant {
    id: Uuid,
    user_id: Uuid,
    beneficiary: Beneficiary,
    rule: Rule,
    kind: RewardKind,
}

/// Decides the rewards of both sides and writes them. `successful` is the referrer's count with this referral in it; the
/// caller holds the lock on that counter, so each count is seen by one settlement only.
pub(crate) async fn decide(
    tx: &mut Tx,
    now: DateTime<Utc>,
    sides: Sides,
    successful: i64,
) -> Result<(), DbError> {
    let rules = store::active_rules(tx).await?;
    let reached = store::reached_milestones(tx, sides.referrer_id, successful, &rules).await?;
    let mut grants = Vec::new();
    for rule in rules {
        let Some(kind) = RewardKind::parse(&rule.reward_type) else { continue };
        let due = rule
            .milestone
            .is_none_or(|n| i64::from(n) <= successful && !reached.contains(&(n, kind.as_str().to_owned())));
        if due {
            let (beneficiary, user_id) = match rule.beneficiary.as_str() {
                "referred" => (Beneficiary::Referred, sides.referred_id),
                _ => (Beneficiary::Referrer, sides.referrer_id),
            };
            grants.push(Grant { id: Uuid::now_v7(), user_id, beneficiary, rule, kind });
        }
    }
    store::insert_rewards(tx, now, sides.referral_id, &grants).await?;
    store::insert_decisions(tx, now, sides, &grants).await?;
    post(tx, now, &grants).await?;
    for grant in &grants {
        match grant.kind {
            RewardKind::Credits => {}
            RewardKind::Premium => {
                let days = TimeDelta::try_days(grant.rule.amount.whole()).unwrap_or_default();
                store::extend_premium(tx, grant.id, grant.user_id, now, days).await?;
            }
            RewardKind::Discount => {
                store::insert_discount(tx, grant.id, grant.user_id, &coupon_code(), grant.rule.amount, now)
                    .await?;
            }
        }
    }
    Ok(())
}

/// Adds the grants to the balances, in one order for all (user, kind), and writes the entries.
async fn post(tx: &mut Tx, now: DateTime<Utc>, grants: &[Grant]) -> Result<(), DbError> {
    let mut sorted: Vec<&Grant> = grants.iter().collect();
    sorted.sort_by_key(|grant| (grant.user_id, grant.kind.as_str()));
    let mut entries = Vec::with_capacity(sorted.len());
    for grant in sorted {
        let amount = grant.kind.entry(grant.rule.amount);
        let balance_after = store::add_to_balance(tx, grant.user_id, grant.kind, amount).await?;
        let cause = Cause::Referral { reward_id: grant.id };
        entries.push(Entry::new((grant.user_id, grant.kind), amount, balance_after, cause, now));
    }
    Ok(store::insert_entries(tx, &entries).await?)
}

/// Ten characters that nobody guesses: 50 bits, Crockford's base 32 in upper case, as `XXXXX-XXXXX`.
fn coupon_code() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let token = Token::random();
    let letter = |byte: &u8| ALPHABET.get(usize::from(*byte % 32)).copied().map_or('0', char::from);
    let mut letters: String = token.bytes().iter().take(10).map(letter).collect();
    letters.insert(5, '-');
    letters
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

/// The lowest milestone above a count: at how many, what, and how much.
pub(crate) async fn next_milestone(
    connection: &mut Connection,
    successful: i64,
) -> Result<Option<(i64, RewardKind, Amount)>, DbError> {
    let next = store::next_milestone(connection, successful).await?;
    Ok(next.and_then(|rule| {
        Some((i64::from(rule.milestone?), RewardKind::parse(&rule.reward_type)?, rule.amount))
    }))
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
