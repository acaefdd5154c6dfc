//! The SQL of password resets.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::schema::{password_resets as resets, users};

#[derive(Queryable)]
pub(super) struct Request {
    pub(super) email: Option<String>,
    pub(super) user_id: Option<Uuid>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
    /// Whether it has a token of its own.
    pub(super) is_minted: bool,
    /// The request whose link it is mailed.
    pub(super) repeats_id: Option<Uuid>,
}

/// A link that was minted.
#[derive(Queryable)]
pub(super) struct Link {
    pub(super) id: Uuid,
    pub(super) expires_at: DateTime<Utc>,
}

/// The requests of a user: those that a worker has attributed, and those that only name the address so far.
macro_rules! requests_of {
    ($user_id:expr) => {{
        let address = users::table.find($user_id).select(users::email.nullable()).single_value();
        resets::user_id.eq($user_id).or(resets::email.eq(address))
    }};
}

pub(super) async fn insert(
    tx: &mut Tx,
    id: Uuid,
    email: &str,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(resets::table)
        .values((
            resets::id.eq(id),
            resets::email.eq(email),
            resets::created_at.eq(now),
            resets::expires_at.eq(expires_at),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

macro_rules! unclosed {
    ($id:expr) => {
        resets::table.filter(resets::id.eq($id).and(resets::closed_at.is_null())).select((
            resets::email,
            resets::user_id,
            resets::created_at,
            resets::expires_at,
            resets::token_hash.is_not_null(),
            resets::repeats_id,
        ))
    };
}

pub(super) async fn find_unclosed(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Request>> {
    unclosed!(id).first(&mut **tx).await.optional()
}

/// As [`find_unclosed`], and locks it.
pub(super) async fn lock_unclosed(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Request>> {
    unclosed!(id).for_update().first(&mut **tx).await.optional()
}

/// How many requests of a user were mailed a link since a time, one aside.
pub(super) async fn count_mailed(
    tx: &mut Tx,
    user_id: Uuid,
    but: Uuid,
    since: DateTime<Utc>,
) -> QueryResult<i64> {
    resets::table
        .filter(resets::user_id.eq(user_id).and(resets::id.ne(but)).and(resets::created_at.gt(since)))
        .filter(resets::token_hash.is_not_null().or(resets::repeats_id.is_not_null()))
        .count()
        .get_result(&mut **tx)
        .await
}

/// A link of a user that works: the one of a request, else the one that ends last.
pub(super) async fn find_good(
    tx: &mut Tx,
    user_id: Uuid,
    now: DateTime<Utc>,
    of: Option<Uuid>,
) -> QueryResult<Option<Link>> {
    let mut good = resets::table
        .filter(resets::user_id.eq(user_id).and(resets::token_hash.is_not_null()))
        .filter(resets::closed_at.is_null().and(resets::expires_at.gt(now)))
        .order(resets::expires_at.desc())
        .select((resets::id, resets::expires_at))
        .into_boxed();
    if let Some(id) = of {
        good = good.filter(resets::id.eq(id));
    }
    good.first(&mut **tx).await.optional()
}

pub(super) async fn close(tx: &mut Tx, id: Uuid, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(resets::table.find(id))
        .set((resets::closed_at.eq(now), resets::email.eq(None::<String>)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn void_all(tx: &mut Tx, user_id: Uuid, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(resets::table)
        .filter(resets::closed_at.is_null())
        .filter(requests_of!(user_id))
        .set((resets::closed_at.eq(now), resets::email.eq(None::<String>)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Lets a request be mailed the link of another.
pub(super) async fn repeat(tx: &mut Tx, id: Uuid, user_id: Uuid, target: Uuid) -> QueryResult<()> {
    diesel::update(resets::table.find(id))
        .set((resets::user_id.eq(user_id), resets::email.eq(None::<String>), resets::repeats_id.eq(target)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn mint(tx: &mut Tx, id: Uuid, user_id: Uuid, digest: &[u8]) -> QueryResult<()> {
    diesel::update(resets::table.find(id))
        .set((resets::user_id.eq(user_id), resets::email.eq(None::<String>), resets::token_hash.eq(digest)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn find_open(
    connection: &mut Connection,
    digest: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<Option<(Uuid, String, String)>> {
    resets::table
        .inner_join(users::table.on(users::id.nullable().eq(resets::user_id)))
        .filter(
            resets::token_hash.eq(digest).and(resets::closed_at.is_null()).and(resets::expires_at.gt(now)),
        )
        .filter(users::deleted_at.is_null().and(users::blocked_at.is_null()))
        .select((users::id, users::email, users::username))
        .first(connection)
        .await
        .optional()
}

/// Spends a token; whether this call was the one that did.
pub(super) async fn spend(
    tx: &mut Tx,
    digest: &[u8],
    user_id: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let spent = diesel::update(resets::table)
        .filter(resets::token_hash.eq(digest).and(resets::user_id.eq(user_id)))
        .filter(resets::closed_at.is_null().and(resets::expires_at.gt(now)))
        .set(resets::closed_at.eq(now))
        .execute(&mut **tx)
        .await?;
    Ok(spent == 1)
}

pub(super) async fn delete_all(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    diesel::delete(resets::table.filter(requests_of!(user_id))).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn purge(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(resets::table.filter(resets::expires_at.lt(before))).execute(connection).await
}
