//! A worker process: its consumers, its relay, its schedule and its health page, started and stopped together.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use domain::cache::{Cache, Layout};
use domain::clicks::Stream;
use domain::clock::Clock;
use domain::outbox::relay::{Relay, Wake};
use domain::queue::{QueueName, Queues};
use domain::redis::Redis;
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clicks::{self, ClicksHealth};
use crate::config::Config;
use crate::consume::{ConsumerHealth, ConsumerLimits, supervise};
use crate::context::Context;
use crate::courier::Courier;
use crate::health::{self, Health};
use crate::jobs;
use crate::mailer::Mailer;
use crate::schedule;

/// Connections for the stream of clicks.
const CLICKS_CONNECTIONS: usize = 2;

/// A worker that is ready to run.
pub struct Worker {
    config: Config,
    context: Context,
    queues: Queues,
    clicks: Stream,
    health: Health,
    server: health::Listener,
}

/// Builds a worker: the one entry for `main` and for tests. Needs neither PostgreSQL nor Redis to be up; fails when a
/// setting cannot work or the health page's address is taken.
pub fn build(config: Config, clock: Clock) -> anyhow::Result<Worker> {
    #[cfg(feature = "failpoints")]
    if let Some(point) = config.fail_point.clone() {
        point.arm();
    }
    let common = &config.common;
    let pool = domain::db::connect(&common.database_url, common.database_pool)?;
    let queues = Queues::new(&common.redis_url, &common.redis_prefix).context("REDIS_URL")?;
    let redis = Redis::new(&common.cache_redis_url, config.concurrency).context("CACHE_REDIS_URL")?;
    let clicks = Redis::new(&common.redis_url, CLICKS_CONNECTIONS).context("REDIS_URL")?;
    let clicks = Stream::new(clicks, &common.redis_prefix);
    let context = Context {
        pool: pool.clone(),
        cache: Cache::new(redis, Layout::new(&common.redis_prefix, clock.clone())),
        clock,
        keys: common.keys.clone(),
        public_url: common.public_url.clone(),
        mail_limits: common.mail_limits,
        referrals: common.referrals,
        unverified_accounts_kept: config.unverified_accounts_kept,
        mailer: Arc::new(Mailer::new(&config.mail)?),
        courier: Arc::new(Courier::new(common.webhook_targets.clone(), config.concurrency)?),
        wake: Wake::default(),
    };
    domain::telemetry::init_metrics();
    jobs::webhooks::init_metrics();
    let health =
        Health { pool, consumers: ConsumerHealth::new(QueueName::ALL), clicks: ClicksHealth::default() };
    let server = health::Listener::bind(config.metrics_addr)?;
    Ok(Worker { config, context, queues, clicks, health, server })
}

impl Worker {
    /// Where `/metrics` and `/health/..` are answered.
    pub fn metrics_addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Runs until `shutdown` turns true (or its sender is gone), then lets running jobs end for as long as a drain may take.
    pub async fn run(self, shutdown: watch::Receiver<bool>) {
        let Self { config, context, queues, clicks, health, server } = self;
        let mut tasks = JoinSet::new();
        for queue in QueueName::ALL {
            let context = context.clone();
            let handler = move |id: String| jobs::handle(context.clone(), id).boxed();
            let limits = ConsumerLimits { concurrency: config.concurrency, drain: config.drain };
            let consumers = health.consumers.clone();
            tasks.spawn(supervise(queues.clone(), queue, limits, handler, consumers, shutdown.clone()));
        }
        let relay = Relay::new(context.pool.clone(), queues.clone(), context.wake.clone());
        tasks.spawn(relay.run(shutdown.clone()));
        tasks.spawn(clicks::run(context.clone(), clicks, health.clicks.clone(), shutdown.clone()));
        tasks.spawn(schedule::run(context.clone(), shutdown.clone()));
        tasks.spawn(schedule::clean_queues(queues.clone(), shutdown.clone()));
        tasks.spawn(schedule::measure(context, queues, shutdown.clone()));
        tokio::select! {
            () = server.run(health) => tracing::error!("the health page ended"),
            () = finish(&mut tasks) => {}
        }
    }
}

/// Waits for every task to end. None ends before the shutdown; one that panics takes the process with it, to be
/// started again whole.
async fn finish(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the worker died");
            return;
        }
    }
}
