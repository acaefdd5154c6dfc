//! The figures of a link or a page over a time.
//!
//! Everything is read from one instant. Each part is one range of the primary key; see the migration. Unique visitors are
//! those of each day of UTC, added up: who comes on two days is two.

mod calendar;
mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{DbError, Pool, Tx};
pub use calendar::{Calendar, CalendarError, Interval};
pub use store::Counts;

/// How many values a list has at most, those with most clicks.
pub const LONGEST_LIST: i64 = 100;

/// A page has fewer links than this.
const ALL_LINKS: i64 = 10_000;

/// By what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Everything together.
    All,
    /// The link, of a page.
    Link,
    /// The host that led there.
    Referrer,
    /// The kind of device.
    Device,
    /// The family of the browser.
    Browser,
    /// The family of the operating system.
    System,
    /// The country.
    Country,
}

impl Dimension {
    /// What figures are broken down by.
    pub const LISTS: [Self; 6] =
        [Self::Link, Self::Referrer, Self::Device, Self::Browser, Self::System, Self::Country];

    /// The number in the table.
    pub(super) const fn code(self) -> i16 {
        match self {
            Self::All => 0,
            Self::Link => 1,
            Self::Referrer => 2,
            Self::Device => 3,
            Self::Browser => 4,
            Self::System => 5,
            Self::Country => 6,
        }
    }
}

/// A piece of the series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// When it begins; it ends where the next begins.
    pub from: DateTime<Utc>,
    /// What happened in it.
    pub counts: Counts,
}

/// The figures.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Of the whole time.
    pub totals: Counts,
    /// Every piece of it, those without anything too.
    pub series: Vec<Bucket>,
    /// By value, most clicks first.
    pub lists: Vec<(Dimension, Vec<(String, Counts)>)>,
}

/// The figures of a link, or of a page by its owner. Figures that there never were are zeros.
pub async fn figures(pool: &Pool, subject: Uuid, calendar: &Calendar) -> Result<Figures, DbError> {
    let (from, to) = calendar.span();
    let mut tx = Tx::snapshot(pool).await?;
    let hours = store::hours(&mut tx, subject, from, to).await?;
    let mut lists = Vec::with_capacity(Dimension::LISTS.len());
    for dimension in Dimension::LISTS {
        let most = if dimension == Dimension::Link { ALL_LINKS } else { LONGEST_LIST };
        lists.push((dimension, store::list(&mut tx, subject, dimension, (from, to), most).await?));
    }
    tx.commit().await?;
    let mut totals = Counts::default();
    let mut hours = hours.into_iter().peekable();
    let mut series = Vec::with_capacity(calendar.starts().len());
    for (from, to) in calendar.pieces() {
        let mut counts = Counts::default();
        while let Some((_, hour)) = hours.next_if(|(hour, _)| *hour < to) {
            counts += hour;
            totals += hour;
        }
        series.push(Bucket { from, counts });
    }
    Ok(Figures { totals, series, lists })
}
