//! Registrations that are sent again: whoever lost the answer learns what became of the first attempt.
//!
//! A client names its attempt by a key, which is remembered for a day in the transaction that makes the account. The
//! indexes on the key, the address and the name decide between attempts at the same instant; only who lost looks for the
//! key. What was sent is compared by a keyed hash. The password is not in it, since a fast hash of a password would undo
//! what the slow one is for: who repeats an attempt proves it by [`Repeated::password_hash`].

mod store;

use chrono::{DateTime, TimeDelta, Utc};

use super::RegisterError;
use crate::accounts::{Account, Email, Username};
use crate::config::Keys;
use crate::db::{self, DbError, Pool, Tx};
use crate::token::{Digest, LENGTH};

/// How long a key is remembered.
const REMEMBERED: TimeDelta = TimeDelta::days(1);

/// The key of an attempt, and what was sent with it.
#[derive(Clone, Debug)]
pub struct AttemptKey {
    key_hash: Digest,
    request_hash: [u8; LENGTH],
}

impl AttemptKey {
    /// Of a key that the client chose. `code` is the referral code that was typed, `link` that of a link.
    pub fn new(
        keys: &Keys,
        key: &str,
        email: &Email,
        username: &Username,
        code: Option<&str>,
        link: Option<&str>,
    ) -> Self {
        let sent = [email.as_str(), username.as_str(), code.unwrap_or_default(), link.unwrap_or_default()];
        let request_hash = keys.token.derive("registration").mac(&sent.map(str::as_bytes));
        Self { key_hash: Digest::of(key.as_bytes()), request_hash }
    }
}

/// What an earlier attempt with the same key made.
#[derive(Debug)]
pub struct Repeated {
    /// The account, as it is now.
    pub account: Account,
    /// The hash of its password, a PHC string: an attempt with another password is another attempt.
    pub password_hash: Option<String>,
    /// What its referral was when the account was made, if somebody brought it.
    pub referral_status: Option<String>,
}

/// Remembers what an attempt made.
pub(super) async fn remember(
    tx: &mut Tx,
    now: DateTime<Utc>,
    attempt: &AttemptKey,
    account: &Account,
    referral_status: Option<&str>,
) -> Result<(), RegisterError> {
    let AttemptKey { key_hash, request_hash } = attempt;
    Ok(store::insert(tx, key_hash.as_slice(), request_hash, account.id, referral_status, now).await?)
}

/// What an earlier attempt with this key made, if there was one that made an account.
pub(super) async fn find(pool: &Pool, attempt: &AttemptKey) -> Result<Option<Repeated>, RegisterError> {
    let mut connection = db::get(pool).await?;
    match store::find(&mut connection, attempt.key_hash.as_slice()).await? {
        Some((request_hash, _)) if request_hash != attempt.request_hash => Err(RegisterError::KeyReused),
        Some((_, repeated)) => Ok(Some(repeated)),
        None => Ok(None),
    }
}

/// Forgets the key of an account that is deleted.
pub(crate) async fn forget(tx: &mut Tx, user_id: uuid::Uuid) -> Result<(), DbError> {
    Ok(store::delete_of(tx, user_id).await?)
}

/// Forgets keys after a day.
pub(crate) async fn purge(pool: &Pool, now: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::purge(&mut connection, now - REMEMBERED).await?)
}
