//! Counts again what is kept as counters (referrals by state and by day, grants by rule and month), and mends what is off.
//!
//! Safe beside everything else. A counter and its rows change in one transaction, so one statement sees both or neither,
//! and what it finds off is off. Mending holds the counters' lock, which every change of what is counted takes first.
//! Balances are left alone: they are money, and `check-ledger` names the entries that differ.

mod store;

use uuid::Uuid;

use crate::db::{self, DbError, Pool, Tx};

/// Users that one statement looks at.
const BATCH: i64 = 2_000;

/// Some users that were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How many.
    pub users: usize,
    /// The last of them, to go on after.
    pub last: Uuid,
    /// Those whose counters are off, each with what is counted and what there is.
    pub off: Vec<(Uuid, String)>,
}

/// How many users there are, about.
pub async fn population(pool: &Pool) -> Result<i64, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::population(&mut connection).await?)
}

/// Looks at the next users in the order of their ids, after `after`. `None`: there are no more.
pub async fn look(pool: &Pool, after: Uuid) -> Result<Option<Batch>, DbError> {
    let mut tx = Tx::begin(pool).await?;
    // One user may have a million referrals.
    store::take_time(&mut tx).await?;
    let ids = store::users_after(&mut tx, after, BATCH).await?;
    let Some(last) = ids.last().copied() else { return Ok(None) };
    let mut off = store::counters_off(&mut tx, &ids).await?;
    off.extend(store::days_off(&mut tx, &ids).await?);
    off.extend(store::tallies_off(&mut tx, &ids).await?);
    tx.commit().await?;
    Ok(Some(Batch { users: ids.len(), last, off }))
}

/// Sets a user's counters to what there is.
pub async fn mend(pool: &Pool, user_id: Uuid) -> Result<(), DbError> {
    let mut tx = Tx::begin(pool).await?;
    store::take_time(&mut tx).await?;
    store::lock_counters(&mut tx, user_id).await?;
    store::set_counters(&mut tx, user_id).await?;
    store::set_days(&mut tx, user_id).await?;
    store::set_tallies(&mut tx, user_id).await?;
    tx.commit().await
}
