//! Figures over time: a referrer's days, and the leaderboard.

mod store;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use crate::db::{self, DbError, Pool};
pub use store::{Day, Standing};

/// The longest series, in days.
pub const LONGEST_SERIES: i64 = 366;

/// How many names the leaderboard has at most.
const LONGEST_BOARD: i64 = 100;

/// Over how long a leaderboard counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last seven days, today included.
    Week,
    /// The last thirty.
    Month,
    /// From the beginning.
    All,
}

impl Window {
    /// Every window.
    pub const ALL: [Self; 3] = [Self::Week, Self::Month, Self::All];

    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Week => "7d",
            Self::Month => "30d",
            Self::All => "all",
        }
    }

    fn first_day(self, now: DateTime<Utc>) -> Option<NaiveDate> {
        let days = match self {
            Self::Week => 6,
            Self::Month => 29,
            Self::All => return None,
        };
        Some((now - TimeDelta::days(days)).date_naive())
    }
}

/// A user's figures of each day from `from` to `to` (UTC, both included), days without any too. The caller keeps the span
/// within [`LONGEST_SERIES`].
pub async fn series(pool: &Pool, user_id: Uuid, from: NaiveDate, to: NaiveDate) -> Result<Vec<Day>, DbError> {
    let mut connection = db::get(pool).await?;
    let mut known = store::days(&mut connection, user_id, from, to).await?.into_iter().peekable();
    let empty = |day| Day { day, visits: 0, registrations: 0, successful: 0 };
    let days = from.iter_days().take_while(|day| *day <= to);
    Ok(days.map(|day| known.next_if(|known| known.day == day).unwrap_or_else(|| empty(day))).collect())
}

/// Who brought most friends that count, of those who want to be named. Of equals the older account comes first.
pub async fn leaderboard(pool: &Pool, now: DateTime<Utc>, window: Window) -> Result<Vec<Standing>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(match window.first_day(now) {
        Some(first) => store::leaders_since(&mut connection, first, LONGEST_BOARD).await?,
        None => store::leaders(&mut connection, LONGEST_BOARD).await?,
    })
}

/// Whether the leaderboard may name this user; `None` when there is no such live account.
pub async fn is_named(pool: &Pool, user_id: Uuid) -> Result<Option<bool>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::is_named(&mut connection, user_id).await?)
}

/// Lets the leaderboard name this user, or not. Returns whether there is such a live account.
pub async fn set_named(pool: &Pool, user_id: Uuid, named: bool) -> Result<bool, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::set_named(&mut connection, user_id, named).await?)
}
