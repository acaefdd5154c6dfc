//! Accounts: find, change, delete; registering, addresses and the like each in a module of its own.
//!
//! Hashing happens before these functions are called: no transaction waits for it. A deleted account keeps its row, with
//! its personal data replaced, because the books refer to it.

mod blocking;
mod bounce;
mod email;
mod email_change;
mod mailbox;
mod mailbox_proof;
mod names;
mod operators;
mod password;
mod pending;
mod registration;
mod store;
mod unverified;
mod username;
mod verification;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::audit::{self, Actor, Entry, Event, Trace};
use crate::config::{Keys, ReferralPolicy};
use crate::db::{self, DbError, Pool, Tx};
use crate::notices;
use crate::outbox::{self, Job};
use crate::referrals;
use crate::rewards;
use crate::sessions;
use crate::webhooks;
pub use blocking::{
    AccountView, BlockError, BlockNotice, Blocked, Blocking, Find, block, block_notice, find_views, unblock,
};
pub use bounce::{bounced_at, record_bounce, record_delivery};
pub use email::{Email, EmailError};
pub(crate) use email_change::purge as purge_email_changes;
pub use email_change::{
    NewAddress, Notice, confirm_email_change, email_change_mail, email_change_notice, request_email_change,
};
pub use mailbox::AddressMail;
pub use mailbox_proof::Removed;
pub(crate) use mailbox_proof::{prove_mailbox, set_verified};
pub use names::{
    Change, NameChanges, NameStatus, RenameError, RenameMail, moved_to, name_status, rename, rename_mail,
};
pub use operators::{
    Intervened, Intervention, OperatorError, SignInState, confirm_email, correct_email, delete_as_operator,
    demote, end_sessions, export_as_operator, sign_in_state,
};
pub use password::{Password, PasswordError};
pub(crate) use pending::purge as purge_pending;
pub use pending::{
    ConfirmError, Confirmation, NewRegistration, PendingRegistration, begin_registration,
    confirm_registration, inspect_registration, registration_mail,
};
pub use registration::{
    AttemptKey, NewAccount, RegisterError, Registered, Registration, Repeated, register, register_once,
};
pub(crate) use registration::{purge as purge_attempts, register_vouched};
pub use store::Account;
pub use unverified::expire_unverified;
pub use username::{Reserved, Username, UsernameError, login_name};
pub(crate) use verification::purge as purge_verifications;
pub use verification::{
    Resend, VerificationMail, VerifyError, request_verification, verification_mail, verify_email,
};

/// What signing in needs to know.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Whose.
    pub user_id: Uuid,
    /// The stored hash; an account may have none.
    pub password_hash: Option<String>,
    /// A session may start only while the account is still of this epoch.
    pub session_epoch: i32,
    /// Whether the account is blocked: then a full proof is answered with the block, and no session starts.
    pub is_blocked: bool,
}

/// The credentials of the account that `identifier` names, an e-mail address or a username. `None` for nobody, also when
/// the text can be neither, or the account is deleted. A blocked account has them: only its holder learns of the block.
pub async fn credentials(pool: &Pool, identifier: &str) -> Result<Option<Credentials>, DbError> {
    let mut connection = db::get(pool).await?;
    let identifier = login_name(identifier);
    if identifier.contains('@') {
        let Ok(email) = Email::parse(identifier) else { return Ok(None) };
        return Ok(store::credentials_by_email(&mut connection, &email).await?);
    }
    let Ok(username) = Username::parse(identifier) else { return Ok(None) };
    Ok(store::credentials_by_username(&mut connection, &username).await?)
}

/// The credentials of a signed-in user.
pub async fn own_credentials(pool: &Pool, user_id: Uuid) -> Result<Option<Credentials>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::credentials_by_id(&mut connection, user_id).await?)
}

/// As [`own_credentials`], of a blocked account too: for a sign-in that is under way.
pub async fn credentials_of(pool: &Pool, user_id: Uuid) -> Result<Option<Credentials>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::credentials_if_blocked_too(&mut connection, user_id).await?)
}

/// As [`credentials_of`], inside a transaction.
pub(crate) async fn credentials_if_blocked_too(
    tx: &mut Tx,
    user_id: Uuid,
) -> Result<Option<Credentials>, DbError> {
    Ok(store::credentials_if_blocked_too(tx, user_id).await?)
}

/// The credentials of a live account, inside a transaction.
pub(crate) async fn credentials_in(tx: &mut Tx, user_id: Uuid) -> Result<Option<Credentials>, DbError> {
    Ok(store::credentials_by_id(tx, user_id).await?)
}

/// A live account.
pub async fn find(pool: &Pool, user_id: Uuid) -> Result<Option<Account>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::find(&mut connection, user_id).await?)
}

/// Why a change that the password guards did not happen.
#[derive(Debug, thiserror::Error)]
pub enum GuardedError {
    /// The account changed since its password was checked: check again.
    #[error("the account changed meanwhile")]
    Overtaken,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for GuardedError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Sets a new password after the holder of `checked` proved to be that. Every session but `keep` ends, mail tokens are
/// void, and the owner is told by mail. Returns the sessions that ended.
pub async fn change_password(
    pool: &Pool,
    now: DateTime<Utc>,
    checked: &Credentials,
    new_hash: &str,
    keep: Uuid,
    trace: &Trace,
) -> Result<Vec<Uuid>, GuardedError> {
    let mut tx = Tx::begin(pool).await?;
    if store::lock(&mut tx, checked.user_id).await? != Some(checked.session_epoch) {
        return Err(GuardedError::Overtaken);
    }
    let ended =
        set_password(&mut tx, now, checked.user_id, new_hash, Some(keep), Event::PasswordChanged, trace)
            .await?;
    tx.commit().await?;
    Ok(ended)
}

/// The part that a change and a reset share. The caller holds the lock on the user's row.
pub(crate) async fn set_password(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    new_hash: &str,
    keep: Option<Uuid>,
    event: Event,
    trace: &Trace,
) -> Result<Vec<Uuid>, DbError> {
    store::set_password(tx, user_id, new_hash, now).await?;
    let ended = sessions::end_all(tx, now, user_id, keep, "password_changed").await?;
    crate::recovery::void_all(tx, now, user_id).await?;
    email_change::void_all(tx, now, user_id).await?;
    audit::record(tx, now, Entry::own(user_id, event), trace).await?;
    let options = outbox::Options { request_id: trace.request_id.clone(), ..outbox::Options::default() };
    outbox::enqueue(tx, &Job::SendPasswordChanged { user_id }, options).await?;
    Ok(ended)
}

/// Locks a live user's row and returns its session epoch; `None` when there is none.
pub(crate) async fn lock(tx: &mut Tx, user_id: Uuid) -> Result<Option<i32>, DbError> {
    Ok(store::lock(tx, user_id).await?)
}

/// As [`lock`], beside others who only need the row to stay as it is: a password change waits for them and they for it, but
/// not they for each other.
pub(crate) async fn lock_shared(tx: &mut Tx, user_id: Uuid) -> Result<Option<i32>, DbError> {
    Ok(store::lock_shared(tx, user_id).await?)
}

/// As [`lock_shared`], of somebody who acts in person; false when they are gone or blocked.
pub(crate) async fn lock_alive(tx: &mut Tx, user_id: Uuid) -> Result<bool, DbError> {
    Ok(store::lock_alive(tx, user_id).await?)
}

/// The live account with this address.
pub(crate) async fn find_by_email(tx: &mut Tx, email: &str) -> Result<Option<Account>, DbError> {
    Ok(store::find_by_email(tx, email).await?)
}

/// The live account with this id, inside a transaction.
pub(crate) async fn find_in(tx: &mut Tx, user_id: Uuid) -> Result<Option<Account>, DbError> {
    Ok(store::find(tx, user_id).await?)
}

/// Replaces the stored hash by one with today's parameters, unless the password changed meanwhile.
pub async fn rehash(pool: &Pool, user_id: Uuid, old: &str, new: &str) -> Result<(), DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::rehash(&mut connection, user_id, old, new).await?)
}

/// Deletes an account after its holder proved to be that. The row stays, without personal data: the address becomes a keyed
/// hash, the name and the code stay taken, sessions end, pending referrals on either side are rejected, and what credits
/// are left is closed by a forfeit. Returns the sessions that ended.
pub async fn delete(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    checked: &Credentials,
    trace: &Trace,
) -> Result<Vec<Uuid>, GuardedError> {
    let mut tx = Tx::begin(pool).await?;
    let user_id = checked.user_id;
    if store::lock(&mut tx, user_id).await? != Some(checked.session_epoch) {
        return Err(GuardedError::Overtaken);
    }
    let ended = erase(&mut tx, now, keys, Entry::own(user_id, Event::AccountDeleted), user_id, trace).await?;
    tx.commit().await?;
    Ok(ended)
}

/// What every deletion does. The caller holds the lock on the user's row; `entry` says who deletes.
async fn erase(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &Keys,
    entry: Entry<'_>,
    user_id: Uuid,
    trace: &Trace,
) -> Result<Vec<Uuid>, GuardedError> {
    let ended = sessions::end_all(tx, now, user_id, None, "account_deleted").await?;
    // Before it is removed with the sessions, and for the notice alone.
    let place = match trace.session_id {
        Some(id) => sessions::place(tx, id).await?,
        None => None,
    };
    sessions::forget_origins(tx, user_id).await?;
    audit::forget_networks(tx, user_id).await?;
    // The deletion itself is remembered without its network too.
    audit::record(tx, now, entry, &Trace { ip_hash: None, ..trace.clone() }).await?;
    let account = store::find(tx, user_id).await?.ok_or(GuardedError::Overtaken)?;
    // The system deletes what was never confirmed or used: the address may be a stranger's.
    if entry.actor != Actor::System {
        notices::enqueue_deletion(tx, now, &keys.factor, &account, place, trace).await?;
    }
    let email = Email::from_stored(account.email);
    let address_hash = mailbox::hash(keys, &email);
    crate::recovery::forget(tx, user_id).await?;
    verification::forget(tx, user_id).await?;
    registration::forget(tx, user_id).await?;
    names::forget(tx, user_id).await?;
    email_change::forget(tx, user_id, &email, &address_hash).await?;
    pending::forget(tx, user_id, &address_hash).await?;
    let counted = crate::clicks::subjects(tx, user_id).await?;
    crate::factors::forget(tx, user_id).await?;
    crate::identities::forget(tx, user_id).await?;
    crate::moderation::forget(tx, user_id).await?;
    crate::pages::forget(tx, user_id).await?;
    referrals::close_for_deleted(tx, now, user_id).await?;
    webhooks::announce(tx, webhooks::Event::UserDeleted, &[user_id], None, trace.request_id.as_deref())
        .await?;
    rewards::forfeit_credits(tx, now, user_id).await?;
    // The system removes what nobody ever confirmed: that says nothing about who has the address.
    let identity = (entry.actor != Actor::System).then(|| identity_hash(keys, &email));
    store::bury(tx, now, user_id, &tombstone(keys, user_id, &email), identity.as_ref().map(|hash| &hash[..]))
        .await?;
    crate::clicks::forget(tx, &counted).await?;
    Ok(ended)
}

/// An account confirmed its address for the first time: the referral that waited for it is settled next.
async fn verified(
    tx: &mut Tx,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    user_id: Uuid,
    request_id: Option<String>,
) -> Result<(), DbError> {
    webhooks::announce(tx, webhooks::Event::UserVerified, &[user_id], None, request_id.as_deref()).await?;
    referrals::verified(tx, now, policy, user_id, request_id).await
}

/// What stands in for the address of a deleted account. With the id in it, so that an address deleted twice stays unique.
fn tombstone(keys: &Keys, user_id: Uuid, email: &Email) -> String {
    let mac = keys.privacy.mac(&[b"deleted-email", user_id.as_bytes(), email.as_str().as_bytes()]);
    format!("deleted:{}", crate::token::hex(&mac))
}

/// The keyed hash by which the address of a deleted account is known again.
pub(crate) fn identity_hash(keys: &Keys, email: &Email) -> [u8; crate::token::LENGTH] {
    keys.privacy.mac(&[b"identity", email.canonical().as_bytes()])
}

/// Gives the role of programme manager to the account with this address. Returns whether there is one.
pub async fn promote(pool: &Pool, now: DateTime<Utc>, email: &Email) -> Result<bool, DbError> {
    let mut tx = Tx::begin(pool).await?;
    let Some(user_id) = store::promote(&mut tx, email).await? else { return Ok(false) };
    let entry = Entry { actor: Actor::Operator, ..Entry::own(user_id, Event::RoleGranted) };
    audit::record(&mut tx, now, entry, &Trace::default()).await?;
    tx.commit().await?;
    Ok(true)
}
