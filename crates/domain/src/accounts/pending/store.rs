//! The SQL of registrations that wait for their address.

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, select};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::schema::pending_registrations as pending;

#[derive(Insertable)]
#[diesel(table_name = pending)]
pub(super) struct NewPending<'a> {
    pub(super) id: Uuid,
    pub(super) email: &'a str,
    pub(super) address_hash: &'a [u8],
    pub(super) username: &'a str,
    pub(super) username_key: &'a str,
    pub(super) evidence: Value,
    pub(super) ip_hash: Option<&'a [u8]>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
}

#[derive(Queryable)]
pub(super) struct Found {
    pub(super) email: Option<String>,
    pub(super) holder_id: Option<Uuid>,
    pub(super) username: String,
    pub(super) address_hash: Vec<u8>,
    pub(super) expires_at: DateTime<Utc>,
}

/// Gives a name free that nobody waits for any more, or that the same person asks for again.
pub(super) async fn release(
    tx: &mut Tx,
    key: &str,
    address_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(pending::table)
        .filter(pending::username_key.eq(key).and(pending::reserves))
        .filter(pending::expires_at.le(now).or(pending::address_hash.eq(address_hash)))
        .set(pending::reserves.eq(false))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn insert(tx: &mut Tx, row: NewPending<'_>) -> QueryResult<()> {
    diesel::insert_into(pending::table).values(row).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn keeps_name(tx: &mut Tx, key: &str, now: DateTime<Utc>) -> QueryResult<bool> {
    let keeping = pending::table
        .filter(pending::username_key.eq(key).and(pending::reserves).and(pending::expires_at.gt(now)));
    select(exists(keeping)).get_result(&mut **tx).await
}

pub(super) async fn find_open(tx: &mut Tx, id: Uuid, now: DateTime<Utc>) -> QueryResult<Option<Found>> {
    pending::table
        .filter(pending::id.eq(id).and(pending::closed_at.is_null()).and(pending::expires_at.gt(now)))
        .select((
            pending::email,
            pending::holder_id,
            pending::username,
            pending::address_hash,
            pending::expires_at,
        ))
        .first(&mut **tx)
        .await
        .optional()
}

/// Locks a row that is still open; whether it is.
pub(super) async fn lock_open(tx: &mut Tx, id: Uuid, now: DateTime<Utc>) -> QueryResult<bool> {
    let found: Option<Uuid> = pending::table
        .filter(pending::id.eq(id).and(pending::closed_at.is_null()).and(pending::expires_at.gt(now)))
        .select(pending::id)
        .for_update()
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(found.is_some())
}

/// Leaves nothing of a row but the name that it keeps, and the count of mails.
pub(super) async fn forget_address(tx: &mut Tx, id: Uuid) -> QueryResult<()> {
    diesel::update(pending::table.find(id))
        .set((pending::email.eq(None::<String>), pending::evidence.eq(json!({}))))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn set_holder(tx: &mut Tx, id: Uuid, holder: Uuid, now: DateTime<Utc>) -> QueryResult<()> {
    forget_address(tx, id).await?;
    diesel::update(pending::table.find(id))
        .set((
            pending::holder_id.eq(holder),
            pending::token_hash.eq(None::<Vec<u8>>),
            pending::mailed_at.eq(now),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn mint(tx: &mut Tx, id: Uuid, digest: &[u8], now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(pending::table.find(id))
        .set((pending::token_hash.eq(digest), pending::mailed_at.eq(now)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn find_by_token(
    connection: &mut Connection,
    digest: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<Option<(String, String)>> {
    pending::table
        .filter(pending::token_hash.eq(digest).and(pending::closed_at.is_null()))
        .filter(pending::expires_at.gt(now).and(pending::email.is_not_null()))
        .select((pending::email.assume_not_null(), pending::username))
        .first(connection)
        .await
        .optional()
}

/// Which address a token is about.
pub(super) async fn address_of(tx: &mut Tx, digest: &[u8]) -> QueryResult<Option<Vec<u8>>> {
    pending::table
        .filter(pending::token_hash.eq(digest))
        .select(pending::address_hash)
        .first(&mut **tx)
        .await
        .optional()
}

#[derive(Queryable)]
pub(super) struct Taken {
    pub(super) email: String,
    pub(super) username: String,
    pub(super) evidence: Value,
    pub(super) ip_hash: Option<Vec<u8>>,
}

/// Locks the row of a token that is good.
pub(super) async fn take(tx: &mut Tx, digest: &[u8], now: DateTime<Utc>) -> QueryResult<Option<Taken>> {
    pending::table
        .filter(pending::token_hash.eq(digest).and(pending::closed_at.is_null()))
        .filter(pending::expires_at.gt(now).and(pending::email.is_not_null()))
        .select((pending::email.assume_not_null(), pending::username, pending::evidence, pending::ip_hash))
        .for_update()
        .first(&mut **tx)
        .await
        .optional()
}

/// Closes a registration. What stays counts the mails until it runs out.
macro_rules! closed {
    ($now:expr) => {
        (
            pending::closed_at.eq($now),
            pending::reserves.eq(false),
            pending::email.eq(None::<String>),
            pending::evidence.eq(json!({})),
            pending::ip_hash.eq(None::<Vec<u8>>),
        )
    };
}

/// Closes the registration that a browser corrects: of the same name, with another address.
pub(super) async fn close_own(
    tx: &mut Tx,
    id: Uuid,
    key: &str,
    address_hash: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(pending::table)
        .filter(pending::id.eq(id).and(pending::closed_at.is_null()))
        .filter(pending::username_key.eq(key).and(pending::address_hash.ne(address_hash)))
        .set(closed!(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The address has an account now.
pub(super) async fn close_all_of(tx: &mut Tx, address_hash: &[u8], now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(pending::table)
        .filter(pending::address_hash.eq(address_hash).and(pending::closed_at.is_null()))
        .set(closed!(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn delete_all_of(tx: &mut Tx, user_id: Uuid, address_hash: &[u8]) -> QueryResult<()> {
    diesel::delete(pending::table)
        .filter(pending::holder_id.eq(user_id).or(pending::address_hash.eq(address_hash)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn purge(connection: &mut Connection, now: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(pending::table.filter(pending::expires_at.le(now))).execute(connection).await
}
