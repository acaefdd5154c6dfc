//! What people do with their own sessions: look at them, end one, end all others.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::store::{self, SessionView};
use crate::accounts;
use crate::audit::{self, Entry, Event, Trace};
use crate::db::{self, DbError, Pool, Tx};
use crate::page::Cursor;

/// The live sessions of a user, newest first, after `after`; at most `limit`.
pub async fn list(
    pool: &Pool,
    now: DateTime<Utc>,
    idle: TimeDelta,
    user_id: Uuid,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<SessionView>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::list(&mut connection, user_id, now, idle, after, limit).await?)
}

/// Ends one live session of a user. Returns whether there was one: of two who end it at once, one did.
pub async fn end_one(
    pool: &Pool,
    now: DateTime<Utc>,
    idle: TimeDelta,
    user_id: Uuid,
    session_id: Uuid,
    trace: &Trace,
) -> Result<bool, DbError> {
    let mut tx = Tx::begin(pool).await?;
    let ended = store::end_live(&mut tx, session_id, user_id, now, idle).await?;
    if ended {
        audit::record(&mut tx, now, Entry::own(user_id, Event::SignedOut).about(session_id), trace).await?;
    }
    tx.commit().await?;
    Ok(ended)
}

/// Ends all sessions of a user but `keep`, and all that is bound to the epoch. Returns the sessions that were live; `None`
/// when `keep` lives no more. Of two sessions that each end the other, the row lock lets one win: nobody is left with none.
pub async fn end_others(
    pool: &Pool,
    now: DateTime<Utc>,
    idle: TimeDelta,
    user_id: Uuid,
    keep: Uuid,
    trace: &Trace,
) -> Result<Option<Vec<Uuid>>, DbError> {
    let mut tx = Tx::begin(pool).await?;
    if accounts::lock(&mut tx, user_id).await?.is_none()
        || store::find_live(&mut tx, keep, now, idle).await?.is_none()
    {
        return Ok(None);
    }
    let ended = super::end_all(&mut tx, now, user_id, Some(keep), "ended_by_holder").await?;
    audit::record(&mut tx, now, Entry::own(user_id, Event::SessionsEnded).about(keep), trace).await?;
    tx.commit().await?;
    Ok(Some(ended))
}
