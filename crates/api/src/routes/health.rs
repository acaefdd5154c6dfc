//! `/health/live` and `/health/ready`: for whoever starts, stops and balances processes.
//!
//! Being alive depends on nothing else: a dead database must not make every replica restart. Being ready does. Redis is
//! none of what it needs: without it everything is served, only slower and with limits of this process alone.

use std::time::Duration;

use actix_web::HttpResponse;
use domain::db;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::problem::{Code, Problem};

/// How long a dependency has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// That the process runs.
#[derive(Serialize, ToSchema)]
pub(super) struct Live {
    #[schema(pattern = "^live$")]
    status: &'static str,
}

/// Whether this replica should get requests.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ready`, or `degraded` when something is down that it can do without.
    #[schema(pattern = "^(ready|degraded)$")]
    status: &'static str,
    checks: Checks,
}

/// What was asked, each `ok` or `down`.
#[derive(Serialize, ToSchema)]
pub(super) struct Checks {
    #[schema(pattern = "^(ok|down)$")]
    postgresql: &'static str,
    #[schema(pattern = "^(ok|down)$")]
    redis: &'static str,
    #[schema(pattern = "^(ok|down)$")]
    cache: &'static str,
}

/// Does the process run?
///
/// Touches nothing else.
#[utoipa::path(
    get, path = "/health/live", tag = "operations",
    responses((status = 200, description = "It runs", body = Live)),
)]
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Live { status: "live" })
}

/// Should this replica get requests?
///
/// No while PostgreSQL does not answer, and when it is about to stop.
#[utoipa::path(
    get, path = "/health/ready", tag = "operations",
    responses((status = 200, description = "It should", body = Readiness)),
)]
pub(super) async fn ready(state: Shared) -> Result<HttpResponse, Problem> {
    let database =
        async { tokio::time::timeout(PATIENCE, db::ping(&state.pool)).await.is_ok_and(|ping| ping.is_ok()) };
    let redis = async { state.redis.ping().await.is_ok() };
    let (database, redis, cache) = tokio::join!(database, redis, state.cache.is_up());
    let checks = Checks { postgresql: word(database), redis: word(redis), cache: word(cache) };
    if state.is_draining() || !database {
        let reason = if database { "This replica is about to stop." } else { "PostgreSQL does not answer." };
        return Err(Problem::new(Code::Unavailable)
            .detail(reason)
            .retry_after(Duration::from_secs(5))
            .member("checks", json!(checks)));
    }
    let status = if redis && cache { "ready" } else { "degraded" };
    Ok(HttpResponse::Ok().json(Readiness { status, checks }))
}

fn word(ok: bool) -> &'static str {
    if ok { "ok" } else { "down" }
}
