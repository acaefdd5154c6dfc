//! From what handlers noted to the stream in Redis.
//!
//! One task, one batch on its way at a time. A batch that may or may not have arrived is sent again: its id makes it count
//! once. While Redis is away events wait here, as many as `CLICK_BUFFER` allows; the newest are lost first, so that what
//! is counted stays without a gap. At the end what waits is given two seconds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::clicks::{Agent, Batch, Countries, Event, LARGEST_BATCH, Salts, Stream};
use domain::clock::Clock;
use domain::db::Pool;
use domain::redis::{BUDGET, Redis, Unavailable};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use uuid::Uuid;

use super::inbox::Inbox;
use super::{Loss, Seen, lose};
use crate::config::Config;

/// How long an event waits for others to go with.
const WAIT: Duration = Duration::from_millis(50);

/// How long PostgreSQL is left alone that did not give a salt.
const SALT_REST: Duration = Duration::from_secs(1);

/// How often the file of countries is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long the end may take.
const LAST: Duration = Duration::from_secs(2);

/// How many user agents are remembered: browsers have few of them, and reading one costs more than all else about a click.
const AGENTS: usize = 1_024;

/// Brings events to Redis.
pub struct Flusher {
    inbox: Arc<Inbox>,
    clock: Clock,
    pool: Pool,
    stream: Stream,
    countries: Arc<Countries>,
    own_host: String,
    salts: Salts,
    agents: HashMap<Arc<str>, Agent>,
    salt_rest: Option<Instant>,
    queue: VecDeque<Event>,
    /// What goes next, or is on its way: it stays until Redis has said that it is there.
    batch: Option<Arc<Batch>>,
    /// How many events may wait.
    room: usize,
    /// How many bytes the stream may have.
    allowed: u64,
    state: Way,
}

/// How Redis took the last batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Free,
    /// It did not.
    Down,
    /// The stream is as big as it may be.
    Full,
}

/// A call of Redis: how many bytes the stream has, with the batch in it if it was one that brings one.
type Call = JoinHandle<Result<u64, Unavailable>>;

impl Flusher {
    pub(super) fn new(config: &Config, clock: Clock, pool: Pool, redis: Redis, inbox: Arc<Inbox>) -> Self {
        let origin = config.common.public_url.origin();
        let own_host = url::Url::parse(origin).ok().and_then(|url| url.host_str().map(str::to_owned));
        Self {
            inbox,
            clock,
            pool,
            stream: Stream::new(redis, &config.common.redis_prefix),
            countries: Arc::clone(&config.countries),
            own_host: own_host.unwrap_or_default(),
            salts: Salts::default(),
            agents: HashMap::new(),
            salt_rest: None,
            queue: VecDeque::new(),
            batch: None,
            room: config.click_buffer,
            allowed: config.click_stream_bytes,
            state: Way::Free,
        }
    }

    /// Runs until `shutdown` turns true, and then until everything is in Redis or two seconds are over.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(WAIT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = Instant::now();
        let mut call: Option<Call> = None;
        let mut seen = Vec::new();
        let mut deadline = None;
        loop {
            let stopping = deadline.is_some();
            tokio::select! {
                () = self.inbox.much() => {
                    self.take(&mut seen).await;
                    if self.state != Way::Free {
                        continue;
                    }
                }
                result = finished(&mut call) => {
                    call = None;
                    if !self.heed(result.as_ref()) {
                        continue;
                    }
                }
                _ = ticks.tick() => {
                    self.take(&mut seen).await;
                    if looked.elapsed() >= LOOK_EVERY {
                        looked = Instant::now();
                        let countries = Arc::clone(&self.countries);
                        tokio::task::spawn_blocking(move || countries.refresh());
                    }
                }
                () = stopped(&mut shutdown), if !stopping => {
                    self.inbox.close();
                    self.take(&mut seen).await;
                    deadline = Some(Instant::now() + LAST);
                }
            }
            if call.is_none() {
                call = self.next_call();
            }
            if let Some(deadline) = deadline {
                let done = call.is_none() && self.batch.is_none() && self.queue.is_empty();
                if done || Instant::now() >= deadline {
                    break;
                }
            }
        }
        // A batch on its way may still arrive; as far as this process knows, it did not.
        let on_its_way = self.batch.map_or(0, |batch| batch.events.len());
        let lost = on_its_way + self.queue.len();
        if lost > 0 {
            tracing::warn!(lost, "clicks are lost: Redis did not take them before the end");
            lose(Loss::Shutdown, lost);
        }
    }

    /// Makes events of what was noted, in a list that is empty before and after.
    async fn take(&mut self, seen: &mut Vec<Seen>) {
        self.inbox.take(seen);
        for seen in seen.drain(..) {
            if self.salts.lacks(seen.at) {
                self.provide_salt(&seen).await;
            }
            if self.queue.len() >= self.room {
                lose(
                    match self.state {
                        Way::Free => Loss::Buffer,
                        Way::Down => Loss::Redis,
                        Way::Full => Loss::Stream,
                    },
                    1,
                );
                continue;
            }
            let agent = self.read(&seen.user_agent);
            self.queue.push_back(seen.event(agent, &self.salts, &self.countries, &self.own_host));
        }
        metrics::gauge!("trellis_clicks_buffered").set(u32::try_from(self.queue.len()).unwrap_or(u32::MAX));
    }

    fn read(&mut self, user_agent: &Arc<str>) -> Agent {
        if let Some(agent) = self.agents.get(user_agent) {
            return *agent;
        }
        if self.agents.len() >= AGENTS {
            self.agents.clear();
        }
        let agent = Agent::read(user_agent);
        self.agents.insert(Arc::clone(user_agent), agent);
        agent
    }

    /// Fetches the salt of the day. Without one a click counts, and its visitor does not.
    async fn provide_salt(&mut self, seen: &Seen) {
        if self.salt_rest.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let providing = self.salts.provide(&self.pool, self.clock.now(), seen.at);
        let error = match timeout(BUDGET, providing).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{:#}", anyhow::Error::from(error)),
            Err(_) => "PostgreSQL did not answer in time".to_owned(),
        };
        self.salt_rest = Some(Instant::now() + SALT_REST);
        metrics::counter!("trellis_click_salts_missing_total").increment(1);
        tracing::warn!(
            error,
            "there is no salt for visitors: until there is, clicks are counted without them"
        );
    }

    /// What to ask Redis for next.
    fn next_call(&mut self) -> Option<Call> {
        let stream = self.stream.clone();
        if self.batch.is_none() && self.queue.is_empty() {
            return None;
        }
        if self.state == Way::Full {
            return Some(tokio::spawn(async move { stream.bytes().await }));
        }
        let count = self.queue.len().min(LARGEST_BATCH);
        let (queue, clock) = (&mut self.queue, &self.clock);
        let batch = self.batch.get_or_insert_with(|| {
            let events = queue.drain(..count).collect();
            Arc::new(Batch { id: Uuid::now_v7(), made_at: clock.now(), events })
        });
        let batch = Arc::clone(batch);
        Some(tokio::spawn(async move { stream.push(&batch).await }))
    }

    /// Draws the consequences of a call; whether the next one is to be made at once.
    fn heed(&mut self, result: Option<&Result<u64, Unavailable>>) -> bool {
        let before = self.state;
        self.state = match result {
            Some(Ok(bytes)) if *bytes >= self.allowed => Way::Full,
            Some(Ok(_)) => Way::Free,
            Some(Err(_)) | None => Way::Down,
        };
        if before != Way::Full && self.state != Way::Down {
            self.batch = None;
        }
        if self.state != before {
            tracing::warn!(from = ?before, to = ?self.state, "the way of clicks to Redis changed");
        }
        self.state == Way::Free && self.queue.len() >= LARGEST_BATCH
    }
}

/// The result of a call, if it did not break; never without a call.
async fn finished(call: &mut Option<Call>) -> Option<Result<u64, Unavailable>> {
    match call {
        Some(call) => call.await.ok(),
        None => std::future::pending().await,
    }
}

/// Ends when the process is to stop.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // A sender that is gone means that nobody is left to say stop.
    let _ = shutdown.wait_for(|stop| *stop).await;
}
