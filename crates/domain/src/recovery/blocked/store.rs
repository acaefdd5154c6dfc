//! The SQL of requests for blocked accounts.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::Tx;
use crate::schema::{password_resets as resets, users};

/// The blocked account that an open request names, and when it was made.
pub(super) async fn find(
    tx: &mut Tx,
    id: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<Option<(Uuid, DateTime<Utc>)>> {
    let named = users::id.nullable().eq(resets::user_id).or(users::email.nullable().eq(resets::email));
    resets::table
        .inner_join(users::table.on(named))
        .filter(resets::id.eq(id).and(resets::closed_at.is_null()).and(resets::expires_at.gt(now)))
        .filter(users::deleted_at.is_null().and(users::blocked_at.is_not_null()))
        .select((users::id, resets::created_at))
        .first(&mut **tx)
        .await
        .optional()
}

/// How many requests were found to be an account's since a time, one aside.
pub(super) async fn count_others(
    tx: &mut Tx,
    user_id: Uuid,
    but: Uuid,
    since: DateTime<Utc>,
) -> QueryResult<i64> {
    resets::table
        .filter(resets::user_id.eq(user_id).and(resets::id.ne(but)).and(resets::created_at.gt(since)))
        .count()
        .get_result(&mut **tx)
        .await
}

/// Says whose an open request is, in place of the address, and closes it if wished; whether it was open.
pub(super) async fn attribute(
    tx: &mut Tx,
    id: Uuid,
    user_id: Uuid,
    closed_at: Option<DateTime<Utc>>,
) -> QueryResult<bool> {
    let updated = diesel::update(resets::table.filter(resets::id.eq(id).and(resets::closed_at.is_null())))
        .set((resets::user_id.eq(user_id), resets::email.eq(None::<String>), resets::closed_at.eq(closed_at)))
        .execute(&mut **tx)
        .await?;
    Ok(updated == 1)
}
