//! The second factor: an authenticator app (TOTP, RFC 6238) and recovery codes that stand in for it.
//!
//! A secret is stored sealed and a recovery code as its digest. A code is looked at outside any transaction and taken
//! inside one, by a guarded UPDATE: of many uses of one code, wherever they arrive, one is taken. Everything that changes a
//! factor, or takes a code, locks the user's row first.

mod code;
mod store;
mod totp;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::accounts::{self, Credentials, Email};
use crate::audit::{self, Actor, Entry, Event, Trace};
use crate::config::SealingKeys;
use crate::db::{self, DbError, Pool, Tx};
use crate::notices::{self, SecurityNotice};
use crate::outbox::{self, Job};
use crate::seal::{self, UnknownKey};
use crate::sessions;
use crate::token::Digest;
pub use code::{Code, MalformedCode, RecoveryCode, TotpCode};

/// How long somebody has to type the first code of a new app.
pub const PENDING_LIFETIME: TimeDelta = TimeDelta::minutes(15);

/// How many recovery codes an account gets at once.
const RECOVERY_CODES: usize = 10;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FactorError {
    /// There is no such factor, or none that waits for its first code.
    #[error("there is no such factor")]
    NotEnrolled,
    /// The account has one already: it has to go first.
    #[error("there is a factor already")]
    AlreadyEnrolled,
    /// Wrong, too old, or used before. One answer for all.
    #[error("the code is not valid")]
    WrongCode,
    /// The account changed since its owner was checked: check again.
    #[error("the account changed meanwhile")]
    Overtaken,
    /// A secret that no key of ours opens: a key was changed without keeping the one before.
    #[error(transparent)]
    Sealed(#[from] UnknownKey),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for FactorError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// What an account has.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The app, once confirmed.
    pub totp: Option<TotpSummary>,
    /// Recovery codes that were not used.
    pub recovery_codes_left: i64,
}

/// An app that is asked for.
#[derive(Clone, Debug)]
pub struct TotpSummary {
    /// The factor.
    pub id: Uuid,
    /// When it was confirmed.
    pub created_at: DateTime<Utc>,
    /// When its last code was taken.
    pub last_used_at: DateTime<Utc>,
}

/// An app that waits for its first code. Its secret is not shown again.
pub struct Enrolment {
    /// The factor.
    pub id: Uuid,
    /// What is typed into the app.
    pub secret: String,
    /// The same as a URI, for a QR code.
    pub uri: String,
}

/// A factor that was confirmed.
pub struct Confirmed {
    /// The recovery codes, shown this once.
    pub recovery_codes: Vec<RecoveryCode>,
    /// The sessions that ended.
    pub ended: Vec<Uuid>,
    /// The account's session epoch from here on.
    pub session_epoch: i32,
}

/// What an account has.
pub async fn summary(pool: &Pool, user_id: Uuid) -> Result<Summary, DbError> {
    let mut connection = db::get(pool).await?;
    let totp = store::confirmed(&mut connection, user_id).await?;
    let recovery_codes_left = store::count_codes(&mut connection, user_id).await?;
    let totp = totp.map(|factor| TotpSummary {
        id: factor.id,
        created_at: factor.confirmed_at,
        last_used_at: factor.last_used_at,
    });
    Ok(Summary { totp, recovery_codes_left })
}

/// Whether an account is asked for a second factor.
pub async fn is_on(pool: &Pool, user_id: Uuid) -> Result<bool, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::is_on(&mut connection, user_id).await?)
}

/// Makes an app's secret for somebody who just proved to own the account. It counts for nothing before its first code; one
/// that still waits is replaced. `issuer` is what the app calls us.
pub async fn begin_totp(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    checked: &Credentials,
    issuer: &str,
) -> Result<Enrolment, FactorError> {
    let id = Uuid::now_v7();
    let secret = totp::random_secret();
    let sealed = seal::seal(keys, id, secret.as_slice())?;
    let mut tx = Tx::begin(pool).await?;
    lock(&mut tx, checked).await?;
    let account = accounts::find_in(&mut tx, checked.user_id).await?.ok_or(FactorError::Overtaken)?;
    if !store::put_pending(&mut tx, id, checked.user_id, &sealed, now).await? {
        return Err(FactorError::AlreadyEnrolled);
    }
    tx.commit().await?;
    let uri = totp::uri(secret.as_slice(), issuer, &account.username);
    Ok(Enrolment { id, secret: totp::base32(secret.as_slice()), uri })
}

/// Takes the first code of the app that waits: from here on the account is asked for it. Sessions that began without it
/// end, but for `keep`, and so does every sign-in that is under way.
pub async fn confirm_totp(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    user_id: Uuid,
    keep: Uuid,
    code: &TotpCode,
    trace: &Trace,
) -> Result<Confirmed, FactorError> {
    let since = now - PENDING_LIFETIME;
    let mut connection = db::get(pool).await?;
    let pending = store::pending(&mut connection, user_id, since).await?.ok_or(FactorError::NotEnrolled)?;
    drop(connection);
    let opened = seal::open(keys, pending.id, &pending.sealed_secret)?;
    let step = totp::step_of(&opened.secret, code, now).ok_or(FactorError::WrongCode)?;

    let mut tx = Tx::begin(pool).await?;
    let epoch = accounts::lock(&mut tx, user_id).await?.ok_or(FactorError::Overtaken)?;
    if !store::confirm(&mut tx, pending.id, step, now).await? {
        return Err(FactorError::NotEnrolled);
    }
    let recovery_codes = replace_codes(&mut tx, user_id, now).await?;
    let ended = sessions::end_all(&mut tx, now, user_id, Some(keep), "factor_added").await?;
    let entry = Entry::own(user_id, Event::FactorAdded).about(pending.id);
    audit::record(&mut tx, now, entry, trace).await?;
    tell(&mut tx, &Job::SendFactorAdded { user_id }, trace).await?;
    tx.commit().await?;
    // Ending the others raised it by one.
    Ok(Confirmed { recovery_codes, ended, session_epoch: epoch + 1 })
}

/// Takes a code of somebody who signs in as `checked`.
pub async fn prove(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    checked: &Credentials,
    code: &Code,
    trace: &Trace,
) -> Result<(), FactorError> {
    let (tx, _) = take(pool, now, keys, checked, code, trace).await?;
    Ok(tx.commit().await?)
}

/// Replaces the recovery codes, for somebody who just proved to own the account and has a code.
pub async fn renew_codes(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    checked: &Credentials,
    code: &Code,
    trace: &Trace,
) -> Result<Vec<RecoveryCode>, FactorError> {
    let (mut tx, factor_id) = take(pool, now, keys, checked, code, trace).await?;
    let codes = replace_codes(&mut tx, checked.user_id, now).await?;
    let entry = Entry::own(checked.user_id, Event::RecoveryCodesRenewed).about(factor_id);
    audit::record(&mut tx, now, entry, trace).await?;
    let notice = SecurityNotice::RecoveryCodesRenewed;
    notices::enqueue(&mut tx, notice, checked.user_id, Some(factor_id), trace).await?;
    tx.commit().await?;
    Ok(codes)
}

/// Takes the app and its recovery codes away, for somebody who just proved to own the account and has a code.
pub async fn remove_totp(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    checked: &Credentials,
    code: &Code,
    trace: &Trace,
) -> Result<(), FactorError> {
    let (mut tx, factor_id) = take(pool, now, keys, checked, code, trace).await?;
    let entry = Entry::own(checked.user_id, Event::FactorRemoved).about(factor_id);
    remove(&mut tx, now, checked.user_id, entry, trace).await?;
    tx.commit().await?;
    Ok(())
}

/// What became of an operator's reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The factor is gone, and its owner is told.
    Done,
    /// The account has none.
    NoFactor,
    /// No live account has this address.
    NoAccount,
}

/// Takes the factor of somebody away who lost app and recovery codes, on an operator's word.
pub async fn reset(pool: &Pool, now: DateTime<Utc>, email: &Email) -> Result<Reset, FactorError> {
    let mut tx = Tx::begin(pool).await?;
    let Some(account) = accounts::find_by_email(&mut tx, email.as_str()).await? else {
        return Ok(Reset::NoAccount);
    };
    accounts::lock(&mut tx, account.id).await?.ok_or(FactorError::Overtaken)?;
    let Some(factor) = store::confirmed(&mut tx, account.id).await? else { return Ok(Reset::NoFactor) };
    let entry = Entry { actor: Actor::Operator, ..Entry::own(account.id, Event::FactorRemoved) };
    remove(&mut tx, now, account.id, entry.about(factor.id), &Trace::default()).await?;
    tx.commit().await?;
    Ok(Reset::Done)
}

/// How much was held of a user's factors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forgotten {
    /// Apps, confirmed or not.
    pub(crate) apps: usize,
    /// Recovery codes, used or not.
    pub(crate) codes: usize,
}

/// Removes everything that is held of a user's factors.
pub(crate) async fn forget(tx: &mut Tx, user_id: Uuid) -> Result<Forgotten, DbError> {
    let codes = store::delete_codes(tx, user_id).await?;
    Ok(Forgotten { apps: store::delete_factor(tx, user_id).await?, codes })
}

/// Removes apps that never got their first code. Returns how many.
pub(crate) async fn purge(pool: &Pool, before: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::purge_pending(&mut connection, before).await?)
}

/// Takes a code, in a transaction that whoever called goes on with, and that holds the lock on the user's row. Returns the
/// factor too. A code that is not taken is remembered.
async fn take(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    checked: &Credentials,
    code: &Code,
    trace: &Trace,
) -> Result<(Tx, Uuid), FactorError> {
    let mut connection = db::get(pool).await?;
    let factor = store::confirmed(&mut connection, checked.user_id).await?.ok_or(FactorError::NotEnrolled)?;
    drop(connection);
    let taken = match code {
        Code::Totp(code) => take_step(pool, now, keys, checked, &factor, code).await,
        Code::Recovery(code) => take_recovery_code(pool, now, checked, code, trace).await,
    };
    match taken {
        Ok(tx) => Ok((tx, factor.id)),
        Err(FactorError::WrongCode) => {
            let entry = Entry { actor: Actor::Unknown, ..Entry::own(checked.user_id, Event::FactorFailed) };
            let mut connection = db::get(pool).await?;
            audit::record(&mut connection, now, entry.about(factor.id), trace).await?;
            Err(FactorError::WrongCode)
        }
        Err(error) => Err(error),
    }
}

/// A code of the app: its time step, and every earlier one, is taken by the first who comes.
async fn take_step(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    checked: &Credentials,
    factor: &store::ConfirmedTotp,
    code: &TotpCode,
) -> Result<Tx, FactorError> {
    let opened = seal::open(keys, factor.id, &factor.sealed_secret)?;
    let step = totp::step_of(&opened.secret, code, now).ok_or(FactorError::WrongCode)?;
    let resealed = if opened.is_stale { Some(seal::seal(keys, factor.id, &opened.secret)?) } else { None };
    let mut tx = Tx::begin(pool).await?;
    lock(&mut tx, checked).await?;
    if !store::take_step(&mut tx, factor.id, step, now).await? {
        return Err(FactorError::WrongCode);
    }
    if let Some(sealed) = resealed {
        store::reseal(&mut tx, factor.id, &sealed).await?;
    }
    Ok(tx)
}

async fn take_recovery_code(
    pool: &Pool,
    now: DateTime<Utc>,
    checked: &Credentials,
    code: &RecoveryCode,
    trace: &Trace,
) -> Result<Tx, FactorError> {
    let user_id = checked.user_id;
    let mut tx = Tx::begin(pool).await?;
    lock(&mut tx, checked).await?;
    if !store::take_code(&mut tx, user_id, digest(code).as_slice(), now).await? {
        return Err(FactorError::WrongCode);
    }
    audit::record(&mut tx, now, Entry::own(user_id, Event::RecoveryCodeUsed), trace).await?;
    tell(&mut tx, &Job::SendRecoveryCodeUsed { user_id }, trace).await?;
    Ok(tx)
}

/// Locks the row of the user who was checked, unless the check counts no more.
async fn lock(tx: &mut Tx, checked: &Credentials) -> Result<(), FactorError> {
    let epoch = accounts::lock(tx, checked.user_id).await?;
    if epoch == Some(checked.session_epoch) { Ok(()) } else { Err(FactorError::Overtaken) }
}

async fn replace_codes(
    tx: &mut Tx,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Vec<RecoveryCode>, FactorError> {
    let codes: Vec<RecoveryCode> = (0..RECOVERY_CODES).map(|_| RecoveryCode::random()).collect();
    store::delete_codes(tx, user_id).await?;
    let digests: Vec<Digest> = codes.iter().map(digest).collect();
    store::insert_codes(tx, user_id, &digests, now).await?;
    Ok(codes)
}

async fn remove(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    entry: Entry<'_>,
    trace: &Trace,
) -> Result<(), FactorError> {
    forget(tx, user_id).await?;
    audit::record(tx, now, entry, trace).await?;
    Ok(tell(tx, &Job::SendFactorRemoved { user_id }, trace).await?)
}

/// Promises the owner a mail.
async fn tell(tx: &mut Tx, job: &Job, trace: &Trace) -> Result<(), DbError> {
    let options = outbox::Options { request_id: trace.request_id.clone(), ..outbox::Options::default() };
    outbox::enqueue(tx, job, options).await
}

/// What is stored of a recovery code. It cannot be guessed, so it needs no salt, and no key either: it has to be good when
/// a key was lost.
fn digest(code: &RecoveryCode) -> Digest {
    Digest::of(code.as_str().as_bytes())
}
