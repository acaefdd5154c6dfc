//! Reading cached copies on the way of a request, and filling them, one load at a time.
//!
//! How copies look and which of two wins is in [`domain::cache`]; how reads stay cheap in `reader`. Whatever goes wrong
//! with Redis, a read is a miss.

mod reader;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::web::Bytes;
use chrono::{DateTime, Utc};
use deadpool_redis::redis;
use domain::cache::{Entry, Found, Kind, Layout, Version};
use domain::clock::Clock;
use domain::redis::Redis;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;

use crate::problem::{Code, Problem};
use reader::Reader;

/// Connections for writing, in a process: fills and invalidations are few.
const WRITERS: usize = 8;

/// The cache; clones share everything.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    redis: Redis,
    reader: Reader,
    copies: domain::cache::Cache,
    flights: Mutex<HashMap<Entry, Flight>>,
    counters: Vec<Counters>,
}

/// A load that is under way, and what it gave. Failures are shared too: many must not wait for the same failure in turn.
struct Load {
    began: DateTime<Utc>,
    result: OnceCell<Result<Bytes, Code>>,
}

type Flight = Arc<Load>;

/// What a load gives: the version of the rows it read, and the copy.
pub type Loaded = (Version, Bytes);

/// What the guard already found out about the entry that a handler wants.
#[derive(Clone, Debug, Default)]
pub enum Prefetched {
    /// Nobody looked.
    #[default]
    Unknown,
    /// There is no copy.
    Missing,
    /// There is one.
    Copy(Bytes),
}

impl Cache {
    /// A cache at `url`. Connects to nothing yet.
    pub fn new(url: &SecretString, prefix: &str, clock: Clock) -> anyhow::Result<Self> {
        let redis = Redis::new(url, WRITERS)?;
        Ok(Self(Arc::new(Inner {
            reader: Reader::new(redis::Client::open(url.expose_secret())?, redis.clone()),
            copies: domain::cache::Cache::new(redis.clone(), Layout::new(prefix, clock)),
            redis,
            flights: Mutex::default(),
            counters: Kind::ALL.map(Counters::new).into(),
        })))
    }

    /// Copies of several entries, in one round trip.
    pub async fn read<const N: usize>(&self, entries: [Entry; N]) -> [Option<Bytes>; N] {
        let keys = entries.iter().map(|entry| self.0.copies.layout().key(*entry)).collect();
        match self.0.reader.read(keys).await {
            Some(values) => {
                let mut values = values.into_iter();
                entries.map(|entry| self.open(entry, values.next().flatten()))
            }
            None => entries.map(|entry| {
                self.count(entry.kind, |counters| &counters.errors);
                None
            }),
        }
    }

    /// A copy, or what `load` gives, which becomes the copy. Of all who miss one entry at once, one loads.
    pub async fn get_or_load(
        &self,
        entry: Entry,
        prefetched: Prefetched,
        load: impl AsyncFnOnce() -> Result<Loaded, Problem>,
    ) -> Result<Bytes, Problem> {
        let copy = match prefetched {
            Prefetched::Copy(copy) => Some(copy),
            Prefetched::Missing => None,
            Prefetched::Unknown => {
                let [copy] = self.read([entry]).await;
                copy
            }
        };
        match copy {
            Some(copy) => Ok(copy),
            None => self.load(entry, load).await,
        }
    }

    /// Takes a copy away, and keeps loads that began before from becoming one. With Redis down the copy is gone or soon too
    /// old to be believed.
    pub async fn invalidate(&self, entry: Entry, version: Version) {
        self.forget_flight(entry, None);
        if let Err(error) = self.0.copies.invalidate(entry, version).await {
            self.count(entry.kind, |counters| &counters.errors);
            tracing::debug!("the cache cannot be invalidated: {error}");
        }
    }

    /// Whether Redis answers.
    pub async fn is_up(&self) -> bool {
        self.0.redis.ping().await.is_ok()
    }

    async fn load(
        &self,
        entry: Entry,
        load: impl AsyncFnOnce() -> Result<Loaded, Problem>,
    ) -> Result<Bytes, Problem> {
        let read_at = self.0.copies.layout().now();
        let aboard = Aboard { cache: self, entry, flight: self.board(entry, read_at) };
        let mut failure = None;
        let result = aboard.flight.result.get_or_init(async || match load().await {
            Ok((version, copy)) => {
                self.fill(entry, version, read_at, copy.clone(), Arc::clone(&aboard.flight));
                Ok(copy)
            }
            Err(problem) => {
                let code = problem.code();
                failure = Some(problem);
                Err(code)
            }
        });
        let result = result.await.clone();
        drop(aboard);
        result.map_err(|code| failure.unwrap_or_else(|| Problem::like(code)))
    }

    /// The flight to take for an entry: what a load finds is believed no longer than a copy, from when it began.
    fn board(&self, entry: Entry, now: DateTime<Utc>) -> Flight {
        let mut flights = self.flights();
        match flights.get(&entry) {
            Some(flight) if (now - flight.began).abs() < entry.kind.believed_for() => Arc::clone(flight),
            _ => {
                let flight = Arc::new(Load { began: now, result: OnceCell::new() });
                flights.insert(entry, Arc::clone(&flight));
                flight
            }
        }
    }

    /// Writes a copy while the request goes on. Until it is there, whoever misses it joins the flight.
    fn fill(&self, entry: Entry, version: Version, read_at: DateTime<Utc>, copy: Bytes, flight: Flight) {
        let cache = self.clone();
        tokio::spawn(async move {
            if let Err(error) = cache.0.copies.fill(entry, version, read_at, &copy).await {
                cache.count(entry.kind, |counters| &counters.errors);
                tracing::debug!("the cache cannot be filled: {error}");
            }
            cache.forget_flight(entry, Some(&flight));
        });
    }

    fn open(&self, entry: Entry, value: Option<Vec<u8>>) -> Option<Bytes> {
        let found = self.0.copies.layout().read(entry, value.as_deref());
        let (copy, counter): (_, fn(&Counters) -> &metrics::Counter) = match found {
            Found::Copy(payload) => (Some(payload.len()), |counters| &counters.hits),
            Found::Nothing => (None, |counters| &counters.misses),
            Found::Stale => (None, |counters| &counters.stale),
            Found::Corrupt => (None, |counters| &counters.corrupt),
        };
        self.count(entry.kind, counter);
        // The payload is the end of the value: no second copy of it is made.
        let (length, value) = (copy?, value?);
        let value = Bytes::from(value);
        Some(value.slice(value.len() - length..))
    }

    fn count(&self, kind: Kind, counter: impl Fn(&Counters) -> &metrics::Counter) {
        if let Some(counters) = self.0.counters.iter().find(|counters| counters.kind == kind) {
            counter(counters).increment(1);
        }
    }

    fn flights(&self) -> std::sync::MutexGuard<'_, HashMap<Entry, Flight>> {
        // No code that could panic runs under the lock, so a poisoned one is as good as any.
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next who misses load again; with `only`, unless another flight began meanwhile.
    fn forget_flight(&self, entry: Entry, only: Option<&Flight>) {
        let mut flights = self.flights();
        let is_it = |known: &Flight| only.is_none_or(|flight| Arc::ptr_eq(known, flight));
        if flights.get(&entry).is_some_and(is_it) {
            flights.remove(&entry);
        }
    }
}

/// Taking part in a flight, until it ends or the client hangs up.
struct Aboard<'a> {
    cache: &'a Cache,
    entry: Entry,
    flight: Flight,
}

impl Drop for Aboard<'_> {
    fn drop(&mut self) {
        let ended = match self.flight.result.get() {
            // It is forgotten once the copy is in Redis.
            Some(Ok(_)) => false,
            Some(Err(_)) => true,
            // Only the list and this one know of it: nobody else waits.
            None => Arc::strong_count(&self.flight) <= 2,
        };
        if ended {
            self.cache.forget_flight(self.entry, Some(&self.flight));
        }
    }
}

/// What reading did, one counter each, looked up once.
struct Counters {
    kind: Kind,
    hits: metrics::Counter,
    misses: metrics::Counter,
    stale: metrics::Counter,
    corrupt: metrics::Counter,
    errors: metrics::Counter,
}

impl Counters {
    fn new(kind: Kind) -> Self {
        let of = |result: &'static str| metrics::counter!("cache_requests_total", "kind" => kind.name(), "result" => result);
        Self {
            kind,
            hits: of("hit"),
            misses: of("miss"),
            stale: of("stale"),
            corrupt: of("corrupt"),
            errors: of("error"),
        }
    }
}
