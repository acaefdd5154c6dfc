//! Password hashing: Argon2id on threads of its own, behind a bounded queue.
//!
//! A hash takes tens of milliseconds of one core and 19 MiB. On the threads that serve requests it would hold up every
//! other request; without a bound a flood of logins would take all memory. So as many threads as configured hash, each in
//! memory that it keeps while there is work; a fixed number of passwords waits; and everybody else is told to come back.
//! Nothing here knows of accounts: callers hold no transaction and no connection while they wait.

mod phc;
mod queue;
mod stored;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use argon2::Block;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::oneshot;

use crate::config::Argon2Params;
use crate::problem::{Code, Problem};
use phc::Phc;
use queue::{Next, Queue};
pub use stored::{Stored, scheme};

/// After how long without work a thread gives its memory back.
const IDLE: Duration = Duration::from_secs(30);

/// What verifying a password said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It is the password.
    pub ok: bool,
    /// Its hash is weaker than what is configured now: hash it again while the password is at hand.
    pub needs_rehash: bool,
}

/// A hash that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The stored text is no Argon2 hash.
    #[error("a stored password hash cannot be read: {0}")]
    Unreadable(argon2::password_hash::phc::Error),
    /// The stored text is of a known scheme, and damaged.
    #[error("a stored password hash is malformed")]
    Malformed,
    /// The stored text is of no scheme that is known here.
    #[error("a stored password hash is of an unknown scheme")]
    UnknownScheme,
    /// Its parameters are none that we would ever have written.
    #[error("a stored password hash has parameters out of bounds")]
    OutOfBounds,
    /// The parameters or the salt are refused.
    #[error("Argon2 refused: {0}")]
    Argon2(argon2::Error),
    /// The threads are gone: the process is ending.
    #[error("the hashing threads have stopped")]
    Stopped,
}

/// Hashes passwords; clones share the threads, which stop when the last clone is gone.
#[derive(Clone)]
pub struct Hasher(Arc<Inner>);

struct Inner {
    queue: Arc<Queue<Job>>,
    running: Arc<AtomicUsize>,
    params: Argon2Params,
    /// A hash of no password: what a login for an unknown account is verified against.
    nobody: Option<Stored>,
}

struct Job {
    password: SecretString,
    work: Work,
    reply: oneshot::Sender<Result<Outcome, HashError>>,
}

enum Work {
    Hash,
    Verify(Box<Stored>),
}

enum Outcome {
    Hash(String),
    Verdict(Verdict),
}

impl Hasher {
    /// Starts `threads` threads with a queue of `waiting` in front.
    pub fn start(params: Argon2Params, threads: usize, waiting: usize) -> anyhow::Result<Self> {
        let nobody = Stored::argon2(Phc::of_nobody(params)?);
        let queue = Arc::new(Queue::new(waiting));
        let running = Arc::new(AtomicUsize::new(0));
        for index in 0..threads {
            let (queue, running) = (Arc::clone(&queue), Arc::clone(&running));
            thread::Builder::new()
                .name(format!("hash-{index}"))
                .spawn(move || work(&queue, &running, params))?;
        }
        Ok(Self(Arc::new(Inner { queue, running, params, nobody: Some(nobody) })))
    }

    /// Leaves out the work for accounts that do not exist, as a service would that gives away which do.
    #[must_use]
    pub fn without_nobody(mut self) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.nobody = None;
        }
        self
    }

    /// The hash of a password, as a PHC string with a salt of its own.
    pub async fn hash(&self, password: SecretString) -> Result<String, Problem> {
        match self.run(password, Work::Hash).await? {
            Outcome::Hash(hash) => Ok(hash),
            Outcome::Verdict(_) => Err(Problem::internal(HashError::Stopped)),
        }
    }

    /// Reads a hash as it is stored, of any scheme that is known.
    pub fn read(&self, hash: &str) -> Result<Stored, HashError> {
        Stored::parse(hash, self.0.params)
    }

    /// Whether a stored hash is of this password. Takes as long as the parameters in the hash say.
    pub async fn verify(&self, password: SecretString, hash: Stored) -> Result<Verdict, Problem> {
        match self.run(password, Work::Verify(Box::new(hash))).await? {
            Outcome::Verdict(verdict) => Ok(verdict),
            Outcome::Hash(_) => Err(Problem::internal(HashError::Stopped)),
        }
    }

    /// The work of [`Hasher::verify`] for an account that does not exist, so that its absence takes as long to tell.
    pub async fn verify_nobody(&self, password: SecretString) -> Result<(), Problem> {
        match self.0.nobody.clone() {
            Some(nobody) => self.verify(password, nobody).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// How many passwords are being hashed, and how many wait.
    pub fn load(&self) -> (usize, usize) {
        (self.0.running.load(Ordering::Relaxed), self.0.queue.len())
    }

    async fn run(&self, password: SecretString, work: Work) -> Result<Outcome, Problem> {
        let (reply, outcome) = oneshot::channel();
        if self.0.queue.push(Job { password, work, reply }).is_err() {
            metrics::counter!("password_hash_refused_total").increment(1);
            return Err(Problem::new(Code::Overloaded).retry_after(Duration::from_secs(1)));
        }
        metrics::gauge!("password_hash_queue_length").increment(1);
        let outcome = outcome.await.unwrap_or(Err(HashError::Stopped));
        outcome.map_err(Problem::internal)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// What a hashing thread does all its life.
fn work(queue: &Queue<Job>, running: &AtomicUsize, params: Argon2Params) {
    let mut memory: Vec<Block> = Vec::new();
    loop {
        let job = match queue.pop(IDLE) {
            Next::Item(job) => job,
            Next::Idle => {
                memory = Vec::new();
                continue;
            }
            Next::Closed => return,
        };
        metrics::gauge!("password_hash_queue_length").decrement(1);
        // Whoever asked has gone away: hashing for nobody would only keep others waiting.
        if job.reply.is_closed() {
            continue;
        }
        running.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("password_hash_running").increment(1);
        let begun = Instant::now();
        let outcome = run(&job, params, &mut memory);
        metrics::histogram!("password_hash_duration_seconds").record(begun.elapsed().as_secs_f64());
        metrics::gauge!("password_hash_running").decrement(1);
        running.fetch_sub(1, Ordering::Relaxed);
        // An error says that the asker went away meanwhile.
        let _unheard = job.reply.send(outcome);
    }
}

fn run(job: &Job, params: Argon2Params, memory: &mut Vec<Block>) -> Result<Outcome, HashError> {
    let password = job.password.expose_secret().as_bytes();
    match &job.work {
        Work::Hash => phc::hash(password, params, memory).map(Outcome::Hash),
        Work::Verify(hash) => {
            let ok = hash.verify(password, memory).unwrap_or_else(|error| {
                // One damaged row fails to sign in; it must not be an error of the service.
                tracing::warn!(error = %error, "stored password hash cannot be verified");
                false
            });
            Ok(Outcome::Verdict(Verdict { ok, needs_rehash: hash.is_weaker_than(params) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Argon2Params = Argon2Params { memory_kib: 64, iterations: 1, parallelism: 1 };
    const DEAR: Argon2Params = Argon2Params { memory_kib: 19_456, iterations: 2, parallelism: 1 };

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[tokio::test]
    async fn a1_hashes_are_argon2id_phc_strings_with_salts_of_their_own() {
        let hasher = Hasher::start(DEAR, 1, 8).unwrap();
        let (one, two) =
            (hasher.hash(secret("pass")).await.unwrap(), hasher.hash(secret("pass")).await.unwrap());
        assert_ne!(one, two);
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_eq!(
            hasher.verify(secret("pass"), hasher.read(&one).unwrap()).await.unwrap(),
            Verdict { ok: true, needs_rehash: false }
        );
        assert_eq!(
            hasher.verify(secret("Pass"), hasher.read(&one).unwrap()).await.unwrap(),
            Verdict { ok: false, needs_rehash: false }
        );
    }

    #[tokio::test]
    async fn a2_weaker_hashes_verify_with_their_own_parameters_and_ask_for_a_new_one() {
        let weak = Hasher::start(CHEAP, 1, 8).unwrap().hash(secret("pass")).await.unwrap();
        let strong = Hasher::start(DEAR, 1, 8).unwrap();
        assert_eq!(
            strong.verify(secret("pass"), strong.read(&weak).unwrap()).await.unwrap(),
            Verdict { ok: true, needs_rehash: true }
        );
        let dear = strong.hash(secret("pass")).await.unwrap();
        let cheap = Hasher::start(CHEAP, 1, 8).unwrap();
        assert_eq!(
            cheap.verify(secret("pass"), cheap.read(&dear).unwrap()).await.unwrap(),
            Verdict { ok: true, needs_rehash: false }
        );
    }

    #[tokio::test]
    async fn a13_no_more_hashes_run_or_wait_than_configured() {
        let hasher = Hasher::start(DEAR, 2, 3).unwrap();
        let mut logins: Vec<_> = (0..500).map(|_| Box::pin(hasher.verify_nobody(secret("pass")))).collect();
        let mut most = 0;
        let (mut done, mut refused) = (0, 0);
        while !logins.is_empty() {
            let (result, _, rest) = futures_util::future::select_all(logins).await;
            logins = rest;
            match result {
                Ok(()) => done += 1,
                Err(problem) => {
                    assert_eq!(problem.code(), Code::Overloaded);
                    refused += 1;
                }
            }
            most = most.max(hasher.load().0);
        }
        assert!(most <= 2);
        assert_eq!(done + refused, 500);
        assert!(done >= 3 && refused > 0, "{done} were served and {refused} refused");
    }

    #[tokio::test]
    async fn a13_a_caller_that_went_away_costs_no_hash() {
        let hasher = Hasher::start(DEAR, 1, 1_000).unwrap();
        for _ in 0..500 {
            let login = hasher.verify_nobody(secret("pass"));
            // Polled once: the job is in the queue. Then the client hangs up.
            let _gone = futures_util::FutureExt::now_or_never(login);
        }
        let begun = Instant::now();
        hasher.verify_nobody(secret("pass")).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "abandoned jobs were worked on");
    }

    #[test]
    fn an_unreadable_hash_is_an_error_and_not_a_wrong_password() {
        let hasher = Hasher::start(CHEAP, 1, 8).unwrap();
        for bad in [
            "",
            "x",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ",
            "$argon2id$v=19$m=4294967295,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        ] {
            assert!(hasher.read(bad).is_err(), "{bad}");
        }
    }
}
