//! What surrounds a worker: a database, Redis, a mail server, a clock, and people who come without the api.

mod books;
mod people;
mod running;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::cache::{Cache, Layout};
use domain::clock::Clock;
use domain::db::Pool;
use domain::outbox::relay::Wake;
use domain::outbox::{self, Job, Options};
use domain::queue::Queues;
use domain::redis::Redis;
use domain::rewards;
use testkit::app::eventually;
use testkit::config::TestSettings;
use testkit::database::TestDatabase;
use testkit::smtp::SmtpSink;
use uuid::Uuid;
use worker::courier::Courier;
use worker::mailer::Mailer;
use worker::{Config, Context};

pub(super) use books::rule;
pub(super) use people::{Friend, Place};

/// A system with no process but this one. Jobs run when a test says so.
pub(super) struct Desk {
    pub(super) database: TestDatabase,
    pub(super) mail: SmtpSink,
    pub(super) clock: Clock,
    pub(super) settings: TestSettings,
    pub(super) config: Config,
    pub(super) pool: Pool,
    context: Context,
}

impl Desk {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A desk with settings of the test's own.
    pub(super) async fn with(change: impl FnOnce(&mut TestSettings)) -> Self {
        Self::tuned(change, |_| {}).await
    }

    /// A desk whose worker is also changed in what is no setting.
    pub(super) async fn tuned(
        change: impl FnOnce(&mut TestSettings),
        tune: impl FnOnce(&mut Config),
    ) -> Self {
        let database = TestDatabase::create().await;
        let mail = SmtpSink::start().await.unwrap();
        let mut settings = TestSettings::new(&database.url());
        settings.set("SMTP_URL", &mail.url()).set("MAIL_FROM", "Trellis <no-reply@trellis.test>");
        change(&mut settings);
        let mut config = Config::read(settings.settings()).unwrap();
        tune(&mut config);
        let clock = Clock::system();
        let pool = database.pool(8);
        let context = context(&config, &pool, &clock);
        Self { database, mail, clock, settings, config, pool, context }
    }

    /// A worker process's own connections and rules, apart from those of others.
    pub(super) fn context(&self) -> Context {
        context(&self.config, &self.database.pool(8), &self.clock)
    }

    /// Starts anew with other settings, on the same database.
    pub(super) fn change_settings(&mut self, change: impl FnOnce(&mut TestSettings)) {
        change(&mut self.settings);
        self.config = Config::read(self.settings.settings()).unwrap();
        self.context = context(&self.config, &self.pool, &self.clock);
    }

    pub(super) fn queues(&self) -> Queues {
        Queues::new(&self.config.common.redis_url, &self.config.common.redis_prefix).unwrap()
    }

    /// Promises a job beside all others, and returns its id.
    pub(super) async fn promise(&self, job: &Job) -> Uuid {
        let key = Uuid::now_v7().to_string();
        let options = Options { dedupe_key: Some(key.clone()), ..Options::default() };
        outbox::enqueue_alone(&self.pool, job, options).await.unwrap();
        self.id(&format!("SELECT id FROM outbox WHERE dedupe_key = '{key}'")).await
    }

    /// Promises the settlement of a referral once more.
    pub(super) async fn promise_settlement(&self, referral_id: Uuid) -> Uuid {
        self.promise(&Job::SettleReferral { referral_id }).await
    }

    /// Delivers a job once, as the queue does.
    pub(super) async fn run(&self, job: Uuid) {
        worker::handle(self.context.clone(), job.to_string()).await;
    }

    /// Delivers every job of a queue that may run, whether it is due or not, until none is left.
    pub(super) async fn run_queue(&self, queue: &str) {
        loop {
            let open = self
                .ids(&format!(
                    "SELECT id FROM outbox WHERE queue = '{queue}' AND done_at IS NULL AND dead_at IS NULL \
                     AND coalesce(leased_until <= now(), true)"
                ))
                .await;
            if open.is_empty() {
                return;
            }
            for job in open {
                self.run(job).await;
            }
        }
    }

    /// The settlements that are promised for a referral and not done.
    pub(super) async fn settlements_of(&self, referral: Uuid) -> Vec<Uuid> {
        self.ids(&format!(
            "SELECT id FROM outbox WHERE payload ->> 'referral_id' = '{referral}' AND done_at IS NULL"
        ))
        .await
    }

    /// One of them.
    pub(super) async fn settlement_of(&self, referral: Uuid) -> Uuid {
        let promised = self.settlements_of(referral).await;
        *promised.first().expect("its settlement is promised")
    }

    /// Lets what waits or is held be due now: time passes for the outbox.
    pub(super) async fn let_leases_end(&self) {
        self.sql(
            "UPDATE outbox SET due_at = least(due_at, now()), leased_until = now() - interval '1 second'
             WHERE done_at IS NULL AND dead_at IS NULL",
        )
        .await;
    }

    /// How a job stands.
    pub(super) async fn job(&self, id: Uuid) -> JobRow {
        let row = self
            .database
            .query_one(
                &format!(
                    "SELECT attempts, done_at IS NOT NULL, dead_at IS NOT NULL, coalesce(last_error, ''),
                            coalesce(extract(epoch FROM leased_until - now()), 0)::float8
                     FROM outbox WHERE id = '{id}'"
                ),
                &[],
            )
            .await
            .unwrap();
        JobRow {
            attempts: row.get(0),
            done: row.get(1),
            dead: row.get(2),
            last_error: row.get(3),
            waits: row.get(4),
        }
    }

    /// Status and reason of a referral.
    pub(super) async fn referral(&self, id: Uuid) -> (String, String) {
        let row = self
            .database
            .query_one(&format!("SELECT status, reason FROM referrals WHERE id = '{id}'"), &[])
            .await
            .unwrap();
        (row.get(0), row.get(1))
    }

    /// A user's balances, by kind.
    pub(super) async fn balances(&self, user: Uuid) -> BTreeMap<String, String> {
        let query = format!("SELECT kind, amount::text FROM balances WHERE user_id = '{user}'");
        let rows = self.database.query(&query, &[]).await.unwrap();
        rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// How many rows a query finds.
    pub(super) async fn count(&self, rows: &str) -> i64 {
        self.database.value(&format!("SELECT count(*) FROM {rows}")).await
    }

    /// The id that a query finds.
    pub(super) async fn id(&self, query: &str) -> Uuid {
        let ids = self.ids(query).await;
        assert_eq!(ids.len(), 1, "{query} finds one row");
        ids[0]
    }

    /// The ids that a query finds.
    pub(super) async fn ids(&self, query: &str) -> Vec<Uuid> {
        let rows = self.database.query(&format!("SELECT id::text FROM ({query}) AS found"), &[]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        rows.into_iter().map(|row| row.get::<_, String>(0).parse().unwrap()).collect()
    }

    /// Runs statements.
    pub(super) async fn sql(&self, statements: &str) {
        self.database
            .batch_execute(statements)
            .await
            .unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// The `SQLSTATE` by which the database refuses a statement.
    pub(super) async fn refusal(&self, statement: &str) -> String {
        let error = self.database.batch_execute(statement).await.expect_err(statement);
        error.code().unwrap().code().to_owned()
    }

    /// Waits until no job is left to do.
    pub(super) async fn all_done(&self) {
        eventually("all jobs are done", async || {
            match self.count("outbox WHERE done_at IS NULL AND dead_at IS NULL").await {
                0 => Ok(()),
                open => Err(format!("{open} jobs are open")),
            }
        })
        .await;
    }

    /// Asserts that every invariant of the ledger holds.
    pub(super) async fn check_ledger(&self) {
        assert_eq!(self.broken_invariants().await, [""; 0]);
    }

    /// The invariants of the ledger that do not hold.
    pub(super) async fn broken_invariants(&self) -> Vec<&'static str> {
        let broken = rewards::check_ledger(&self.pool, |_, _| {}).await.unwrap();
        broken.into_iter().map(|violations| violations.invariant.id).collect()
    }
}

/// A row of the outbox.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JobRow {
    pub(super) attempts: i16,
    pub(super) done: bool,
    pub(super) dead: bool,
    pub(super) last_error: String,
    /// For how many seconds nobody claims it.
    pub(super) waits: f64,
}

fn context(config: &Config, pool: &Pool, clock: &Clock) -> Context {
    let common = &config.common;
    let redis = Redis::new(&common.cache_redis_url, 4).unwrap();
    Context {
        pool: pool.clone(),
        cache: Cache::new(redis, Layout::new(&common.redis_prefix, clock.clone())),
        clock: clock.clone(),
        keys: common.keys.clone(),
        public_url: common.public_url.clone(),
        mail_limits: common.mail_limits,
        referrals: common.referrals,
        unverified_accounts_kept: config.unverified_accounts_kept,
        mailer: Arc::new(Mailer::new(&config.mail).unwrap()),
        courier: Arc::new(Courier::new(common.webhook_targets.clone(), config.concurrency).unwrap()),
        wake: Wake::default(),
    }
}
