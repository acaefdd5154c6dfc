//! The SQL of redemptions.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::Amount;
use crate::db::{Connection, Tx};
use crate::schema::{redemptions, reward_catalog as catalog};

/// Something that credits buy.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = catalog, check_for_backend(diesel::pg::Pg))]
pub struct CatalogOption {
    /// Its name in requests.
    pub option: String,
    /// Its name for people.
    pub title: String,
    /// In credits.
    pub cost: Amount,
    /// `premium` or `discount`.
    pub reward_type: String,
    /// Days of premium, or percent.
    pub amount: Amount,
}

/// Something that was bought.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = redemptions, check_for_backend(diesel::pg::Pg))]
pub struct Redemption {
    /// Its id.
    pub id: Uuid,
    /// What was bought, as the catalogue called it.
    pub option: String,
    /// What it cost.
    pub cost: Amount,
    /// `premium` or `discount`.
    pub reward_type: String,
    /// Days of premium, or percent.
    pub amount: Amount,
    /// The credits that were left.
    pub credits_left: Amount,
    /// When premium ended by then.
    pub premium_until: Option<DateTime<Utc>>,
    /// The coupon.
    pub code: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

pub(super) async fn catalog(connection: &mut Connection) -> QueryResult<Vec<CatalogOption>> {
    catalog::table
        .filter(catalog::available)
        .order((catalog::position, catalog::option))
        .select(CatalogOption::as_select())
        .load(connection)
        .await
}

pub(super) async fn offer(tx: &mut Tx, option: &str) -> QueryResult<Option<CatalogOption>> {
    catalog::table
        .filter(catalog::option.eq(option).and(catalog::available))
        .select(CatalogOption::as_select())
        .first(&mut **tx)
        .await
        .optional()
}

pub(super) async fn made_before(tx: &mut Tx, user_id: Uuid, key: &str) -> QueryResult<Option<Redemption>> {
    redemptions::table
        .filter(redemptions::user_id.eq(user_id).and(redemptions::idempotency_key.eq(key)))
        .select(Redemption::as_select())
        .first(&mut **tx)
        .await
        .optional()
}

pub(super) async fn find(tx: &mut Tx, id: Uuid) -> QueryResult<Option<(Uuid, Redemption)>> {
    redemptions::table
        .find(id)
        .select((redemptions::user_id, Redemption::as_select()))
        .first(&mut **tx)
        .await
        .optional()
}

/// Returns it as it is kept, and so as it will be answered again.
pub(super) async fn insert(
    tx: &mut Tx,
    user_id: Uuid,
    key: &str,
    redemption: &Redemption,
) -> QueryResult<Redemption> {
    diesel::insert_into(redemptions::table)
        .values((
            redemptions::id.eq(redemption.id),
            redemptions::user_id.eq(user_id),
            redemptions::idempotency_key.eq(key),
            redemptions::option.eq(&redemption.option),
            redemptions::cost.eq(redemption.cost),
            redemptions::reward_type.eq(&redemption.reward_type),
            redemptions::amount.eq(redemption.amount),
            redemptions::credits_left.eq(redemption.credits_left),
            redemptions::premium_until.eq(redemption.premium_until),
            redemptions::code.eq(&redemption.code),
            redemptions::created_at.eq(redemption.created_at),
        ))
        .returning(Redemption::as_returning())
        .get_result(&mut **tx)
        .await
}
