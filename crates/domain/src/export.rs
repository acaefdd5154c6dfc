//! Everything that is held about one user, for that user (GDPR, articles 15 and 20).
//!
//! Other people's data is left out: whom a referral is about shows as its id alone. Secrets and their digests are left out
//! too; that a password is set is said. What a table adds is one section of `store`; a test compares the sections with
//! the tables that refer to users.

mod store;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::audit::{self, Actor, Entry, Event, Trace};
use crate::db::{DbError, Pool, Tx};
use crate::notices::{self, SecurityNotice};

/// The sections, by name, as one instant has them. The export itself is recorded first, and so is part of it.
pub async fn everything_about(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    trace: &Trace,
) -> Result<Map<String, Value>, DbError> {
    handed_out(pool, now, user_id, Entry::own(user_id, Event::DataExported), trace).await
}

/// As [`everything_about`]; `entry` says who asked for it. Only its holder is sent a notice.
pub(crate) async fn handed_out(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    entry: Entry<'_>,
    trace: &Trace,
) -> Result<Map<String, Value>, DbError> {
    let mut tx = Tx::begin(pool).await?;
    audit::record(&mut tx, now, entry, trace).await?;
    if matches!(entry.actor, Actor::Account(_)) {
        notices::enqueue(&mut tx, SecurityNotice::DataExported, user_id, None, trace).await?;
    }
    tx.commit().await?;
    let mut tx = Tx::snapshot(pool).await?;
    let mut sections = Map::new();
    for (name, sql) in store::SECTIONS {
        sections.insert(name.to_owned(), store::read(&mut tx, sql, user_id).await?);
    }
    tx.commit().await?;
    Ok(sections)
}
