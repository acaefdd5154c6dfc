//! `GET /api/links/{id}/stats/` and `GET /api/profile/stats/`: what came of a link, and of a page with all its links.
//!
//! The same figures as JSON and as CSV. The span is made of whole days of the zone that is asked for.

mod sheet;

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use domain::clicks::{self, Calendar, CalendarError, Counts, Dimension, Figures, Interval};
use domain::pages;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::{Shared, State};
use crate::auth::Caller;
use crate::body::Complaint;
use crate::problem::{Code, FieldCode, Problem};
use crate::query::Query;

/// What came of a link or a page.
#[derive(Serialize, ToSchema)]
#[schema(as = ClickStats)]
pub(super) struct Reply {
    /// When the span begins.
    from: DateTime<Utc>,
    /// When it ends; what is at this moment is no part of it.
    to: DateTime<Utc>,
    /// The length of the pieces: `hour`, `day` or `week`.
    #[schema(pattern = "^(hour|day|week)$")]
    interval: &'static str,
    /// The zone whose days these are.
    tz: &'static str,
    totals: Totals,
    /// Every piece of the span, those without anything too.
    series: Vec<Piece>,
    /// Of a page only: its links.
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Vec<LinkItem>>,
    /// The hosts that led there; empty where none did, or it was our own page.
    referrers: Vec<Item>,
    /// Kinds of devices.
    devices: Vec<Item>,
    /// Families of browsers.
    browsers: Vec<Item>,
    /// Families of operating systems.
    systems: Vec<Item>,
    /// Countries by their ISO 3166 code; empty where it is not known.
    countries: Vec<Item>,
}

/// What was counted in the whole span.
#[derive(Serialize, ToSchema)]
#[schema(as = ClickTotals)]
pub(super) struct Totals {
    #[serde(flatten)]
    numbers: Numbers,
    /// Clicks of the owner, which are never counted.
    own: i64,
    /// Of a page only: clicks for each view.
    #[serde(skip_serializing_if = "Option::is_none")]
    click_through_rate: Option<f64>,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ClickNumbers)]
pub(super) struct Numbers {
    /// Clicks of people; of robots too, where asked for.
    clicks: i64,
    /// Visitors who clicked: those of each day (in UTC), added up.
    unique: i64,
    /// Clicks of known robots, prefetches and HEAD requests.
    bots: i64,
    /// Of a page only: how often it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    views: Option<i64>,
    /// Of a page only: visitors who saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_views: Option<i64>,
}

/// A piece of the series.
#[derive(Serialize, ToSchema)]
#[schema(as = ClickPiece)]
pub(super) struct Piece {
    /// When it begins.
    from: DateTime<Utc>,
    #[serde(flatten)]
    numbers: Numbers,
}

/// One of many.
#[derive(Serialize, ToSchema)]
#[schema(as = ClickItem)]
pub(super) struct Item {
    value: String,
    #[serde(flatten)]
    numbers: Numbers,
}

/// A link of a page.
#[derive(Serialize, ToSchema)]
#[schema(as = ClickLinkItem)]
pub(super) struct LinkItem {
    id: Uuid,
    title: String,
    #[serde(flatten)]
    numbers: Numbers,
}

/// What somebody wants to know.
struct Question {
    calendar: Calendar,
    interval: Interval,
    zone: Tz,
    include_bots: bool,
    as_sheet: bool,
}

/// The figures of a link
///
/// At most five seconds old. Thirty days up to today, unless said otherwise. A day of a zone that is off by a part of an hour
/// begins at the first full hour of UTC after midnight.
#[utoipa::path(
    get, path = "/api/links/{id}/stats/", tag = "pages",
    params(("id" = Uuid, Path, description = "The link"),
           ("from" = Option<String>, Query, description = "The first day, such as `2026-11-01`, or a time in it"),
           ("to" = Option<String>, Query, description = "The last day, included: 31 days in hours and 732 otherwise at most"),
           ("interval" = Option<String>, Query, description = "The length of pieces: `hour`, `day` (unless said otherwise) or `week`"),
           ("tz" = Option<String>, Query, description = "The zone whose days these are, such as `Europe/Berlin`; UTC unless said otherwise"),
           ("include_bots" = Option<bool>, Query, description = "Whether clicks of robots are counted as clicks"),
           ("format" = Option<String>, Query, description = "`json` or `csv`; `Accept: text/csv` does the same")),
    responses((status = 200, description = "The figures", body = Reply)),
)]
pub(super) async fn link(
    state: Shared,
    caller: Caller,
    request: HttpRequest,
    id: web::Path<String>,
    query: Query,
) -> Result<HttpResponse, Problem> {
    let question = Question::read(query, &state, request.headers())?;
    let nothing = || Problem::new(Code::NotFound);
    let id = Uuid::parse_str(&id).map_err(|_| nothing())?;
    if !pages::has_link(&state.pool, caller.user_id, id).await? {
        return Err(nothing());
    }
    let figures = clicks::figures(&state.pool, id, &question.calendar).await?;
    question.answer(&figures, None)
}

/// The figures of one's page
///
/// As those of a link, of all links together, with the views of the page. Clicks and views are counted by where visitors come
/// from alike.
#[utoipa::path(
    get, path = "/api/profile/stats/", tag = "pages",
    params(("from" = Option<String>, Query, description = "The first day, such as `2026-11-01`, or a time in it"),
           ("to" = Option<String>, Query, description = "The last day, included: 31 days in hours and 732 otherwise at most"),
           ("interval" = Option<String>, Query, description = "The length of pieces: `hour`, `day` (unless said otherwise) or `week`"),
           ("tz" = Option<String>, Query, description = "The zone whose days these are, such as `Europe/Berlin`; UTC unless said otherwise"),
           ("include_bots" = Option<bool>, Query, description = "Whether clicks and views of robots are counted"),
           ("format" = Option<String>, Query, description = "`json` or `csv`; `Accept: text/csv` does the same")),
    responses((status = 200, description = "The figures", body = Reply)),
)]
pub(super) async fn page(
    state: Shared,
    caller: Caller,
    request: HttpRequest,
    query: Query,
) -> Result<HttpResponse, Problem> {
    let question = Question::read(query, &state, request.headers())?;
    let names = pages::link_names(&state.pool, caller.user_id).await?;
    let figures = clicks::figures(&state.pool, caller.user_id, &question.calendar).await?;
    question.answer(&figures, Some(names))
}

impl Question {
    fn read(mut query: Query, state: &State, headers: &HeaderMap) -> Result<Self, Problem> {
        let intervals = [("hour", Interval::Hour), ("day", Interval::Day), ("week", Interval::Week)];
        let interval = query.choice("interval", &intervals).map(|chosen| chosen.unwrap_or(Interval::Day));
        let zone = query.parse("tz", zone).map(|zone| zone.unwrap_or(Tz::UTC));
        let include_bots = query.choice("include_bots", &[("true", true), ("false", false)]);
        let format = query.choice("format", &[("json", false), ("csv", true)]);
        let (from, to) = (query.parse("from", Moment::parse), query.parse("to", Moment::parse));
        // What days these are is known with the zone.
        let calendar = interval.zip(zone).zip(from.zip(to)).and_then(|((interval, zone), (from, to))| {
            let to = to.unwrap_or(Moment::At(state.clock.now())).day(zone);
            let from = from.map_or_else(|| to - before(interval), |from| from.day(zone));
            Calendar::new(from, to, interval, zone)
                .map_err(|error| query.error("from", complaint(error, interval)))
                .ok()
        });
        let (interval, zone, include_bots, format, calendar) =
            query.finish((interval, zone, include_bots, format, calendar))?;
        let as_sheet = format.unwrap_or_else(|| wants_sheet(headers));
        Ok(Self { calendar, interval, zone, include_bots: include_bots.unwrap_or(false), as_sheet })
    }

    /// `names` are the links of a page; of a link there are none.
    fn answer(
        &self,
        figures: &Figures,
        names: Option<Vec<pages::LinkName>>,
    ) -> Result<HttpResponse, Problem> {
        let reply = self.reply(figures, names);
        if !self.as_sheet {
            return Ok(HttpResponse::Ok().json(reply));
        }
        let sheet = sheet::write(&reply).map_err(Problem::internal)?;
        Ok(HttpResponse::Ok()
            .content_type("text/csv; charset=utf-8; header=present")
            .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"clicks.csv\""))
            .body(sheet))
    }

    fn reply(&self, figures: &Figures, names: Option<Vec<pages::LinkName>>) -> Reply {
        let is_page = names.is_some();
        let numbers = |counts: &Counts| self.numbers(counts, is_page);
        let list = |wanted| {
            let found = figures.lists.iter().find(|(dimension, _)| *dimension == wanted);
            found.map(|(_, values)| values.as_slice()).unwrap_or_default()
        };
        let items = |dimension| {
            let item =
                |(value, counts): &(String, Counts)| Item { value: value.clone(), numbers: numbers(counts) };
            list(dimension).iter().map(item).collect()
        };
        let totals = numbers(&figures.totals);
        let (from, to) = self.calendar.span();
        Reply {
            from,
            to,
            interval: match self.interval {
                Interval::Hour => "hour",
                Interval::Day => "day",
                Interval::Week => "week",
            },
            tz: self.zone.name(),
            totals: Totals {
                numbers: totals,
                own: figures.totals.own_clicks,
                click_through_rate: totals.views.map(|views| ratio(totals.clicks, views)),
            },
            series: figures
                .series
                .iter()
                .map(|bucket| Piece { from: bucket.from, numbers: numbers(&bucket.counts) })
                .collect(),
            links: names.map(|names| self.links(names, list(Dimension::Link))),
            referrers: items(Dimension::Referrer),
            devices: items(Dimension::Device),
            browsers: items(Dimension::Browser),
            systems: items(Dimension::System),
            countries: items(Dimension::Country),
        }
    }

    /// Every link of a page, most clicks first, then as they stand on the page.
    fn links(&self, names: Vec<pages::LinkName>, counted: &[(String, Counts)]) -> Vec<LinkItem> {
        let mut items: Vec<LinkItem> = names
            .into_iter()
            .map(|name| {
                let id = name.id.to_string();
                let counts = counted.iter().find(|(value, _)| *value == id).map(|(_, counts)| *counts);
                let numbers = self.numbers(&counts.unwrap_or_default(), false);
                LinkItem { id: name.id, title: name.title, numbers }
            })
            .collect();
        items.sort_by_key(|item| std::cmp::Reverse(item.numbers.clicks));
        items
    }

    fn numbers(&self, counts: &Counts, with_views: bool) -> Numbers {
        let (more_clicks, more_views) =
            if self.include_bots { (counts.robot_clicks, counts.robot_views) } else { (0, 0) };
        Numbers {
            clicks: counts.clicks + more_clicks,
            unique: counts.unique_clicks,
            bots: counts.robot_clicks,
            views: with_views.then_some(counts.views + more_views),
            unique_views: with_views.then_some(counts.unique_views),
        }
    }
}

/// A day, or a time that is on one.
#[derive(Clone, Copy)]
enum Moment {
    Day(NaiveDate),
    At(DateTime<Utc>),
}

impl Moment {
    /// A date of RFC 3339 (`full-date`), in years that have four digits, or a time (`date-time`).
    fn parse(text: &str) -> Result<Self, Complaint> {
        let wrong = || Complaint::new(FieldCode::InvalidValue, "This must be a day such as 2026-11-01.");
        let in_time = |day: NaiveDate| (EARLIEST..=LATEST).contains(&chrono::Datelike::year(&day));
        if text.len() == 10 {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| wrong())?;
            return if in_time(day) { Ok(Self::Day(day)) } else { Err(wrong()) };
        }
        // A plus sign that was not escaped is a space by now.
        let time = DateTime::parse_from_rfc3339(&text.replace(' ', "+")).map_err(|_| wrong())?.to_utc();
        if in_time(time.date_naive()) { Ok(Self::At(time)) } else { Err(wrong()) }
    }

    fn day(self, zone: Tz) -> NaiveDate {
        match self {
            Self::Day(day) => day,
            Self::At(time) => time.with_timezone(&zone).date_naive(),
        }
    }
}

/// The years that are taken: zones and databases have their own ideas of others.
const EARLIEST: i32 = 1970;
const LATEST: i32 = 9998;

fn zone(text: &str) -> Result<Tz, Complaint> {
    let detail = "This must be a time zone of the IANA database, such as Europe/Berlin.";
    text.parse().map_err(|_| Complaint::new(FieldCode::InvalidValue, detail))
}

/// How long before its last day a series begins unless said otherwise.
fn before(interval: Interval) -> TimeDelta {
    TimeDelta::days(match interval {
        Interval::Hour => 6,
        Interval::Day => 29,
        Interval::Week => 83,
    })
}

fn complaint(error: CalendarError, interval: Interval) -> Complaint {
    let detail = match error {
        CalendarError::Backwards => "This must be no later than `to`.".to_owned(),
        CalendarError::TooLong => {
            format!("From this to `to` there may be {} days at most.", interval.longest())
        }
    };
    Complaint::new(FieldCode::InvalidValue, detail)
}

/// Whether CSV is what is asked for before anything else.
fn wants_sheet(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = accepted.split(',').next().unwrap_or_default();
    first.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/csv"))
}

/// To four decimals; nothing of nothing is 0.
#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a ratio need not be exact beyond 2^53"
)]
fn ratio(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0 }
}
