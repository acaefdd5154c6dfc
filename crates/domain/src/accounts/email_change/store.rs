//! The SQL of changes of address.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::schema::{email_changes as changes, users};

#[derive(Insertable)]
#[diesel(table_name = changes)]
pub(super) struct NewChange<'a> {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) session_id: Uuid,
    pub(super) new_email: Option<&'a str>,
    pub(super) old_email: &'a str,
    pub(super) address_hash: &'a [u8],
    pub(super) created_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
    pub(super) applied_at: Option<DateTime<Utc>>,
    pub(super) closed_at: Option<DateTime<Utc>>,
}

#[derive(Queryable)]
pub(super) struct Found {
    pub(super) new_email: Option<String>,
    pub(super) holder_id: Option<Uuid>,
    pub(super) address_hash: Vec<u8>,
    pub(super) username: String,
    pub(super) expires_at: DateTime<Utc>,
}

#[derive(Queryable)]
pub(super) struct Spent {
    pub(super) id: Uuid,
    pub(super) session_id: Uuid,
    pub(super) new_email: String,
}

/// What the old address is told.
#[derive(Queryable)]
pub struct Notice {
    /// Where to.
    pub old_email: String,
    /// Who.
    pub username: String,
    /// When the change was asked for.
    pub requested_at: DateTime<Utc>,
    /// When it took effect.
    pub applied_at: Option<DateTime<Utc>>,
}

pub(super) async fn insert(tx: &mut Tx, row: NewChange<'_>) -> QueryResult<()> {
    diesel::insert_into(changes::table).values(row).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn close_all(tx: &mut Tx, user_id: Uuid, now: DateTime<Utc>) -> QueryResult<usize> {
    diesel::update(changes::table.filter(changes::user_id.eq(user_id).and(changes::closed_at.is_null())))
        .set((changes::closed_at.eq(now), changes::new_email.eq(None::<String>)))
        .execute(&mut **tx)
        .await
}

pub(super) async fn close(tx: &mut Tx, id: Uuid, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(changes::table.find(id))
        .set((changes::closed_at.eq(now), changes::new_email.eq(None::<String>)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn find_open(tx: &mut Tx, id: Uuid, now: DateTime<Utc>) -> QueryResult<Option<Found>> {
    changes::table
        .inner_join(users::table.on(users::id.eq(changes::user_id)))
        .filter(changes::id.eq(id).and(changes::closed_at.is_null()).and(changes::expires_at.gt(now)))
        .select((
            changes::new_email,
            changes::holder_id,
            changes::address_hash,
            users::username,
            changes::expires_at,
        ))
        .first(&mut **tx)
        .await
        .optional()
}

/// Locks a change that is still open; whether it is.
pub(super) async fn lock_open(tx: &mut Tx, id: Uuid, now: DateTime<Utc>) -> QueryResult<bool> {
    let found: Option<Uuid> = changes::table
        .filter(changes::id.eq(id).and(changes::closed_at.is_null()).and(changes::expires_at.gt(now)))
        .select(changes::id)
        .for_update()
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(found.is_some())
}

pub(super) async fn set_holder(tx: &mut Tx, id: Uuid, holder: Uuid, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(changes::table.find(id))
        .set((
            changes::holder_id.eq(holder),
            changes::new_email.eq(None::<String>),
            changes::token_hash.eq(None::<Vec<u8>>),
            changes::mailed_at.eq(now),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn mint(tx: &mut Tx, id: Uuid, digest: &[u8], now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(changes::table.find(id))
        .set((changes::token_hash.eq(digest), changes::mailed_at.eq(now)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn notice(connection: &mut Connection, id: Uuid) -> QueryResult<Option<Notice>> {
    changes::table
        .inner_join(users::table.on(users::id.eq(changes::user_id)))
        .filter(changes::id.eq(id).and(users::deleted_at.is_null()))
        .select((changes::old_email, users::username, changes::created_at, changes::applied_at))
        .first(connection)
        .await
        .optional()
}

/// Whose token it is, spent or not.
pub(super) async fn owner_of(tx: &mut Tx, digest: &[u8]) -> QueryResult<Option<Uuid>> {
    changes::table
        .filter(changes::token_hash.eq(digest))
        .select(changes::user_id)
        .first(&mut **tx)
        .await
        .optional()
}

/// Spends a token. The address stays on the row no longer than it is needed: the account has it now.
pub(super) async fn spend(tx: &mut Tx, digest: &[u8], now: DateTime<Utc>) -> QueryResult<Option<Spent>> {
    let found: Option<Spent> = changes::table
        .filter(changes::token_hash.eq(digest).and(changes::closed_at.is_null()))
        .filter(changes::expires_at.gt(now).and(changes::new_email.is_not_null()))
        .select((changes::id, changes::session_id, changes::new_email.assume_not_null()))
        .for_update()
        .first(&mut **tx)
        .await
        .optional()?;
    if let Some(Spent { id, .. }) = found {
        diesel::update(changes::table.find(id))
            .set((
                changes::applied_at.eq(now),
                changes::closed_at.eq(now),
                changes::new_email.eq(None::<String>),
            ))
            .execute(&mut **tx)
            .await?;
    }
    Ok(found)
}

pub(super) async fn delete_all(
    tx: &mut Tx,
    user_id: Uuid,
    email: &str,
    address_hash: &[u8],
) -> QueryResult<()> {
    diesel::delete(changes::table)
        .filter(changes::user_id.eq(user_id).or(changes::holder_id.eq(user_id)))
        .execute(&mut **tx)
        .await?;
    diesel::delete(changes::table)
        .filter(changes::address_hash.eq(address_hash).or(changes::old_email.eq(email)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn purge(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(changes::table.filter(changes::expires_at.lt(before))).execute(connection).await
}
