//! `GET /api/leaderboard/`: who brought most friends, of those who want to be named; and `/api/me/leaderboard/`, where one
//! says whether one does.

use actix_web::HttpResponse;
use actix_web::http::header::{self, ContentType, HeaderValue};
use domain::cache::{Entry, Kind};
use domain::referrals::{self, Window};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::Shared;
use crate::auth::Caller;
use crate::body::Fields;
use crate::cache::Prefetched;
use crate::problem::Problem;
use crate::query::Query;

/// The leaderboard.
#[derive(Serialize, ToSchema)]
#[schema(as = Leaderboard)]
pub(super) struct Reply {
    /// `7d`, `30d` or `all`.
    #[schema(pattern = "^(7d|30d|all)$")]
    window: &'static str,
    /// A hundred at most.
    items: Vec<Item>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LeaderboardItem)]
pub(super) struct Item {
    /// From 1; equal numbers share a rank, and the older account comes first.
    rank: usize,
    username: String,
    /// Referrals that count: those that came to count in the window, or all that count now.
    successful: i64,
}

/// Whether one is named.
#[derive(Serialize, ToSchema)]
#[schema(as = LeaderboardChoice)]
pub(super) struct Choice {
    /// Whether the leaderboard may show the username. Not unless its owner says so.
    named: bool,
}

/// Whether one may be named on the leaderboard
#[utoipa::path(
    get, path = "/api/me/leaderboard/", tag = "referrals",
    responses((status = 200, description = "The choice", body = Choice)),
)]
pub(super) async fn choice(state: Shared, caller: Caller) -> Result<HttpResponse, Problem> {
    let named = referrals::is_named(&state.pool, caller.user_id).await?;
    let named = named.ok_or_else(Problem::unauthenticated)?;
    Ok(HttpResponse::Ok().json(Choice { named }))
}

/// Choose whether the leaderboard may name one
///
/// It follows within half a minute.
#[utoipa::path(
    put, path = "/api/me/leaderboard/", tag = "referrals", request_body = Choice,
    responses((status = 200, description = "The choice", body = Choice)),
)]
pub(super) async fn choose(
    state: Shared,
    caller: Caller,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let named = fields.flag("named");
    let named = fields.finish(named)?;
    if !referrals::set_named(&state.pool, caller.user_id, named).await? {
        return Err(Problem::unauthenticated());
    }
    Ok(HttpResponse::Ok().json(Choice { named }))
}

/// The leaderboard
///
/// Only accounts that asked to be named (`PUT /api/me/leaderboard/`). Up to half a minute old.
#[utoipa::path(
    get, path = "/api/leaderboard/", tag = "referrals",
    params(("window" = Option<String>, Query, description = "Over how long: `all` unless said otherwise", pattern = "^(7d|30d|all)$")),
    responses((status = 200, description = "The first hundred", body = Reply)),
)]
pub(super) async fn get(state: Shared, mut query: Query) -> Result<HttpResponse, Problem> {
    let windows = Window::ALL.map(|window| (window.as_str(), window));
    let window = query.choice("window", &windows);
    let window = query.finish(window)?.unwrap_or(Window::All);
    let load = async || {
        let now = state.clock.now();
        let standings = referrals::leaderboard(&state.pool, now, window).await?;
        let mut items: Vec<Item> = Vec::with_capacity(standings.len());
        for (index, standing) in standings.into_iter().enumerate() {
            let tied = items.last().filter(|last| last.successful == standing.successful);
            let rank = tied.map_or(index + 1, |last| last.rank);
            items.push(Item { rank, username: standing.username, successful: standing.successful });
        }
        let reply = Reply { window: window.as_str(), items };
        let body = serde_json::to_vec(&reply).map_err(Problem::internal)?;
        Ok((now.timestamp_millis(), body.into()))
    };
    // One copy for everybody, so it is nobody's: the window stands in for whose.
    let number = Window::ALL.iter().position(|known| *known == window).unwrap_or_default();
    let id = Uuid::from_u64_pair(0, u64::try_from(number).unwrap_or_default());
    let entry = Entry { kind: Kind::Leaderboard, id };
    let body = state.cache.get_or_load(entry, Prefetched::Unknown, load).await?;
    let cached = HeaderValue::from_static("public, max-age=30");
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, cached))
        .content_type(ContentType::json())
        .body(body))
}
