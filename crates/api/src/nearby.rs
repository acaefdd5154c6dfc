//! Copies in the memory of this process, for what strangers read often: public pages, the targets of links.
//!
//! A copy is believed for [`BELIEVED`], counted from *before* its load began. Whatever was committed before that instant is
//! in it, so whoever asks a second after a change sees the change, on every replica, by construction: no message could get
//! lost, because none is sent. Of all who miss one key at once, one loads; a request joins a load that is under way only
//! while a copy of that age would be believed.
//!
//! When a load fails or takes longer than [`PATIENCE`], an older copy of up to [`KEPT`] is given in its place: pages stay up
//! while PostgreSQL is down. That something does not exist is a value like any other, so misses are kept too. All copies
//! together weigh no more than they were allowed: what is asked for seldom goes first.
//!
//! Values are cheap to clone (an `Arc`, `Bytes`): a hit copies nothing and waits for nothing.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use moka::sync::Cache;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::problem::{Code, Problem};

/// How long a copy is believed, from before its load began. A request that begins a second after a change sees it.
pub const BELIEVED: Duration = Duration::from_millis(800);

/// How long a load may take before an older copy is given in its place.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// How old a copy may be that stands in for a load that failed.
pub const KEPT: Duration = Duration::from_secs(600);

/// What an entry weighs beside its key and value, in bytes.
const OVERHEAD: usize = 256;

/// What can be a key or a value: shared by threads, for as long as anybody likes.
pub trait Portable: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> Portable for T {}

/// Copies of one kind; clones share everything.
pub struct Nearby<K, V>(Arc<Inner<K, V>>);

impl<K, V> Clone for Nearby<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<K, V> {
    copies: Cache<K, Copy<V>>,
    flights: Mutex<HashMap<K, Flight<V>>>,
    counters: Counters,
    /// Where loads run: a thread of the HTTP server ends with its own last request, others may still wait for its loads.
    home: Option<Handle>,
}

#[derive(Clone)]
struct Copy<V> {
    value: V,
    /// When its load began.
    as_of: Instant,
    /// When a load began that failed since.
    failed: Option<Instant>,
}

impl<V> Copy<V> {
    fn is_believed(&self) -> bool {
        self.as_of.elapsed() < BELIEVED
    }

    fn is_kept(&self) -> bool {
        self.as_of.elapsed() < KEPT
    }

    /// Whether somebody found out a moment ago that nothing newer is to be had.
    fn is_last_word(&self) -> bool {
        self.is_kept() && self.failed.is_some_and(|failed| failed.elapsed() < BELIEVED)
    }
}

/// A load that is under way. It goes on when those who asked for it hang up.
struct Flight<V> {
    began: Instant,
    result: Shared<BoxFuture<'static, Result<V, Code>>>,
}

impl<V> Clone for Flight<V> {
    fn clone(&self) -> Self {
        Self { began: self.began, result: self.result.clone() }
    }
}

/// What there is to do about a key that has no copy to believe.
enum Turn<V> {
    /// Somebody had one put there meanwhile.
    Found(V),
    /// Wait for this, at most so long when there is an older copy.
    Wait(Flight<V>),
}

impl<K: Portable + Eq + Hash, V: Portable> Nearby<K, V> {
    /// Room for copies of `kind` (the name in the metrics) that weigh up to `bytes`, keys and values together, as `weigh`
    /// tells.
    pub fn new(kind: &'static str, bytes: u64, weigh: fn(&K, &V) -> usize) -> Self {
        let copies = Cache::builder()
            .max_capacity(bytes)
            .weigher(move |key, copy: &Copy<V>| {
                u32::try_from(weigh(key, &copy.value).saturating_add(OVERHEAD)).unwrap_or(u32::MAX)
            })
            .time_to_live(KEPT)
            .build();
        let (flights, home) = (Mutex::default(), Handle::try_current().ok());
        Self(Arc::new(Inner { copies, flights, counters: Counters::new(kind), home }))
    }

    /// The copy of a key that may be believed, and nothing else: waits for nobody.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let copy = self.0.copies.get(key).filter(Copy::is_believed)?;
        self.0.counters.hits.increment(1);
        Some(copy.value)
    }

    /// The copy of a key, or what `load` gives, which becomes the copy. `load` is handed the copy that was there before, to
    /// give it again when nothing changed.
    pub async fn get_or_load<F>(&self, key: K, load: impl FnOnce(Option<V>) -> F) -> Result<V, Problem>
    where
        F: Future<Output = Result<V, Problem>> + Send + 'static,
    {
        if let Some(value) = self.get(&key) {
            return Ok(value);
        }
        let former = self.0.copies.get(&key).filter(Copy::is_kept);
        if let Some(copy) = former.as_ref().filter(|copy| copy.is_last_word()) {
            self.0.counters.stale.increment(1);
            return Ok(copy.value.clone());
        }
        let flight = match self.board(&key, former.as_ref(), load) {
            Turn::Found(value) => {
                self.0.counters.hits.increment(1);
                return Ok(value);
            }
            Turn::Wait(flight) => flight,
        };
        let result = match &former {
            None => Some(flight.result.await),
            Some(_) => tokio::time::timeout_at(flight.began + PATIENCE, flight.result).await.ok(),
        };
        match (result, former) {
            (Some(Ok(value)), _) => {
                self.0.counters.misses.increment(1);
                Ok(value)
            }
            (_, Some(copy)) => {
                self.0.counters.stale.increment(1);
                Ok(copy.value)
            }
            (Some(Err(code)), None) => {
                self.0.counters.errors.increment(1);
                Err(Problem::like(code))
            }
            // Only with an older copy is the wait bounded.
            (None, None) => Err(Problem::like(Code::Unavailable)),
        }
    }

    /// The flight to take for a key: one that is young enough, or a new one.
    fn board<F>(&self, key: &K, former: Option<&Copy<V>>, load: impl FnOnce(Option<V>) -> F) -> Turn<V>
    where
        F: Future<Output = Result<V, Problem>> + Send + 'static,
    {
        let mut flights = self.flights();
        // A flight ends by leaving its copy and then the list: whoever finds it in neither is the next to load.
        if let Some(copy) = self.0.copies.get(key).filter(Copy::is_believed) {
            return Turn::Found(copy.value);
        }
        let entry = flights.entry(key.clone());
        if let Entry::Occupied(known) = &entry
            && known.get().began.elapsed() < BELIEVED
        {
            return Turn::Wait(known.get().clone());
        }
        let began = Instant::now();
        let loading = load(former.map(|copy| copy.value.clone()));
        // A task of its own: a client that hangs up must not fail those who wait for the same.
        let (nearby, key, former) = (self.clone(), key.clone(), former.cloned());
        let home = self.0.home.clone().unwrap_or_else(Handle::current);
        let task = home.spawn(async move {
            let result = loading.await.map_err(|problem| {
                log(&problem);
                problem.code()
            });
            nearby.land(key, began, former, &result);
            result
        });
        // It panicked, or the process ends.
        let result = task.map(|ended| ended.unwrap_or(Err(Code::Internal))).boxed().shared();
        let flight = Flight { began, result };
        match entry {
            Entry::Occupied(mut known) => {
                known.insert(flight.clone());
            }
            Entry::Vacant(free) => {
                free.insert(flight.clone());
            }
        }
        Turn::Wait(flight)
    }

    /// Keeps what a flight brought, unless a later one took its place.
    fn land(&self, key: K, began: Instant, former: Option<Copy<V>>, result: &Result<V, Code>) {
        let mut flights = self.flights();
        if flights.get(&key).is_none_or(|flight| flight.began != began) {
            return;
        }
        flights.remove(&key);
        if flights.is_empty() {
            // After a crowd the list would keep its size for good.
            flights.shrink_to_fit();
        }
        match (result, former) {
            (Ok(value), _) => {
                self.0.copies.insert(key, Copy { value: value.clone(), as_of: began, failed: None });
            }
            (Err(_), Some(copy)) => self.0.copies.insert(key, Copy { failed: Some(began), ..copy }),
            (Err(_), None) => {}
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<K, Flight<V>>> {
        // No code that could panic runs under the lock, so a poisoned one is as good as any.
        self.0.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A failed load is nobody's request: it is logged here, once for all who wait for it.
fn log(problem: &Problem) {
    if let Some(source) = problem.source() {
        tracing::warn!(
            code = problem.code().slug(),
            error = format!("{source:#}"),
            "a copy could not be loaded"
        );
    }
}

/// What asking did, one counter each, looked up once.
struct Counters {
    hits: metrics::Counter,
    misses: metrics::Counter,
    stale: metrics::Counter,
    errors: metrics::Counter,
}

impl Counters {
    fn new(kind: &'static str) -> Self {
        let of = |result: &'static str| metrics::counter!("nearby_requests_total", "kind" => kind, "result" => result);
        Self { hits: of("hit"), misses: of("miss"), stale: of("stale"), errors: of("error") }
    }
}

#[cfg(test)]
mod tests;
