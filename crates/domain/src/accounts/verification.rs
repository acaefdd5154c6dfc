//! Confirming an e-mail address: a row is issued, the worker mints its token and mails it, the person posts it back.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::Email;
use crate::audit::{self, Entry, Event, Trace};
use crate::config::{MailRate, ReferralPolicy};
use crate::db::{DbError, Pool, Tx};
use crate::outbox::{self, Job};
use crate::token::{Key, Token};

/// A link with less than this part of its life left is not mailed again: the mail may be read too late.
const USEFUL_PART: i32 = 4;

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

/// The result of asking for another confirmation mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// A mail is on its way.
    Promised,
    /// The address is confirmed already.
    Confirmed,
    /// Too many were asked for; this long until the next.
    Limited(TimeDelta),
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

/// Promises a confirmation mail. Its link is the one that is good, else a new one.
pub(super) async fn issue(
    tx: &mut Tx,
    now: DateTime<Utc>,
    lifetime: TimeDelta,
    user_id: Uuid,
    email: &Email,
    request_id: Option<String>,
) -> Result<(), DbError> {
    let id = Uuid::now_v7();
    let (email, useful) = (email.as_str(), now + lifetime / USEFUL_PART);
    let repeats_id = store::find_good(tx, user_id, email, useful).await?;
    let row = store::NewVerification {
        id,
        user_id,
        email,
        created_at: now,
        expires_at: now + lifetime,
        repeats_id,
    };
    store::insert(tx, row).await?;
    let options = outbox::Options { request_id, ..outbox::Options::default() };
    outbox::enqueue(tx, &Job::SendVerification { verification_id: id }, options).await
}

/// Promises another confirmation mail, unless the address is confirmed already or was mailed to often enough.
pub async fn request_verification(
    pool: &Pool,
    now: DateTime<Utc>,
    lifetime: TimeDelta,
    limit: MailRate,
    user_id: Uuid,
    request_id: Option<String>,
) -> Result<Resend, DbError> {
    let mut tx = Tx::begin(pool).await?;
    // Parallel requests are counted one after another.
    super::store::lock(&mut tx, user_id).await?;
    let account = super::store::find(&mut tx, user_id).await?;
    let Some(account) = account.filter(|account| account.email_verified_at.is_none()) else {
        return Ok(Resend::Confirmed);
    };
    // Once this one is out of the window, there is room for another.
    let last = store::mailed_before(&mut tx, user_id, now - limit.window, limit.quota - 1).await?;
    if let Some(mailed_at) = last {
        return Ok(Resend::Limited(mailed_at + limit.window - now));
    }
    issue(&mut tx, now, lifetime, user_id, &Email::from_stored(account.email), request_id).await?;
    tx.commit().await?;
    Ok(Resend::Promised)
}

/// Mints the token of a confirmation and stores its digest. The same each time, so that a mail sent twice carries one
/// link. `None` when there is nothing left to confirm.
pub async fn verification_mail(
    pool: &Pool,
    now: DateTime<Utc>,
    key: &Key,
    id: Uuid,
) -> Result<Option<VerificationMail>, DbError> {
    let mut connection = crate::db::get(pool).await?;
    let id = store::repeated_by(&mut connection, id).await?.unwrap_or(id);
    let token = key.token("verify-email", id.as_bytes());
    let found = store::mint(&mut connection, id, token.digest().as_slice(), now).await?;
    Ok(found.map(|minted| VerificationMail {
        address: Email::from_stored(minted.email),
        username: minted.username,
        token,
        expires_at: minted.expires_at,
    }))
}

/// Confirms the address that the token was mailed to; a referral that waited for it is settled when its hold has passed. Single
/// use: one statement spends the token. The first confirmation of an account proves its mailbox, see
/// `prove_mailbox`; `presented` is the session that the request carries. Returns the sessions that
/// ended.
pub async fn verify_email(
    pool: &Pool,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    token: &str,
    presented: Option<Uuid>,
    trace: &Trace,
) -> Result<Vec<Uuid>, VerifyError> {
    let token = Token::parse(token).map_err(|_| VerifyError::InvalidToken)?;
    let mut tx = Tx::begin(pool).await?;
    // The account's row first, as the deletion of an account takes it: neither waits for the other in a ring.
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
    let mut ended = Vec::new();
    // A link of an account that was confirmed by other means since is no first proof.
    if account.email_verified_at.is_none() {
        ended = super::prove_mailbox(&mut tx, now, policy, user_id, presented, trace).await?;
    }
    tx.commit().await?;
    Ok(ended)
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
