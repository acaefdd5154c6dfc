//! The SQL of sessions.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::page::Cursor;
use crate::schema::{refresh_tokens as tokens, sessions, users};

/// A session that may be used.
#[derive(Clone, Debug, Queryable)]
pub struct LiveSession {
    /// The session.
    pub id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// When it was last used, to the minute.
    pub last_seen_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// `user` or `admin`.
    pub role: String,
}

/// A live session, as its holder sees it.
#[derive(Clone, Debug, Queryable)]
pub struct SessionView {
    /// The session.
    pub id: Uuid,
    /// When it started.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    pub last_seen_at: DateTime<Utc>,
    /// The `User-Agent` header of its start.
    pub user_agent: String,
    /// The prefix of the address it started from.
    pub ip_prefix: String,
}

#[derive(Insertable)]
#[diesel(table_name = sessions)]
pub(super) struct NewSession {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) epoch: i32,
    pub(super) created_at: DateTime<Utc>,
    pub(super) last_seen_at: DateTime<Utc>,
    pub(super) expires_at: DateTime<Utc>,
    pub(super) user_agent: String,
    pub(super) ip_prefix: String,
}

#[derive(Queryable)]
pub(super) struct RefreshToken {
    pub(super) id: Uuid,
    pub(super) session_id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) used_at: Option<DateTime<Utc>>,
    pub(super) expires_at: DateTime<Utc>,
}

#[derive(Queryable)]
pub(super) struct ChildToken {
    pub(super) id: Uuid,
    pub(super) token_hash: Vec<u8>,
    pub(super) used_at: Option<DateTime<Utc>>,
}

/// Sessions that may be used at a time; joined with their users.
macro_rules! live {
    ($now:expr, $idle:expr) => {
        sessions::ended_at
            .is_null()
            .and(sessions::expires_at.gt($now))
            .and(sessions::last_seen_at.gt($now - $idle))
            .and(sessions::epoch.eq(users::session_epoch))
            .and(users::deleted_at.is_null())
            .and(users::blocked_at.is_null())
    };
}

pub(super) async fn insert(tx: &mut Tx, session: NewSession) -> QueryResult<()> {
    diesel::insert_into(sessions::table).values(session).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn insert_token(
    tx: &mut Tx,
    id: Uuid,
    session_id: Uuid,
    parent_id: Option<Uuid>,
    digest: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(tokens::table)
        .values((
            tokens::id.eq(id),
            tokens::session_id.eq(session_id),
            tokens::parent_id.eq(parent_id),
            tokens::token_hash.eq(digest),
            tokens::created_at.eq(now),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn find_live(
    connection: &mut Connection,
    id: Uuid,
    now: DateTime<Utc>,
    idle: TimeDelta,
) -> QueryResult<Option<LiveSession>> {
    sessions::table
        .inner_join(users::table.on(users::id.eq(sessions::user_id)))
        .filter(sessions::id.eq(id).and(live!(now, idle)))
        .select((sessions::id, sessions::user_id, sessions::last_seen_at, sessions::expires_at, users::role))
        .first(connection)
        .await
        .optional()
}

pub(super) async fn created_at(connection: &mut Connection, id: Uuid) -> QueryResult<Option<DateTime<Utc>>> {
    sessions::table.find(id).select(sessions::created_at).first(connection).await.optional()
}

pub(super) async fn list(
    connection: &mut Connection,
    user_id: Uuid,
    now: DateTime<Utc>,
    idle: TimeDelta,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<SessionView>> {
    let mut query = sessions::table
        .inner_join(users::table.on(users::id.eq(sessions::user_id)))
        .filter(sessions::user_id.eq(user_id).and(live!(now, idle)))
        .order((sessions::created_at.desc(), sessions::id.desc()))
        .limit(limit)
        .select((
            sessions::id,
            sessions::created_at,
            sessions::last_seen_at,
            sessions::user_agent,
            sessions::ip_prefix,
        ))
        .into_boxed();
    if let Some(Cursor { at, id }) = after {
        query = query
            .filter(sessions::created_at.lt(at).or(sessions::created_at.eq(at).and(sessions::id.lt(id))));
    }
    query.load(connection).await
}

pub(super) async fn touch(
    connection: &mut Connection,
    id: Uuid,
    now: DateTime<Utc>,
    older_than: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(sessions::table.filter(sessions::id.eq(id).and(sessions::last_seen_at.lt(older_than))))
        .set(sessions::last_seen_at.eq(now))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn session_of(connection: &mut Connection, digest: &[u8]) -> QueryResult<Option<Uuid>> {
    tokens::table
        .filter(tokens::token_hash.eq(digest))
        .select(tokens::session_id)
        .first(connection)
        .await
        .optional()
}

/// The token of a live session, its row locked: parallel uses come one after another. Only the token's row, in a statement
/// of its own: whoever ends all sessions locks the user first and the sessions after.
pub(super) async fn lock_token(
    tx: &mut Tx,
    digest: &[u8],
    now: DateTime<Utc>,
    idle: TimeDelta,
) -> QueryResult<Option<RefreshToken>> {
    tokens::table
        .filter(tokens::token_hash.eq(digest))
        .select(tokens::id)
        .for_update()
        .load::<Uuid>(&mut **tx)
        .await?;
    tokens::table
        .inner_join(sessions::table.inner_join(users::table.on(users::id.eq(sessions::user_id))))
        .filter(tokens::token_hash.eq(digest).and(live!(now, idle)))
        .select((tokens::id, tokens::session_id, sessions::user_id, tokens::used_at, sessions::expires_at))
        .first(&mut **tx)
        .await
        .optional()
}

/// The child of a used token, its row locked too: whether it was used is decided against a use at the same time.
pub(super) async fn lock_child(tx: &mut Tx, parent_id: Uuid) -> QueryResult<Option<ChildToken>> {
    tokens::table
        .filter(tokens::parent_id.eq(parent_id))
        .select((tokens::id, tokens::token_hash, tokens::used_at))
        .for_update()
        .first(&mut **tx)
        .await
        .optional()
}

pub(super) async fn replace_digest(tx: &mut Tx, id: Uuid, digest: &[u8]) -> QueryResult<()> {
    diesel::update(tokens::table.find(id)).set(tokens::token_hash.eq(digest)).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn spend_token(tx: &mut Tx, id: Uuid, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(tokens::table.find(id)).set(tokens::used_at.eq(now)).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn end(
    connection: &mut Connection,
    id: Uuid,
    now: DateTime<Utc>,
    reason: &str,
) -> QueryResult<bool> {
    let ended = diesel::update(sessions::table.filter(sessions::id.eq(id).and(sessions::ended_at.is_null())))
        .set((sessions::ended_at.eq(now), sessions::end_reason.eq(reason)))
        .execute(connection)
        .await?;
    Ok(ended == 1)
}

/// Ends a session that has not ended; returns whose it was.
pub(super) async fn end_of(
    tx: &mut Tx,
    id: Uuid,
    now: DateTime<Utc>,
    reason: &str,
) -> QueryResult<Option<Uuid>> {
    diesel::update(sessions::table.filter(sessions::id.eq(id).and(sessions::ended_at.is_null())))
        .set((sessions::ended_at.eq(now), sessions::end_reason.eq(reason)))
        .returning(sessions::user_id)
        .get_result(&mut **tx)
        .await
        .optional()
}

/// Ends a session of this user, if it may still be used.
pub(super) async fn end_live(
    tx: &mut Tx,
    id: Uuid,
    user_id: Uuid,
    now: DateTime<Utc>,
    idle: TimeDelta,
) -> QueryResult<bool> {
    let epoch = users::table.find(user_id).select(users::session_epoch).single_value();
    let usable = sessions::ended_at
        .is_null()
        .and(sessions::expires_at.gt(now))
        .and(sessions::last_seen_at.gt(now - idle))
        .and(sessions::epoch.nullable().eq(epoch));
    let ended = diesel::update(
        sessions::table.filter(sessions::id.eq(id).and(sessions::user_id.eq(user_id)).and(usable)),
    )
    .set((sessions::ended_at.eq(now), sessions::end_reason.eq("ended_by_holder")))
    .execute(&mut **tx)
    .await?;
    Ok(ended == 1)
}

pub(super) async fn raise_epoch(tx: &mut Tx, user_id: Uuid) -> QueryResult<i32> {
    diesel::update(users::table.find(user_id))
        .set(users::session_epoch.eq(users::session_epoch + 1))
        .returning(users::session_epoch)
        .get_result(&mut **tx)
        .await
}

pub(super) async fn move_to_epoch(tx: &mut Tx, id: Uuid, user_id: Uuid, epoch: i32) -> QueryResult<()> {
    diesel::update(sessions::table.filter(sessions::id.eq(id).and(sessions::user_id.eq(user_id))))
        .set(sessions::epoch.eq(epoch))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn end_others(
    tx: &mut Tx,
    user_id: Uuid,
    epoch: i32,
    now: DateTime<Utc>,
    reason: &str,
) -> QueryResult<Vec<Uuid>> {
    diesel::update(sessions::table)
        .filter(
            sessions::user_id.eq(user_id).and(sessions::ended_at.is_null()).and(sessions::epoch.lt(epoch)),
        )
        .set((sessions::ended_at.eq(now), sessions::end_reason.eq(reason)))
        .returning(sessions::id)
        .get_results(&mut **tx)
        .await
}

pub(super) async fn is_of(tx: &mut Tx, id: Uuid, user_id: Uuid) -> QueryResult<bool> {
    let epoch = users::table.find(user_id).select(users::session_epoch).single_value();
    let found = sessions::table
        .filter(sessions::id.eq(id).and(sessions::user_id.eq(user_id)))
        .filter(sessions::ended_at.is_null().and(sessions::epoch.nullable().eq(epoch)));
    diesel::select(diesel::dsl::exists(found)).get_result(&mut **tx).await
}

pub(super) async fn forget_origins(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    diesel::update(sessions::table.filter(sessions::user_id.eq(user_id)))
        .set((sessions::user_agent.eq(""), sessions::ip_prefix.eq("")))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn origin(connection: &mut Connection, id: Uuid) -> QueryResult<Option<(String, String)>> {
    sessions::table
        .find(id)
        .select((sessions::user_agent, sessions::ip_prefix))
        .first(connection)
        .await
        .optional()
}

pub(super) async fn ended(
    connection: &mut Connection,
    id: Uuid,
) -> QueryResult<Option<(Uuid, DateTime<Utc>)>> {
    sessions::table
        .filter(sessions::id.eq(id).and(sessions::ended_at.is_not_null()))
        .select((sessions::user_id, sessions::ended_at.assume_not_null()))
        .first(connection)
        .await
        .optional()
}

pub(super) async fn purge(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(sessions::table.filter(sessions::expires_at.lt(before).or(sessions::ended_at.lt(before))))
        .execute(connection)
        .await
}
