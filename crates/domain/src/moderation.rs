//! Moderation: what strangers report, and what managers take down: a page, a link, everything that leads to a domain.
//!
//! Taking down hides and keeps: nothing of its owner's is lost, who reads the reason and may be put up again. Whatever
//! changes what a page shows raises the version of the page in the same transaction, under the lock that its owner's
//! changes take: two managers at once, or a manager and the owner, come one after the other. Doing it again does nothing.
//!
//! Links to a blocked domain are neither taken nor shown nor followed: [`is_blocked`] tells of one address, and queries ask
//! the database's `is_blocked_url` of the links that they read.

mod domains;
mod store;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::accounts::Username;
use crate::audit::{self, Actor, Entry, Event, Trace};
use crate::db::{self, Connection, DbError, Pool, Tx};
use crate::page::Cursor;
use crate::pages::{self, LinkUrl};
pub use domains::{BlockedDomain, DomainError, block_domain, list_domains, unblock_domain};
pub use store::{Domain, Report};

/// How long the network of a report is kept.
const NETWORK_KEPT: TimeDelta = TimeDelta::days(90);

/// How long a report is kept that was decided.
const REPORT_KEPT: TimeDelta = TimeDelta::days(365);

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Unwanted advertising.
    Spam,
    /// Fraud, phishing.
    Scam,
    /// Leads to harmful programs.
    Malware,
    /// Pretends to be somebody else.
    Impersonation,
    /// Hatred of people for what they are.
    Hate,
    /// Threats, incitement.
    Violence,
    /// Unsuitable for those who may see it.
    Sexual,
    /// Against the law.
    Illegal,
    /// Anything else.
    Other,
}

impl Ground {
    /// Every ground.
    pub const ALL: [Self; 9] = [
        Self::Spam,
        Self::Scam,
        Self::Malware,
        Self::Impersonation,
        Self::Hate,
        Self::Violence,
        Self::Sexual,
        Self::Illegal,
        Self::Other,
    ];

    /// The word in the API and in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spam => "spam",
            Self::Scam => "scam",
            Self::Malware => "malware",
            Self::Impersonation => "impersonation",
            Self::Hate => "hate",
            Self::Violence => "violence",
            Self::Sexual => "sexual",
            Self::Illegal => "illegal",
            Self::Other => "other",
        }
    }
}

/// What somebody says of a page.
#[derive(Clone, Copy, Debug)]
pub struct Complaint<'a> {
    /// Whose page.
    pub username: &'a Username,
    /// What is wrong with it.
    pub ground: Ground,
    /// In words.
    pub detail: Option<&'a str>,
}

/// Notes a report, if there is such a page that anybody can see. Whether there is, is not told. One that the same network
/// made and that waits is not made again.
pub async fn report(
    pool: &Pool,
    now: DateTime<Utc>,
    complaint: Complaint<'_>,
    trace: &Trace,
) -> Result<(), DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::insert_report(&mut connection, now, complaint, trace.ip_hash.as_deref()).await?)
}

/// Which reports are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Those that wait.
    Open,
    /// Those that a manager decided.
    Settled,
}

/// Reports, newest first, after `after`; at most `limit`.
pub async fn list_reports(
    pool: &Pool,
    state: Option<State>,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Report>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::list_reports(&mut connection, state, after, limit).await?)
}

/// Who decides, and why.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// Who.
    pub actor: Actor,
    /// Why. The owner reads it.
    pub reason: &'a str,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum ModerationError {
    /// There is no such account, link or report.
    #[error("there is no such thing")]
    NotFound,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<db::QueryError> for ModerationError {
    fn from(error: db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// What strangers get to see of a page or a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// What its owner shows of it.
    Shown,
    /// Nothing.
    Hidden,
}

/// Takes the page of an account down, which settles the reports of it, or puts it up again. Returns whether that changed
/// anything.
pub async fn set_page(
    pool: &Pool,
    now: DateTime<Utc>,
    username: &Username,
    visibility: Visibility,
    decision: Decision<'_>,
    trace: &Trace,
) -> Result<bool, ModerationError> {
    let down = visibility == Visibility::Hidden;
    let mut tx = Tx::begin(pool).await?;
    let user_id = store::find_user(&mut tx, username).await?.ok_or(ModerationError::NotFound)?;
    let profile = pages::touch(&mut tx, user_id, now).await?.ok_or(ModerationError::NotFound)?;
    if profile.disabled_at.is_some() == down {
        return Ok(false);
    }
    store::set_page(&mut tx, user_id, down.then_some((now, decision.reason))).await?;
    if down {
        store::settle_reports_of(&mut tx, now, user_id).await?;
    }
    let event = if down { Event::PageDisabled } else { Event::PageEnabled };
    record(&mut tx, now, Some(user_id), event, None, decision, trace).await?;
    tx.commit().await?;
    Ok(true)
}

/// Takes a link down, or puts it up again. Returns whether that changed anything.
pub async fn set_link(
    pool: &Pool,
    now: DateTime<Utc>,
    link_id: Uuid,
    visibility: Visibility,
    decision: Decision<'_>,
    trace: &Trace,
) -> Result<bool, ModerationError> {
    let down = visibility == Visibility::Hidden;
    let mut tx = Tx::begin(pool).await?;
    let owner = store::owner_of(&mut tx, link_id).await?.ok_or(ModerationError::NotFound)?;
    pages::touch(&mut tx, owner, now).await?.ok_or(ModerationError::NotFound)?;
    // Looked at under the lock: its owner may have removed it meanwhile.
    if store::is_link_down(&mut tx, link_id).await?.ok_or(ModerationError::NotFound)? == down {
        return Ok(false);
    }
    store::set_link(&mut tx, link_id, down.then_some((now, decision.reason))).await?;
    let event = if down { Event::LinkDisabled } else { Event::LinkEnabled };
    record(&mut tx, now, Some(owner), event, Some(link_id), decision, trace).await?;
    tx.commit().await?;
    Ok(true)
}

/// Settles a report that has no ground; the page stays as it is. Returns whether it waited.
pub async fn dismiss_report(
    pool: &Pool,
    now: DateTime<Utc>,
    report_id: Uuid,
    decision: Decision<'_>,
    trace: &Trace,
) -> Result<bool, ModerationError> {
    let mut tx = Tx::begin(pool).await?;
    let Some(user_id) = store::dismiss_report(&mut tx, now, report_id).await? else {
        return if store::has_report(&mut tx, report_id).await? {
            Ok(false)
        } else {
            Err(ModerationError::NotFound)
        };
    };
    record(&mut tx, now, Some(user_id), Event::ReportDismissed, Some(report_id), decision, trace).await?;
    tx.commit().await?;
    Ok(true)
}

/// Whether no link may lead to this address. Asked in the transaction that writes the link.
pub async fn is_blocked(connection: &mut Connection, url: &LinkUrl) -> Result<bool, DbError> {
    Ok(store::is_blocked(connection, url.as_str()).await?)
}

/// As [`is_blocked`], of several addresses as links keep them, in their order.
pub(crate) async fn are_blocked(connection: &mut Connection, urls: &[&str]) -> Result<Vec<bool>, DbError> {
    Ok(store::are_blocked(connection, urls).await?)
}

/// Forgets what was reported of an account that is deleted.
pub(crate) async fn forget(tx: &mut Tx, user_id: Uuid) -> Result<(), DbError> {
    Ok(store::delete_reports_of(tx, user_id).await?)
}

/// Forgets networks after 90 days, and reports a year after they were decided. Returns how many went.
pub(crate) async fn purge(pool: &Pool, now: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    store::forget_networks_before(&mut connection, now - NETWORK_KEPT).await?;
    Ok(store::delete_settled_before(&mut connection, now - REPORT_KEPT).await?)
}

async fn record(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Option<Uuid>,
    event: Event,
    subject_id: Option<Uuid>,
    decision: Decision<'_>,
    trace: &Trace,
) -> Result<(), DbError> {
    let Decision { actor, reason } = decision;
    let entry = Entry { user_id, actor, event, subject_id, reason: Some(reason) };
    audit::record(tx, now, entry, trace).await
}
