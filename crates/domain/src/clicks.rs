//! Clicks on links and views of pages: what counts, who is a visitor, how requests become figures.
//!
//! The api hands each request to a buffer and answers; a task of it makes [`Event`]s (no address, no user agent), which go
//! to a stream in Redis by the [`Batch`]; the worker adds them up into hourly rows ([`roll_up`]). Each batch is counted once,
//! however often it is delivered. What the owner, robots, prefetches and HEAD requests do is marked and counted apart.

mod agent;
mod country;
mod event;
mod figures;
mod referrer;
mod rollup;
mod store;
mod stream;
mod visitor;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use crate::db::{self, DbError, Pool, Tx};
pub use agent::Agent;
pub use country::{Countries, CountriesError, Country};
pub use event::{Batch, Event, Kind, LARGEST_BATCH, Mark, Undecodable};
pub use figures::{
    Bucket, Calendar, CalendarError, Counts, Dimension, Figures, Interval, LONGEST_LIST, figures,
};
pub use referrer::referrer;
pub use rollup::{Pass, RollUpError, roll_up};
pub use stream::Stream;
pub use visitor::{Salts, Scope, Visitor};

/// How long a salt, and with it the hashes that were made with it, outlives the beginning of its day.
const VISITORS_KEPT: TimeDelta = TimeDelta::hours(48);

/// How long a batch is known that was counted; one that is older when it comes is not counted any more.
const BATCHES_KEPT: TimeDelta = TimeDelta::hours(48);

/// How long the hourly figures are kept: two years, and a month for whoever compares.
const FIGURES_KEPT: TimeDelta = TimeDelta::days(762);

/// Forgets the figures of a link; those of the page of its owner stay. For whoever deletes the link, as the last statement of
/// the same transaction: it waits for the roll-up, and keeps it waiting.
pub async fn forget_link(tx: &mut Tx, owner: Uuid, link_id: Uuid) -> Result<(), DbError> {
    store::lock(tx).await?;
    Ok(store::forget_link(tx, owner, link_id).await?)
}

/// What there are figures of, of an account: its page and its links.
pub async fn subjects(tx: &mut Tx, user_id: Uuid) -> Result<Vec<Uuid>, DbError> {
    let mut subjects = store::links(tx, user_id).await?;
    subjects.push(user_id);
    Ok(subjects)
}

/// Forgets every figure of these. For whoever deletes them, as the last statement of the same transaction.
pub async fn forget(tx: &mut Tx, subjects: &[Uuid]) -> Result<(), DbError> {
    store::lock(tx).await?;
    Ok(store::forget(tx, subjects).await?)
}

/// Removes salts and visitors after 48 hours, so that nobody can be known again; batches that were counted; and figures
/// of more than two years ago. Returns how many hashes of visitors went.
pub(crate) async fn purge(pool: &Pool, now: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    store::purge_batches(&mut connection, now - BATCHES_KEPT).await?;
    store::purge_figures(&mut connection, now - FIGURES_KEPT).await?;
    Ok(store::purge_visitors(&mut connection, oldest_day(now)).await?)
}

/// The oldest day whose salt is still kept.
fn oldest_day(now: DateTime<Utc>) -> NaiveDate {
    // A day that began 48 hours ago to the second is over.
    (now - VISITORS_KEPT + TimeDelta::days(1)).date_naive()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v3_a_salt_is_kept_for_48_hours_from_the_beginning_of_its_day() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let oldest = |text: &str| oldest_day(at(text)).to_string();
        assert_eq!(oldest("2026-11-22T00:00:00Z"), "2026-11-21");
        assert_eq!(oldest("2026-11-22T23:59:59Z"), "2026-11-21");
        assert_eq!(oldest("2026-11-23T00:00:00Z"), "2026-11-22");
    }
}
