//! Limits: how often something may be tried, counted for all replicas together.
//!
//! A row of the route table names its limits; its handler takes a [`Throttle`] and asks it. The answer is in the headers of the reply whatever becomes of the request:
//!
//! ```text
//! let pass = throttle.admit(email.as_str()).await?;
//! // .. the password was right: the owner is not charged
//! throttle.give_back(pass).await;
//! ```
//!
//! What is counted by is blinded with a key before it leaves the process. While Redis is down every replica counts by
//! itself, within its share: a limit is never off.

mod decision;
mod local;
pub mod policy;
mod shared;

use std::fmt::Write as _;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use domain::config::LimitTable;
use domain::config::limits::Rate;
use domain::redis::Redis;
use domain::token::{Key, hex};

pub use decision::Decision;
use local::Local;
use policy::{By, Counts, Policy};

use crate::app::Shared;
use crate::client_ip;
use crate::middleware::{Context, context};
use crate::problem::Problem;

/// How much of a network's hash is logged: as much as the record of security events shows.
const NETWORK_DIGITS: usize = 12;

/// One limit, and whom it is asked for.
#[derive(Clone, Copy, Debug)]
struct Ask {
    policy: Policy,
    rate: Rate,
    /// Keyed hash of what it counts by.
    blinded: [u8; 32],
}

impl Ask {
    #[cfg(test)]
    fn of_default(policy: Policy, key: u8) -> Self {
        Self { policy, rate: LimitTable::default().rate(policy.limit), blinded: [key; 32] }
    }

    fn key(&self, prefix: &str) -> String {
        let mut key = format!("{prefix}:limit:v1:{}:", self.policy.name());
        for byte in self.blinded.iter().take(16) {
            // Writing into a string does not fail.
            let _ = write!(key, "{byte:02x}");
        }
        key
    }
}

/// The limits of the process; clones share the counts.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    /// `RATE_LIMITS=off`: everything is allowed.
    on: bool,
    table: LimitTable,
    redis: Redis,
    prefix: String,
    privacy: Key,
    local: Local,
}

impl Limits {
    /// Limits that are counted in `redis`, or by this process as one of `replicas` while that is down.
    pub fn new(on: bool, table: LimitTable, redis: Redis, prefix: &str, privacy: Key, replicas: u32) -> Self {
        let local = Local::new(replicas);
        // Here from the start: an alarm on its increase needs the zero before it.
        metrics::counter!("credential_stuffing_total").increment(0);
        Self(Arc::new(Inner { on, table, redis, prefix: prefix.to_owned(), privacy, local }))
    }

    async fn take(&self, asks: &[Ask]) -> Decision {
        if !self.0.on {
            return Decision { allowed: true, ..Decision::default() };
        }
        let decision = match shared::take(&self.0.redis, &self.0.prefix, asks).await {
            Ok((allowed, levels)) => Decision::new(allowed, asks, levels, false),
            Err(error) => {
                metrics::counter!("rate_limit_local_total").increment(1);
                tracing::debug!("limits are counted by this process alone: {error}");
                let (allowed, levels) = self.0.local.take(asks);
                Decision::new(allowed, asks, levels, true)
            }
        };
        if !decision.allowed {
            for (ask, _) in decision.levels.iter().filter(|(_, level)| !level.wait.is_zero()) {
                metrics::counter!("rate_limit_refused_total", "policy" => ask.policy.name()).increment(1);
                tracing::info!(policy = ask.policy.name(), "a limit turned a request away");
            }
        }
        decision
    }

    /// Counts a failed account, once a window. Returns whether that used the limit up.
    async fn charge(&self, ask: Ask, member: [u8; 32]) -> bool {
        if !self.0.on {
            return false;
        }
        match shared::charge(&self.0.redis, &self.0.prefix, &ask, &member).await {
            Ok(crossed) => crossed,
            Err(error) => {
                metrics::counter!("rate_limit_local_total").increment(1);
                tracing::debug!("limits are counted by this process alone: {error}");
                self.0.local.charge(&ask, member)
            }
        }
    }

    async fn give_back(&self, decision: Decision) {
        let asks = decision.levels.into_iter().map(|(ask, _)| ask);
        let asks: Vec<Ask> = asks.filter(|ask| ask.policy.counts == Counts::Requests).collect();
        if asks.is_empty() {
            return;
        }
        if decision.local {
            self.0.local.give_back(&asks);
        } else if let Err(error) = shared::give_back(&self.0.redis, &self.0.prefix, &asks).await {
            tracing::debug!("a limit could not be given back: {error}");
        }
    }

    /// The same subject is counted apart by each policy.
    fn ask(&self, policy: Policy, ip: IpAddr, subject: &str) -> Ask {
        let privacy = &self.0.privacy;
        let blinded = match policy.by {
            By::Address => {
                let prefix = client_ip::prefix(ip).to_string();
                privacy.mac(&[b"limit", policy.name().as_bytes(), prefix.as_bytes()])
            }
            By::SubjectAndAddress => {
                let prefix = client_ip::prefix(ip).to_string();
                privacy.mac(&[b"limit", policy.name().as_bytes(), prefix.as_bytes(), subject.as_bytes()])
            }
            By::Subject => privacy.mac(&[b"limit", policy.name().as_bytes(), subject.as_bytes()]),
        };
        Ask { policy, rate: self.0.table.rate(policy.limit), blinded }
    }
}

/// The limits, as one request meets them.
#[derive(Clone)]
pub struct Throttle {
    state: Shared,
    context: Rc<Context>,
    ip: IpAddr,
}

impl Throttle {
    /// Counts this request, or refuses it with 429. `subject` is what the policies that count by subject count by: an
    /// account's identifier, normalised. The reply tells how the limits stand.
    pub async fn admit(&self, subject: &str) -> Result<Decision, Problem> {
        self.tell(self.check(subject).await)
    }

    /// Lets the reply tell what came of asking.
    pub fn tell(&self, decision: Decision) -> Result<Decision, Problem> {
        let result = if decision.allowed { Ok(decision.clone()) } else { Err(decision.refusal()) };
        self.context.limits.set(Some(decision));
        result
    }

    /// Counts this request and says whether it is within the limits, without a word of it to the client.
    pub async fn check(&self, subject: &str) -> Decision {
        self.check_by(self.context.policies.get(), subject).await
    }

    /// As [`Throttle::check`], by other limits than those of the route.
    pub async fn check_by(&self, policies: &'static [Policy], subject: &str) -> Decision {
        let limits = &self.state.limits;
        let asks: Vec<Ask> = policies.iter().map(|policy| limits.ask(*policy, self.ip, subject)).collect();
        limits.take(&asks).await
    }

    /// Notes that a password was wrong, for the limits of this route that count accounts. When many accounts of one network
    /// have used one up, it is measured and logged, with the network as the record of security events knows it.
    pub async fn failed(&self, subject: &str) {
        let limits = &self.state.limits;
        let counting = self.context.policies.get().iter();
        for policy in counting.filter(|policy| policy.counts == Counts::FailedAccounts) {
            let member =
                limits.0.privacy.mac(&[b"limit member", policy.name().as_bytes(), subject.as_bytes()]);
            if limits.charge(limits.ask(*policy, self.ip, subject), member).await {
                metrics::counter!("credential_stuffing_total").increment(1);
                let network = hex(&client_ip::blinded_prefix(self.ip, &limits.0.privacy));
                let network = network.get(..NETWORK_DIGITS).unwrap_or_default();
                tracing::warn!(network, "passwords of many accounts are tried from one network");
            }
        }
    }

    /// Takes back that this request was counted.
    pub async fn give_back(&self, decision: Decision) {
        self.state.limits.give_back(decision).await;
    }
}

impl FromRequest for Throttle {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let state = request.app_data::<Shared>().cloned();
        let state = state.ok_or_else(|| Problem::internal(anyhow::anyhow!("the app has no state")));
        ready(state.and_then(|state| {
            let ip = client_ip::of(request, &state.config.trusted_proxies);
            Ok(Self { context: context(request)?, ip, state })
        }))
    }
}
