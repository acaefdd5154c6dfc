//! Copies of rows in Redis: how they are named, written, ordered and taken away.
//!
//! Nothing here cannot be rebuilt from PostgreSQL. A copy carries the version of what it was made from: a late fill never
//! overwrites a newer copy, nor one that was invalidated meanwhile. It carries the time at which the database was read,
//! and is believed for a fixed time after that, whatever becomes of its TTL (a frozen Redis runs commands late). It
//! carries a checksum over its name, so that a damaged or misplaced value is a miss.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deadpool_redis::redis::Script;
use uuid::Uuid;

use crate::clock::Clock;
use crate::redis::{Redis, Unavailable};

/// What is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Whose a live session is. By session.
    Session,
    /// The figures of a referrer, as they are sent. By user.
    ReferralStats,
    /// The leaderboard, as it is sent. By the number of its window.
    Leaderboard,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Session, Self::ReferralStats, Self::Leaderboard];

    /// The name in keys and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::ReferralStats => "referral-stats",
            Self::Leaderboard => "leaderboard",
        }
    }

    /// For how long after the database was read a copy is believed: by so much an answer can be stale when an invalidation
    /// is lost. A session that ended must be refused everywhere within a second.
    pub const fn believed_for(self) -> TimeDelta {
        match self {
            Self::Session => TimeDelta::milliseconds(1_000),
            Self::ReferralStats => TimeDelta::milliseconds(2_000),
            Self::Leaderboard => TimeDelta::milliseconds(30_000),
        }
    }
}

/// One cached thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What.
    pub kind: Kind,
    /// Whose.
    pub id: Uuid,
}

/// The order of copies: a higher one was made from newer rows.
pub type Version = i64;

/// What lies under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A copy that may be used.
    Copy(&'a [u8]),
    /// Nothing, or the mark of an invalidation.
    Nothing,
    /// A copy that is too old to be believed.
    Stale,
    /// Something else.
    Corrupt,
}

/// The version of the end of a session: above that of its copies, which is 0. It never comes back to life.
pub const SESSION_ENDED: Version = 1;

/// How long an invalidation is remembered: longer than a fill that began before it can take.
const REMEMBERED: Duration = Duration::from_secs(60);

/// The digits of a version and of a time, so that texts compare as numbers do.
const DIGITS: usize = 20;

/// The digits of a checksum.
const CHECKSUM_DIGITS: usize = 16;

/// What both scripts begin with: the version and the time under a key, or nothing where something else lies, which must
/// not stand in the way for ever.
const HELD: &str = "
    local function held(last)
        local found = redis.pcall('GETRANGE', KEYS[1], 0, last)
        if type(found) ~= 'string' or #found < 20 or string.find(found, '%D') then return '' end
        return found
    end";

/// Writes a copy unless a newer one, or a newer invalidation, is there. Versions are compared as texts; of two copies of
/// one version the one wins that was read later, because not all that a copy shows raises its version (clicks).
static FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{HELD}
         if held(39) > string.sub(ARGV[1], 1, 40) then return 0 end
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
         return 1",
    ))
});

/// Takes a copy away, and leaves a mark that refuses older ones, unless a copy of that version or a newer one is there.
static INVALIDATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        "{HELD}
         local version = held(19)
         if version > ARGV[1] or (version == ARGV[1] and redis.call('STRLEN', KEYS[1]) > 20) then return 0 end
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
         return 1",
    ))
});

/// The names of keys, and how values are written. Shared by whoever reads and whoever writes.
#[derive(Clone)]
pub struct Layout {
    prefix: Arc<str>,
    clock: Clock,
}

impl Layout {
    /// A layout for keys that start with `prefix`.
    pub fn new(prefix: &str, clock: Clock) -> Self {
        Self { prefix: prefix.into(), clock }
    }

    /// The time by which copies age.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The key of an entry.
    pub fn key(&self, entry: Entry) -> String {
        let mut id = Uuid::encode_buffer();
        let id = entry.id.as_simple().encode_lower(&mut id);
        [&*self.prefix, ":cache:v1:", entry.kind.name(), ":", id].concat()
    }

    /// What lies under the key of an entry.
    pub fn read<'a>(&self, entry: Entry, value: Option<&'a [u8]>) -> Found<'a> {
        let Some(value) = value else { return Found::Nothing };
        let Some((version, rest)) = value.split_at_checked(DIGITS) else { return Found::Corrupt };
        if rest.is_empty() && version.iter().all(u8::is_ascii_digit) {
            return Found::Nothing;
        }
        let parts = rest.split_at_checked(DIGITS).and_then(|(read_at, rest)| {
            let (sum, payload) = rest.split_at_checked(CHECKSUM_DIGITS)?;
            let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
            Some((read_at, sum, payload))
        });
        let Some((read_at, sum, payload)) = parts else { return Found::Corrupt };
        if sum != checksum(entry, version, read_at, payload) {
            return Found::Corrupt;
        }
        let read_at = std::str::from_utf8(read_at).ok().and_then(|text| text.parse::<i64>().ok());
        let age = read_at.map(|read_at| self.clock.now().timestamp_millis() - read_at);
        let limit = entry.kind.believed_for().num_milliseconds();
        // A copy from the future was written by a clock that goes ahead; by how much nobody knows.
        match age {
            Some(age) if age.abs() < limit => Found::Copy(payload),
            Some(_) => Found::Stale,
            None => Found::Corrupt,
        }
    }
}

/// A copy as it is written.
fn write(entry: Entry, version: Version, read_at: DateTime<Utc>, payload: &[u8]) -> Vec<u8> {
    let (version, read_at) = (digits(version), digits(read_at.timestamp_millis()));
    let sum = checksum(entry, version.as_bytes(), read_at.as_bytes(), payload);
    [version.as_bytes(), read_at.as_bytes(), format!("{sum:016x}").as_bytes(), payload].concat()
}

/// FNV-1a over the name and the value, in words of eight bytes: against accidents, not against whoever can write to
/// Redis.
fn checksum(entry: Entry, version: &[u8], read_at: &[u8], payload: &[u8]) -> u64 {
    let parts = [entry.kind.name().as_bytes(), entry.id.as_bytes(), version, read_at, payload];
    parts.into_iter().fold(0xcbf2_9ce4_8422_2325, |sum, part| {
        let (words, rest) = part.as_chunks::<8>();
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
        words.chain([length]).fold(sum, |sum: u64, word| {
            // The product's upper half says more of the word than its lower.
            (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29)
        })
    })
}

fn digits(number: i64) -> String {
    format!("{:0width$}", number.max(0), width = DIGITS)
}

/// Writes and takes away copies. Reading is the api's business, which has faster ways.
#[derive(Clone)]
pub struct Cache {
    redis: Redis,
    layout: Layout,
}

impl Cache {
    /// A cache in `redis`.
    pub fn new(redis: Redis, layout: Layout) -> Self {
        Self { redis, layout }
    }

    /// How keys and values look.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Keeps a copy of what the database said. `read_at` is the time before it was asked. Returns whether it was kept: a
    /// newer copy or invalidation wins, and what is already too old is not written.
    pub async fn fill(
        &self,
        entry: Entry,
        version: Version,
        read_at: DateTime<Utc>,
        payload: &[u8],
    ) -> Result<bool, Unavailable> {
        let left = entry.kind.believed_for() - (self.layout.clock.now() - read_at);
        if left <= TimeDelta::zero() {
            return Ok(false);
        }
        let value = write(entry, version, read_at, payload);
        self.run(&FILL, entry, &value, left.num_milliseconds().max(1)).await
    }

    /// Takes a copy away that was made from rows older than `version`. Every later fill of an older version is refused.
    pub async fn invalidate(&self, entry: Entry, version: Version) -> Result<(), Unavailable> {
        let remembered = i64::try_from(REMEMBERED.as_millis()).unwrap_or(i64::MAX);
        self.run(&INVALIDATE, entry, digits(version).as_bytes(), remembered).await.map(|_| ())
    }

    async fn run(
        &self,
        script: &Script,
        entry: Entry,
        value: &[u8],
        ttl_ms: i64,
    ) -> Result<bool, Unavailable> {
        let key = self.layout.key(entry);
        let call = async {
            let mut connection = self.redis.connection().await?;
            script.key(&key).arg(value).arg(ttl_ms).invoke_async::<bool>(&mut connection).await
        };
        self.redis.within_budget(call).await
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u128) -> Entry {
        Entry { kind: Kind::ReferralStats, id: Uuid::from_u128(id) }
    }

    fn layout() -> Layout {
        Layout::new("t", Clock::system())
    }

    #[test]
    fn c6_keys_carry_the_layout_version_and_whose_they_are() {
        assert_eq!(layout().key(entry(7)), "t:cache:v1:referral-stats:00000000000000000000000000000007");
    }

    #[test]
    fn c5_only_what_was_written_for_this_entry_is_read() {
        let layout = layout();
        let now = layout.clock.now();
        let good = write(entry(1), 7, now, b"{}");
        assert_eq!(layout.read(entry(1), Some(&good)), Found::Copy(b"{}"));
        assert_eq!(layout.read(entry(1), None), Found::Nothing);
        assert_eq!(layout.read(entry(1), Some(digits(7).as_bytes())), Found::Nothing);
        assert_eq!(layout.read(entry(2), Some(&good)), Found::Corrupt, "of somebody else");
        assert_eq!(
            layout.read(Entry { kind: Kind::Session, ..entry(1) }, Some(&good)),
            Found::Corrupt,
            "of another kind"
        );
        for length in [0, 1, 19, 21, 40, 55, good.len() - 1] {
            assert_eq!(layout.read(entry(1), Some(&good[..length])), Found::Corrupt, "cut to {length}");
        }
        for index in 0..good.len() {
            let mut damaged = good.clone();
            damaged[index] ^= 1;
            assert_eq!(layout.read(entry(1), Some(&damaged)), Found::Corrupt, "byte {index}");
        }
        for garbage in [&b"garbage"[..], b"{\"user\":1}", &[0xff; 200], b"XXXXXXXXXXXXXXXXXXXX"] {
            assert_eq!(layout.read(entry(1), Some(garbage)), Found::Corrupt);
        }
    }

    #[test]
    fn a_copy_is_believed_for_a_fixed_time_whatever_its_ttl() {
        let layout = layout();
        let value = write(entry(1), 7, layout.clock.now(), b"{}");
        layout.clock.advance(TimeDelta::milliseconds(1_900));
        assert_eq!(layout.read(entry(1), Some(&value)), Found::Copy(b"{}"));
        layout.clock.advance(TimeDelta::milliseconds(101));
        assert_eq!(layout.read(entry(1), Some(&value)), Found::Stale);
        layout.clock.advance(TimeDelta::milliseconds(-10_000));
        assert_eq!(layout.read(entry(1), Some(&value)), Found::Stale, "from the future");
    }
}
