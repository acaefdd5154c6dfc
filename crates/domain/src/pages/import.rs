//! Several links at once, from a list of elsewhere: all that can be taken, in one transaction, or none.
//!
//! A dry run is the same work rolled back, so that it says what would come of it and nothing else. What is on the page
//! already, by title and address, is not taken again: the same list twice makes the same page.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::link::{CreateError, LinkLimits, NewLink, Target, insert_links};
use super::{store, touch};
use crate::db::{Pool, Tx};
use crate::moderation;

/// Why one of them is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It is on the page, or comes twice.
    Duplicate,
    /// No link may lead there.
    BlockedDomain,
}

/// What came of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// For each link that was offered, why it was not taken.
    pub fates: Vec<Option<NotTaken>>,
    /// How many links the page may have.
    pub limit: u32,
    /// How many it had before.
    pub before: u32,
}

impl Imported {
    /// Whether all that can be taken have a place.
    pub fn fits(&self) -> bool {
        let taken = self.fates.iter().filter(|fate| fate.is_none()).count();
        u32::try_from(taken).is_ok_and(|taken| self.before.saturating_add(taken) <= self.limit)
    }
}

/// Adds links at the end of the page, or says what would come of it.
pub async fn import_links(
    pool: &Pool,
    now: DateTime<Utc>,
    user_id: Uuid,
    limits: LinkLimits,
    offered: &[NewLink],
    apply: bool,
) -> Result<Imported, CreateError> {
    let mut tx = Tx::begin(pool).await?;
    touch(&mut tx, user_id, now).await?.ok_or(CreateError::NoSuchAccount)?;
    let present = store::links(&mut tx, user_id).await?;
    let before = u32::try_from(present.len()).unwrap_or(u32::MAX);
    let mut known: HashSet<(String, Option<String>)> =
        present.into_iter().map(|link| (link.title, link.url)).collect();
    let addresses: Vec<&str> = offered.iter().map(|new| address(new).unwrap_or_default()).collect();
    let blocked = moderation::are_blocked(&mut tx, &addresses).await?;
    let mut fates = Vec::with_capacity(offered.len());
    for (new, blocked) in offered.iter().zip(blocked) {
        let is_new = known.insert((new.title.as_str().to_owned(), address(new).map(str::to_owned)));
        fates.push(match (blocked, is_new) {
            (true, _) => Some(NotTaken::BlockedDomain),
            (false, false) => Some(NotTaken::Duplicate),
            (false, true) => None,
        });
    }
    let taken = offered.iter().zip(&fates).filter(|(_, fate)| fate.is_none());
    let taken: Vec<NewLink> = taken.map(|(new, _)| new.clone()).collect();
    let imported = Imported { fates, limit: limits.of(&mut tx, user_id, now).await?, before };
    // Nothing to write is nothing changed: the version stays.
    if apply && !taken.is_empty() {
        insert_links(&mut tx, now, user_id, limits, &taken).await?;
        tx.commit().await?;
    }
    Ok(imported)
}

fn address(new: &NewLink) -> Option<&str> {
    match &new.target {
        Target::Url(url) => Some(url.as_str()),
        Target::Header => None,
    }
}
