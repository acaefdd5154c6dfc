//! The SQL of registrations that are sent again.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Repeated;
use crate::accounts::Account;
use crate::db::{Connection, Tx};
use crate::schema::{registration_keys as keys, users};

pub(super) async fn insert(
    tx: &mut Tx,
    key_hash: &[u8],
    request_hash: &[u8],
    user_id: Uuid,
    referral_status: Option<&str>,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(keys::table)
        .values((
            keys::key_hash.eq(key_hash),
            keys::request_hash.eq(request_hash),
            keys::user_id.eq(user_id),
            keys::referral_status.eq(referral_status),
            keys::created_at.eq(now),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

type Row = (Vec<u8>, Option<String>, Option<String>, Account);

/// The hash of what was sent with a key, and what that made.
pub(super) async fn find(
    connection: &mut Connection,
    key_hash: &[u8],
) -> QueryResult<Option<(Vec<u8>, Repeated)>> {
    let row: Option<Row> = keys::table
        .inner_join(users::table.on(users::id.eq(keys::user_id)))
        .filter(keys::key_hash.eq(key_hash))
        .select((keys::request_hash, keys::referral_status, users::password_hash, Account::as_select()))
        .first(connection)
        .await
        .optional()?;
    Ok(row.map(|(request_hash, referral_status, password_hash, account)| {
        (request_hash, Repeated { account, password_hash, referral_status })
    }))
}

pub(super) async fn delete_of(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    diesel::delete(keys::table.filter(keys::user_id.eq(user_id))).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn purge(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(keys::table.filter(keys::created_at.lt(before))).execute(connection).await
}
