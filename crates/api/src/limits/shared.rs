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
use super::policy::Counts;

/// For each key: after how many milliseconds one request comes back, how many fit at once, and how many this one is: 0 only
/// looks whether one would fit. What lies under a key and cannot be such a time is nothing.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000 + math.floor(time[2] / 1000)
         local whole, refused = {}, false
         for i, key in ipairs(KEYS) do
           local interval, quota = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
           local held = tonumber(redis.call('GET', key)) or 0
           if not (held > now and held <= now + interval * quota) then held = now end
           whole[i] = held + interval
           if whole[i] - interval * quota > now then refused = true end
         end
         local levels = {refused and 0 or 1}
         for i, key in ipairs(KEYS) do
           local interval, quota = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
           local wait = math.max(whole[i] - interval * quota - now, 0)
           if refused or ARGV[3 * i] == '0' then
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

/// Counts a member, unless it was counted in this window. The second key remembers members, as a `HyperLogLog` does: in little memory however many there are, and wrong about one in a hundred at most of as few as matter here. Says whether
/// the limit is used up by this one.
static CHARGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local interval, quota, member, window = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], ARGV[4]
         local added = redis.pcall('PFADD', KEYS[2], member)
         if type(added) ~= 'number' then
           redis.call('DEL', KEYS[2])
           added = redis.call('PFADD', KEYS[2], member)
         end
         if redis.call('PTTL', KEYS[2]) < 0 then redis.call('PEXPIRE', KEYS[2], window) end
         if added == 0 then return 0 end
         local time = redis.call('TIME')
         local now = time[1] * 1000 + math.floor(time[2] / 1000)
         local held = tonumber(redis.call('GET', KEYS[1])) or 0
         if not (held > now and held <= now + interval * quota) then held = now end
         local whole = held + interval
         if whole > now + interval * quota then return 0 end
         redis.call('SET', KEYS[1], string.format('%d', whole), 'PX', whole - now)
         return whole + interval > now + interval * quota and 1 or 0",
    )
});

/// Counts a member against a limit, once a window. Returns whether that used it up.
pub(super) async fn charge(
    redis: &Redis,
    prefix: &str,
    ask: &Ask,
    member: &[u8],
) -> Result<bool, Unavailable> {
    let mut call = CHARGE.prepare_invoke();
    let window = u64::try_from(ask.rate.window.as_millis()).unwrap_or(u64::MAX);
    call.key(ask.key(prefix)).key(format!("{}:members", ask.key(prefix)));
    call.arg(ask.rate.interval_ms(1)).arg(ask.rate.quota).arg(member).arg(window);
    run::<u8>(redis, &call).await.map(|crossed| crossed == 1)
}

/// Takes one request of each, or of none.
pub(super) async fn take(
    redis: &Redis,
    prefix: &str,
    asks: &[Ask],
) -> Result<(bool, Vec<Level>), Unavailable> {
    let mut call = TAKE.prepare_invoke();
    for ask in asks {
        let cost = u8::from(ask.policy.counts == Counts::Requests);
        call.key(ask.key(prefix)).arg(ask.rate.interval_ms(1)).arg(ask.rate.quota).arg(cost);
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
        call.key(ask.key(prefix)).arg(ask.rate.interval_ms(1));
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
