//! The SQL of reversals.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::Amount;
use crate::db::Tx;
use crate::schema::{discounts, ledger_entries as entries, premium_periods as premium, rewards};

pub(super) struct Grant {
    pub(super) reward_id: Uuid,
    pub(super) entry_id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) reward_type: String,
    pub(super) amount: Amount,
}

/// The grants of a referral that were not taken back, and their entries, in the order in which balances are locked.
pub(super) async fn lock_standing(tx: &mut Tx, referral_id: Uuid) -> QueryResult<Vec<Grant>> {
    let grants: Vec<(Uuid, Uuid, String, Amount)> = rewards::table
        .filter(rewards::referral_id.eq(referral_id).and(rewards::reversed_at.is_null()))
        .order((rewards::user_id, rewards::reward_type, rewards::id))
        .select((rewards::id, rewards::user_id, rewards::reward_type, rewards::amount))
        .for_update()
        .load(&mut **tx)
        .await?;
    let ids: Vec<Uuid> = grants.iter().map(|(id, ..)| *id).collect();
    let posted: Vec<(Option<Uuid>, Uuid)> = entries::table
        .filter(entries::reward_id.eq_any(ids))
        .select((entries::reward_id, entries::id))
        .load(&mut **tx)
        .await?;
    let entry_of = |reward: Uuid| posted.iter().find(|(of, _)| *of == Some(reward)).map(|(_, id)| *id);
    let grants = grants.into_iter().map(|(reward_id, user_id, reward_type, amount)| {
        // A grant and its entry are written together.
        let entry_id = entry_of(reward_id).ok_or(diesel::result::Error::NotFound)?;
        Ok(Grant { reward_id, entry_id, user_id, reward_type, amount })
    });
    grants.collect()
}

/// Ends the period of a grant, moves later ones up, and returns what had not run.
pub(super) async fn end_period(
    tx: &mut Tx,
    reward_id: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<Option<TimeDelta>> {
    let period: Option<(Uuid, Uuid, DateTime<Utc>, DateTime<Utc>)> = premium::table
        .filter(premium::reward_id.eq(reward_id).and(premium::reversed_at.is_null()))
        .select((premium::id, premium::user_id, premium::starts_at, premium::ends_at))
        .for_update()
        .first(&mut **tx)
        .await
        .optional()?;
    let Some((id, user_id, starts_at, ends_at)) = period else { return Ok(None) };
    let ended_at = now.clamp(starts_at, ends_at);
    let left = ends_at - ended_at;
    diesel::update(premium::table.find(id))
        .set((premium::ends_at.eq(ended_at), premium::reversed_at.eq(now)))
        .execute(&mut **tx)
        .await?;
    // What comes later than a period that has not run out follows it without a gap.
    diesel::update(premium::table)
        .filter(premium::user_id.eq(user_id).and(premium::starts_at.ge(ends_at)))
        .filter(premium::reversed_at.is_null())
        .set((premium::starts_at.eq(premium::starts_at - left), premium::ends_at.eq(premium::ends_at - left)))
        .execute(&mut **tx)
        .await?;
    Ok(Some(left))
}

/// Voids the coupon of a grant that was not used. Returns how many: 0 or 1.
pub(super) async fn void_coupon(tx: &mut Tx, reward_id: Uuid, now: DateTime<Utc>) -> QueryResult<i64> {
    let voided = diesel::update(discounts::table)
        .filter(discounts::reward_id.eq(reward_id))
        .filter(discounts::redeemed_at.is_null().and(discounts::voided_at.is_null()))
        .set(discounts::voided_at.eq(now))
        .execute(&mut **tx)
        .await?;
    Ok(i64::from(voided > 0))
}

pub(super) async fn mark_reversed(
    tx: &mut Tx,
    reward_id: Uuid,
    shortfall: Amount,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(rewards::table.find(reward_id))
        .set((rewards::reversed_at.eq(now), rewards::shortfall.eq(shortfall)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
