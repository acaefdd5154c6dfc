//! Redis for what must go on without it: every call has a budget, and a dead or stuck server is left alone for a while.
//!
//! The queue has connections of its own with other needs. Here a caller waits 250 ms at most, gets an error, and does
//! without: the cache asks PostgreSQL, the limits count by themselves.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, RedisError, RedisResult};
use deadpool_redis::{Config, Connection, Pool, Runtime};
use secrecy::{ExposeSecret, SecretString};

/// How long one call may take.
pub const BUDGET: Duration = Duration::from_millis(250);

/// How long nobody tries again after a failure.
const REST: Duration = Duration::from_secs(1);

/// Why Redis gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// It failed a moment ago, and is left alone.
    #[error("Redis failed a moment ago")]
    Resting,
    /// It did not answer in time.
    #[error("Redis did not answer in time")]
    Slow,
    /// It, or the way to it, failed.
    #[error("Redis failed")]
    Failed(#[from] RedisError),
}

/// A pool of connections, with a breaker in front. Clones share both.
#[derive(Clone)]
pub struct Redis {
    pool: Pool,
    breaker: Arc<Breaker>,
}

impl Redis {
    /// Makes a pool of at most `size` connections. Connects to nothing yet.
    pub fn new(url: &SecretString, size: usize) -> anyhow::Result<Self> {
        let pool = Config::from_url(url.expose_secret())
            .builder()?
            .max_size(size)
            .wait_timeout(Some(BUDGET))
            .create_timeout(Some(BUDGET))
            .recycle_timeout(Some(BUDGET))
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Self { pool, breaker: Arc::default() })
    }

    /// A connection. Only of use within [`Redis::within_budget`].
    pub async fn connection(&self) -> RedisResult<Connection> {
        // Boxed, because connecting is a big future that most calls do not come to.
        Box::pin(self.pool.get()).await.map_err(|error| match error {
            deadpool_redis::PoolError::Backend(error) => error,
            other => RedisError::from((redis::ErrorKind::Io, "no connection", other.to_string())),
        })
    }

    /// Runs calls that together have [`BUDGET`], unless Redis failed a moment ago.
    pub async fn within_budget<T>(
        &self,
        calls: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Unavailable> {
        self.breaker.guard(calls).await
    }

    /// Whether it answers.
    pub async fn ping(&self) -> Result<(), Unavailable> {
        let call = async {
            let mut connection = self.connection().await?;
            redis::cmd("PING").exec_async(&mut connection).await
        };
        tokio::time::timeout(BUDGET, call).await.map_err(|_| Unavailable::Slow)?.map_err(Into::into)
    }
}

/// Lets calls through until one fails, then none for a while, then one to see.
#[derive(Debug)]
pub struct Breaker {
    origin: Instant,
    /// Milliseconds after `origin` until which nobody calls; 0 while all is well.
    closed_to_all_until: AtomicU64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { origin: Instant::now(), closed_to_all_until: AtomicU64::new(0) }
    }
}

impl Breaker {
    /// Runs calls within [`BUDGET`], unless others failed a moment ago, and remembers whether these did.
    pub async fn guard<T>(&self, calls: impl Future<Output = RedisResult<T>>) -> Result<T, Unavailable> {
        if !self.admits() {
            return Err(Unavailable::Resting);
        }
        match tokio::time::timeout(BUDGET, calls).await {
            Ok(Ok(value)) => {
                self.mend();
                Ok(value)
            }
            // It answers, if only with a refusal.
            Ok(Err(error)) if error.code().is_some() => {
                self.mend();
                Err(error.into())
            }
            Ok(Err(error)) => {
                self.trip();
                Err(error.into())
            }
            Err(_) => {
                self.trip();
                Err(Unavailable::Slow)
            }
        }
    }

    /// Whether calls go through at the moment.
    pub fn is_well(&self) -> bool {
        self.closed_to_all_until.load(Ordering::Relaxed) == 0
    }

    fn admits(&self) -> bool {
        let until = self.closed_to_all_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.now();
        // Of all who come after the rest, one goes to see; the others keep away for as long as that may take.
        now >= until
            && self
                .closed_to_all_until
                .compare_exchange(until, now + millis(BUDGET) + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn mend(&self) {
        if !self.is_well() {
            self.closed_to_all_until.store(0, Ordering::Relaxed);
        }
    }

    fn trip(&self) {
        metrics::counter!("redis_breaker_trips_total").increment(1);
        self.closed_to_all_until.store(self.now() + millis(REST), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        millis(self.origin.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    fn failing() -> impl Future<Output = RedisResult<()>> {
        ready(Err(RedisError::from((redis::ErrorKind::Io, "gone"))))
    }

    fn working() -> impl Future<Output = RedisResult<()>> {
        ready(Ok(()))
    }

    /// Makes the rest be over.
    fn end_rest(breaker: &Breaker) {
        while breaker.now() == 0 {
            std::hint::spin_loop();
        }
        breaker.closed_to_all_until.store(1, Ordering::Relaxed);
    }

    #[tokio::test]
    async fn after_a_failure_nobody_calls_for_a_while_and_then_one() {
        let breaker = Breaker::default();
        assert!(matches!(breaker.guard(failing()).await, Err(Unavailable::Failed(_))));
        assert!(matches!(breaker.guard(working()).await, Err(Unavailable::Resting)));
        end_rest(&breaker);
        assert!(breaker.admits());
        assert!(!breaker.admits());
        end_rest(&breaker);
        assert!(breaker.guard(working()).await.is_ok());
        assert!(breaker.is_well() && breaker.admits() && breaker.admits());
    }

    #[tokio::test]
    async fn a_stuck_call_ends_with_its_budget_and_trips_the_breaker() {
        let breaker = Breaker::default();
        let begun = Instant::now();
        let stuck = breaker.guard(std::future::pending::<RedisResult<()>>()).await;
        assert!(matches!(stuck, Err(Unavailable::Slow)));
        assert!(begun.elapsed() >= BUDGET);
        assert!(!breaker.is_well());
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer() {
        let breaker = Breaker::default();
        let refusal = redis::make_extension_error("WRONGTYPE".to_owned(), None);
        assert!(breaker.guard(async { Err::<(), _>(refusal) }).await.is_err());
        assert!(breaker.is_well());
    }
}
