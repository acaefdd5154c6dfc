//! Setting a new password by mail (OWASP Forgot Password Cheat Sheet).
//!
//! The request only writes a row: it looks nobody up, so the known and the unknown address cost the same. The worker finds
//! the account, mints the token and removes the address from the row.
//!
//! Anyone may ask for any address, so asking takes nothing from the holder of the account. A request that comes while a link
//! is good is mailed the same link again and voids none. The mails are limited (`mail-reset`), over its window or the life of a
//! link where that is shorter: when a link ends, the request that it was minted for no longer counts, so that the next request
//! is always mailed. A link also proves the mailbox, see `accounts::prove_mailbox`.

mod blocked;
mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::accounts::{self, Email};
use crate::audit::{self, Entry, Event, Trace};
use crate::config::{MailRate, ReferralPolicy};
use crate::db::{self, DbError, Pool, Tx};
use crate::outbox::{self, Job};
use crate::token::{Key, Token};
pub use blocked::blocked_mail;

/// A link with less than this part of its life left is not mailed again: the mail may arrive too late.
const USEFUL_PART: i32 = 4;

/// What a reset mail is made of.
#[derive(Debug)]
pub struct ResetMail {
    /// Where to.
    pub address: Email,
    /// Who.
    pub username: String,
    /// The secret of the link.
    pub token: Token,
    /// When the link ends.
    pub expires_at: DateTime<Utc>,
}

/// Whose password a token sets.
#[derive(Clone, Debug)]
pub struct ResetTarget {
    /// The user.
    pub user_id: Uuid,
    /// The address, to measure the new password against.
    pub email: Email,
    /// The username, likewise.
    pub username: String,
}

/// Why a password was not set.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// Unknown, used, expired, overtaken or malformed. One answer for all.
    #[error("the token is not valid")]
    InvalidToken,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for ResetError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Promises a mail to the address, should it have an account. Its link lives for `lifetime`.
pub async fn request(
    pool: &Pool,
    now: DateTime<Utc>,
    lifetime: TimeDelta,
    email: &Email,
    request_id: Option<String>,
) -> Result<(), DbError> {
    let id = Uuid::now_v7();
    let mut tx = Tx::begin(pool).await?;
    store::insert(&mut tx, id, email.as_str(), now, now + lifetime).await?;
    let options = outbox::Options { request_id, ..outbox::Options::default() };
    outbox::enqueue(&mut tx, &Job::SendPasswordReset { reset_id: id }, options).await?;
    tx.commit().await
}

/// Finds the account of a request, and the link to mail: the one that is good, else a new one. The same each time, so that a
/// mail sent twice carries one link. `None` when there is no account to write to, or nothing more to do.
///
/// Jobs run in any order and side by side. The lock on the user's row puts the requests of one account one after another;
/// it is taken before any lock on a request, like everywhere a request is spent or voided.
pub async fn reset_mail(
    pool: &Pool,
    now: DateTime<Utc>,
    key: &Key,
    limit: MailRate,
    id: Uuid,
) -> Result<Option<ResetMail>, DbError> {
    let mut tx = Tx::begin(pool).await?;
    let Some(request) = store::find_unclosed(&mut tx, id).await? else { return Ok(None) };
    let account = match (request.user_id, &request.email) {
        _ if request.expires_at <= now => None,
        (Some(user_id), _) => accounts::find_in(&mut tx, user_id).await?,
        (None, Some(email)) => accounts::find_by_email(&mut tx, email).await?,
        (None, None) => None,
    };
    if let Some(account) = &account {
        accounts::lock(&mut tx, account.id).await?;
    }
    // Again under the lock: another delivery of this job may have resolved it.
    let Some(request) = store::lock_unclosed(&mut tx, id).await? else { return Ok(None) };
    let link = match &account {
        Some(account) => resolve(&mut tx, now, key, limit, id, account.id, &request).await?,
        None => None,
    };
    if link.is_none() {
        store::close(&mut tx, id, now).await?;
    }
    tx.commit().await?;
    Ok(account.zip(link).map(|(account, link)| ResetMail {
        address: Email::from_stored(account.email),
        username: account.username,
        token: link_token(key, link.id),
        expires_at: link.expires_at,
    }))
}

/// The link that a request is mailed. The caller holds the locks on the account and the request.
async fn resolve(
    tx: &mut Tx,
    now: DateTime<Utc>,
    key: &Key,
    limit: MailRate,
    id: Uuid,
    user_id: Uuid,
    request: &store::Request,
) -> Result<Option<store::Link>, DbError> {
    // Resolved before: the mail is sent again.
    if request.is_minted {
        return Ok(Some(store::Link { id, expires_at: request.expires_at }));
    }
    if let Some(target) = request.repeats_id {
        return Ok(store::find_good(tx, user_id, now, Some(target)).await?);
    }
    let lifetime = request.expires_at - request.created_at;
    let since = request.created_at - lifetime.min(limit.window);
    if store::count_mailed(tx, user_id, id, since).await? >= limit.quota {
        return Ok(None);
    }
    let good = store::find_good(tx, user_id, now, None).await?;
    if let Some(link) = good.filter(|link| link.expires_at - now >= lifetime / USEFUL_PART) {
        store::repeat(tx, id, user_id, link.id).await?;
        return Ok(Some(link));
    }
    store::mint(tx, id, user_id, link_token(key, id).digest().as_slice()).await?;
    Ok(Some(store::Link { id, expires_at: request.expires_at }))
}

/// The token of a request, the same each time.
fn link_token(key: &Key, id: Uuid) -> Token {
    key.token("reset-password", id.as_bytes())
}

/// Whose password the token may set, without spending it.
pub async fn inspect(pool: &Pool, now: DateTime<Utc>, token: &str) -> Result<ResetTarget, ResetError> {
    let token = Token::parse(token).map_err(|_| ResetError::InvalidToken)?;
    let mut connection = db::get(pool).await?;
    let found = store::find_open(&mut connection, token.digest().as_slice(), now).await?;
    let (user_id, email, username) = found.ok_or(ResetError::InvalidToken)?;
    Ok(ResetTarget { user_id, email: Email::from_stored(email), username })
}

/// Spends the token and sets the password: one statement decides which of many requests does. All sessions end and the owner
/// is notified by mail. The link was mailed, so it proves the mailbox of an account that never confirmed its address. Returns
/// the sessions that ended.
pub async fn redeem(
    pool: &Pool,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    token: &str,
    target: &ResetTarget,
    new_hash: &str,
    trace: &Trace,
) -> Result<Vec<Uuid>, ResetError> {
    let token = Token::parse(token).map_err(|_| ResetError::InvalidToken)?;
    let mut tx = Tx::begin(pool).await?;
    let user_id = target.user_id;
    accounts::lock(&mut tx, user_id).await?.ok_or(ResetError::InvalidToken)?;
    if !store::spend(&mut tx, token.digest().as_slice(), user_id, now).await? {
        return Err(ResetError::InvalidToken);
    }
    let account = accounts::find_in(&mut tx, user_id).await?.ok_or(ResetError::InvalidToken)?;
    let mut ended = Vec::new();
    if account.email_verified_at.is_none() {
        // A change of address voids all links: this one was mailed to the address that the account has.
        accounts::set_verified(&mut tx, now, &account).await?;
        audit::record(&mut tx, now, Entry::own(user_id, Event::EmailVerified), trace).await?;
        ended = accounts::prove_mailbox(&mut tx, now, policy, user_id, None, trace).await?;
    }
    ended.extend(
        accounts::set_password(&mut tx, now, user_id, new_hash, None, Event::PasswordReset, trace).await?,
    );
    tx.commit().await?;
    Ok(ended)
}

/// Voids a user's open requests: the password is known, or changed.
pub(crate) async fn void_all(tx: &mut Tx, now: DateTime<Utc>, user_id: Uuid) -> Result<(), DbError> {
    Ok(store::void_all(tx, user_id, now).await?)
}

/// Removes what is held of a user's requests, those included that no worker has seen yet.
pub(crate) async fn forget(tx: &mut Tx, user_id: Uuid) -> Result<(), DbError> {
    Ok(store::delete_all(tx, user_id).await?)
}

/// Removes requests that expired before `before`.
pub(crate) async fn purge(pool: &Pool, before: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::purge(&mut connection, before).await?)
}
