//! Registering: an account with its referral code, its referral and its mail, all or none.

mod retry;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Account, Email, Username, names, pending, store, verification};
use crate::audit::{self, Entry, Event, Trace};
use crate::config::{Keys, ReferralPolicy};
use crate::db::{DbError, Pool, Tx, constraint};
use crate::referrals::{self, Attributed, Attribution, Claim, ReferralCode};
use crate::webhooks;
pub(super) use retry::forget;
pub(crate) use retry::purge;
pub use retry::{AttemptKey, Repeated};

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
    /// How long the address may be confirmed.
    pub confirmation: TimeDelta,
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
    verification::issue(&mut tx, now, new.confirmation, account.id, &new.email, new.trace.request_id).await?;
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
        super::verified(tx, now, policy, id, request_id).await?;
    } else {
        verification::issue(tx, now, new.confirmation, id, &new.email, request_id).await?;
    }
    Ok(registered)
}

/// Makes an account with its referral. `verified_at` is when its address was confirmed.
pub(super) async fn create(
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
    names::lock(tx, &new.username).await?;
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
    let request_id = new.trace.request_id.as_deref();
    webhooks::announce(tx, webhooks::Event::UserRegistered, &[account.id], None, request_id).await?;
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
