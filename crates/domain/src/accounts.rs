//! Accounts: register, find, confirm the address, change, delete.
//!
//! Hashing happens before these functions are called: no transaction waits for it. A deleted account keeps its row, with
//! its personal data replaced, because the books refer to it.

mod blocking;
mod email;
mod email_change;
mod mailbox;
mod password;
mod pending;
mod retry;
mod store;
mod unverified;
mod username;
mod verification;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::audit::{self, Actor, Entry, Event, Trace};
use crate::config::{Keys, ReferralPolicy};
use crate::db::{self, DbError, Pool, Tx, constraint};
use crate::outbox::{self, Job};
use crate::referrals::{self, Attributed, Attribution, Claim, ReferralCode};
use crate::rewards;
use crate::sessions;
pub use blocking::{AccountView, BlockError, Blocked, Blocking, block, find_views, unblock};
pub use email::{Email, EmailError};
pub(crate) use email_change::purge as purge_email_changes;
pub use email_change::{
    Notice, confirm_email_change, email_change_mail, email_change_notice, request_email_change,
};
pub use mailbox::AddressMail;
pub use password::{Password, PasswordError};
pub(crate) use pending::purge as purge_pending;
pub use pending::{
    ConfirmError, Confirmation, NewRegistration, PendingRegistration, begin_registration,
    confirm_registration, inspect_registration, registration_mail,
};
pub(crate) use retry::purge as purge_attempts;
pub use retry::{AttemptKey, Repeated};
pub use store::Account;
pub use unverified::expire_unverified;
pub use username::{Username, UsernameError};
pub(crate) use verification::purge as purge_verifications;
pub use verification::{
    VerificationMail, VerifyError, request_verification, verification_mail, verify_email,
};

/// What a person registers with.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The address.
    pub email: Email,
    /// The name.
    pub username: Username,
    /// The hash of the password, a PHC string; none for whoever signs in with an identity provider.
    pub password_hash: Option<String>,
    /// The code or link that the person came with.
    pub claim: Option<Claim>,
    /// Users that the browser is known to belong to (a live session, a device cookie).
    pub known_as: Vec<Uuid>,
    /// The request.
    pub trace: Trace,
}

/// Why an account was not made.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The address has an account.
    #[error("the e-mail address has an account")]
    EmailTaken,
    /// The name, or one that reads alike, is taken or reserved for good.
    #[error("the username is taken")]
    UsernameTaken,
    /// The code that the person typed does not exist.
    #[error("the referral code does not exist")]
    UnknownReferralCode,
    /// The key was used for a registration with other fields.
    #[error("the key was used for something else")]
    KeyReused,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for RegisterError {
    fn from(error: crate::db::QueryError) -> Self {
        match constraint::unique_violation(&error) {
            Some("users_email_key") => Self::EmailTaken,
            Some("users_username_key" | "users_username_key_key") => Self::UsernameTaken,
            Some("registration_keys_pkey") => Self::KeyReused,
            _ => Self::Db(error.into()),
        }
    }
}

/// An account that was just made.
#[derive(Debug)]
pub struct Registered {
    /// The account.
    pub account: Account,
    /// Its referral, if somebody brought it.
    pub referral: Option<Attributed>,
}

/// What became of a registration with a key.
#[derive(Debug)]
pub enum Registration {
    /// An account was made.
    Made(Registered),
    /// An earlier attempt with the key had made it.
    Repeated(Repeated),
}

/// Makes an account with its pending referral and its confirmation mail, all or none.
pub async fn register(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    new: NewAccount,
) -> Result<Registered, RegisterError> {
    make(pool, now, keys, policy, new, None).await
}

/// As [`register`], once for a key however often it is sent.
pub async fn register_once(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    new: NewAccount,
    attempt: &AttemptKey,
) -> Result<Registration, RegisterError> {
    match make(pool, now, keys, policy, new, Some(attempt)).await {
        Ok(registered) => Ok(Registration::Made(registered)),
        Err(RegisterError::Db(error)) => Err(error.into()),
        // Perhaps what stands in the way is what the same attempt made.
        Err(refused) => retry::find(pool, attempt).await?.map(Registration::Repeated).ok_or(refused),
    }
}

async fn make(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    new: NewAccount,
    attempt: Option<&AttemptKey>,
) -> Result<Registered, RegisterError> {
    if new.claim.is_some() {
        policy.disposable.refresh();
    }
    let mut tx = Tx::begin(pool).await?;
    let registered = create(&mut tx, now, keys, policy, &new, None).await?;
    let Registered { account, referral } = &registered;
    verification::issue(&mut tx, now, account.id, &new.email, new.trace.request_id).await?;
    if let Some(attempt) = attempt {
        let status = referral.as_ref().map(|referral| referral.status.as_str());
        retry::remember(&mut tx, now, attempt, account, status).await?;
    }
    tx.commit().await?;
    Ok(registered)
}

/// Makes an account that an identity provider vouches for: with no confirmation to ask for if it vouches for the address
/// too. A referral that waits for that is settled next.
pub(crate) async fn register_vouched(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    new: NewAccount,
    email_verified: bool,
) -> Result<Registered, RegisterError> {
    let registered = create(tx, now, keys, policy, &new, email_verified.then_some(now)).await?;
    let (id, request_id) = (registered.account.id, new.trace.request_id);
    if email_verified {
        referrals::verified(tx, now, id, request_id).await?;
    } else {
        verification::issue(tx, now, id, &new.email, request_id).await?;
    }
    Ok(registered)
}

/// Makes an account with its referral. `verified_at` is when its address was confirmed.
async fn create(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    new: &NewAccount,
    verified_at: Option<DateTime<Utc>>,
) -> Result<Registered, RegisterError> {
    let referrer = match &new.claim {
        Some(claim) => referrals::find_referrer(tx, claim).await?,
        None => None,
    };
    if referrer.is_none() && matches!(new.claim, Some(Claim::Typed(_))) {
        return Err(RegisterError::UnknownReferralCode);
    }
    let referred_by = referrer.as_ref().map(|found| found.id);
    let account = insert_with_free_code(tx, now, keys, new, referred_by, verified_at).await?;
    if pending::keeps_name(tx, now, &new.username).await? {
        return Err(RegisterError::UsernameTaken);
    }
    let referral = match referrer {
        Some(referrer) => {
            let attribution = Attribution { referrer, referred: &account, known_as: &new.known_as };
            Some(referrals::attribute(tx, now, keys, policy, attribution, &new.trace).await?)
        }
        None => None,
    };
    audit::record(tx, now, Entry::own(account.id, Event::AccountCreated), &new.trace).await?;
    Ok(Registered { account, referral })
}

/// Counts n up until the code is free: the index decides.
async fn insert_with_free_code(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &Keys,
    new: &NewAccount,
    referred_by: Option<Uuid>,
    verified_at: Option<DateTime<Utc>>,
) -> Result<Account, RegisterError> {
    let id = Uuid::now_v7();
    let mut n = 0;
    loop {
        let code = ReferralCode::generate(&keys.referral, &new.email, n);
        if let Some(account) = store::insert(tx, id, now, new, &code, referred_by, verified_at).await? {
            return Ok(account);
        }
        n += 1;
    }
}

/// What signing in needs to know.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Whose.
    pub user_id: Uuid,
    /// The stored hash; an account may have none.
    pub password_hash: Option<String>,
    /// A session may start only while the account is still of this epoch.
    pub session_epoch: i32,
}

/// The credentials of the account that `identifier` names, an e-mail address or a username. `None` for nobody, also when
/// the text can be neither, or the account is deleted or blocked.
pub async fn credentials(pool: &Pool, identifier: &str) -> Result<Option<Credentials>, DbError> {
    let mut connection = db::get(pool).await?;
    if identifier.contains('@') {
        let Ok(email) = Email::parse(identifier) else { return Ok(None) };
        return Ok(store::credentials_by_email(&mut connection, &email).await?);
    }
    let Ok(username) = Username::parse(identifier.trim()) else { return Ok(None) };
    Ok(store::credentials_by_username(&mut connection, &username).await?)
}

/// The credentials of a signed-in user.
pub async fn own_credentials(pool: &Pool, user_id: Uuid) -> Result<Option<Credentials>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::credentials_by_id(&mut connection, user_id).await?)
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

/// Why a username was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// The name, or one that reads alike, is taken.
    #[error("the username is taken")]
    UsernameTaken,
    /// There is no such live account.
    #[error("no such account")]
    NoSuchAccount,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for RenameError {
    fn from(error: crate::db::QueryError) -> Self {
        match constraint::unique_violation(&error) {
            Some(_) => Self::UsernameTaken,
            None => Self::Db(error.into()),
        }
    }
}

/// Changes the username.
pub async fn rename(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    username: &Username,
) -> Result<Account, RenameError> {
    let mut tx = Tx::begin(pool).await?;
    let account = store::rename(&mut tx, user_id, username).await?.ok_or(RenameError::NoSuchAccount)?;
    if pending::keeps_name(&mut tx, now, username).await? {
        return Err(RenameError::UsernameTaken);
    }
    tx.commit().await?;
    Ok(account)
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
    sessions::forget_origins(tx, user_id).await?;
    audit::forget_networks(tx, user_id).await?;
    // The deletion itself is remembered without its network too.
    audit::record(tx, now, entry, &Trace { ip_hash: None, ..trace.clone() }).await?;
    let account = store::find(tx, user_id).await?.ok_or(GuardedError::Overtaken)?;
    let email = Email::from_stored(account.email);
    let address_hash = mailbox::hash(keys, &email);
    crate::recovery::forget(tx, user_id).await?;
    verification::forget(tx, user_id).await?;
    retry::forget(tx, user_id).await?;
    email_change::forget(tx, user_id, &email, &address_hash).await?;
    pending::forget(tx, user_id, &address_hash).await?;
    let counted = crate::clicks::subjects(tx, user_id).await?;
    crate::factors::forget(tx, user_id).await?;
    crate::identities::forget(tx, user_id).await?;
    crate::moderation::forget(tx, user_id).await?;
    crate::pages::forget(tx, user_id).await?;
    referrals::close_for_deleted(tx, now, user_id).await?;
    rewards::forfeit_credits(tx, now, user_id).await?;
    // The system removes what nobody ever confirmed: that says nothing about who has the address.
    let identity = (entry.actor != Actor::System).then(|| identity_hash(keys, &email));
    store::bury(tx, now, user_id, &tombstone(keys, user_id, &email), identity.as_ref().map(|hash| &hash[..]))
        .await?;
    crate::clicks::forget(tx, &counted).await?;
    Ok(ended)
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
