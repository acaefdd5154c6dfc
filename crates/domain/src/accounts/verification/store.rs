//! The SQL of e-mail confirmations.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::schema::{email_verifications as verifications, users};

pub(super) async fn insert(
    tx: &mut Tx,
    id: Uuid,
    user_id: Uuid,
    email: &str,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(verifications::table)
        .values((
            verifications::id.eq(id),
            verifications::user_id.eq(user_id),
            verifications::email.eq(email),
            verifications::created_at.eq(now),
            verifications::expires_at.eq(expires_at),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// How many confirmations were issued for a user since a time.
pub(super) async fn count_since(tx: &mut Tx, user_id: Uuid, since: DateTime<Utc>) -> QueryResult<i64> {
    verifications::table
        .filter(verifications::user_id.eq(user_id).and(verifications::created_at.gt(since)))
        .count()
        .get_result(&mut **tx)
        .await
}

/// Stores the digest of a confirmation that is still of use; returns the address and the username.
pub(super) async fn mint(
    connection: &mut Connection,
    id: Uuid,
    digest: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<Option<(String, String, DateTime<Utc>)>> {
    let user: Option<(Uuid, String, DateTime<Utc>)> = diesel::update(verifications::table)
        .filter(
            verifications::id
                .eq(id)
                .and(verifications::used_at.is_null())
                .and(verifications::expires_at.gt(now)),
        )
        .set(verifications::token_hash.eq(digest))
        .returning((verifications::user_id, verifications::email, verifications::expires_at))
        .get_result(connection)
        .await
        .optional()?;
    let Some((user_id, email, expires_at)) = user else { return Ok(None) };
    let username = users::table
        .filter(users::id.eq(user_id).and(users::email.eq(&email)).and(users::email_verified_at.is_null()))
        .select(users::username)
        .first(connection)
        .await
        .optional()?;
    Ok(username.map(|username| (email, username, expires_at)))
}

/// Whose token it is, spent or not.
pub(super) async fn owner_of(tx: &mut Tx, digest: &[u8]) -> QueryResult<Option<Uuid>> {
    verifications::table
        .filter(verifications::token_hash.eq(digest))
        .select(verifications::user_id)
        .first(&mut **tx)
        .await
        .optional()
}

/// Spends a token; returns whose it was and for which address.
pub(super) async fn spend(
    tx: &mut Tx,
    digest: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<Option<(Uuid, String)>> {
    diesel::update(verifications::table)
        .filter(verifications::token_hash.eq(digest))
        .filter(verifications::used_at.is_null().and(verifications::expires_at.gt(now)))
        .set(verifications::used_at.eq(now))
        .returning((verifications::user_id, verifications::email))
        .get_result(&mut **tx)
        .await
        .optional()
}

pub(super) async fn delete_all(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    diesel::delete(verifications::table.filter(verifications::user_id.eq(user_id)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn purge(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(verifications::table.filter(verifications::expires_at.lt(before)))
        .execute(connection)
        .await
}
