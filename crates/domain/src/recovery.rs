//! Setting a new password by mail (OWASP Forgot Password Cheat Sheet).
//!
//! The request only writes a row: it looks nobody up, so the known and the unknown address cost the same. The worker finds
//! the account, mints the token and removes the address from the row.

mod blocked;
mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::accounts::{self, Email};
use crate::audit::{Event, Trace};
use crate::db::{self, DbError, Pool, Tx};
use crate::outbox::{self, Job};
use crate::token::{Key, Token};
pub use blocked::blocked_mail;

/// How long a link works, from the request, in minutes.
pub const LIFETIME_MINUTES: u32 = 15;

/// How many links an account is mailed in an hour at most, whoever asks: nobody's mailbox is flooded.
const MAILS_AN_HOUR: i64 = 3;

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

/// Promises a mail to the address, should it have an account.
pub async fn request(
    pool: &Pool,
    now: DateTime<Utc>,
    email: &Email,
    request_id: Option<String>,
) -> Result<(), DbError> {
    let id = Uuid::now_v7();
    let mut tx = Tx::begin(pool).await?;
    store::insert(&mut tx, id, email.as_str(), now, now + TimeDelta::minutes(LIFETIME_MINUTES.into()))
        .await?;
    let options = outbox::Options { request_id, ..outbox::Options::default() };
    outbox::enqueue(&mut tx, &Job::SendPasswordReset { reset_id: id }, options).await?;
    tx.commit().await
}

/// Finds the account of a request, voids its earlier requests, and mints the token: the same each time, so that a mail
/// sent twice carries one link. `None` when there is nobody to write to, or nothing more to do.
///
/// Jobs run in any order and side by side. The lock on the user's row puts the requests of one account one after another;
/// it is taken before any lock on a request, as by whoever spends or voids one.
pub async fn reset_mail(
    pool: &Pool,
    now: DateTime<Utc>,
    key: &Key,
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
    if !store::lock_unclosed(&mut tx, id).await? {
        return Ok(None);
    }
    let hour_ago = request.created_at - TimeDelta::hours(1);
    let wanted = match account {
        Some(account) if store::count_minted(&mut tx, account.id, id, hour_ago).await? < MAILS_AN_HOUR => {
            Some(account)
        }
        _ => None,
    };
    let Some(account) = wanted else {
        store::close(&mut tx, id, now).await?;
        tx.commit().await?;
        return Ok(None);
    };
    let token = key.token("reset-password", id.as_bytes());
    store::void_older(&mut tx, account.id, request.created_at, now).await?;
    store::mint(&mut tx, id, account.id, token.digest().as_slice()).await?;
    tx.commit().await?;
    Ok(Some(ResetMail {
        address: Email::from_stored(account.email),
        username: account.username,
        token,
        expires_at: request.expires_at,
    }))
}

/// Whose password the token may set, without spending it.
pub async fn inspect(pool: &Pool, now: DateTime<Utc>, token: &str) -> Result<ResetTarget, ResetError> {
    let token = Token::parse(token).map_err(|_| ResetError::InvalidToken)?;
    let mut connection = db::get(pool).await?;
    let found = store::find_open(&mut connection, token.digest().as_slice(), now).await?;
    let (user_id, email, username) = found.ok_or(ResetError::InvalidToken)?;
    Ok(ResetTarget { user_id, email: Email::from_stored(email), username })
}

/// Spends the token and sets the password: one statement decides who of many does. All sessions end and the owner is told
/// by mail. Returns the sessions that ended.
pub async fn redeem(
    pool: &Pool,
    now: DateTime<Utc>,
    token: &str,
    target: &ResetTarget,
    new_hash: &str,
    trace: &Trace,
) -> Result<Vec<Uuid>, ResetError> {
    let token = Token::parse(token).map_err(|_| ResetError::InvalidToken)?;
    let mut tx = Tx::begin(pool).await?;
    accounts::lock(&mut tx, target.user_id).await?.ok_or(ResetError::InvalidToken)?;
    if !store::spend(&mut tx, token.digest().as_slice(), target.user_id, now).await? {
        return Err(ResetError::InvalidToken);
    }
    let ended =
        accounts::set_password(&mut tx, now, target.user_id, new_hash, None, Event::PasswordReset, trace)
            .await?;
    tx.commit().await?;
    Ok(ended)
}

/// Voids a user's open requests: the password is known, or changed.
pub(crate) async fn void_all(tx: &mut Tx, now: DateTime<Utc>, user_id: Uuid) -> Result<(), DbError> {
    Ok(store::void_older(tx, user_id, DateTime::<Utc>::MAX_UTC, now).await?)
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
