//! A new e-mail address for an account: asked for with the password, in force when the new address confirms it.
//!
//! The old address works until then and is told twice: when the change is asked for, while a new password still stops it,
//! and when it has happened. Whether the new address has an account is looked at by the worker alone. The referral code
//! stays; a keyed hash of the old address does too, so that nobody is a stranger to the referral rules by changing it.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::mailbox::{self, AddressMail};
use super::{Credentials, Email, GuardedError, VerifyError, identity_hash};
use crate::audit::{self, Entry, Event, Trace};
use crate::config::{Keys, MailRate, ReferralPolicy};
use crate::db::{DbError, Pool, Tx, constraint};
use crate::outbox::{self, Job};
use crate::token::{LENGTH, Token};
use crate::{recovery, referrals, sessions};
pub use store::Notice;

/// A new address for an account.
#[derive(Clone, Copy, Debug)]
pub struct NewAddress<'a> {
    /// The address.
    pub email: &'a Email,
    /// How long it may be confirmed.
    pub lifetime: TimeDelta,
}

/// Promises a mail to the new address and one to the old. The password was checked against `checked`; `session_id` asks.
/// A newer request overtakes an older one.
pub async fn request_email_change(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    checked: &Credentials,
    session_id: Uuid,
    new: NewAddress<'_>,
    trace: &Trace,
) -> Result<(), GuardedError> {
    let NewAddress { email, lifetime } = new;
    let user_id = checked.user_id;
    let mut tx = Tx::begin(pool).await?;
    if super::store::lock(&mut tx, user_id).await? != Some(checked.session_epoch) {
        return Err(GuardedError::Overtaken);
    }
    let account = super::store::find(&mut tx, user_id).await?.ok_or(GuardedError::Overtaken)?;
    store::close_all(&mut tx, user_id, now).await?;
    let id = Uuid::now_v7();
    let row = store::NewChange {
        id,
        user_id,
        session_id,
        new_email: Some(email.as_str()),
        old_email: &account.email,
        address_hash: &mailbox::hash(keys, email),
        created_at: now,
        expires_at: now + lifetime,
        applied_at: None,
        closed_at: None,
    };
    store::insert(&mut tx, row).await?;
    audit::record(&mut tx, now, Entry::own(user_id, Event::EmailChangeRequested), trace).await?;
    for job in [Job::SendEmailChange { change_id: id }, Job::SendEmailChangeRequested { change_id: id }] {
        promise(&mut tx, &job, trace).await?;
    }
    Ok(tx.commit().await?)
}

async fn promise(tx: &mut Tx, job: &Job, trace: &Trace) -> Result<(), DbError> {
    let options = outbox::Options { request_id: trace.request_id.clone(), ..outbox::Options::default() };
    outbox::enqueue(tx, job, options).await
}

/// Finds out whether the new address has an account, and mints the token if not: the same each time, so that a mail sent
/// twice carries one link. `None` when there is nothing to say, or too much was said to this address.
pub async fn email_change_mail(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    limit: MailRate,
    id: Uuid,
) -> Result<Option<AddressMail>, DbError> {
    let mut tx = Tx::begin(pool).await?;
    let Some(found) = store::find_open(&mut tx, id, now).await? else { return Ok(None) };
    let holder = mailbox::lock_holder(&mut tx, found.holder_id, found.new_email.as_deref()).await?;
    let admitted = mailbox::admits(&mut tx, now, limit, &found.address_hash, id).await?;
    if !store::lock_open(&mut tx, id, now).await? {
        return Ok(None);
    }
    let mail = match (holder, found.new_email) {
        _ if !admitted => {
            store::close(&mut tx, id, now).await?;
            None
        }
        (Some(holder), _) => {
            store::set_holder(&mut tx, id, holder.id, now).await?;
            Some(holder.mail())
        }
        (None, Some(email)) => {
            let token = keys.token.token("change-email", id.as_bytes());
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

/// What the old address is told about a change, if there still is one to tell of.
pub async fn email_change_notice(pool: &Pool, id: Uuid) -> Result<Option<Notice>, DbError> {
    let mut connection = crate::db::get(pool).await?;
    Ok(store::notice(&mut connection, id).await?)
}

/// Gives the account the address that the token was mailed to. All sessions end but the one that asked, mailed links are
/// void, the old address is notified; a referral that waited for a confirmed address is judged by the new one and goes on.
/// The index on the address decides between several accounts that want it. Returns the sessions that ended.
///
/// The change proves a mailbox of an account that never confirmed one, see `prove_mailbox`. Then
/// `presented`, the session that the request carries, comes before the one that asked. The latter stays where the account has
/// a password, which it was asked with and which stays good; without one, another person may have asked.
pub async fn confirm_email_change(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    token: &str,
    presented: Option<Uuid>,
    trace: &Trace,
) -> Result<Vec<Uuid>, VerifyError> {
    let token = Token::parse(token).map_err(|_| VerifyError::InvalidToken)?;
    let mut tx = Tx::begin(pool).await?;
    // The account's row first, as whoever deletes the account takes it: neither waits for the other in a ring.
    let owner =
        store::owner_of(&mut tx, token.digest().as_slice()).await?.ok_or(VerifyError::InvalidToken)?;
    super::store::lock(&mut tx, owner).await?.ok_or(VerifyError::InvalidToken)?;
    let spent =
        store::spend(&mut tx, token.digest().as_slice(), now).await?.ok_or(VerifyError::InvalidToken)?;
    let account = super::store::find(&mut tx, owner).await?.ok_or(VerifyError::InvalidToken)?;
    let is_first_proof = account.email_verified_at.is_none();
    let (old, new) = (Email::from_stored(account.email), Email::from_stored(spent.new_email));
    // While the account still has the old address, which requests that no worker has seen yet name.
    recovery::void_all(&mut tx, now, owner).await?;
    super::store::set_email(&mut tx, owner, &new, now).await.map_err(|error| {
        match constraint::unique_violation(&error) {
            Some(_) => VerifyError::InvalidToken,
            None => error.into(),
        }
    })?;
    if !is_first_proof {
        // An address that was never confirmed was perhaps never theirs: no other person is to be known by it.
        super::store::remember_identity(&mut tx, owner, &identity_hash(keys, &old), now).await?;
    }
    super::verification::forget(&mut tx, owner).await?;
    audit::record(&mut tx, now, Entry::own(owner, Event::EmailChanged), trace).await?;
    promise(&mut tx, &Job::SendEmailChanged { change_id: spent.id }, trace).await?;
    referrals::address_changed(&mut tx, now, keys, owner, &new).await?;
    let ended = if is_first_proof {
        let keep = keep(&mut tx, owner, presented, spent.session_id).await?;
        super::prove_mailbox(&mut tx, now, policy, owner, keep, trace).await?
    } else {
        sessions::end_all(&mut tx, now, owner, Some(spent.session_id), "email_changed").await?
    };
    tx.commit().await?;
    Ok(ended)
}

/// An operator gave the account another address, which is in force at once: what is open is void, and the old address is
/// told.
pub(super) async fn applied(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    old: &Email,
    address_hash: &[u8; LENGTH],
    trace: &Trace,
) -> Result<(), DbError> {
    store::close_all(tx, user_id, now).await?;
    let id = Uuid::now_v7();
    let row = store::NewChange {
        id,
        user_id,
        // No session asked for it.
        session_id: Uuid::nil(),
        new_email: None,
        old_email: old.as_str(),
        address_hash,
        created_at: now,
        // Over already; kept until the mail to the old address has gone out.
        expires_at: now + TimeDelta::days(2),
        applied_at: Some(now),
        closed_at: Some(now),
    };
    store::insert(tx, row).await?;
    promise(tx, &Job::SendEmailChanged { change_id: id }, trace).await
}

/// The session that stays when a change of address is the first proof of a mailbox.
async fn keep(
    tx: &mut Tx,
    user_id: Uuid,
    presented: Option<Uuid>,
    asked: Uuid,
) -> Result<Option<Uuid>, DbError> {
    if let Some(id) = presented
        && sessions::is_of(tx, id, user_id).await?
    {
        return Ok(Some(id));
    }
    let credentials = super::credentials_in(tx, user_id).await?;
    let has_password = credentials.is_some_and(|credentials| credentials.password_hash.is_some());
    Ok(has_password.then_some(asked))
}

/// Voids what is open: the password changed, or the mailbox was proved for the first time. Returns how many.
pub(super) async fn void_all(tx: &mut Tx, now: DateTime<Utc>, user_id: Uuid) -> Result<usize, DbError> {
    Ok(store::close_all(tx, user_id, now).await?)
}

/// Removes what is held of a user's changes, and of others' that name the user's address.
pub(super) async fn forget(
    tx: &mut Tx,
    user_id: Uuid,
    email: &Email,
    address_hash: &[u8; LENGTH],
) -> Result<(), DbError> {
    Ok(store::delete_all(tx, user_id, email.as_str(), address_hash).await?)
}

/// Removes changes that ran out before `before`.
pub(crate) async fn purge(pool: &Pool, before: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = crate::db::get(pool).await?;
    Ok(store::purge(&mut connection, before).await?)
}
