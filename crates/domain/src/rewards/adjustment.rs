//! Credits that a manager gives or takes, with the reason on the entry.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::store::{Cause, Entry, add_to_balance, insert_entries, lock_balance, take_from_balance};
use super::{Amount, RewardKind};
use crate::audit::{self, Actor, Event, Trace};
use crate::db::{DbError, Pool, Tx};
use crate::referrals;

/// What is to be given or taken.
#[derive(Clone, Copy, Debug)]
pub struct Adjustment<'a> {
    /// Whose credits.
    pub user_id: Uuid,
    /// How many: below zero to take.
    pub amount: Amount,
    /// Why, in the manager's words.
    pub reason: &'a str,
    /// Who does it.
    pub actor: Actor,
    /// The same key for the same user has one effect.
    pub idempotency_key: &'a str,
}

/// An adjustment that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjusted {
    /// Its entry.
    pub entry_id: Uuid,
    /// The credits after it.
    pub balance: Amount,
    /// The version of the user's statistics since.
    pub version: i64,
    /// It was made before, by the same key: nothing changed now.
    pub repeated: bool,
}

/// Why credits are not adjusted.
#[derive(Debug, thiserror::Error)]
pub enum AdjustError {
    /// There is no such account, or not any more.
    #[error("there is no such account")]
    NoSuchAccount,
    /// It would change nothing.
    #[error("an adjustment of nothing")]
    Nothing,
    /// More is to be taken than there is.
    #[error("there are only {0} credits")]
    Insufficient(Amount),
    /// The key was used for another amount, or with another reason.
    #[error("the key was used for something else")]
    KeyReused,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for AdjustError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// As [`adjust`], with its audit row, in a transaction of its own.
pub async fn adjust_and_record(
    pool: &Pool,
    now: DateTime<Utc>,
    adjustment: Adjustment<'_>,
    trace: &Trace,
) -> Result<Adjusted, AdjustError> {
    let mut tx = Tx::begin(pool).await?;
    let adjusted = adjust(&mut tx, now, adjustment).await?;
    if !adjusted.repeated {
        let entry = audit::Entry {
            user_id: Some(adjustment.user_id),
            actor: adjustment.actor,
            event: Event::CreditsAdjusted,
            subject_id: Some(adjusted.entry_id),
            reason: Some(adjustment.reason),
        };
        audit::record(&mut tx, now, entry, trace).await?;
        tx.commit().await?;
    }
    Ok(adjusted)
}

/// Gives or takes credits, once a key, and never below zero. The caller writes the audit row, unless it is
/// `repeated`.
///
/// Locks the account (against deletion), its counters and its balance, in this order.
pub async fn adjust(
    tx: &mut Tx,
    now: DateTime<Utc>,
    adjustment: Adjustment<'_>,
) -> Result<Adjusted, AdjustError> {
    let Adjustment { user_id, amount, reason, actor, idempotency_key } = adjustment;
    if amount == Amount::ZERO {
        return Err(AdjustError::Nothing);
    }
    if !store::lock_account(tx, user_id).await? {
        return Err(AdjustError::NoSuchAccount);
    }
    // Whoever comes second with a key waits here, and then finds it.
    let version = referrals::touch(tx, now, user_id).await?;
    if let Some(made) = store::made_before(tx, user_id, idempotency_key).await? {
        let same = made.amount == amount && made.reason.as_deref() == Some(reason);
        return if same {
            Ok(Adjusted { entry_id: made.id, balance: made.balance_after, version, repeated: true })
        } else {
            Err(AdjustError::KeyReused)
        };
    }
    let balance = lock_balance(tx, user_id, RewardKind::Credits).await?;
    if balance + amount < Amount::ZERO {
        return Err(AdjustError::Insufficient(balance));
    }
    let balance = if amount > Amount::ZERO {
        add_to_balance(tx, user_id, RewardKind::Credits, amount).await?
    } else {
        take_from_balance(tx, user_id, RewardKind::Credits, -amount).await?
    };
    let actor_id = match actor {
        Actor::Manager(id) | Actor::Account(id) => Some(id),
        Actor::Operator | Actor::System | Actor::Unknown => None,
    };
    let cause = Cause::Admin { reason, actor_id, idempotency_key };
    let entry = Entry::new((user_id, RewardKind::Credits), amount, balance, cause, now);
    let entry_id = entry.id();
    insert_entries(tx, &[entry]).await?;
    Ok(Adjusted { entry_id, balance, version, repeated: false })
}
