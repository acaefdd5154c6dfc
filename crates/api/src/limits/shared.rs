//! Counting in Redis, where all replicas see one count.
//!
//! GCRA: a key holds the time at which its quota would be whole again. Redis's own clock is used, so replicas need not
//! agree on the time, and several limits are decided in one call: when one refuses, none is charged.

use std::sync::LazyLock;
use std::time::Duration;

use deadpool_redis::redis::Script;
use domain::redis::{Redis, Unavailable};

use super::Ask;
use super::decision::Level;

/// For each key: after how many milliseconds one request comes back, and how many fit at once. What lies under a key and
/// cannot be such a time is nothing.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000 + math.floor(time[2] / 1000)
         local whole, refused = {}, false
         for i, key in ipairs(KEYS) do
           local interval, quota = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
           local held = tonumber(redis.call('GET', key)) or 0
           if not (held > now and held <= now + interval * quota) then held = now end
           whole[i] = held + interval
           if whole[i] - interval * quota > now then refused = true end
         end
         local levels = {refused and 0 or 1}
         for i, key in ipairs(KEYS) do
           local interval, quota = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
           local wait = math.max(whole[i] - interval * quota - now, 0)
           if refused then
             whole[i] = whole[i] - interval
           else
             redis.call('SET', key, string.format('%d', whole[i]), 'PX', whole[i] - now)
           end
           levels[#levels + 1] = wait
           levels[#levels + 1] = whole[i] - now
         end
         return levels",
    )
});

/// Gives one request back.
static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000 + math.floor(time[2] / 1000)
         for i, key in ipairs(KEYS) do
           local whole = (tonumber(redis.call('GET', key)) or 0) - tonumber(ARGV[i])
           if whole > now then
             redis.call('SET', key, string.format('%d', whole), 'PX', whole - now)
           else
             redis.call('DEL', key)
           end
         end
         return 1",
    )
});

/// Takes one request of each, or of none.
pub(super) async fn take(
    redis: &Redis,
    prefix: &str,
    asks: &[Ask],
) -> Result<(bool, Vec<Level>), Unavailable> {
    let mut call = TAKE.prepare_invoke();
    for ask in asks {
        call.key(ask.key(prefix)).arg(ask.policy.interval_ms(1)).arg(ask.policy.quota);
    }
    let mut answer = run::<Vec<u64>>(redis, &call).await?.into_iter();
    let allowed = answer.next() == Some(1);
    let mut next = || Duration::from_millis(answer.next().unwrap_or(0));
    Ok((allowed, asks.iter().map(|_| Level { wait: next(), whole_in: next() }).collect()))
}

/// Gives one request of each back.
pub(super) async fn give_back(redis: &Redis, prefix: &str, asks: &[Ask]) -> Result<(), Unavailable> {
    let mut call = GIVE_BACK.prepare_invoke();
    for ask in asks {
        call.key(ask.key(prefix)).arg(ask.policy.interval_ms(1));
    }
    run::<u8>(redis, &call).await.map(|_| ())
}

async fn run<T: deadpool_redis::redis::FromRedisValue>(
    redis: &Redis,
    call: &deadpool_redis::redis::ScriptInvocation<'_>,
) -> Result<T, Unavailable> {
    let calls = async {
        let mut connection = redis.connection().await?;
        call.invoke_async(&mut connection).await
    };
    redis.within_budget(calls).await
}
