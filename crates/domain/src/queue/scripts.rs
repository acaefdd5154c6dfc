//! Our Lua scripts that complement the library's, and the keys they work on.
//!
//! The keys are the library's (`apalis_redis::Config`); a test of the consumer fails when an upgrade renames one. Each
//! script is atomic and bounded, so a process killed between two of them leaves nothing half done.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use apalis_redis::Config;
use deadpool_redis::redis::aio::ConnectionLike;
use deadpool_redis::redis::{RedisResult, Script};

/// Finished entries that one script call deletes: about half a millisecond of Redis.
const SWEEP_CHUNK: u64 = 250;
/// Script calls that one sweep makes for each kind of finished entries; the rest is left to the next sweep.
const SWEEP_CALLS: usize = 200;

static NOTIFY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/notify.lua")));
static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("lua/readable.lua"), include_str!("lua/release.lua"))));
static DROP_UNREADABLE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(include_str!("lua/readable.lua"), include_str!("lua/drop_unreadable.lua")))
});
static SWEEP_FINISHED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/sweep.lua")));
static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/heartbeat.lua")));

/// The machine's clock in seconds: the library's scores are made with it, so whatever compares with them must use it too.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Makes due entries available, and notifies the consumers on the channel, if there is one.
pub(super) async fn notify(
    conn: &mut impl ConnectionLike,
    keys: &Config,
    channel: Option<&str>,
) -> RedisResult<()> {
    NOTIFY
        .key(keys.scheduled_jobs_set())
        .key(keys.active_jobs_list())
        .arg(now())
        .arg(channel.unwrap_or_default())
        .invoke_async(conn)
        .await
}

/// Ends the named registrations, and with `expired` those without a heartbeat for an orphan window. Returns how many
/// entries wait again.
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

/// Deletes the waiting entries that would stop the worker that fetches them, and returns how many.
pub(super) async fn drop_unreadable(conn: &mut impl ConnectionLike, keys: &Config) -> RedisResult<u64> {
    DROP_UNREADABLE
        .key(keys.active_jobs_list())
        .key(keys.job_data_hash())
        .key(keys.job_meta_hash())
        .invoke_async(conn)
        .await
}

/// Deletes finished entries chunk by chunk, and returns how many.
pub(super) async fn sweep(conn: &mut impl ConnectionLike, keys: &Config) -> RedisResult<u64> {
    let mut deleted = 0;
    for finished in [keys.done_jobs_set(), keys.dead_jobs_set()] {
        for _ in 0..SWEEP_CALLS {
            let count: u64 = SWEEP_FINISHED
                .key(&finished)
                .key(keys.job_data_hash())
                .key(keys.job_meta_hash())
                .arg(SWEEP_CHUNK)
                .invoke_async(conn)
                .await?;
            deleted += count;
            if count < SWEEP_CHUNK {
                break;
            }
        }
    }
    Ok(deleted)
}

/// Renews the registration of a consumer. Returns false if it no longer exists.
pub(super) async fn heartbeat(
    conn: &mut impl ConnectionLike,
    keys: &Config,
    name: &str,
    ttl: u64,
) -> RedisResult<bool> {
    HEARTBEAT
        .key(keys.workers_set())
        .key(metadata(keys, name))
        .arg(now())
        .arg(name)
        .arg(ttl)
        .invoke_async(conn)
        .await
}

/// The key of the library's metadata of a worker.
pub(super) fn metadata(keys: &Config, name: &str) -> String {
    format!("{}:{name}", metadata_prefix(keys))
}

fn metadata_prefix(keys: &Config) -> String {
    format!("{}:metadata", keys.workers_set())
}
