//! Adding events up, in memory: thousands of events become a few rows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::AddAssign as _;

use chrono::{DateTime, DurationRound as _, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use crate::clicks::event::{Event, Kind, Mark};
use crate::clicks::figures::{Counts, Dimension};
use crate::clicks::visitor::Visitor;

/// How many referrers a link or a page has in an hour; what comes then is [`OTHERS`]. Anybody may send any, a new one with
/// each click.
pub(super) const REFERRERS: usize = 100;

/// The name of all further referrers. No host has parentheses.
const OTHERS: &str = "(other)";

/// What a row is about: the primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RowKey {
    pub(super) subject: Uuid,
    pub(super) dimension: Dimension,
    pub(super) hour: DateTime<Utc>,
    pub(super) value: String,
}

/// What one event counts for. `unique`: it is the first of its visitor.
fn counts_of(kind: Kind, mark: Mark, unique: bool) -> Counts {
    let (mut people, mut first, mut robots, mut own) = (0, 0, 0, 0);
    match mark {
        Mark::Person => (people, first) = (1, i64::from(unique)),
        Mark::Robot | Mark::Prefetch | Mark::Head => robots = 1,
        Mark::Owner => own = 1,
    }
    let none = Counts::default();
    match kind {
        Kind::Click => {
            Counts { clicks: people, unique_clicks: first, robot_clicks: robots, own_clicks: own, ..none }
        }
        Kind::View => {
            Counts { views: people, unique_views: first, robot_views: robots, own_views: own, ..none }
        }
    }
}

/// Visitors by their day, as the table has them.
pub(super) type Visit = (NaiveDate, Visitor);

/// The visitors of all events of people, each once.
pub(super) fn visitors<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<Visit> {
    let mut seen = HashSet::new();
    let people = events.filter(|event| event.mark == Mark::Person);
    let visits = people.flat_map(|event| {
        let day = event.at.date_naive();
        [event.visitor, event.page_visitor].into_iter().flatten().map(move |visitor| (day, visitor))
    });
    visits.filter(|visit| seen.insert(*visit)).collect()
}

/// The rows so far.
pub(super) struct Tally {
    /// Visits that nobody has made before and that no event was counted for yet.
    first: HashSet<Visit>,
    /// In the order of the primary key: rows are written as the index has them.
    rows: BTreeMap<RowKey, Counts>,
}

impl Tally {
    pub(super) fn new(first: HashSet<Visit>) -> Self {
        Self { first, rows: BTreeMap::new() }
    }

    /// Counts an event for its subject, and a click for its page too.
    pub(super) fn add(&mut self, event: &Event, page: Uuid) {
        let hour = event.at.duration_trunc(TimeDelta::hours(1)).unwrap_or(event.at);
        let of_subject = self.count(event, event.visitor);
        self.add_all(event, hour, event.subject, of_subject);
        if event.kind == Kind::Click {
            let of_page = self.count(event, event.page_visitor);
            self.add_all(event, hour, page, of_page);
            // By link, the visitors are those of the link.
            self.add_row(page, Dimension::Link, hour, event.subject.to_string(), of_subject);
        }
    }

    fn count(&mut self, event: &Event, visitor: Option<Visitor>) -> Counts {
        let unique = event.mark == Mark::Person
            && visitor.is_some_and(|visitor| self.first.remove(&(event.at.date_naive(), visitor)));
        counts_of(event.kind, event.mark, unique)
    }

    fn add_all(&mut self, event: &Event, hour: DateTime<Utc>, subject: Uuid, counts: Counts) {
        let country = event.country.as_ref().map_or("", |country| country.as_str());
        for (dimension, value) in [
            (Dimension::All, ""),
            (Dimension::Referrer, event.referrer.as_str()),
            (Dimension::Device, event.device),
            (Dimension::Browser, event.browser),
            (Dimension::System, event.system),
            (Dimension::Country, country),
        ] {
            self.add_row(subject, dimension, hour, value.to_owned(), counts);
        }
    }

    fn add_row(
        &mut self,
        subject: Uuid,
        dimension: Dimension,
        hour: DateTime<Utc>,
        value: String,
        counts: Counts,
    ) {
        self.rows.entry(RowKey { subject, dimension, hour, value }).or_default().add_assign(counts);
    }

    /// The links and pages that were come to from somewhere, by the hour.
    pub(super) fn referrer_hours(&self) -> Vec<(Uuid, DateTime<Utc>)> {
        let referrers = self.rows.keys().filter(|key| key.dimension == Dimension::Referrer);
        let mut hours: Vec<_> = referrers.map(|key| (key.subject, key.hour)).collect();
        hours.dedup();
        hours
    }

    /// Counts the referrers that are too many as others. `known` are those that have rows.
    pub(super) fn bound_referrers(&mut self, mut known: HashMap<(Uuid, DateTime<Utc>), HashSet<String>>) {
        let mut moved = Vec::new();
        self.rows.retain(|key, counts| {
            if key.dimension != Dimension::Referrer || key.value.is_empty() || key.value == OTHERS {
                return true;
            }
            let known = known.entry((key.subject, key.hour)).or_default();
            let kept = known.contains(&key.value) || known.len() < REFERRERS;
            if kept {
                known.insert(key.value.clone());
            } else {
                moved.push((key.clone(), *counts));
            }
            kept
        });
        for (key, counts) in moved {
            self.add_row(key.subject, key.dimension, key.hour, OTHERS.to_owned(), counts);
        }
    }

    pub(super) fn into_rows(self) -> impl ExactSizeIterator<Item = (RowKey, Counts)> {
        self.rows.into_iter()
    }
}
