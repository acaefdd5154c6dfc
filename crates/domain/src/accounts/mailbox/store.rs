//! The SQL of addresses that nobody confirmed.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Holder;
use crate::db::Tx;
use crate::schema::{email_changes as changes, pending_registrations as pending, users};

pub(super) async fn holder_of(tx: &mut Tx, email: &str) -> QueryResult<Option<Uuid>> {
    users::table
        .filter(users::email.eq(email).and(users::deleted_at.is_null()))
        .select(users::id)
        .first(&mut **tx)
        .await
        .optional()
}

type HolderRow = (Uuid, String, String, Option<DateTime<Utc>>, Option<String>);

pub(super) async fn lock_holder(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Holder>> {
    let row: Option<HolderRow> = users::table
        .filter(users::id.eq(id).and(users::deleted_at.is_null()))
        .select((users::id, users::username, users::email, users::blocked_at, users::blocked_reason))
        .for_update()
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(row.map(|(id, username, email, blocked_at, blocked_reason)| Holder {
        id,
        username,
        email,
        blocked_at,
        blocked_reason,
    }))
}

/// An address without an account has no row to lock.
pub(super) async fn lock(tx: &mut Tx, address: i64) -> QueryResult<()> {
    sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(address).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn count_mailed(
    tx: &mut Tx,
    hash: &[u8],
    but: Uuid,
    since: DateTime<Utc>,
) -> QueryResult<i64> {
    let registrations: i64 = pending::table
        .filter(pending::address_hash.eq(hash).and(pending::mailed_at.gt(since)).and(pending::id.ne(but)))
        .count()
        .get_result(&mut **tx)
        .await?;
    let changed: i64 = changes::table
        .filter(changes::address_hash.eq(hash).and(changes::mailed_at.gt(since)).and(changes::id.ne(but)))
        .count()
        .get_result(&mut **tx)
        .await?;
    Ok(registrations + changed)
}
