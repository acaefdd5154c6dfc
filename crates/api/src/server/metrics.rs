//! `/metrics`, on a listener of its own that need not be reachable from where clients are.

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use domain::telemetry;

use super::{Running, cannot_listen};
use crate::app::{Shared, State};

/// Binds the listener.
pub(super) fn serve(state: &Shared) -> anyhow::Result<Running> {
    let wanted = state.config.metrics_addr;
    let state = state.clone();
    let app = move || App::new().app_data(state.clone()).route("/metrics", web::get().to(scrape));
    let server = HttpServer::new(app)
        .workers(1)
        .disable_signals()
        .bind(wanted)
        .with_context(|| cannot_listen("METRICS_ADDR", wanted))?;
    let addr = server.addrs().first().copied().unwrap_or(wanted);
    Ok(Running { server: server.run(), addr })
}

async fn scrape(state: Shared) -> HttpResponse {
    measure(&state);
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(telemetry::render_metrics())
}

/// What is looked at when asked for, rather than counted as it happens.
fn measure(state: &State) {
    let pool = state.pool.status();
    let used = pool.size.saturating_sub(pool.available);
    for (name, count) in [
        ("database_pool_connections_max", pool.max_size),
        ("database_pool_connections_used", used),
        ("database_pool_waiting", pool.waiting),
    ] {
        metrics::gauge!(name).set(u32::try_from(count).unwrap_or(u32::MAX));
    }
    metrics::gauge!("api_draining").set(u32::from(state.is_draining()));
}
