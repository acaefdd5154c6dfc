//! What surrounds a worker: a database, Redis, a mail server, a clock, and people who come without the api.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::accounts::{self, Account, Email, NewAccount, RegisterError, Registered, Username};
use domain::cache::{Cache, Layout};
use domain::clock::Clock;
use domain::db::Pool;
use domain::outbox::relay::{Relay, Wake};
use domain::outbox::{self, Job, Options};
use domain::queue::Queues;
use domain::redis::Redis;
use domain::referrals::{Claim, ReferralCode};
use domain::rewards;
use futures_util::future::join_all;
use testkit::app::{PATIENCE, eventually};
use testkit::config::TestSettings;
use testkit::database::TestDatabase;
use testkit::smtp::SmtpSink;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;
use worker::mailer::Mailer;
use worker::{Config, Context};

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

/// A worker that runs in this process until it is dropped.
pub(super) struct Running {
    stop: watch::Sender<bool>,
    work: JoinHandle<()>,
}

/// A relay by itself, as every process has one; it ends when this is dropped.
pub(super) struct Relaying {
    pub(super) wake: Wake,
    _stop: watch::Sender<bool>,
    work: JoinHandle<()>,
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

    /// Starts a worker.
    pub(super) fn work(&self) -> Running {
        let worker = worker::build(self.config.clone(), self.clock.clone()).unwrap();
        let (stop, shutdown) = watch::channel(false);
        Running { stop, work: tokio::spawn(worker.run(shutdown)) }
    }

    /// Starts a relay.
    pub(super) fn relay(&self) -> Relaying {
        let wake = Wake::default();
        let (stop, shutdown) = watch::channel(false);
        let relay = Relay::new(self.database.pool(4), self.queues(), wake.clone());
        Relaying { wake, _stop: stop, work: tokio::spawn(relay.run(shutdown)) }
    }

    pub(super) fn queues(&self) -> Queues {
        Queues::new(&self.config.common.redis_url, &self.config.common.redis_prefix).unwrap()
    }

    /// Registers somebody, as the api does once the password is hashed.
    pub(super) async fn register(
        &self,
        username: &str,
        email: &str,
        claim: Option<Claim>,
    ) -> Result<Registered, RegisterError> {
        let new = NewAccount {
            email: Email::parse(email).unwrap(),
            username: Username::parse(username).unwrap(),
            password_hash: "$argon2id$of-no-password".to_owned(),
            claim,
            known_as: Vec::new(),
            request_id: None,
        };
        let common = &self.config.common;
        accounts::register(&self.pool, self.clock.now(), &common.keys, common.referrals, new).await
    }

    /// Somebody whom nobody brought.
    pub(super) async fn person(&self, username: &str) -> Account {
        self.register(username, &format!("{username}@example.org"), None).await.unwrap().account
    }

    /// Somebody whom `referrer` brought.
    pub(super) async fn friend(&self, username: &str, referrer: &Account) -> Friend {
        let claim = Claim::Typed(ReferralCode::parse(&referrer.referral_code).unwrap());
        let registered =
            self.register(username, &format!("{username}@example.org"), Some(claim)).await.unwrap();
        let id = registered.account.id;
        let referral = self.id(&format!("SELECT id FROM referrals WHERE referred_user_id = '{id}'")).await;
        Friend { id, referral }
    }

    /// `count` people whom `referrer` brought.
    pub(super) async fn friends(&self, name: &str, count: usize, referrer: &Account) -> Vec<Friend> {
        join_all(
            (0..count).map(|number| async move { self.friend(&format!("{name}{number}"), referrer).await }),
        )
        .await
    }

    /// Confirms somebody's address with the newest link, as the api does.
    pub(super) async fn confirm(&self, user: Uuid) {
        let newest = format!(
            "SELECT id FROM email_verifications WHERE user_id = '{user}' ORDER BY created_at DESC, id DESC LIMIT 1"
        );
        let id = self.id(&newest).await;
        let (now, key) = (self.clock.now(), &self.config.common.keys.token);
        let mail = accounts::verification_mail(&self.pool, now, key, id).await.unwrap().unwrap();
        accounts::verify_email(&self.pool, now, &mail.token.expose(), None).await.unwrap();
    }

    /// Deletes somebody's account, as the api does once the password is checked.
    pub(super) async fn delete(&self, user: Uuid) {
        let checked = accounts::own_credentials(&self.pool, user).await.unwrap().unwrap();
        accounts::delete(&self.pool, self.clock.now(), &self.config.common.keys, &checked).await.unwrap();
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

    /// The settlement that is promised for a referral and not done.
    pub(super) async fn settlement_of(&self, referral: Uuid) -> Uuid {
        self.id(&format!(
            "SELECT id FROM outbox WHERE payload ->> 'referral_id' = '{referral}' AND done_at IS NULL"
        ))
        .await
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

/// Somebody who was brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Friend {
    pub(super) id: Uuid,
    pub(super) referral: Uuid,
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

impl Running {
    /// Stops it as SIGTERM does, and waits for its end.
    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, &mut self.work).await.unwrap().unwrap();
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&self) -> bool {
        self.work.is_finished()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.work.abort();
    }
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
        referrals: common.referrals,
        mailer: Arc::new(Mailer::new(&config.mail).unwrap()),
        wake: Wake::default(),
    }
}
