//! Counting clicks: as long as there are any, again and again; else twice a second.
//!
//! Every worker tries; the lock in PostgreSQL lets one count. A fault of PostgreSQL or Redis is waited out: what is in the
//! stream stays there, and when it has all the memory that it may have, the api takes no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::clicks::{Pass, RollUpError, Stream, roll_up};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::consume::Backoff;
use crate::context::Context;

/// How long an empty stream is left alone.
const IDLE: Duration = Duration::from_millis(500);

/// Entries that the first pass looks at.
const FIRST: usize = 100;

/// The fewest and the most entries a pass looks at. One has 250 clicks at most, and about 16 KB then.
const ENTRIES: std::ops::RangeInclusive<usize> = 20..=2_000;

/// Clicks that a pass is to count.
const WANTED: usize = 20_000;

/// When the last pass went well, for readiness.
#[derive(Clone, Debug)]
pub(crate) struct ClicksHealth {
    began: Instant,
    /// Milliseconds from `began` and one more; 0 before the first.
    beat: Arc<AtomicU64>,
}

impl Default for ClicksHealth {
    fn default() -> Self {
        Self { began: Instant::now(), beat: Arc::default() }
    }
}

impl ClicksHealth {
    /// Without a good pass for longer, clicks are not counted here.
    pub(crate) const SILENCE: Duration = Duration::from_secs(30);

    fn beat(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.beat.fetch_max(since, Ordering::Relaxed);
    }

    /// How long ago the last good pass was; none if there never was one.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        let last = self.began + Duration::from_millis(self.beat.load(Ordering::Relaxed).checked_sub(1)?);
        Some(now.saturating_duration_since(last))
    }

    /// Whether clicks are counted.
    pub(crate) fn alive(&self, now: Instant) -> bool {
        self.age(now).is_some_and(|age| age <= Self::SILENCE)
    }
}

/// Counts until `shutdown` turns true.
pub(crate) async fn run(
    context: Context,
    stream: Stream,
    health: ClicksHealth,
    mut shutdown: watch::Receiver<bool>,
) {
    for reason in ["malformed", "late", "gone"] {
        metrics::counter!("trellis_clicks_lost_total", "reason" => reason).increment(0);
    }
    let mut entries = FIRST;
    let mut backoff = Backoff::default();
    let mut well = Instant::now();
    while !*shutdown.borrow() {
        let now = context.clock.now();
        let pause = match roll_up(&context.pool, &stream, now, entries).await {
            Ok(pass) => {
                health.beat();
                well = Instant::now();
                publish(&pass, now);
                entries = next_count(&pass, entries);
                if pass.entries > 0 && pass.left > 0 && !pass.newer { Duration::ZERO } else { IDLE }
            }
            Err(error) => failed(error, backoff.pause(well.elapsed())),
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }
}

fn failed(error: RollUpError, pause: Duration) -> Duration {
    metrics::counter!("trellis_clicks_rollup_failures_total").increment(1);
    let error = format!("{:#}", anyhow::Error::from(error));
    tracing::warn!(error, ?pause, "clicks were not counted; they stay where they are");
    pause
}

/// As many entries as have the clicks that a pass is to count, by what this one found.
fn next_count(pass: &Pass, entries: usize) -> usize {
    let events = usize::try_from(pass.events()).unwrap_or(usize::MAX);
    if events == 0 || pass.entries == 0 {
        return entries;
    }
    (pass.entries.saturating_mul(WANTED) / events).clamp(*ENTRIES.start(), *ENTRIES.end())
}

fn publish(pass: &Pass, now: chrono::DateTime<chrono::Utc>) {
    for ((kind, mark), count) in &pass.counted {
        metrics::counter!("trellis_clicks_counted_total", "kind" => kind.as_str(), "mark" => mark.as_str())
            .increment(*count);
    }
    for (reason, count) in [("malformed", pass.malformed), ("late", pass.late), ("gone", pass.gone)] {
        if count > 0 {
            metrics::counter!("trellis_clicks_lost_total", "reason" => reason).increment(count);
            tracing::warn!(reason, count, "clicks were not counted and are gone");
        }
    }
    if pass.newer {
        tracing::warn!("clicks of a newer release wait for a worker of that release");
    }
    if pass.busy {
        return;
    }
    let lag = pass.oldest.map_or(0, |oldest| (now - oldest).num_milliseconds().max(0));
    metrics::gauge!("trellis_clicks_lag_seconds")
        .set(f64::from(i32::try_from(lag).unwrap_or(i32::MAX)) / 1_000.0);
    metrics::gauge!("trellis_clicks_waiting_batches")
        .set(f64::from(u32::try_from(pass.left).unwrap_or(u32::MAX)));
}
