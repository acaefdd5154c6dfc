//! Accounts at identity providers (Google, GitHub, any OpenID Connect issuer) that sign in to an account here.
//!
//! An identity is the pair of issuer and subject, never an address. By address it is linked only when the provider vouches
//! for the address and the account has confirmed it: else whoever registers somebody else's address, here or there, would
//! share the account of its owner. Linked by its signed-in holder, a provider that vouches for the account's own address is
//! the first proof of a mailbox that was never confirmed. The UNIQUE index decides who comes first; whoever comes second looks again.

mod names;
mod store;

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::accounts::{self, Credentials, Email, NewAccount, RegisterError, Registered, Reserved, Username};
use crate::audit::{self, Entry, Event, Trace};
use crate::config::{Keys, ReferralPolicy};
use crate::db::{self, DbError, Pool, QueryError, Tx, constraint};
use crate::notices::{self, SecurityNotice};
use crate::outbox::{self, Job};
use crate::referrals::Claim;
use crate::token::Digest;
pub use store::Identity;

/// How often a sign-in looks again after somebody else was first.
const RACES: usize = 3;

/// What a provider vouches for.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// The provider's name in the settings.
    pub provider: String,
    /// The issuer.
    pub issuer: String,
    /// Whom the issuer means; never given to anybody else.
    pub subject: String,
    /// The address that the provider knows.
    pub email: Option<Email>,
    /// Whether the provider says that the address is this person's.
    pub email_verified: bool,
    /// What the person likes to be called, best first; not checked in any way.
    pub names: Vec<String>,
}

/// Who it is stays out of the logs.
impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// What is kept of somebody who may turn out to be new here.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// The code or link that the person came with.
    pub claim: Option<Claim>,
    /// Users that the browser is known to belong to (a live session, a device cookie).
    pub known_as: Vec<Uuid>,
    /// How long the address of a new account may be confirmed.
    pub confirmation: TimeDelta,
    /// Whether an account may be made with an address that the provider does not vouch for.
    pub may_be_unverified: bool,
    /// Usernames that a new account cannot have.
    pub reserved: Reserved,
}

/// Somebody who may come in.
#[derive(Debug)]
pub struct Arrival {
    /// For whom a session may start.
    pub credentials: Credentials,
    /// The account, when it was made just now.
    pub registered: Option<Registered>,
}

/// Why an identity was of no use.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The account it leads to is blocked.
    #[error("the account may not be used")]
    Refused,
    /// It is nobody's here, its address has an account, and not both sides vouch for the address.
    #[error("the e-mail address has an account")]
    EmailTaken,
    /// It is nobody's here, and the provider tells no address to make an account with.
    #[error("the provider told no e-mail address")]
    EmailMissing,
    /// Every username that was tried is taken.
    #[error("no username is free")]
    UsernameTaken,
    /// It belongs to another account.
    #[error("the identity belongs to another account")]
    Taken,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<QueryError> for IdentityError {
    fn from(error: QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// How one try of a sign-in failed.
enum Miss {
    /// For good.
    Final(IdentityError),
    /// The name is taken: try another.
    Name,
    /// Somebody else was first with the identity or the address: look again.
    Race(IdentityError),
}

impl<E: Into<IdentityError>> From<E> for Miss {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

/// Finds or makes the account of an identity. Nobody's session starts here.
pub async fn sign_in(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    profile: &Profile,
    newcomer: &Newcomer,
    trace: &Trace,
) -> Result<Arrival, IdentityError> {
    let mut names = names::candidates(profile, &newcomer.reserved);
    let mut name = names.next();
    let mut races = 0;
    loop {
        let mut tx = Tx::begin(pool).await?;
        let arrival = match find(&mut tx, now, (profile, newcomer), trace).await {
            Ok(Some(credentials)) => Ok(Arrival { credentials, registered: None }),
            Ok(None) => register(&mut tx, now, keys, policy, (profile, newcomer), name.as_ref(), trace).await,
            Err(miss) => Err(miss),
        };
        match arrival {
            Ok(arrival) => {
                tx.commit().await?;
                return Ok(arrival);
            }
            Err(Miss::Name) => name = names.next(),
            Err(Miss::Race(_)) if races < RACES => races += 1,
            Err(Miss::Race(error) | Miss::Final(error)) => return Err(error),
        }
    }
}

/// The account that the identity belongs to, or comes to belong to by its address.
async fn find(
    tx: &mut Tx,
    now: DateTime<Utc>,
    (profile, newcomer): (&Profile, &Newcomer),
    trace: &Trace,
) -> Result<Option<Credentials>, Miss> {
    if let Some((id, user_id)) = store::find(tx, &profile.issuer, &profile.subject).await? {
        // The account's row first, as whoever unlinks takes it: neither waits for the other in a ring.
        accounts::lock_shared(tx, user_id).await?;
        if store::find(tx, &profile.issuer, &profile.subject).await? != Some((id, user_id)) {
            return Err(Miss::Race(IdentityError::Refused));
        }
        let credentials = accounts::credentials_if_blocked_too(tx, user_id).await?;
        let credentials = credentials.ok_or(IdentityError::Refused)?;
        store::touch(tx, id, now).await?;
        audit::record(tx, now, Entry::own(user_id, Event::ProviderVouched).about(id), trace).await?;
        return Ok(Some(credentials));
    }
    let email = profile.email.as_ref().ok_or(IdentityError::EmailMissing)?;
    // Said before anybody is looked up: whoever owns no address learns nothing of who has it.
    if !profile.email_verified && !newcomer.may_be_unverified {
        return Err(IdentityError::EmailMissing.into());
    }
    let Some(account) = accounts::find_by_email(tx, email.as_str()).await? else { return Ok(None) };
    // Looked at again under the lock: the address may have become another account's meanwhile.
    accounts::lock(tx, account.id).await?;
    let account = accounts::find_in(tx, account.id).await?;
    let ours =
        account.filter(|account| account.email == email.as_str() && account.email_verified_at.is_some());
    let Some(account) = ours.filter(|_| profile.email_verified) else {
        return Err(IdentityError::EmailTaken.into());
    };
    let credentials = accounts::credentials_in(tx, account.id).await?.ok_or(IdentityError::Refused)?;
    let id = insert(tx, now, account.id, profile).await?;
    announce(tx, now, account.id, id, trace).await?;
    audit::record(tx, now, Entry::own(account.id, Event::ProviderVouched).about(id), trace).await?;
    Ok(Some(credentials))
}

/// Makes an account for an identity that is new here: with no password, and as confirmed as the provider says.
async fn register(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    (profile, newcomer): (&Profile, &Newcomer),
    name: Option<&Username>,
    trace: &Trace,
) -> Result<Arrival, Miss> {
    let email = profile.email.clone().ok_or(IdentityError::EmailMissing)?;
    let new = NewAccount {
        email,
        username: name.cloned().ok_or(IdentityError::UsernameTaken)?,
        password_hash: None,
        claim: newcomer.claim.clone(),
        known_as: newcomer.known_as.clone(),
        confirmation: newcomer.confirmation,
        trace: trace.clone(),
    };
    let made = accounts::register_vouched(tx, now, keys, policy, new, profile.email_verified).await;
    let registered = match made {
        Ok(registered) => registered,
        Err(RegisterError::UsernameTaken) => return Err(Miss::Name),
        Err(RegisterError::EmailTaken) => return Err(Miss::Race(IdentityError::EmailTaken)),
        // A code that does not exist stands in the way of nobody who comes from a provider.
        Err(RegisterError::UnknownReferralCode | RegisterError::KeyReused) => {
            return Err(IdentityError::Refused.into());
        }
        Err(RegisterError::Db(error)) => return Err(error.into()),
    };
    let user_id = registered.account.id;
    let id = insert(tx, now, user_id, profile).await?;
    audit::record(tx, now, Entry::own(user_id, Event::ProviderVouched).about(id), trace).await?;
    let credentials = accounts::credentials_in(tx, user_id).await?.ok_or(IdentityError::Refused)?;
    Ok(Arrival { credentials, registered: Some(registered) })
}

async fn insert(tx: &mut Tx, now: DateTime<Utc>, user_id: Uuid, profile: &Profile) -> Result<Uuid, Miss> {
    let id = Uuid::now_v7();
    match store::insert(tx, id, now, user_id, profile).await {
        Ok(()) => Ok(id),
        Err(error) if constraint::unique_violation(&error).is_some() => Err(Miss::Race(IdentityError::Taken)),
        Err(error) => Err(error.into()),
    }
}

/// Tells the holder that there is one more way into the account.
async fn announce(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    identity_id: Uuid,
    trace: &Trace,
) -> Result<(), DbError> {
    audit::record(tx, now, Entry::own(user_id, Event::IdentityLinked).about(identity_id), trace).await?;
    let options = outbox::Options { request_id: trace.request_id.clone(), ..outbox::Options::default() };
    outbox::enqueue(tx, &Job::SendIdentityLinked { identity_id }, options).await
}

/// Links an identity to the account of a signed-in user, given with the session. Linking one's own once more changes nothing.
/// Returns the sessions that ended because the provider vouches for an address that was never confirmed.
pub async fn link(
    pool: &Pool,
    now: DateTime<Utc>,
    policy: ReferralPolicy,
    (user_id, session_id): (Uuid, Uuid),
    profile: &Profile,
    trace: &Trace,
) -> Result<Vec<Uuid>, IdentityError> {
    let mut tx = Tx::begin(pool).await?;
    accounts::lock(&mut tx, user_id).await?.ok_or(IdentityError::Refused)?;
    accounts::credentials_in(&mut tx, user_id).await?.ok_or(IdentityError::Refused)?;
    match store::find(&mut tx, &profile.issuer, &profile.subject).await? {
        Some((_, owner)) if owner == user_id => return Ok(Vec::new()),
        Some(_) => return Err(IdentityError::Taken),
        None => {}
    }
    let account = accounts::find_in(&mut tx, user_id).await?.ok_or(IdentityError::Refused)?;
    let vouched = profile.email.as_ref().filter(|_| profile.email_verified).map(Email::as_str);
    let ended = if account.email_verified_at.is_none() && vouched == Some(account.email.as_str()) {
        // Before the identity is added: the proof removes those that were there.
        accounts::set_verified(&mut tx, now, &account).await?;
        audit::record(&mut tx, now, Entry::own(user_id, Event::EmailVerified), trace).await?;
        accounts::prove_mailbox(&mut tx, now, policy, user_id, Some(session_id), trace).await?
    } else {
        Vec::new()
    };
    let id = match insert(&mut tx, now, user_id, profile).await {
        Ok(id) => id,
        Err(Miss::Race(error) | Miss::Final(error)) => return Err(error),
        Err(Miss::Name) => return Err(IdentityError::Refused),
    };
    announce(&mut tx, now, user_id, id, trace).await?;
    tx.commit().await?;
    Ok(ended)
}

/// Why an identity was not unlinked.
#[derive(Debug, thiserror::Error)]
pub enum UnlinkError {
    /// The account has no such identity.
    #[error("no such identity")]
    NoSuchIdentity,
    /// Without it nobody could sign in any more.
    #[error("this is the last way in")]
    LastWayIn,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<QueryError> for UnlinkError {
    fn from(error: QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Unlinks an identity, unless it is the last way into the account.
pub async fn unlink(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    id: Uuid,
    trace: &Trace,
) -> Result<(), UnlinkError> {
    let mut tx = Tx::begin(pool).await?;
    // Two that are unlinked at once are counted one after the other.
    accounts::lock(&mut tx, user_id).await?.ok_or(UnlinkError::NoSuchIdentity)?;
    let all = store::list(&mut tx, user_id).await?;
    if !all.iter().any(|identity| identity.id == id) {
        return Err(UnlinkError::NoSuchIdentity);
    }
    let credentials = accounts::credentials_in(&mut tx, user_id).await?.ok_or(UnlinkError::NoSuchIdentity)?;
    if credentials.password_hash.is_none() && all.len() == 1 {
        return Err(UnlinkError::LastWayIn);
    }
    store::delete(&mut tx, id).await?;
    audit::record(&mut tx, now, Entry::own(user_id, Event::IdentityUnlinked).about(id), trace).await?;
    notices::enqueue(&mut tx, SecurityNotice::IdentityUnlinked, user_id, Some(id), trace).await?;
    Ok(tx.commit().await?)
}

/// A user's identities, oldest first.
pub async fn list(pool: &Pool, user_id: Uuid) -> Result<Vec<Identity>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::list(&mut connection, user_id).await?)
}

/// What the mail about a new identity tells.
#[derive(Debug)]
pub struct LinkedMail {
    /// Whose account.
    pub user_id: Uuid,
    /// The provider's name in the settings.
    pub provider: String,
    /// When it was linked.
    pub at: DateTime<Utc>,
}

/// What to mail about an identity; `None` when it was unlinked meanwhile.
pub async fn linked_mail(pool: &Pool, id: Uuid) -> Result<Option<LinkedMail>, DbError> {
    let mut connection = db::get(pool).await?;
    let found = store::find_by_id(&mut connection, id).await?;
    Ok(found.map(|(user_id, provider, at)| LinkedMail { user_id, provider, at }))
}

/// What people call a provider of this name, unless the settings say otherwise.
pub fn title(provider: &str) -> String {
    if provider == "github" {
        return "GitHub".to_owned();
    }
    let mut letters = provider.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Uses up the state of a sign-in that came back. Returns whether this was the first time: of many at once, one is.
pub async fn spend_state(pool: &Pool, state: Digest, expires_at: DateTime<Utc>) -> Result<bool, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::spend_state(&mut connection, state.as_slice(), expires_at).await?)
}

/// Removes a user's identities. Returns how many.
pub(crate) async fn forget(tx: &mut Tx, user_id: Uuid) -> Result<usize, DbError> {
    Ok(store::delete_all(tx, user_id).await?)
}

/// How many identities a user has.
pub(crate) async fn count(tx: &mut Tx, user_id: Uuid) -> Result<usize, DbError> {
    Ok(store::list(tx, user_id).await?.len())
}

/// Removes states that could not be used any more before `before`.
pub(crate) async fn purge(pool: &Pool, before: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::purge_states(&mut connection, before).await?)
}
