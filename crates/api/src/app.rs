//! What all handlers share: one [`State`] for the whole process.

use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::{HttpRequest, web};
use anyhow::Context as _;
use domain::clock::Clock;
use domain::config::Keys;
use domain::db::{self, Pool};
use domain::outbox::relay::Wake;
use domain::queue::Queues;
use domain::redis::Redis;

use crate::auth::browser::Browser;
use crate::auth::cookies::Cookies;
use crate::auth::handoff::Handoffs;
use crate::auth::jwt::Jwt;
use crate::auth::sessions::Sessions;
use crate::cache::Cache;
use crate::card::{self, Cards};
use crate::clicks::Clicks;
use crate::config::Config;
use crate::hashing::Hasher;
use crate::limits::Limits;
use crate::oidc::Providers;
use crate::pages::Pictures;
use crate::passwords::Breaches;
use crate::pictures::Studio;
use crate::problem::Problem;
use crate::published::{self, Pages};
use crate::routes::Targets;
use crate::streams::Streams;

/// Connections for limits, in a process.
const REDIS_CONNECTIONS: usize = 16;

/// What all handlers share. Handlers take it as `state: Shared`.
pub struct State {
    /// The settings.
    pub config: Config,
    /// PostgreSQL.
    pub pool: Pool,
    /// The time.
    pub clock: Clock,
    /// Access tokens.
    pub jwt: Jwt,
    /// Cookie names and attributes.
    pub cookies: Cookies,
    /// What browsers remember for us.
    pub browser: Browser,
    /// Where people may sign in.
    pub providers: Providers,
    /// Their sign-ins there, as browsers remember them.
    pub handoffs: Handoffs,
    /// The queues that the relay pushes to.
    pub queues: Queues,
    /// Tells the relay that a job was promised.
    pub wake: Wake,
    /// Copies of rows.
    pub cache: Cache,
    /// Which sessions live.
    pub sessions: Sessions,
    /// Redis, for what can do without it.
    pub redis: Redis,
    /// How often what may be tried.
    pub limits: Limits,
    /// Hashes of passwords.
    pub hasher: Hasher,
    /// Passwords that are known from breaches.
    pub breaches: Breaches,
    /// Public pages, ready to be sent.
    pub published: Pages,
    /// Pictures on them, likewise.
    pub(crate) pictures: Pictures,
    /// What other sites show of public pages, likewise.
    pub cards: Cards,
    /// Where pictures are worked on.
    pub studio: Studio,
    /// Where links lead.
    pub targets: Targets,
    /// Clicks and views, on their way to be counted.
    pub clicks: Clicks,
    /// Answers that stay open.
    pub streams: Streams,
    draining: AtomicBool,
}

/// The state, as handlers take it.
pub type Shared = web::Data<State>;

impl State {
    /// Makes everything that the configuration describes. Connects to nothing yet.
    pub fn new(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let common = &config.common;
        let cookies = Cookies::new(common.env).with_lifetimes(&common.lifetimes);
        let pool = db::connect(&common.database_url, common.database_pool)?;
        let cache = Cache::new(&common.cache_redis_url, &common.redis_prefix, clock.clone())?;
        let redis = Redis::new(&common.redis_url, REDIS_CONNECTIONS)?;
        let limits = Limits::new(
            config.rate_limits,
            common.limits.clone(),
            redis.clone(),
            &common.redis_prefix,
            common.keys.privacy.clone(),
            config.api_replicas,
        );
        let hasher = Hasher::start(config.argon2, config.hash_threads, config.hash_queue)?;
        let clicks = Clicks::new(&config, clock.clone(), pool.clone(), redis.clone());
        Ok(Self {
            jwt: Jwt::new(
                &common.keys.jwt,
                &config.ed25519,
                common.public_url.origin(),
                common.lifetimes.access_token,
            )?,
            cookies,
            browser: Browser::new(cookies, &common.keys.referral),
            providers: Providers::new(&config, &clock)?,
            handoffs: Handoffs::new(cookies, &common.keys.token),
            queues: Queues::new(&common.redis_url, &common.redis_prefix).context("REDIS_URL")?,
            wake: Wake::default(),
            sessions: Sessions::new(
                pool.clone(),
                clock.clone(),
                cache.clone(),
                config.common.lifetimes.session_idle,
            ),
            hasher: if config.hash_for_nobody { hasher } else { hasher.without_nobody() },
            breaches: Breaches::new(config.password_breach_url.as_ref())?,
            published: published::room(),
            pictures: crate::pages::pictures_room(),
            cards: card::room(),
            studio: Studio::default(),
            targets: Targets::new(),
            clicks,
            streams: Streams::default(),
            clock,
            cache,
            redis,
            limits,
            draining: AtomicBool::new(false),
            pool,
            config,
        })
    }

    /// The state behind a request.
    pub fn of(request: &HttpRequest) -> Result<&Self, Problem> {
        let shared = request.app_data::<Shared>();
        shared
            .map(|shared| &***shared)
            .ok_or_else(|| Problem::internal(anyhow::anyhow!("the app has no state")))
    }

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.config.common.keys
    }

    /// Our own origin.
    pub fn origin(&self) -> &str {
        self.config.common.public_url.origin()
    }

    /// Whether the process is about to stop, and load balancers should look elsewhere.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Tells load balancers to look elsewhere.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}
