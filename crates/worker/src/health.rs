//! `/health/live`, `/health/ready` and `/metrics`, on a listener of their own.

use std::net::SocketAddr;

use actix_web::dev::Server;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use domain::db::Pool;
use domain::telemetry;
use tokio::time::{Duration, timeout};

use crate::clicks::ClicksHealth;
use crate::consume::ConsumerHealth;

/// How long PostgreSQL may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What readiness looks at.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) pool: Pool,
    pub(crate) consumers: ConsumerHealth,
    pub(crate) clicks: ClicksHealth,
}

/// The bound address, before anything is answered.
pub(crate) struct Listener {
    listener: std::net::TcpListener,
    addr: SocketAddr,
}

impl Listener {
    /// Binds the address.
    pub(crate) fn bind(addr: SocketAddr) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(addr).with_context(|| {
            format!("WORKER_METRICS_ADDR: cannot listen on {addr}: choose another address")
        })?;
        let addr = listener.local_addr()?;
        Ok(Self { listener, addr })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until it is dropped.
    pub(crate) async fn run(self, health: Health) {
        match self.serve(health) {
            Ok(server) => {
                let handle = server.handle();
                if let Err(error) = server.await {
                    tracing::error!(%error, "the health page failed");
                }
                handle.stop(false).await;
            }
            Err(error) => tracing::error!(%error, "the health page cannot start"),
        }
    }

    fn serve(self, health: Health) -> std::io::Result<Server> {
        let app = move || {
            App::new()
                .app_data(web::Data::new(health.clone()))
                .route("/health/live", web::get().to(HttpResponse::Ok))
                .route("/health/ready", web::get().to(ready))
                .route("/metrics", web::get().to(metrics))
        };
        Ok(HttpServer::new(app).workers(1).disable_signals().listen(self.listener)?.run())
    }
}

/// 200 when PostgreSQL answers, every consumer is alive and clicks are counted, else 503; the body says which.
async fn ready(health: web::Data<Health>) -> HttpResponse {
    let postgres = matches!(timeout(PATIENCE, domain::db::ping(&health.pool)).await, Ok(Ok(())));
    let now = std::time::Instant::now();
    let consumers: serde_json::Map<String, serde_json::Value> = health
        .consumers
        .ages(now)
        .into_iter()
        .map(|(queue, age)| (queue.as_str().to_owned(), age.map(|age| age.as_secs()).into()))
        .collect();
    let ready = postgres && health.consumers.alive(now) && health.clicks.alive(now);
    let body = serde_json::json!({
        "status": if ready { "ready" } else { "unavailable" },
        "checks": {
            "postgresql": if postgres { "ok" } else { "down" },
            "consumers_silent_seconds": consumers,
            "clicks_silent_seconds": health.clicks.age(now).map(|age| age.as_secs()),
        },
    });
    if ready { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

async fn metrics() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(telemetry::render_metrics())
}
