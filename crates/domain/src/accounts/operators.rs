//! What operators and managers do to the accounts of others: end sessions, take a role away, confirm or correct an address,
//! hand data out, delete. Each is on record with who did it and why; no record holds an address.
//!
//! A manager does none of these to the own account, deletes no other manager and moves no other manager's account to another
//! mailbox: that is the operator's, at the command line. Whether the one who acts is still a manager is looked at again
//! under the row lock, so that two managers who demote each other at once do not both succeed.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Email, GuardedError, email_change, identity_hash, mailbox, verification};
use crate::audit::{self, Actor, Entry, Event, Trace};
use crate::config::{Keys, ReferralPolicy};
use crate::db::{self, DbError, Pool, QueryError, Tx, constraint};
use crate::{export, recovery, referrals, sessions};
pub use store::SignInState;

/// Whose account, by whom, and why.
#[derive(Clone, Copy, Debug)]
pub struct Intervention<'a> {
    /// The account.
    pub user_id: Uuid,
    /// An operator or a manager.
    pub actor: Actor,
    /// Why, for the record.
    pub reason: Option<&'a str>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervened {
    /// Whether anything changed.
    pub changed: bool,
    /// The sessions that ended.
    pub ended: Vec<Uuid>,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no such account, or not any more.
    #[error("there is no such account")]
    NoSuchAccount,
    /// Managers have other ways to change their own account.
    #[error("you cannot do this to your own account")]
    OwnAccount,
    /// Only an operator does this to a manager's account.
    #[error("the account is a manager's: an operator can do this with `api admin`")]
    ManagersAccount,
    /// The one who acts is no longer a manager.
    #[error("you are no longer a manager")]
    NoLongerManager,
    /// The address has an account, or is this account's already.
    #[error("there is an account with this e-mail address")]
    EmailTaken,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<QueryError> for OperatorError {
    fn from(error: QueryError) -> Self {
        Self::Db(error.into())
    }
}

impl Intervention<'_> {
    fn entry(&self, event: Event) -> Entry<'_> {
        let Self { user_id, actor, reason } = *self;
        Entry { user_id: Some(user_id), actor, event, subject_id: None, reason }
    }
}

/// Locks the account, and the account of the manager who acts.
async fn begin(
    pool: &Pool,
    intervention: Intervention<'_>,
    may_be_managers: bool,
) -> Result<(Tx, store::Target), OperatorError> {
    let Intervention { user_id, actor, .. } = intervention;
    let manager = match actor {
        Actor::Manager(id) if id == user_id => return Err(OperatorError::OwnAccount),
        Actor::Manager(id) => Some(id),
        _ => None,
    };
    let mut tx = Tx::begin(pool).await?;
    let ids: Vec<Uuid> = [user_id].into_iter().chain(manager).collect();
    let mut found = store::lock(&mut tx, &ids).await?;
    if let Some(id) = manager
        && !found.iter().any(|account| account.id == id && account.is_manager() && !account.is_blocked())
    {
        return Err(OperatorError::NoLongerManager);
    }
    let at = found.iter().position(|account| account.id == user_id).ok_or(OperatorError::NoSuchAccount)?;
    let target = found.swap_remove(at);
    if manager.is_some() && target.is_manager() && !may_be_managers {
        return Err(OperatorError::ManagersAccount);
    }
    Ok((tx, target))
}

/// Takes the role of a manager away. From the next request on the account is a user's.
pub async fn demote(
    pool: &Pool,
    now: DateTime<Utc>,
    intervention: Intervention<'_>,
    trace: &Trace,
) -> Result<Intervened, OperatorError> {
    let (mut tx, target) = begin(pool, intervention, true).await?;
    if !target.is_manager() {
        return Ok(Intervened::default());
    }
    store::demote(&mut tx, target.id).await?;
    audit::record(&mut tx, now, intervention.entry(Event::RoleRevoked), trace).await?;
    tx.commit().await?;
    Ok(Intervened { changed: true, ended: Vec::new() })
}

/// Ends all sessions, and every sign-in that is under way.
pub async fn end_sessions(
    pool: &Pool,
    now: DateTime<Utc>,
    intervention: Intervention<'_>,
    trace: &Trace,
) -> Result<Intervened, OperatorError> {
    let (mut tx, target) = begin(pool, intervention, true).await?;
    let ended = sessions::end_all(&mut tx, now, target.id, None, "ended_by_operator").await?;
    audit::record(&mut tx, now, intervention.entry(Event::SessionsEnded), trace).await?;
    tx.commit().await?;
    Ok(Intervened { changed: true, ended })
}

/// Deletes an account, as its holder would.
pub async fn delete_as_operator(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    intervention: Intervention<'_>,
    trace: &Trace,
) -> Result<Intervened, OperatorError> {
    let (mut tx, target) = begin(pool, intervention, false).await?;
    let entry = intervention.entry(Event::AccountDeleted);
    let ended = match super::erase(&mut tx, now, keys, entry, target.id, trace).await {
        Ok(ended) => ended,
        Err(GuardedError::Overtaken) => return Err(OperatorError::NoSuchAccount),
        Err(GuardedError::Db(error)) => return Err(error.into()),
    };
    tx.commit().await?;
    Ok(Intervened { changed: true, ended })
}

/// Confirms the address, on the word of an operator who knows the person. Unlike a mailed link it proves nothing of the
/// mailbox, so what was added to the account before stays. A referral that waited for it is settled next.
pub async fn confirm_email(
    pool: &Pool,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    intervention: Intervention<'_>,
    trace: &Trace,
) -> Result<Intervened, OperatorError> {
    let (mut tx, target) = begin(pool, intervention, true).await?;
    if target.email_verified_at.is_some() {
        return Ok(Intervened::default());
    }
    super::store::verify(&mut tx, target.id, &target.email, now).await?;
    audit::record(&mut tx, now, intervention.entry(Event::EmailVerified), trace).await?;
    super::verified(&mut tx, now, policy, target.id, trace.request_id.clone()).await?;
    tx.commit().await?;
    Ok(Intervened { changed: true, ended: Vec::new() })
}

/// Gives the account another address, unconfirmed: the new one is mailed a link that works for `lifetime`, the old one a notice. All sessions end,
/// and mailed links are void: the old mailbox is perhaps a stranger's. The index on the address decides between several
/// who want it.
pub async fn correct_email(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    lifetime: TimeDelta,
    email: &Email,
    intervention: Intervention<'_>,
    trace: &Trace,
) -> Result<Intervened, OperatorError> {
    let (mut tx, target) = begin(pool, intervention, false).await?;
    if target.email == email.as_str() {
        return Ok(Intervened::default());
    }
    let old = Email::from_stored(target.email);
    // While the account still has the old address, which requests that no worker has seen yet name.
    recovery::void_all(&mut tx, now, target.id).await?;
    store::set_email(&mut tx, target.id, email).await.map_err(|error| match constraint::unique_violation(
        &error,
    ) {
        Some(_) => OperatorError::EmailTaken,
        None => error.into(),
    })?;
    if target.email_verified_at.is_some() {
        super::store::remember_identity(&mut tx, target.id, &identity_hash(keys, &old), now).await?;
    }
    verification::forget(&mut tx, target.id).await?;
    let address_hash = mailbox::hash(keys, email);
    email_change::applied(&mut tx, now, target.id, &old, &address_hash, trace).await?;
    let ended = sessions::end_all(&mut tx, now, target.id, None, "email_changed").await?;
    audit::record(&mut tx, now, intervention.entry(Event::EmailChanged), trace).await?;
    referrals::address_changed(&mut tx, now, keys, target.id, email).await?;
    verification::issue(&mut tx, now, lifetime, target.id, email, trace.request_id.clone()).await?;
    tx.commit().await?;
    Ok(Intervened { changed: true, ended })
}

/// Everything that is held about an account, for its holder who cannot sign in. As the holder's own export.
pub async fn export_as_operator(
    pool: &Pool,
    now: DateTime<Utc>,
    intervention: Intervention<'_>,
    trace: &Trace,
) -> Result<Map<String, Value>, OperatorError> {
    let user_id = intervention.user_id;
    super::find(pool, user_id).await?.ok_or(OperatorError::NoSuchAccount)?;
    let entry = intervention.entry(Event::DataExported);
    Ok(export::handed_out(pool, now, user_id, entry, trace).await?)
}

/// By what the holder of a live account signs in, and where that stands.
pub async fn sign_in_state(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
) -> Result<Option<SignInState>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::sign_in_state(&mut connection, now, user_id).await?)
}
