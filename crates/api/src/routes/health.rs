//! `/health/live` and `/health/ready`: for whoever starts, stops and balances processes.
//!
//! Being alive depends on nothing else: a dead database must not make every replica restart. Being ready does.

use std::time::Duration;

use actix_web::HttpResponse;
use domain::db;
use serde_json::json;

use crate::app::Shared;
use crate::problem::{Code, Problem};

/// How long a dependency has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process runs.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "live" }))
}

/// Whether this replica should get requests.
pub async fn ready(state: Shared) -> Result<HttpResponse, Problem> {
    let postgresql =
        tokio::time::timeout(PATIENCE, db::ping(&state.pool)).await.is_ok_and(|ping| ping.is_ok());
    let draining = state.is_draining();
    let checks = json!({ "postgresql": word(postgresql) });
    if draining || !postgresql {
        let detail = if draining { "This replica is about to stop." } else { "PostgreSQL does not answer." };
        return Err(Problem::new(Code::Unavailable)
            .detail(detail)
            .retry_after(Duration::from_secs(5))
            .member("checks", checks));
    }
    Ok(HttpResponse::Ok().json(json!({ "status": "ready", "checks": checks })))
}

fn word(ok: bool) -> &'static str {
    if ok { "ok" } else { "down" }
}
