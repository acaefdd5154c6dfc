//! The SQL of adjustments.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::Amount;
use crate::db::Tx;
use crate::schema::{ledger_entries as entries, users};

#[derive(Queryable)]
pub(super) struct Made {
    pub(super) id: Uuid,
    pub(super) amount: Amount,
    pub(super) balance_after: Amount,
    pub(super) reason: Option<String>,
}

/// Locks an account against deletion; false when it is gone. A blocked one is there.
pub(super) async fn lock_account(tx: &mut Tx, user_id: Uuid) -> QueryResult<bool> {
    let found: Option<Uuid> = users::table
        .filter(users::id.eq(user_id).and(users::deleted_at.is_null()))
        .select(users::id)
        .for_share()
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(found.is_some())
}

/// The adjustment of a user's credits by a key.
pub(super) async fn made_before(tx: &mut Tx, user_id: Uuid, key: &str) -> QueryResult<Option<Made>> {
    entries::table
        .filter(entries::user_id.eq(user_id).and(entries::idempotency_key.eq(key)))
        .select((entries::id, entries::amount, entries::balance_after, entries::reason))
        .first(&mut **tx)
        .await
        .optional()
}
