//! Notices of security events: what the holder of an account is mailed about.
//!
//! A job carries ids and the kind of event. What the mail says of the place, the browser and the network prefix, is read
//! from the session that acted when the mail is sent. A deletion removes the address in its transaction, so it leaves the
//! address encrypted in a row of its own, for this one mail: the row goes when the mail is sent, and after a day at the
//! latest.

mod store;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::accounts::Account;
use crate::audit::Trace;
use crate::config::SealingKeys;
use crate::db::{self, DbError, Pool, Tx};
use crate::outbox::{self, Job};
use crate::{seal, sessions};

/// How long the address of a deleted account is kept for the notice. The retention job removes it after.
const ADDRESS_KEPT: TimeDelta = TimeDelta::hours(24);

/// What a notice is about. A closed set: add, never rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityNotice {
    /// A sign-in from a browser and a network that are both new to the account.
    NewSignIn,
    /// The account was deleted.
    AccountDeleted,
    /// An account at an identity provider was unlinked.
    IdentityUnlinked,
    /// New recovery codes replaced the old ones.
    RecoveryCodesRenewed,
    /// The data of the account was exported.
    DataExported,
}

impl SecurityNotice {
    /// Every notice.
    pub const ALL: [Self; 5] = [
        Self::NewSignIn,
        Self::AccountDeleted,
        Self::IdentityUnlinked,
        Self::RecoveryCodesRenewed,
        Self::DataExported,
    ];

    /// The name in settings, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewSignIn => "new_sign_in",
            Self::AccountDeleted => "account_deleted",
            Self::IdentityUnlinked => "identity_unlinked",
            Self::RecoveryCodesRenewed => "recovery_codes_renewed",
            Self::DataExported => "data_exported",
        }
    }
}

/// Where an event came from.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Place {
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The prefix of the client's address, such as `203.0.113.0/24`.
    pub ip_prefix: String,
}

/// To whom the notice of a deletion goes.
#[derive(Serialize, Deserialize)]
pub struct DeletedAccount {
    /// The address that the account had.
    pub email: String,
    /// The username that it had.
    pub username: String,
    /// Where the deletion came from, if a session asked for it.
    pub place: Option<Place>,
}

/// Enqueues a notice, in the transaction of the event. One session is the subject of one notice at most.
pub(crate) async fn enqueue(
    tx: &mut Tx,
    notice: SecurityNotice,
    user_id: Uuid,
    subject_id: Option<Uuid>,
    trace: &Trace,
) -> Result<(), DbError> {
    let session_id = trace.session_id;
    let (session_id, dedupe_key) = match (notice, subject_id) {
        (SecurityNotice::NewSignIn, Some(id)) => (Some(id), Some(format!("{}:{id}", notice.as_str()))),
        _ => (session_id, None),
    };
    let job = Job::SendSecurityNotice { notice, user_id, session_id, subject_id };
    let options = outbox::Options { dedupe_key, request_id: trace.request_id.clone(), due_at: None };
    outbox::enqueue(tx, &job, options).await
}

/// Keeps the address of an account that is being deleted, encrypted, and enqueues the notice.
pub(crate) async fn enqueue_deletion(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    account: &Account,
    place: Option<Place>,
    trace: &Trace,
) -> Result<(), DbError> {
    let id = Uuid::now_v7();
    let to = DeletedAccount { email: account.email.clone(), username: account.username.clone(), place };
    let sealed = serde_json::to_vec(&to).ok().and_then(|text| seal::seal(keys, id, &text).ok());
    let Some(sealed) = sealed else {
        // The person's right to be deleted comes before the mail about it.
        tracing::error!("the notice of a deletion cannot be encrypted and is not sent");
        return Ok(());
    };
    store::insert(tx, id, &sealed, now).await?;
    enqueue(tx, SecurityNotice::AccountDeleted, account.id, Some(id), trace).await
}

/// To whom the notice of a deletion goes; `None` once it was sent, or came too late.
pub async fn deleted_account(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    id: Uuid,
) -> Result<Option<DeletedAccount>, DbError> {
    let mut connection = db::get(pool).await?;
    let Some(sealed) = store::find(&mut connection, id, now - ADDRESS_KEPT).await? else { return Ok(None) };
    let Ok(opened) = seal::open(keys, id, &sealed) else {
        tracing::error!("the address for the notice of a deletion is sealed with a key that is not known");
        return Ok(None);
    };
    Ok(serde_json::from_slice(&opened.secret).ok())
}

/// Removes the address of a deleted account: its notice was sent.
pub async fn forget_address(pool: &Pool, id: Uuid) -> Result<(), DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::delete(&mut connection, id).await?)
}

/// Where a session came from; `None` when it is gone, or what it came from was removed.
pub async fn place(pool: &Pool, session_id: Uuid) -> Result<Option<Place>, DbError> {
    sessions::place(&mut *db::get(pool).await?, session_id).await
}

/// Removes the addresses of deleted accounts whose notice could not be sent within a day.
pub(crate) async fn purge(pool: &Pool, now: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::purge(&mut connection, now - ADDRESS_KEPT).await?)
}
