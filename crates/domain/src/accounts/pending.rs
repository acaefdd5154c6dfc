//! Registering when no account may exist before its address is confirmed (`REGISTRATION=verified`).
//!
//! A request writes a row that keeps the username, and promises a mail. Whether the address has an account is looked at by
//! the worker alone, so the known and the unknown address are answered alike, in the same time, and the name is taken in
//! both cases. No password is kept: whoever opens the link of the mail chooses it, so whoever registers an address that is
//! somebody else's gains nothing by it.
//!
//! A typo in the address must not keep the name from the person who made it: the browser remembers its registration in a
//! signed cookie, and the same name with another address from there replaces it.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::mailbox::{self, AddressMail};
use super::{Email, NewAccount, RegisterError, Registered, Username, names};
use crate::audit::{self, Entry, Event, Trace};
use crate::config::{Keys, MailRate, ReferralPolicy};
use crate::db::{self, DbError, Pool, Tx, constraint};
use crate::outbox::{self, Job};
use crate::referrals::{self, Claim};
use crate::token::{LENGTH, Token};

/// Who wants an account.
#[derive(Clone, Debug)]
pub struct NewRegistration {
    /// The address.
    pub email: Email,
    /// The name.
    pub username: Username,
    /// The code or link that the person came with.
    pub claim: Option<Claim>,
    /// Users that the browser is known to belong to (a live session, a device cookie).
    pub known_as: Vec<Uuid>,
    /// The registration that the same browser began before.
    pub earlier: Option<Uuid>,
    /// How long the link works and the name is kept.
    pub lifetime: TimeDelta,
    /// The request.
    pub trace: Trace,
}

/// What is kept until the account is made: by whom the person was brought, and what speaks against it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Evidence {
    /// A code that was looked at, or what a link carried.
    claim: Option<String>,
    /// Users that the browser was known to belong to.
    known_as: Vec<Uuid>,
    /// Whether the address that asked was of a network of its own.
    is_public: bool,
}

/// What a token confirms.
#[derive(Clone, Debug)]
pub struct PendingRegistration {
    /// The address, to measure the password against.
    pub email: Email,
    /// The username that is kept, likewise.
    pub username: Username,
}

/// What whoever opens the link chooses.
#[derive(Clone, Debug)]
pub struct Confirmation {
    /// The hash of the password, a PHC string.
    pub password_hash: String,
    /// Another username than the one that is kept.
    pub username: Option<Username>,
    /// Users that this browser is known to belong to.
    pub known_as: Vec<Uuid>,
    /// The request.
    pub trace: Trace,
}

/// Why no account was made.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// Unknown, used, expired, malformed, or for an address that has an account by now. One answer for all.
    #[error("the token is not valid")]
    InvalidToken,
    /// The name is taken; the token is good for another one.
    #[error("the username is taken")]
    UsernameTaken,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for ConfirmError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

impl From<RegisterError> for ConfirmError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::EmailTaken | RegisterError::UnknownReferralCode | RegisterError::KeyReused => {
                Self::InvalidToken
            }
            RegisterError::UsernameTaken => Self::UsernameTaken,
            RegisterError::Db(error) => Self::Db(error),
        }
    }
}

/// Keeps the username and promises a mail. The same statements for every address. Returns the id of the registration, for
/// the browser to remember.
///
/// The same name with the same address is mailed again; links mailed before stay good. The same name with another address
/// closes the registration that the same browser began before.
pub async fn begin_registration(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    new: NewRegistration,
) -> Result<Uuid, RegisterError> {
    let mut tx = Tx::begin(pool).await?;
    if let Some(claim @ Claim::Typed(_)) = &new.claim
        && referrals::find_referrer(&mut tx, claim).await?.is_none()
    {
        return Err(RegisterError::UnknownReferralCode);
    }
    let claim = new.claim.map(|claim| match claim {
        Claim::Typed(code) => code.as_str().to_owned(),
        Claim::Link(text) => text,
    });
    let evidence = Evidence { claim, known_as: new.known_as, is_public: new.trace.is_public };
    let evidence = serde_json::to_value(evidence).unwrap_or_default();
    let address_hash = mailbox::hash(keys, &new.email);
    let key = new.username.key();
    store::release(&mut tx, &key, &address_hash, now).await?;
    if let Some(id) = new.earlier {
        store::close_own(&mut tx, id, &key, &address_hash, now).await?;
    }
    let id = Uuid::now_v7();
    let row = store::NewPending {
        id,
        email: new.email.as_str(),
        address_hash: &address_hash,
        username: new.username.as_str(),
        username_key: &key,
        evidence,
        ip_hash: new.trace.ip_hash.as_deref(),
        created_at: now,
        expires_at: now + new.lifetime,
    };
    store::insert(&mut tx, row).await.map_err(|error| match constraint::unique_violation(&error) {
        Some("pending_registrations_username") => RegisterError::UsernameTaken,
        _ => RegisterError::Db(error.into()),
    })?;
    // Whoever registers or renames takes the same lock before looking here: of two at the same moment one sees the other.
    names::lock(&mut tx, &new.username).await?;
    if names::is_claimed(&mut tx, &new.username).await? {
        return Err(RegisterError::UsernameTaken);
    }
    let options = outbox::Options { request_id: new.trace.request_id, ..outbox::Options::default() };
    outbox::enqueue(&mut tx, &Job::SendRegistration { registration_id: id }, options).await?;
    tx.commit().await?;
    Ok(id)
}

/// Finds out whether the address has an account, and mints the token if not: the same each time, so that a mail sent twice
/// carries one link. `None` when there is nothing to say, or too much was said to this address.
pub async fn registration_mail(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    limit: MailRate,
    id: Uuid,
) -> Result<Option<AddressMail>, DbError> {
    let mut tx = Tx::begin(pool).await?;
    let Some(found) = store::find_open(&mut tx, id, now).await? else { return Ok(None) };
    let holder = mailbox::lock_holder(&mut tx, found.holder_id, found.email.as_deref()).await?;
    let admitted = mailbox::admits(&mut tx, now, limit, &found.address_hash, id).await?;
    if !store::lock_open(&mut tx, id, now).await? {
        return Ok(None);
    }
    let mail = match (holder, found.email) {
        _ if !admitted => {
            store::forget_address(&mut tx, id).await?;
            None
        }
        (Some(holder), _) => {
            store::set_holder(&mut tx, id, holder.id, now).await?;
            Some(holder.mail())
        }
        (None, Some(email)) => {
            let token = keys.token.token("register", id.as_bytes());
            store::mint(&mut tx, id, token.digest().as_slice(), now).await?;
            Some(AddressMail::Confirm {
                address: Email::from_stored(email),
                username: found.username,
                token,
                expires_at: found.expires_at,
            })
        }
        (None, None) => None,
    };
    tx.commit().await?;
    Ok(mail)
}

/// What the token confirms, without spending it.
pub async fn inspect_registration(
    pool: &Pool,
    now: DateTime<Utc>,
    token: &str,
) -> Result<PendingRegistration, ConfirmError> {
    let token = Token::parse(token).map_err(|_| ConfirmError::InvalidToken)?;
    let mut connection = db::get(pool).await?;
    let found = store::find_by_token(&mut connection, token.digest().as_slice(), now).await?;
    let (email, username) = found.ok_or(ConfirmError::InvalidToken)?;
    Ok(PendingRegistration { email: Email::from_stored(email), username: Username::from_stored(username) })
}

/// Spends the token and makes the account, its address confirmed, with the referral of whoever brought the person. The lock
/// on the row decides which of several does; of two rows with one address, the index on the address.
pub async fn confirm_registration(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    token: &str,
    chosen: Confirmation,
) -> Result<Registered, ConfirmError> {
    let token = Token::parse(token).map_err(|_| ConfirmError::InvalidToken)?;
    policy.disposable.refresh();
    let mut tx = Tx::begin(pool).await?;
    // The address before the row: several links to one address would wait for each other in a ring.
    let address_hash = store::address_of(&mut tx, token.digest().as_slice()).await?;
    let address_hash = address_hash.ok_or(ConfirmError::InvalidToken)?;
    mailbox::lock(&mut tx, &address_hash).await?;
    let taken =
        store::take(&mut tx, token.digest().as_slice(), now).await?.ok_or(ConfirmError::InvalidToken)?;
    // Before the account is made: the kept name must not stand in its own way.
    store::close_all_of(&mut tx, &address_hash, now).await?;
    let Evidence { claim, mut known_as, is_public } =
        serde_json::from_value(taken.evidence).unwrap_or_default();
    known_as.extend(chosen.known_as);
    let new = NewAccount {
        email: Email::from_stored(taken.email),
        username: chosen.username.unwrap_or_else(|| Username::from_stored(taken.username)),
        password_hash: Some(chosen.password_hash),
        // Whoever brought the person may have gone meanwhile, which stands in nobody's way.
        claim: claim.map(Claim::Link),
        known_as,
        // It is confirmed already.
        confirmation: TimeDelta::zero(),
        // It was asked for from that network, which is what a referral is judged by.
        trace: Trace { ip_hash: taken.ip_hash, is_public, ..chosen.trace.clone() },
    };
    let registered = super::registration::create(&mut tx, now, keys, policy, &new, Some(now)).await?;
    let user_id = registered.account.id;
    audit::record(&mut tx, now, Entry::own(user_id, Event::EmailVerified), &chosen.trace).await?;
    super::verified(&mut tx, now, policy, user_id, chosen.trace.request_id).await?;
    tx.commit().await?;
    Ok(registered)
}

/// Whether the name is kept for somebody who has not confirmed yet.
pub(super) async fn keeps_name(
    tx: &mut Tx,
    now: DateTime<Utc>,
    username: &Username,
) -> Result<bool, DbError> {
    Ok(store::keeps_name(tx, &username.key(), now).await?)
}

/// Removes what is held of an address, and of a user who was found to have it.
pub(super) async fn forget(tx: &mut Tx, user_id: Uuid, address_hash: &[u8; LENGTH]) -> Result<(), DbError> {
    Ok(store::delete_all_of(tx, user_id, address_hash).await?)
}

/// Removes what ran out: nothing is kept of people who never confirmed.
pub(crate) async fn purge(pool: &Pool, now: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::purge(&mut connection, now).await?)
}
