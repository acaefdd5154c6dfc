//! Taking back what a referral earned: at most what was not spent, once.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::store::{Cause, Entry, insert_entries, lock_balance, take_from_balance};
use super::{Amount, RewardKind};
use crate::db::{DbError, Tx};
use store::Grant;

/// A grant that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// The grant.
    pub reward_id: Uuid,
    /// Whose it was.
    pub user_id: Uuid,
    /// What it was.
    pub kind: RewardKind,
    /// What was taken: credits; days of premium that had not run; 1 for a coupon.
    pub taken: Amount,
    /// What was spent before, and stays.
    pub shortfall: Amount,
}

/// Takes back every grant of a referral, both sides' and a milestone's too, each with an entry that names the grant's and
/// carries `reason` and the shortfall. Returns those that were taken back now: none, the second time.
///
/// - Credits: what the balance still holds, up to the grant. They are alike, so it does not matter which were spent.
/// - Premium: what has not run of the period, which ends now, or never starts; later periods move up, so that no other
///   grant loses by it. Days are counted to the nearest hundredth: what was taken back within minutes was not used.
/// - A coupon: void, unless it was used.
///
/// The caller moves the referral in the same transaction and holds its lock, and has then counted the move for both users
/// (their counters order what changes their statistics). It writes the audit row.
pub async fn reverse_referral(
    tx: &mut Tx,
    now: DateTime<Utc>,
    referral_id: Uuid,
    reason: &str,
) -> Result<Vec<Reversal>, DbError> {
    let grants = store::lock_standing(tx, referral_id).await?;
    let mut reversals = Vec::with_capacity(grants.len());
    for grant in grants {
        let Some(kind) = RewardKind::parse(&grant.reward_type) else { continue };
        let balance = lock_balance(tx, grant.user_id, kind).await?;
        let granted = kind.entry(grant.amount);
        let taken = unspent(tx, now, &grant, kind).await?.min(granted).min(balance);
        let shortfall = granted - taken;
        let balance_after = if taken > Amount::ZERO {
            take_from_balance(tx, grant.user_id, kind, taken).await?
        } else {
            balance
        };
        let cause = Cause::Reversal { entry_id: grant.entry_id, shortfall, reason };
        let entry = Entry::new((grant.user_id, kind), -taken, balance_after, cause, now);
        insert_entries(tx, &[entry]).await?;
        store::mark_reversed(tx, grant.reward_id, shortfall, now).await?;
        reversals.push(Reversal {
            reward_id: grant.reward_id,
            user_id: grant.user_id,
            kind,
            taken,
            shortfall,
        });
    }
    Ok(reversals)
}

/// What is left of a grant, apart from what the balance allows; it is gone after this.
async fn unspent(
    tx: &mut Tx,
    now: DateTime<Utc>,
    grant: &Grant,
    kind: RewardKind,
) -> Result<Amount, DbError> {
    Ok(match kind {
        RewardKind::Credits => grant.amount,
        RewardKind::Premium => match store::end_period(tx, grant.reward_id, now).await? {
            Some(left) => in_days(left),
            None => Amount::ZERO,
        },
        RewardKind::Discount => Amount::from_whole(store::void_coupon(tx, grant.reward_id, now).await?),
    })
}

/// To the nearest hundredth of a day.
fn in_days(length: TimeDelta) -> Amount {
    const HUNDREDTH: i64 = 24 * 36_000;
    Amount::from_hundredths((length.num_milliseconds().max(0) + HUNDREDTH / 2) / HUNDREDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_to_the_nearest_hundredth() {
        for (length, days) in [
            (TimeDelta::days(30), "30.00"),
            (TimeDelta::days(30) - TimeDelta::minutes(7), "30.00"),
            (TimeDelta::days(30) - TimeDelta::minutes(8), "29.99"),
            (TimeDelta::hours(12), "0.50"),
            (TimeDelta::minutes(7), "0.00"),
            (TimeDelta::minutes(8), "0.01"),
            (TimeDelta::zero(), "0.00"),
            (TimeDelta::days(-1), "0.00"),
        ] {
            assert_eq!(in_days(length).to_string(), days, "{length}");
        }
    }
}
