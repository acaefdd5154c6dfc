//! The SQL of the figures.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::Connection;
use crate::rewards::{Amount, RewardKind};
use crate::schema::{
    balances, discounts, premium_periods as premium, referral_counters as counters, referral_days, users,
};

#[derive(Queryable)]
pub(super) struct Counters {
    pub(super) referral_code: String,
    pub(super) pending: i64,
    pub(super) review: i64,
    pub(super) successful: i64,
    pub(super) rejected: i64,
    pub(super) expired: i64,
    pub(super) reversed: i64,
    pub(super) version: i64,
}

/// A coupon that was not used yet.
#[derive(Clone, Debug, Queryable)]
pub struct Discount {
    /// What to type at the till.
    pub code: String,
    /// Percent off.
    pub percent: Amount,
}

pub(super) async fn counters(connection: &mut Connection, user_id: Uuid) -> QueryResult<Option<Counters>> {
    counters::table
        .inner_join(users::table)
        .filter(users::id.eq(user_id).and(users::deleted_at.is_null()))
        .select((
            users::referral_code,
            counters::pending,
            counters::review,
            counters::successful,
            counters::rejected,
            counters::expired,
            counters::reversed,
            counters::version,
        ))
        .first(connection)
        .await
        .optional()
}

pub(super) async fn visits(connection: &mut Connection, user_id: Uuid) -> QueryResult<i64> {
    let days: Vec<i64> = referral_days::table
        .filter(referral_days::user_id.eq(user_id))
        .select(referral_days::visits)
        .load(connection)
        .await?;
    Ok(days.iter().sum())
}

pub(super) async fn balance(
    connection: &mut Connection,
    user_id: Uuid,
    kind: RewardKind,
) -> QueryResult<Amount> {
    let balance =
        balances::table.find((user_id, kind.as_str())).select(balances::amount).first(connection).await;
    Ok(balance.optional()?.unwrap_or_default())
}

pub(super) async fn premium_until(
    connection: &mut Connection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<Option<DateTime<Utc>>> {
    premium::table
        .filter(
            premium::user_id.eq(user_id).and(premium::ends_at.gt(now)).and(premium::reversed_at.is_null()),
        )
        .select(diesel::dsl::max(premium::ends_at))
        .first(connection)
        .await
}

pub(super) async fn discounts(connection: &mut Connection, user_id: Uuid) -> QueryResult<Vec<Discount>> {
    discounts::table
        .filter(
            discounts::user_id
                .eq(user_id)
                .and(discounts::redeemed_at.is_null())
                .and(discounts::voided_at.is_null()),
        )
        .order((discounts::created_at, discounts::code))
        .select((discounts::code, discounts::percent))
        .load(connection)
        .await
}
