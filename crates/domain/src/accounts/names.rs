//! Changes of usernames: proved by the caller, few, and told to the owner.
//!
//! A name that an account had stays its own for good: `usernames` has a row for each, which a trigger writes and whose primary
//! key decides who gets a name. The name that an account had leads to its present one.

mod store;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Account, Credentials, Username, pending};
use crate::audit::{self, Entry, Event, Trace};
use crate::config::HumanDuration;
use crate::db::{self, DbError, Pool, Tx, constraint};
use crate::outbox::{self, Job};
use crate::webhooks;
pub use store::Change;

/// How often a username may change: `2/30d` (`USERNAME_CHANGES`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameChanges {
    /// Changes allowed per window.
    pub limit: u16,
    /// The window, which slides.
    pub window: TimeDelta,
}

impl Default for NameChanges {
    fn default() -> Self {
        Self { limit: 2, window: TimeDelta::days(30) }
    }
}

/// As an operator writes it.
impl fmt::Display for NameChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.window.num_seconds();
        let (amount, unit) = match seconds {
            _ if seconds % 86_400 == 0 => (seconds / 86_400, "d"),
            _ if seconds % 3_600 == 0 => (seconds / 3_600, "h"),
            _ => (seconds, "s"),
        };
        write!(f, "{}/{amount}{unit}", self.limit)
    }
}

impl FromStr for NameChanges {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (limit, window) = text.split_once('/').ok_or(())?;
        let limit: u16 = limit.trim().parse().map_err(|_| ())?;
        let HumanDuration(window) = window.trim().parse()?;
        let is_good =
            (1..=1_000).contains(&limit) && (TimeDelta::hours(1)..=TimeDelta::days(366)).contains(&window);
        is_good.then_some(Self { limit, window }).ok_or(())
    }
}

impl NameChanges {
    /// For people: `2 times in 30 days`.
    fn words(self) -> String {
        let times = if self.limit == 1 { "once".to_owned() } else { format!("{} times", self.limit) };
        let hours = self.window.num_hours();
        let window = if hours % 24 == 0 { format!("{} days", hours / 24) } else { format!("{hours} hours") };
        format!("{times} in {window}")
    }
}

/// Why a username was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// The name, or one that reads alike, is or was another account's.
    #[error("the username is taken")]
    UsernameTaken,
    /// It was changed as often as allowed.
    #[error("the username was changed {changes} already")]
    TooOften {
        /// The limit, for people.
        changes: String,
        /// When the next change is allowed, from now.
        wait: TimeDelta,
    },
    /// The account changed since its holder proved to be that.
    #[error("the account changed meanwhile")]
    Overtaken,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<db::QueryError> for RenameError {
    fn from(error: db::QueryError) -> Self {
        match constraint::unique_violation(&error) {
            Some(_) => Self::UsernameTaken,
            None => Self::Db(error.into()),
        }
    }
}

/// Changes the username of the account that `checked` proved to be the caller's. The name that it has already is no change;
/// names are kept in lower case, so another spelling in capitals is the same name.
pub async fn rename(
    pool: &Pool,
    now: DateTime<Utc>,
    allowed: NameChanges,
    checked: &Credentials,
    username: &Username,
    trace: &Trace,
) -> Result<Account, RenameError> {
    let user_id = checked.user_id;
    let mut tx = Tx::begin(pool).await?;
    // Before the account's row, as whoever registers: neither waits for the other in a ring.
    lock(&mut tx, username).await?;
    if super::store::lock(&mut tx, user_id).await? != Some(checked.session_epoch) {
        return Err(RenameError::Overtaken);
    }
    let before = super::store::find(&mut tx, user_id).await?.ok_or(RenameError::Overtaken)?;
    if before.username == username.as_str() {
        return Ok(before);
    }
    // Under the lock on the account's row: parallel changes are counted one after the other.
    let status = status(&mut tx, now, allowed, user_id).await?;
    if let (0, Some(next)) = (status.left, status.next_at) {
        return Err(RenameError::TooOften { changes: allowed.words(), wait: next - now });
    }
    let account = super::store::rename(&mut tx, user_id, username).await?.ok_or(RenameError::Overtaken)?;
    if pending::keeps_name(&mut tx, now, username).await? {
        return Err(RenameError::UsernameTaken);
    }
    let id = Uuid::now_v7();
    store::insert(&mut tx, id, user_id, &before.username, &account.username, now).await?;
    audit::record(&mut tx, now, Entry::own(user_id, Event::UsernameChanged).about(id), trace).await?;
    let request_id = trace.request_id.clone();
    webhooks::announce(&mut tx, webhooks::Event::UserRenamed, &[user_id], None, request_id.as_deref())
        .await?;
    let options = outbox::Options { request_id, ..outbox::Options::default() };
    outbox::enqueue(&mut tx, &Job::SendUsernameChanged { rename_id: id }, options).await?;
    tx.commit().await?;
    Ok(account)
}

/// How many changes are left, and the names of before.
#[derive(Debug)]
pub struct NameStatus {
    /// How many changes are allowed now.
    pub left: u16,
    /// When one more is allowed; `None` when all are.
    pub next_at: Option<DateTime<Utc>>,
    /// The changes so far, newest first.
    pub changes: Vec<Change>,
}

/// What the holder of an account may know before changing the name.
pub async fn name_status(
    pool: &Pool,
    now: DateTime<Utc>,
    allowed: NameChanges,
    user_id: Uuid,
) -> Result<NameStatus, DbError> {
    let mut connection = db::get(pool).await?;
    status(&mut connection, now, allowed, user_id).await
}

async fn status(
    connection: &mut db::Connection,
    now: DateTime<Utc>,
    allowed: NameChanges,
    user_id: Uuid,
) -> Result<NameStatus, DbError> {
    let changes = store::list(connection, user_id).await?;
    let limit = usize::from(allowed.limit);
    let recent = changes.iter().take(limit).filter(|change| change.changed_at > now - allowed.window);
    let recent: Vec<_> = recent.map(|change| change.changed_at).collect();
    let used = u16::try_from(recent.len()).unwrap_or(allowed.limit);
    let next_at = recent.last().map(|oldest| *oldest + allowed.window);
    Ok(NameStatus { left: allowed.limit.saturating_sub(used), next_at, changes })
}

/// The present name of the public page of whoever had this name before.
pub async fn moved_to(pool: &Pool, former: &Username) -> Result<Option<String>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::moved_to(&mut connection, former.as_str()).await?)
}

/// What the mail about a change tells.
#[derive(Debug)]
pub struct RenameMail {
    /// Where to.
    pub address: String,
    /// The name of before.
    pub old_username: String,
    /// The new name.
    pub new_username: String,
    /// When it was changed.
    pub at: DateTime<Utc>,
}

/// What to mail about a change; `None` when the account is gone.
pub async fn rename_mail(pool: &Pool, id: Uuid) -> Result<Option<RenameMail>, DbError> {
    let mut connection = db::get(pool).await?;
    let found = store::mail(&mut connection, id).await?;
    Ok(found.map(|(address, old_username, new_username, at)| RenameMail {
        address,
        old_username,
        new_username,
        at,
    }))
}

/// Lets others who want the name, or one that reads alike, wait until the transaction ends. Accounts and pending
/// registrations have an index each: this decides between the two.
pub(super) async fn lock(tx: &mut Tx, username: &Username) -> Result<(), DbError> {
    Ok(store::lock(tx, &username.key()).await?)
}

/// Whether the name, or one that reads alike, is or was an account's.
pub(super) async fn is_claimed(tx: &mut Tx, username: &Username) -> Result<bool, DbError> {
    Ok(store::is_claimed(tx, &username.key()).await?)
}

/// Removes the changes of a user. The names stay claimed.
pub(super) async fn forget(tx: &mut Tx, user_id: Uuid) -> Result<(), DbError> {
    Ok(store::delete_all(tx, user_id).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_a_name_may_change_is_read_and_said() {
        for (text, again, words) in [
            ("2/30d", "2/30d", "2 times in 30 days"),
            ("1/24h", "1/1d", "once in 1 days"),
            (" 10 / 36h", "10/36h", "10 times in 36 hours"),
        ] {
            let changes: NameChanges = text.parse().unwrap();
            assert_eq!((changes.to_string(), changes.words()), (again.to_owned(), words.to_owned()));
        }
        for bad in ["", "2", "0/30d", "2/0", "-1/30d", "2/30x", "1001/30d", "2/400d", "2/30d/1"] {
            assert_eq!(bad.parse::<NameChanges>(), Err(()), "{bad}");
        }
    }
}
