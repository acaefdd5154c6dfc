//! From the stream to the hourly rows.
//!
//! A transaction takes the lock, puts the ids of the batches where each fits once, counts those that were new there, and
//! commits; then their entries go from Redis. Killed before the commit, nothing has happened; killed after it, the entries
//! are met again and are known. One process counts at a time, so whatever it finds of the first visit of somebody or of the
//! number of referrers is so. How it waits and how often is the worker's business.

mod store;
mod tally;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::event::{Batch, Kind, Mark, Undecodable};
use super::stream::{Entry, Stream};
use crate::db::{DbError, Pool, Tx};
use crate::redis::Unavailable;
use tally::Tally;

/// The most events a transaction counts, but for the batch that goes beyond.
const EVENTS: usize = 20_000;

/// A batch is known for longer than this, so one that is younger is counted once.
const LATEST: TimeDelta = TimeDelta::hours(47);

/// Why nothing was counted this time. What is in the stream stays there.
#[derive(Debug, thiserror::Error)]
pub enum RollUpError {
    /// Redis.
    #[error("the stream of clicks cannot be read")]
    Redis(#[from] Unavailable),
    /// PostgreSQL.
    #[error("clicks cannot be counted")]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for RollUpError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// What a pass over the head of the stream did.
#[derive(Debug, Default)]
pub struct Pass {
    /// Whether another process was counting.
    pub busy: bool,
    /// Entries that were looked at.
    pub entries: usize,
    /// Entries that are left.
    pub left: u64,
    /// When the oldest batch that was looked at was made.
    pub oldest: Option<DateTime<Utc>>,
    /// What was counted.
    pub counted: HashMap<(Kind, Mark), u64>,
    /// Entries that were no batches.
    pub malformed: u64,
    /// Events that came too late to be told from others.
    pub late: u64,
    /// Events of links and pages that are gone.
    pub gone: u64,
    /// Whether an entry of a newer release is next: only such a release goes on.
    pub newer: bool,
}

impl Pass {
    /// How many events were counted.
    pub fn events(&self) -> u64 {
        self.counted.values().sum()
    }
}

/// Counts what is at the head of the stream, `count` entries at most.
pub async fn roll_up(
    pool: &Pool,
    stream: &Stream,
    now: DateTime<Utc>,
    count: usize,
) -> Result<Pass, RollUpError> {
    let (entries, length) = stream.head(count).await?;
    let mut pass = Pass { left: length, ..Pass::default() };
    let (done, batches) = pass.read(entries, now);
    if !batches.is_empty() && !count_batches(pool, now, &batches, &mut pass).await? {
        return Ok(Pass { busy: true, left: length, ..Pass::default() });
    }
    stream.delete(&done).await?;
    pass.left = length.saturating_sub(u64::try_from(done.len()).unwrap_or(u64::MAX));
    Ok(pass)
}

impl Pass {
    /// The entries that this pass is done with once it has counted the batches in them.
    fn read(&mut self, entries: Vec<Entry>, now: DateTime<Utc>) -> (Vec<String>, Vec<Batch>) {
        let (mut done, mut batches) = (Vec::new(), Vec::new());
        let mut events = 0;
        for entry in entries {
            match Batch::decode(&entry.bytes) {
                Ok(batch) => {
                    self.oldest = Some(self.oldest.map_or(batch.made_at, |oldest| oldest.min(batch.made_at)));
                    if batch.made_at < now - LATEST {
                        self.late += u64::try_from(batch.events.len()).unwrap_or(u64::MAX);
                    } else {
                        events += batch.events.len();
                        batches.push(batch);
                    }
                }
                Err(Undecodable::Malformed) => self.malformed += 1,
                Err(Undecodable::Newer) => {
                    self.newer = true;
                    break;
                }
            }
            self.entries += 1;
            done.push(entry.id);
            if events >= EVENTS {
                break;
            }
        }
        (done, batches)
    }
}

/// Counts batches that were not counted before; `false` if somebody else is counting.
async fn count_batches(
    pool: &Pool,
    now: DateTime<Utc>,
    batches: &[Batch],
    pass: &mut Pass,
) -> Result<bool, RollUpError> {
    let mut tx = Tx::begin(pool).await?;
    if !store::try_lock(&mut tx).await? {
        return Ok(false);
    }
    let mut seen = HashSet::new();
    let ids: Vec<Uuid> = batches.iter().map(|batch| batch.id).filter(|id| seen.insert(*id)).collect();
    let mut new: HashSet<Uuid> = store::remember(&mut tx, now, &ids).await?.into_iter().collect();
    let taken = u64::try_from(new.len()).unwrap_or(u64::MAX);
    // The same batch twice in one pass is counted at its first place.
    let events: Vec<_> =
        batches.iter().filter(|batch| new.remove(&batch.id)).flat_map(|batch| &batch.events).collect();

    let of_kind = |kind| {
        let subjects: HashSet<Uuid> =
            events.iter().filter(|event| event.kind == kind).map(|event| event.subject).collect();
        subjects.into_iter().collect::<Vec<_>>()
    };
    let owners = store::owners(&mut tx, &of_kind(Kind::Click)).await?;
    let pages = store::pages(&mut tx, &of_kind(Kind::View)).await?;
    let page_of = |kind, subject: Uuid| match kind {
        Kind::Click => owners.get(&subject).copied(),
        Kind::View => pages.contains(&subject).then_some(subject),
    };
    let there: Vec<_> =
        events.iter().filter_map(|event| Some((*event, page_of(event.kind, event.subject)?))).collect();
    pass.gone = u64::try_from(events.len() - there.len()).unwrap_or(u64::MAX);

    let visitors = tally::visitors(there.iter().map(|(event, _)| *event));
    let first = store::first_visits(&mut tx, &visitors).await?;
    let mut tally = Tally::new(first);
    for (event, page) in &there {
        tally.add(event, *page);
        *pass.counted.entry((event.kind, event.mark)).or_default() += 1;
    }
    let known = store::referrers(&mut tx, &tally.referrer_hours()).await?;
    tally.bound_referrers(known);
    store::write(&mut tx, tally.into_rows()).await?;
    store::note(&mut tx, now, taken).await?;
    tx.commit().await?;
    Ok(true)
}
