//! The record of security events: who did what to which account, in the transaction that did it. Append-only.
//!
//! It holds ids, a keyed hash of the network and the request's id: no address, no name, no secret.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::db::{self, Connection, DbError, Pool};
use crate::page::Cursor;
pub use store::SecurityEvent;

/// How long the hash of a network is kept.
const NETWORK_KEPT: TimeDelta = TimeDelta::days(90);

/// How long a row is kept.
const ROW_KEPT: TimeDelta = TimeDelta::days(365);

/// Where a change came from.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The request, for the logs of its jobs too.
    pub request_id: Option<String>,
    /// Keyed hash of the prefix of the client's address.
    pub ip_hash: Option<Vec<u8>>,
    /// Whether the address belongs to a network of its own, so that sharing it means something. A loopback or private
    /// address is everybody's: a proxy stands before us that is not named in `TRUSTED_PROXIES`, or nothing does.
    pub is_public: bool,
    /// The session that acts, from whose row a notice says where it came from.
    pub session_id: Option<Uuid>,
}

impl Trace {
    /// The network, when sharing it means something.
    pub fn network(&self) -> Option<&[u8]> {
        self.ip_hash.as_deref().filter(|_| self.is_public)
    }
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The holder of the account.
    Account(Uuid),
    /// A programme manager.
    Manager(Uuid),
    /// Somebody at the command line.
    Operator,
    /// A rule of the system itself.
    System,
    /// Nobody who could be known.
    Unknown,
}

impl Actor {
    fn columns(self) -> (&'static str, Option<Uuid>) {
        match self {
            Self::Account(id) => ("account", Some(id)),
            Self::Manager(id) => ("manager", Some(id)),
            Self::Operator => ("operator", None),
            Self::System => ("system", None),
            Self::Unknown => ("unknown", None),
        }
    }
}

macro_rules! events {
    ($($name:ident = $slug:literal, $meaning:literal;)*) => {
        /// What happened. A closed set: add, never rename.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $(#[doc = $meaning] $name,)*
        }

        impl Event {
            /// Every event.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The name in the record and in the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }
        }
    };
}

events! {
    AccountCreated = "account_created", "The account was made.";
    AccountDeleted = "account_deleted", "The account was deleted.";
    EmailVerified = "email_verified", "The address was confirmed.";
    TrustReset = "trust_reset", "The mailbox was proved for the first time, and what had been added to the account before was removed: the reason names it.";
    EmailChangeRequested = "email_change_requested", "A new address was asked for, with the password.";
    EmailChanged = "email_changed", "The new address was confirmed and took the place of the old.";
    UsernameChanged = "username_changed", "The account has another username.";
    DataExported = "data_exported", "Everything held about the account was handed out.";
    SignedIn = "signed_in", "A session started.";
    SignInFailed = "sign_in_failed", "A password was wrong, or the name unknown.";
    SignedOut = "signed_out", "A session was ended by its holder.";
    SessionsEnded = "sessions_ended", "All sessions were ended: by their holder, who keeps the present one, or by a manager or operator.";
    SessionReplaced = "session_replaced", "A session ended because its browser signed in again.";
    RefreshReused = "refresh_reused", "A refresh token was used again after its time: its session was ended.";
    PasswordChanged = "password_changed", "The password was changed with the old one.";
    PasswordReset = "password_reset", "The password was set by a mailed link.";
    FactorAdded = "factor_added", "A second factor was confirmed.";
    FactorRemoved = "factor_removed", "The second factor was taken away.";
    FactorFailed = "factor_failed", "A code of the second factor was wrong, or used before.";
    RecoveryCodeUsed = "recovery_code_used", "A recovery code stood in for the second factor.";
    RecoveryCodesRenewed = "recovery_codes_renewed", "New recovery codes replaced the old ones.";
    ProviderVouched = "provider_vouched", "An identity provider said that this is the holder.";
    IdentityLinked = "identity_linked", "An account at an identity provider may sign in from now on.";
    IdentityUnlinked = "identity_unlinked", "An account at an identity provider may sign in no more.";
    RewardRulesChanged = "reward_rules_changed", "The rules of rewards were replaced.";
    DiscountRedeemed = "discount_redeemed", "A coupon was used.";
    RoleGranted = "role_granted", "The account became a programme manager's.";
    RoleRevoked = "role_revoked", "The account is no longer a programme manager's.";
    AccountBlocked = "account_blocked", "The account was blocked, and its sessions ended.";
    AccountUnblocked = "account_unblocked", "The account was let in again.";
    CreditsAdjusted = "credits_adjusted", "Credits were given or taken.";
    ReferralSuccessful = "referral_successful", "A referral counted.";
    ReferralRejected = "referral_rejected", "A referral was refused.";
    ReferralExpired = "referral_expired", "A referral waited too long.";
    ReferralHeld = "referral_held", "A referral was laid before the managers.";
    ReferralReleased = "referral_released", "A referral went from the managers back to waiting.";
    ReferralReversed = "referral_reversed", "A referral that had counted was taken back.";
    PageDisabled = "page_disabled", "The page was taken down.";
    PageEnabled = "page_enabled", "The page was put up again.";
    LinkDisabled = "link_disabled", "A link was taken down.";
    LinkEnabled = "link_enabled", "A link was put up again.";
    ReportDismissed = "report_dismissed", "A report of the page was found to have no ground.";
    DomainBlocked = "domain_blocked", "No link leads to a domain any more: the reason begins with it.";
    WebhookAdded = "webhook_added", "An endpoint of webhooks was added.";
    WebhookChanged = "webhook_changed", "The address, the name or the events of an endpoint were changed.";
    WebhookSecretRotated = "webhook_secret_rotated", "An endpoint got a new secret.";
    WebhookDisabled = "webhook_disabled", "An endpoint is told nothing any more: the reason says why.";
    WebhookEnabled = "webhook_enabled", "An endpoint is told again.";
    WebhookTried = "webhook_tried", "A manager tried an endpoint.";
    WebhookRetold = "webhook_retold", "A manager let an endpoint be told again what it was told.";
    WebhookDeleted = "webhook_deleted", "An endpoint was taken away.";
    DomainUnblocked = "domain_unblocked", "Links may lead to a domain again: the reason begins with it.";
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Whose account.
    pub user_id: Option<Uuid>,
    /// Who did it.
    pub actor: Actor,
    /// What.
    pub event: Event,
    /// The session, factor, identity, referral, entry, link, report or endpoint that it is about.
    pub subject_id: Option<Uuid>,
    /// Why, when somebody gave a reason.
    pub reason: Option<&'a str>,
}

impl Entry<'_> {
    /// What the holder of an account did.
    pub fn own(user_id: Uuid, event: Event) -> Self {
        Self { user_id: Some(user_id), actor: Actor::Account(user_id), event, subject_id: None, reason: None }
    }

    /// About this session, factor, identity or referral.
    #[must_use]
    pub fn about(self, subject_id: Uuid) -> Self {
        Self { subject_id: Some(subject_id), ..self }
    }
}

/// Writes an entry, in the transaction of what it tells of.
pub async fn record(
    connection: &mut Connection,
    now: DateTime<Utc>,
    entry: Entry<'_>,
    trace: &Trace,
) -> Result<(), DbError> {
    Ok(store::insert(connection, now, entry, trace).await?)
}

/// Writes several entries at once.
pub(crate) async fn record_all(
    connection: &mut Connection,
    now: DateTime<Utc>,
    entries: &[Entry<'_>],
    trace: &Trace,
) -> Result<(), DbError> {
    Ok(store::insert_all(connection, now, entries, trace).await?)
}

/// Writes that a sign-in failed. The same work whether it named an account or not.
pub async fn sign_in_failed(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Option<Uuid>,
    trace: &Trace,
) -> Result<(), DbError> {
    let entry =
        Entry { user_id, actor: Actor::Unknown, event: Event::SignInFailed, subject_id: None, reason: None };
    let mut connection = db::get(pool).await?;
    record(&mut connection, now, entry, trace).await
}

/// Which events are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Of this account only.
    pub user_id: Option<Uuid>,
    /// Of this kind only.
    pub event: Option<Event>,
    /// About this session, factor, identity or referral only.
    pub subject_id: Option<Uuid>,
}

/// Events, newest first, after `after`; at most `limit`.
pub async fn list(
    pool: &Pool,
    filter: Filter,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<SecurityEvent>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::list(&mut connection, filter, after, limit).await?)
}

/// Whether a user has signed in before, and never from this network while networks are kept.
pub(crate) async fn is_new_network(
    connection: &mut Connection,
    user_id: Uuid,
    network: &[u8],
) -> Result<bool, DbError> {
    Ok(store::has_signed_in(connection, user_id, None).await?
        && !store::has_signed_in(connection, user_id, Some(network)).await?)
}

/// Forgets from where a user's events came.
pub(crate) async fn forget_networks(connection: &mut Connection, user_id: Uuid) -> Result<(), DbError> {
    Ok(store::forget_networks(connection, user_id).await?)
}

/// Forgets networks after 90 days and rows after a year. Returns how many rows went.
pub(crate) async fn purge(pool: &Pool, now: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    store::forget_networks_before(&mut connection, now - NETWORK_KEPT).await?;
    Ok(store::delete_before(&mut connection, now - ROW_KEPT).await?)
}
