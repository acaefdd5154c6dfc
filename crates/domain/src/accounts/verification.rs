//! Confirming an e-mail address: a row is issued, the worker mints its token and mails it, the person posts it back.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::Email;
use crate::audit::{self, Entry, Event, Trace};
use crate::config::ReferralPolicy;
use crate::db::{DbError, Pool, Tx};
use crate::outbox::{self, Job};
use crate::token::{Key, Token};

/// How long a link works. Long enough for a mail that is read the day after.
const LIFETIME: TimeDelta = TimeDelta::hours(48);

/// How many confirmation mails an account is promised in an hour at most, the one of its registration included: nobody's
/// mailbox is flooded by somebody who registers with its address.
const MAILS_AN_HOUR: i64 = 5;

/// Why an address was not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Unknown, used, expired, or for an address the account no longer has. One answer for all.
    #[error("the token is not valid")]
    InvalidToken,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for VerifyError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// What a confirmation mail is made of.
#[derive(Debug)]
pub struct VerificationMail {
    /// Where to.
    pub address: Email,
    /// Who.
    pub username: String,
    /// The secret of the link.
    pub token: Token,
    /// When the link ends.
    pub expires_at: DateTime<Utc>,
}

/// Promises a confirmation mail.
pub(super) async fn issue(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    email: &Email,
    request_id: Option<String>,
) -> Result<(), DbError> {
    let id = Uuid::now_v7();
    store::insert(tx, id, user_id, email.as_str(), now, now + LIFETIME).await?;
    let options = outbox::Options { request_id, ..outbox::Options::default() };
    outbox::enqueue(tx, &Job::SendVerification { verification_id: id }, options).await
}

/// Promises another confirmation mail, unless the address is confirmed already or was written to often enough.
pub async fn request_verification(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    request_id: Option<String>,
) -> Result<(), DbError> {
    let mut tx = Tx::begin(pool).await?;
    // Parallel requests are counted one after another.
    super::store::lock(&mut tx, user_id).await?;
    let account = super::store::find(&mut tx, user_id).await?;
    let hour_ago = now - TimeDelta::hours(1);
    if let Some(account) = account.filter(|account| account.email_verified_at.is_none())
        && store::count_since(&mut tx, user_id, hour_ago).await? < MAILS_AN_HOUR
    {
        issue(&mut tx, now, user_id, &Email::from_stored(account.email), request_id).await?;
    }
    tx.commit().await
}

/// Mints the token of a confirmation and stores its digest. The same each time, so that a mail sent twice carries one
/// link. `None` when there is nothing left to confirm.
pub async fn verification_mail(
    pool: &Pool,
    now: DateTime<Utc>,
    key: &Key,
    id: Uuid,
) -> Result<Option<VerificationMail>, DbError> {
    let token = key.token("verify-email", id.as_bytes());
    let mut connection = crate::db::get(pool).await?;
    let found = store::mint(&mut connection, id, token.digest().as_slice(), now).await?;
    Ok(found.map(|(email, username, expires_at)| VerificationMail {
        address: Email::from_stored(email),
        username,
        token,
        expires_at,
    }))
}

/// Confirms the address that the token was mailed to; a referral that waited for it is settled when its hold has passed. Single
/// use: one statement spends the token.
pub async fn verify_email(
    pool: &Pool,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    token: &str,
    trace: &Trace,
) -> Result<(), VerifyError> {
    let token = Token::parse(token).map_err(|_| VerifyError::InvalidToken)?;
    let mut tx = Tx::begin(pool).await?;
    // The account's row first, as whoever deletes the account takes it: neither waits for the other in a ring.
    let owner =
        store::owner_of(&mut tx, token.digest().as_slice()).await?.ok_or(VerifyError::InvalidToken)?;
    super::store::lock(&mut tx, owner).await?.ok_or(VerifyError::InvalidToken)?;
    let account = super::store::find(&mut tx, owner).await?.ok_or(VerifyError::InvalidToken)?;
    let spent = store::spend(&mut tx, token.digest().as_slice(), now).await?;
    let (user_id, email) = spent.ok_or(VerifyError::InvalidToken)?;
    if !super::store::verify(&mut tx, user_id, &email, now).await? {
        return Err(VerifyError::InvalidToken);
    }
    audit::record(&mut tx, now, Entry::own(user_id, Event::EmailVerified), trace).await?;
    // Several mails may have been asked for, each with a link of its own.
    if account.email_verified_at.is_none() {
        super::verified(&mut tx, now, policy, user_id, trace.request_id.clone()).await?;
    }
    Ok(tx.commit().await?)
}

/// Removes what is held of a user's addresses.
pub(super) async fn forget(tx: &mut Tx, user_id: Uuid) -> Result<(), DbError> {
    Ok(store::delete_all(tx, user_id).await?)
}

/// Removes confirmations that expired before `before`.
pub(crate) async fn purge(pool: &Pool, before: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = crate::db::get(pool).await?;
    Ok(store::purge(&mut connection, before).await?)
}
