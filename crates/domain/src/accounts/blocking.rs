//! Keeping somebody out, and what managers see of accounts.
//!
//! A blocked account cannot sign in: its holder is answered with the reason, after the whole proof and not before, and gets
//! a mail. Its data stays; an operator hands it out or deletes it. Furthermore, its code brings nobody, and no referral with it on either side is settled until it is
//! let in again. What was earned stays; a manager reverses it referral by referral.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Email;
use crate::audit::{self, Actor, Entry, Event, Trace};
use crate::db::{self, DbError, Pool, Tx};
use crate::outbox::{self, Job};
use crate::page::Cursor;
use crate::referrals::{self, ReferralCode};
use crate::sessions;
pub use store::AccountView;

/// Whom, by whom, and why.
#[derive(Clone, Copy, Debug)]
pub struct Blocking<'a> {
    /// The account.
    pub user_id: Uuid,
    /// Who decides.
    pub actor: Actor,
    /// Why: for the record, and of a block for the holder of the account.
    pub reason: &'a str,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// Whether anything changed: not the second time.
    pub changed: bool,
    /// The sessions that ended.
    pub ended: Vec<Uuid>,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// There is no such account, or not any more.
    #[error("there is no such account")]
    NoSuchAccount,
    /// Managers who block themselves could not undo it.
    #[error("you cannot block your own account")]
    OwnAccount,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for BlockError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Keeps an account out: its sessions end, and outstanding mail links are void. Once: a second time does nothing.
pub async fn block(
    pool: &Pool,
    now: DateTime<Utc>,
    blocking: Blocking<'_>,
    trace: &Trace,
) -> Result<Blocked, BlockError> {
    let Blocking { user_id, actor, .. } = blocking;
    if actor == Actor::Manager(user_id) {
        return Err(BlockError::OwnAccount);
    }
    let mut tx = Tx::begin(pool).await?;
    if store::lock(&mut tx, user_id).await?.ok_or(BlockError::NoSuchAccount)?.is_some() {
        return Ok(Blocked::default());
    }
    store::set_blocked(&mut tx, user_id, Some((now, blocking.reason))).await?;
    let ended = sessions::end_all(&mut tx, now, user_id, None, "account_blocked").await?;
    crate::recovery::void_all(&mut tx, now, user_id).await?;
    record(&mut tx, now, blocking, Event::AccountBlocked, trace).await?;
    announce(&mut tx, &Job::SendAccountBlocked { user_id }, trace).await?;
    tx.commit().await?;
    Ok(Blocked { changed: true, ended })
}

/// Lets an account in again. What waited for it is settled now.
pub async fn unblock(
    pool: &Pool,
    now: DateTime<Utc>,
    blocking: Blocking<'_>,
    trace: &Trace,
) -> Result<Blocked, BlockError> {
    let mut tx = Tx::begin(pool).await?;
    if store::lock(&mut tx, blocking.user_id).await?.ok_or(BlockError::NoSuchAccount)?.is_none() {
        return Ok(Blocked::default());
    }
    store::set_blocked(&mut tx, blocking.user_id, None).await?;
    record(&mut tx, now, blocking, Event::AccountUnblocked, trace).await?;
    referrals::let_in_again(&mut tx, now, blocking.user_id, trace.request_id.as_deref()).await?;
    announce(&mut tx, &Job::SendAccountUnblocked { user_id: blocking.user_id }, trace).await?;
    announce(&mut tx, &Job::RecheckReferrals {}, trace).await?;
    tx.commit().await?;
    Ok(Blocked { changed: true, ended: Vec::new() })
}

/// What the holder of a blocked account reads.
#[derive(Debug)]
pub struct BlockNotice {
    /// Where to.
    pub address: Email,
    /// Who.
    pub username: String,
    /// Why; a block of an older release has none.
    pub reason: Option<String>,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// What the holder of an account reads of its block; `None` while it is not blocked.
pub async fn block_notice(pool: &Pool, user_id: Uuid) -> Result<Option<BlockNotice>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::notice(&mut connection, user_id).await?)
}

async fn announce(tx: &mut Tx, job: &Job, trace: &Trace) -> Result<(), DbError> {
    let options = outbox::Options { request_id: trace.request_id.clone(), ..outbox::Options::default() };
    outbox::enqueue(tx, job, options).await
}

async fn record(
    tx: &mut Tx,
    now: DateTime<Utc>,
    blocking: Blocking<'_>,
    event: Event,
    trace: &Trace,
) -> Result<(), DbError> {
    let Blocking { user_id, actor, reason } = blocking;
    let entry = Entry { user_id: Some(user_id), actor, event, subject_id: None, reason: Some(reason) };
    audit::record(tx, now, entry, trace).await
}

/// Which accounts are looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Find<'a> {
    /// An id, a referral code, or the beginning of a name.
    pub text: Option<&'a str>,
    /// The whole address. Never a part of one: managers cannot find out addresses by trying.
    pub email: Option<&'a Email>,
}

/// Accounts, newest first, after `after`; at most `limit`.
pub async fn find_views(
    pool: &Pool,
    find: Find<'_>,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<AccountView>, DbError> {
    let mut connection = db::get(pool).await?;
    let text = find.text.map(|text| text.trim().to_lowercase());
    let wanted = text.as_deref().map(|text| store::Wanted {
        id: Uuid::try_parse(text).ok(),
        code: ReferralCode::parse(text).ok(),
        beginning: text,
    });
    Ok(store::find_views(&mut connection, wanted, find.email, after, limit).await?)
}
