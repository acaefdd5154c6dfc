//! What runs by the clock. Every worker keeps the schedule; a UNIQUE key lets one job a period through.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::outbox::{self, Job, Options};
use domain::queue::{QueueName, Queues};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use crate::context::Context;

/// How often the schedule is looked at.
const TICK: Duration = Duration::from_secs(60);

/// How often finished entries are removed from Redis.
const CLEANING: Duration = Duration::from_secs(10);

/// How often the state of the outbox is measured.
const MEASURING: Duration = Duration::from_secs(5);

/// Promises the periodic jobs until `shutdown` turns true.
pub(crate) async fn run(context: Context, shutdown: watch::Receiver<bool>) {
    let mut ticks = Ticks::new(TICK, shutdown);
    while ticks.next().await {
        let hour = context.clock.now().format("%Y-%m-%dT%H").to_string();
        for (name, job) in [
            ("expire_referrals", Job::ExpireReferrals {}),
            ("expire_accounts", Job::ExpireAccounts {}),
            ("recheck_referrals", Job::RecheckReferrals {}),
            ("purge", Job::Purge {}),
        ] {
            let options =
                Options { dedupe_key: Some(format!("schedule:{name}:{hour}")), ..Options::default() };
            if let Err(error) = outbox::enqueue_alone(&context.pool, &job, options).await {
                tracing::warn!(
                    job = name,
                    error = format!("{:#}", anyhow::Error::from(error)),
                    "could not schedule a job"
                );
            }
        }
        context.wake.wake();
    }
}

/// Removes finished entries from Redis until `shutdown` turns true.
pub(crate) async fn clean_queues(queues: Queues, shutdown: watch::Receiver<bool>) {
    let mut ticks = Ticks::new(CLEANING, shutdown);
    while ticks.next().await {
        for queue in QueueName::ALL {
            // Redis being away shows in the consumers' own warnings.
            if let Err(error) = queues.clean(queue).await {
                tracing::debug!(%queue, error = format!("{:#}", anyhow::Error::from(error)), "could not clean a queue");
            }
        }
    }
}

/// Publishes how far the queues are behind until `shutdown` turns true.
pub(crate) async fn measure(context: Context, queues: Queues, shutdown: watch::Receiver<bool>) {
    let mut ticks = Ticks::new(MEASURING, shutdown);
    while ticks.next().await {
        let now = context.clock.now();
        for (queue, state) in outbox::states(&context.pool).await.unwrap_or_default() {
            let queue_name = queue.as_str();
            metrics::gauge!("trellis_outbox_waiting", "queue" => queue_name).set(to_f64(state.waiting));
            metrics::gauge!("trellis_outbox_dead", "queue" => queue_name).set(to_f64(state.dead));
            metrics::gauge!("trellis_outbox_oldest_seconds", "queue" => queue_name)
                .set(age_seconds(now, state.oldest));
            if let Ok(depth) = queues.depth(queue).await {
                metrics::gauge!("trellis_queue_depth", "queue" => queue_name)
                    .set(to_f64(i64::try_from(depth).unwrap_or(i64::MAX)));
            }
        }
    }
}

fn age_seconds(now: DateTime<Utc>, since: Option<DateTime<Utc>>) -> f64 {
    since.map_or(0.0, |since| to_f64((now - since).num_seconds().max(0)))
}

#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a gauge need not be exact beyond 2^53"
)]
fn to_f64(n: i64) -> f64 {
    n as f64
}

/// Ticks, the first at once, until a shutdown.
struct Ticks {
    interval: Interval,
    shutdown: watch::Receiver<bool>,
}

impl Ticks {
    fn new(period: Duration, shutdown: watch::Receiver<bool>) -> Self {
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { interval, shutdown }
    }

    /// Waits for the next one; `false` at the shutdown.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interval.tick() => true,
            _ = self.shutdown.wait_for(|stop| *stop) => false,
        }
    }
}
