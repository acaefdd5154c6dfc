//! The SQL of coupons at the till.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::Amount;
use crate::db::Tx;
use crate::schema::discounts;

/// A coupon that was used.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Coupon {
    /// Its code.
    pub code: String,
    /// Percent off.
    pub percent: Amount,
    /// When it was used.
    pub redeemed_at: DateTime<Utc>,
}

/// The coupon of a code, and its owner.
pub(super) async fn find(tx: &mut Tx, code: &str) -> QueryResult<Option<(Uuid, Uuid)>> {
    discounts::table
        .filter(discounts::code.eq(code))
        .select((discounts::id, discounts::user_id))
        .first(&mut **tx)
        .await
        .optional()
}

/// Uses it, if nobody did and it is not void.
pub(super) async fn mark_used(tx: &mut Tx, id: Uuid, order: &str, now: DateTime<Utc>) -> QueryResult<bool> {
    let used = diesel::update(discounts::table.find(id))
        .filter(discounts::redeemed_at.is_null().and(discounts::voided_at.is_null()))
        .set((discounts::redeemed_at.eq(now), discounts::redeemed_order.eq(order)))
        .execute(&mut **tx)
        .await?;
    Ok(used > 0)
}

/// The coupon, if it was used for this order.
pub(super) async fn used_for(tx: &mut Tx, id: Uuid, order: &str) -> QueryResult<Option<Coupon>> {
    discounts::table
        .find(id)
        .filter(discounts::redeemed_order.eq(order).and(discounts::redeemed_at.is_not_null()))
        .select((discounts::code, discounts::percent, discounts::redeemed_at.assume_not_null()))
        .first(&mut **tx)
        .await
        .optional()
}
