//! Keeping somebody out, and what managers see of accounts.
//!
//! A blocked account cannot sign in, its code brings nobody, and no referral with it on either side is settled until it is
//! let in again. What was earned stays; a manager reverses it referral by referral.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

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
    /// Why, for the record.
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
    /// Whoever locks oneself out cannot undo it.
    #[error("nobody blocks the own account")]
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
    store::set_blocked(&mut tx, user_id, Some(now)).await?;
    let ended = sessions::end_all(&mut tx, now, user_id, None, "account_blocked").await?;
    crate::recovery::void_all(&mut tx, now, user_id).await?;
    record(&mut tx, now, blocking, Event::AccountBlocked, trace).await?;
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
    let options = outbox::Options { request_id: trace.request_id.clone(), ..outbox::Options::default() };
    outbox::enqueue(&mut tx, &Job::RecheckReferrals {}, options).await?;
    tx.commit().await?;
    Ok(Blocked { changed: true, ended: Vec::new() })
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

/// Accounts, newest first, after `after`; at most `limit`. `text` is an id, a referral code, or the beginning of a name.
pub async fn find_views(
    pool: &Pool,
    text: Option<&str>,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<AccountView>, DbError> {
    let mut connection = db::get(pool).await?;
    let text = text.map(|text| text.trim().to_lowercase());
    let wanted = text.as_deref().map(|text| store::Wanted {
        id: Uuid::try_parse(text).ok(),
        code: ReferralCode::parse(text).ok(),
        beginning: text,
    });
    Ok(store::find_views(&mut connection, wanted, after, limit).await?)
}
