//! The scripts of our own that stand beside the library's, and the keys they work on.
//!
//! Keys are the library's (`apalis_redis::Config`); a test of the consumer fails when an upgrade renames one. Each
//! script is atomic and bounded, so a process killed between two of them leaves nothing half done.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use apalis_redis::Config;
use deadpool_redis::redis::aio::ConnectionLike;
use deadpool_redis::redis::{RedisResult, Script};

/// How many finished entries one script call forgets: about half a millisecond of Redis.
const SWEEP: u64 = 250;
/// How many script calls one sweep makes of each kind of finished entries; the rest is for the next.
const SWEEPS: usize = 200;

static RING: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/ring.lua")));
static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("lua/sound.lua"), include_str!("lua/release.lua"))));
static SCRUB: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("lua/sound.lua"), include_str!("lua/scrub.lua"))));
static SWEEP_FINISHED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/sweep.lua")));
static PULSE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/pulse.lua")));

/// The machine's clock in seconds: the library writes it into its scores, so what compares with them must read it too.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Makes due entries available, and rings the consumers on the channel, if there is one.
pub(super) async fn ring(
    conn: &mut impl ConnectionLike,
    keys: &Config,
    channel: Option<&str>,
) -> RedisResult<()> {
    RING.key(keys.scheduled_jobs_set())
        .key(keys.active_jobs_list())
        .arg(now())
        .arg(channel.unwrap_or_default())
        .invoke_async(conn)
        .await
}

/// Ends the named registrations, and those not heard of for an orphan window if `expired`.
pub(super) async fn release(
    conn: &mut impl ConnectionLike,
    keys: &Config,
    expired: bool,
    names: &[String],
) -> RedisResult<u64> {
    let before = expired.then(|| now().saturating_sub(keys.orphaned_duration().as_secs()).to_string());
    RELEASE
        .key(keys.workers_set())
        .key(keys.active_jobs_list())
        .key(keys.job_data_hash())
        .key(keys.job_meta_hash())
        .key(keys.inflight_jobs_set())
        .key(metadata_prefix(keys))
        .arg(before.unwrap_or_default())
        .arg(names)
        .invoke_async(conn)
        .await
}

/// Drops the waiting entries that would end the worker that fetches them.
pub(super) async fn scrub(conn: &mut impl ConnectionLike, keys: &Config) -> RedisResult<u64> {
    SCRUB
        .key(keys.active_jobs_list())
        .key(keys.job_data_hash())
        .key(keys.job_meta_hash())
        .invoke_async(conn)
        .await
}

/// Forgets finished entries, a piece at a time, and returns how many.
pub(super) async fn sweep(conn: &mut impl ConnectionLike, keys: &Config) -> RedisResult<u64> {
    let mut forgotten = 0;
    for finished in [keys.done_jobs_set(), keys.dead_jobs_set()] {
        for _ in 0..SWEEPS {
            let count: u64 = SWEEP_FINISHED
                .key(&finished)
                .key(keys.job_data_hash())
                .key(keys.job_meta_hash())
                .arg(SWEEP)
                .invoke_async(conn)
                .await?;
            forgotten += count;
            if count < SWEEP {
                break;
            }
        }
    }
    Ok(forgotten)
}

/// Renews the registration of a consumer; false if it is gone.
pub(super) async fn pulse(
    conn: &mut impl ConnectionLike,
    keys: &Config,
    name: &str,
    ttl: u64,
) -> RedisResult<bool> {
    PULSE
        .key(keys.workers_set())
        .key(metadata(keys, name))
        .arg(now())
        .arg(name)
        .arg(ttl)
        .invoke_async(conn)
        .await
}

/// Where the library keeps what it knows of a worker.
pub(super) fn metadata(keys: &Config, name: &str) -> String {
    format!("{}:{name}", metadata_prefix(keys))
}

fn metadata_prefix(keys: &Config) -> String {
    format!("{}:metadata", keys.workers_set())
}
