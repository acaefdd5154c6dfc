//! Accounts whose address nobody ever confirmed, and which nobody uses: they go after a while (data minimisation).
//!
//! Conservative: an account stays when anything speaks for it. It must be old, never confirmed and not signed in to for the
//! whole time, without a session, a reward, a ledger entry or anybody whom it brought, and neither a manager's nor blocked.
//! It is deleted as its holder would delete it, but for one thing: the address is not remembered as one that had an
//! account, because whoever registered it never showed that it was theirs.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::GuardedError;
use crate::audit::{Actor, Entry, Event, Trace};
use crate::config::Keys;
use crate::db::{self, DbError, Pool, Tx};

/// How many accounts one statement looks for.
const BATCH: i64 = 200;

/// Deletes accounts that were made, and last signed in to, more than `kept` ago and never confirmed. Each in a transaction
/// of its own, so that what was done stays done. Returns how many.
pub async fn expire_unverified(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    kept: TimeDelta,
) -> Result<usize, DbError> {
    let (before, mut last, mut deleted) = (now - kept, Uuid::nil(), 0);
    loop {
        let mut connection = db::get(pool).await?;
        let found = store::abandoned(&mut connection, before, last, BATCH).await?;
        drop(connection);
        let Some(end) = found.last() else { return Ok(deleted) };
        last = *end;
        for id in found {
            deleted += usize::from(expire(pool, now, keys, before, id).await?);
        }
    }
}

/// Looks again under the lock: somebody may have signed in or confirmed meanwhile.
async fn expire(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    before: DateTime<Utc>,
    id: Uuid,
) -> Result<bool, DbError> {
    let mut tx = Tx::begin(pool).await?;
    if super::store::lock(&mut tx, id).await?.is_none() || !store::is_abandoned(&mut tx, before, id).await? {
        return Ok(false);
    }
    let entry = Entry { actor: Actor::System, ..Entry::own(id, Event::AccountDeleted) };
    match super::erase(&mut tx, now, keys, entry, id, &Trace::default()).await {
        Ok(_) => tx.commit().await?,
        Err(GuardedError::Overtaken) => return Ok(false),
        Err(GuardedError::Db(error)) => return Err(error),
    }
    Ok(true)
}
