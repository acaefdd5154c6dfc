//! The SQL of e-mail confirmations.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::schema::{email_verifications as verifications, users};

#[derive(Insertable)]
#[diesel(table_name = verifications)]
pub(super) struct NewVerification<'a> {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) email: &'a str,
    pub(super) created_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
    /// The confirmation whose link is mailed again.
    pub(super) repeats_id: Option<Uuid>,
}

/// What a confirmation mail needs of its row.
pub(super) struct Minted {
    pub(super) email: String,
    pub(super) username: String,
    pub(super) expires_at: DateTime<Utc>,
}

pub(super) async fn insert(tx: &mut Tx, row: NewVerification<'_>) -> QueryResult<()> {
    diesel::insert_into(verifications::table).values(row).execute(&mut **tx).await?;
    Ok(())
}

/// A confirmation of this address whose link works at least until `useful`: the one that ends last.
pub(super) async fn find_good(
    tx: &mut Tx,
    user_id: Uuid,
    email: &str,
    useful: DateTime<Utc>,
) -> QueryResult<Option<Uuid>> {
    verifications::table
        .filter(verifications::user_id.eq(user_id).and(verifications::email.eq(email)))
        .filter(verifications::used_at.is_null().and(verifications::repeats_id.is_null()))
        .filter(verifications::expires_at.ge(useful))
        .order(verifications::expires_at.desc())
        .select(verifications::id)
        .first(&mut **tx)
        .await
        .optional()
}

/// When a user's newest confirmation since a time was issued, but for so many newer ones.
pub(super) async fn mailed_before(
    tx: &mut Tx,
    user_id: Uuid,
    since: DateTime<Utc>,
    newer: i64,
) -> QueryResult<Option<DateTime<Utc>>> {
    verifications::table
        .filter(verifications::user_id.eq(user_id).and(verifications::created_at.gt(since)))
        .order(verifications::created_at.desc())
        .offset(newer)
        .select(verifications::created_at)
        .first(&mut **tx)
        .await
        .optional()
}

/// The confirmation whose link this one is mailed.
pub(super) async fn repeated_by(connection: &mut Connection, id: Uuid) -> QueryResult<Option<Uuid>> {
    let found: Option<Option<Uuid>> =
        verifications::table.find(id).select(verifications::repeats_id).first(connection).await.optional()?;
    Ok(found.flatten())
}

/// Stores the digest of a confirmation that is still of use.
pub(super) async fn mint(
    connection: &mut Connection,
    id: Uuid,
    digest: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<Option<Minted>> {
    let row: Option<(Uuid, String, DateTime<Utc>)> = diesel::update(verifications::table)
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
    let Some((user_id, email, expires_at)) = row else { return Ok(None) };
    let username = users::table
        .filter(users::id.eq(user_id).and(users::email.eq(&email)).and(users::email_verified_at.is_null()))
        .select(users::username)
        .first(connection)
        .await
        .optional()?;
    Ok(username.map(|username| Minted { email, username, expires_at }))
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
