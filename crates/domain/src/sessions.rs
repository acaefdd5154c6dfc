//! Sessions and their refresh tokens. PostgreSQL holds the truth; whoever caches an answer bounds its age to a second.
//!
//! A session is live while it has not ended, has not expired, was not left alone for longer than the idle lifetime, and is
//! of its user's current epoch (raising the epoch ends all at once). Refresh tokens form one family per session: the first use of a token makes its child. Until
//! the child is used itself, the parent is answered with the same child, since an answer may be lost on its way. A parent
//! whose child was used is a copy, and ends the session (RFC 9700, 4.14.2).

mod holder;
mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::accounts::Credentials;
use crate::audit::{self, Actor, Entry, Event, Trace};
use crate::config::Lifetimes;
use crate::db::{self, Connection, DbError, Pool, Tx};
use crate::notices::{self, Place, SecurityNotice};
use crate::outbox::{self, Job};
use crate::token::{Key, Token};
pub use holder::{end_one, end_others, list};
pub use store::{LiveSession, SessionView};

/// `last_seen_at` is written this often at most.
const SEEN_RESOLUTION: TimeDelta = TimeDelta::minutes(1);

/// The longest user agent that is kept, in characters.
const LONGEST_USER_AGENT: usize = 256;

/// Where a session comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The prefix of the client's address, such as `203.0.113.0/24`.
    pub ip_prefix: String,
    /// Whether the account has signed in with this browser before.
    pub known_browser: bool,
}

/// A session that has just started or gone on.
#[derive(Debug)]
pub struct Started {
    /// The session.
    pub session_id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// What continues it.
    pub refresh: Token,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}

/// Why a session did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The account changed since its password was checked (reset, deleted, blocked): the check counts no more.
    #[error("the account changed meanwhile")]
    Overtaken,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Starts a session for somebody whose password was just checked against `checked`. Outstanding reset links are void
/// from here on: the owner remembers the password. The session lives for `lifetime`. A live session in the same browser,
/// of any account, is `replaced`: it ends in the same transaction (OWASP ASVS 5.0, 7.2.4).
pub async fn start(
    pool: &Pool,
    now: DateTime<Utc>,
    lifetime: TimeDelta,
    checked: &Credentials,
    origin: &Origin,
    replaced: Option<Uuid>,
    trace: &Trace,
) -> Result<Started, StartError> {
    let refresh = Token::random();
    let session_id = Uuid::now_v7();
    let user_agent: String = origin.user_agent.chars().take(LONGEST_USER_AGENT).collect();
    let expires_at = now + lifetime;
    let mut tx = Tx::begin(pool).await?;
    // A block raises the epoch: whoever was not blocked at the check, and is of the same epoch, is not blocked now.
    if checked.is_blocked
        || crate::accounts::lock_shared(&mut tx, checked.user_id).await? != Some(checked.session_epoch)
    {
        return Err(StartError::Overtaken);
    }
    let row = store::NewSession {
        id: session_id,
        user_id: checked.user_id,
        epoch: checked.session_epoch,
        created_at: now,
        last_seen_at: now,
        expires_at,
        user_agent,
        ip_prefix: origin.ip_prefix.clone(),
    };
    store::insert(&mut tx, row).await.map_err(DbError::from)?;
    store::insert_token(&mut tx, Uuid::now_v7(), session_id, None, refresh.digest().as_slice(), now)
        .await
        .map_err(DbError::from)?;
    crate::recovery::void_all(&mut tx, now, checked.user_id).await?;
    if let Some(network) = trace.network().filter(|_| !origin.known_browser)
        && audit::is_new_network(&mut tx, checked.user_id, network).await?
    {
        let notice = SecurityNotice::NewSignIn;
        notices::enqueue(&mut tx, notice, checked.user_id, Some(session_id), trace).await?;
    }
    let entry = Entry::own(checked.user_id, Event::SignedIn).about(session_id);
    audit::record(&mut tx, now, entry, trace).await?;
    if let Some(replaced) = replaced {
        end_replaced(&mut tx, now, checked.user_id, replaced, trace).await?;
    }
    tx.commit().await?;
    Ok(Started { session_id, user_id: checked.user_id, refresh, expires_at })
}

/// Ends the session that a browser had when `user_id` signed in there. The record names that user only to themselves: the
/// holder of another account does not learn who signed in.
async fn end_replaced(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    replaced: Uuid,
    trace: &Trace,
) -> Result<(), DbError> {
    // The session's row is the last that this transaction waits for. Whoever ends all sessions of a user locks that user's
    // row first, which foreign keys of the record below do not wait for.
    if let Some(holder) = store::end_of(tx, replaced, now, "replaced").await? {
        let mut entry = Entry::own(holder, Event::SessionReplaced).about(replaced);
        if holder != user_id {
            entry.actor = Actor::System;
        }
        audit::record(tx, now, entry, trace).await?;
    }
    Ok(())
}

/// The session with this id, if it is live. Looking is using it: `idle` begins anew.
pub async fn find_live(
    pool: &Pool,
    now: DateTime<Utc>,
    idle: TimeDelta,
    id: Uuid,
) -> Result<Option<LiveSession>, DbError> {
    let mut connection = db::get(pool).await?;
    let found = store::find_live(&mut connection, id, now, idle).await?;
    if let Some(session) = found.as_ref().filter(|session| now - session.last_seen_at > SEEN_RESOLUTION) {
        store::touch(&mut connection, session.id, now, now - SEEN_RESOLUTION).await?;
    }
    Ok(found)
}

/// When the holder of a session signed in.
pub async fn signed_in_at(pool: &Pool, id: Uuid) -> Result<Option<DateTime<Utc>>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::created_at(&mut connection, id).await?)
}

/// Why a session did not go on.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// Unknown, of a session that ended, or malformed. One answer for all.
    #[error("the refresh token is not valid")]
    InvalidToken,
    /// Used again although its child was used, and after the grace: a copy of it is in other hands. The session was ended, and
    /// its owner gets a mail.
    #[error("the refresh token was used before")]
    Reused {
        /// The session that ended.
        session_id: Uuid,
    },
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for RefreshError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// The session that a refresh token belongs to, spent or not, for checks that come before its use.
pub async fn session_of(pool: &Pool, token: &Token) -> Result<Option<Uuid>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::session_of(&mut connection, token.digest().as_slice()).await?)
}

/// Uses a refresh token. Every use gets the same child until the child is used, however late, and for
/// [`Lifetimes::refresh_grace`] after that. A child is used when it is presented here; that its access token was used is
/// known to replicas only, not to PostgreSQL, and does not count. The child is derived from its parent, so nothing secret
/// need be stored to repeat it.
pub async fn refresh(
    pool: &Pool,
    now: DateTime<Utc>,
    lifetimes: &Lifetimes,
    key: &Key,
    token: &Token,
    trace: &Trace,
) -> Result<Started, RefreshError> {
    let mut tx = Tx::begin(pool).await?;
    let found = store::lock_token(&mut tx, token.digest().as_slice(), now, lifetimes.session_idle).await?;
    let parent = found.ok_or(RefreshError::InvalidToken)?;
    let child = key.token("refresh", token.bytes());
    // Under the lock on the parent. The order of locks is parent, child, session.
    let next = match parent.used_at {
        None => None,
        Some(_) => store::lock_child(&mut tx, parent.id).await?,
    };
    let digest = child.digest();
    match next {
        None => {
            store::spend_token(&mut tx, parent.id, now).await?;
            store::insert_token(
                &mut tx,
                Uuid::now_v7(),
                parent.session_id,
                Some(parent.id),
                digest.as_slice(),
                now,
            )
            .await?;
            store::touch(&mut tx, parent.session_id, now, now).await?;
        }
        Some(next) if next.used_at.is_none() => {
            // Derived with a key that was rotated since: the child that was never seen again gets the present one.
            if next.token_hash != digest.as_slice() {
                store::replace_digest(&mut tx, next.id, digest.as_slice()).await?;
            }
            store::touch(&mut tx, parent.session_id, now, now).await?;
        }
        Some(next) if next.used_at.is_some_and(|used_at| now - used_at <= lifetimes.refresh_grace) => {}
        Some(_) => {
            store::end(&mut tx, parent.session_id, now, "refresh_reused").await?;
            let job = Job::SendRefreshReused { session_id: parent.session_id };
            let options =
                outbox::Options { request_id: trace.request_id.clone(), ..outbox::Options::default() };
            outbox::enqueue(&mut tx, &job, options).await?;
            let entry = Entry { actor: Actor::Unknown, ..Entry::own(parent.user_id, Event::RefreshReused) };
            audit::record(&mut tx, now, entry.about(parent.session_id), trace).await?;
            tx.commit().await?;
            return Err(RefreshError::Reused { session_id: parent.session_id });
        }
    }
    tx.commit().await?;
    Ok(Started {
        session_id: parent.session_id,
        user_id: parent.user_id,
        refresh: child,
        expires_at: parent.expires_at,
    })
}

/// Ends one's own session. Returns whether it was live.
pub async fn sign_out(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    session_id: Uuid,
    trace: &Trace,
) -> Result<bool, DbError> {
    let mut tx = Tx::begin(pool).await?;
    let ended = store::end(&mut tx, session_id, now, "logout").await?;
    if ended {
        audit::record(&mut tx, now, Entry::own(user_id, Event::SignedOut).about(session_id), trace).await?;
    }
    tx.commit().await?;
    Ok(ended)
}

/// Ends all sessions of a user but `keep`, by raising the epoch. The caller holds the lock on the user's row. Returns
/// the sessions that were live.
pub(crate) async fn end_all(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    keep: Option<Uuid>,
    reason: &str,
) -> Result<Vec<Uuid>, DbError> {
    let epoch = store::raise_epoch(tx, user_id).await?;
    if let Some(keep) = keep {
        store::move_to_epoch(tx, keep, user_id, epoch).await?;
    }
    Ok(store::end_others(tx, user_id, epoch, now, reason).await?)
}

/// Whether a session is of this user and has not ended.
pub(crate) async fn is_of(tx: &mut Tx, id: Uuid, user_id: Uuid) -> Result<bool, DbError> {
    Ok(store::is_of(tx, id, user_id).await?)
}

/// Removes what the sessions of a user tell about where they came from.
pub(crate) async fn forget_origins(tx: &mut Tx, user_id: Uuid) -> Result<(), DbError> {
    Ok(store::forget_origins(tx, user_id).await?)
}

/// Where a session came from; `None` when it is gone, or that was removed.
pub(crate) async fn place(connection: &mut Connection, id: Uuid) -> Result<Option<Place>, DbError> {
    let found = store::origin(connection, id).await?;
    let known = found.filter(|(user_agent, ip_prefix)| !user_agent.is_empty() || !ip_prefix.is_empty());
    Ok(known.map(|(user_agent, ip_prefix)| Place { user_agent, ip_prefix }))
}

/// Whose session it was that ended, and when.
pub async fn ended(pool: &Pool, session_id: Uuid) -> Result<Option<(Uuid, DateTime<Utc>)>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::ended(&mut connection, session_id).await?)
}

/// Removes sessions that expired or ended before `before`, with their tokens.
pub(crate) async fn purge(pool: &Pool, before: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::purge(&mut connection, before).await?)
}
