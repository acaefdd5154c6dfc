//! `GET /api/referral-stats/series/`: the caller's figures day by day.

use actix_web::HttpResponse;
use chrono::{NaiveDate, TimeDelta};
use domain::referrals::{self, Day, LONGEST_SERIES};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::auth::Caller;
use crate::body::Complaint;
use crate::problem::{FieldCode, Problem};
use crate::query::Query;

/// How many days a series has unless said otherwise.
const DAYS: i64 = 30;

/// Figures over time.
#[derive(Serialize, ToSchema)]
#[schema(as = ReferralSeries)]
pub(super) struct Reply {
    /// The first day, in UTC.
    from: NaiveDate,
    /// The last day.
    to: NaiveDate,
    /// Every day, those without figures too.
    items: Vec<Item>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ReferralDay)]
pub(super) struct Item {
    date: NaiveDate,
    /// Visits of the referral link.
    clicks: i64,
    /// Accounts that were made with it.
    registrations: i64,
    /// Referrals that came to count on this day.
    successful: i64,
}

impl From<Day> for Item {
    fn from(day: Day) -> Self {
        Self {
            date: day.day,
            clicks: day.visits,
            registrations: day.registrations,
            successful: day.successful,
        }
    }
}

/// One's figures, day by day
///
/// Days are those of UTC. Thirty days up to today unless said otherwise.
#[utoipa::path(
    get, path = "/api/referral-stats/series/", tag = "referrals",
    params(("from" = Option<NaiveDate>, Query, description = "The first day, such as `2026-11-01`"),
           ("to" = Option<NaiveDate>, Query, description = "The last day, at most a year later")),
    responses((status = 200, description = "The days", body = Reply)),
)]
pub(super) async fn get(state: Shared, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let (from, to) = (query.parse("from", day), query.parse("to", day));
    let to = to.map(|to| to.unwrap_or_else(|| state.clock.now().date_naive()));
    let from = match from {
        Some(None) => to.map(|to| to - TimeDelta::days(DAYS - 1)),
        from => from.flatten(),
    };
    if let (Some(from), Some(to)) = (from, to)
        && !(0..LONGEST_SERIES).contains(&(to - from).num_days())
    {
        let detail = format!("This must be no later than `to`, and {LONGEST_SERIES} days in all at most.");
        query.error("from", Complaint::new(FieldCode::InvalidValue, detail));
    }
    let (from, to) = query.finish((from, to))?;
    let days = referrals::series(&state.pool, caller.user_id, from, to).await?;
    let items = days.into_iter().map(Item::from).collect();
    Ok(HttpResponse::Ok().json(Reply { from, to, items }))
}

/// A date of RFC 3339 (`full-date`), in years that have four digits.
fn day(text: &str) -> Result<NaiveDate, Complaint> {
    let wrong = || Complaint::new(FieldCode::InvalidValue, "This must be a date such as 2026-11-01.");
    if text.len() != 10 {
        return Err(wrong());
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| wrong())
}
