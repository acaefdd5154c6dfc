//! Several real processes on one database, one Redis and one mail server of their own.
//!
//! Everything ends with the value, also when the test panics; then it shows what each process wrote last.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::app::{PASSWORD, PATIENCE, within};
use crate::client::{Client, Reply};
use crate::config::TestSettings;
use crate::database::TestDatabase;
use crate::process::{Process, Program};
use crate::redis::RedisServer;
use crate::smtp::{Mail, SmtpSink};

/// How much of each log a failing test shows.
const SHOWN_LINES: usize = 40;

/// What a stack consists of.
#[derive(Clone, Copy, Debug)]
pub struct StackOptions<'a> {
    /// How many `api` processes.
    pub apis: usize,
    /// How many `worker` processes.
    pub workers: usize,
    /// Settings other than those of [`TestSettings`]; passwords are hashed cheaply, unless these say otherwise.
    pub settings: &'a [(&'a str, &'a str)],
}

impl Default for StackOptions<'_> {
    fn default() -> Self {
        Self { apis: 1, workers: 1, settings: &[] }
    }
}

/// A running system of real processes.
pub struct Stack {
    // In the order of their end: first the processes, then what they need.
    /// The `api` processes.
    pub apis: Vec<Process>,
    /// The `worker` processes.
    pub workers: Vec<Process>,
    /// Where their mails arrive.
    pub mail: SmtpSink,
    /// Their Redis.
    pub redis: RedisServer,
    /// Their database.
    pub database: TestDatabase,
    /// Their settings.
    pub settings: TestSettings,
    directory: TempDir,
    started: usize,
}

impl Stack {
    /// Starts everything, and waits until each process is ready.
    pub async fn start(options: StackOptions<'_>) -> Self {
        let database = TestDatabase::create().await;
        let redis = RedisServer::start().await.unwrap();
        let mail = SmtpSink::start().await.unwrap();
        let mut settings = TestSettings::new(&database.url());
        settings
            .set("REDIS_URL", secrecy::ExposeSecret::expose_secret(&redis.url()))
            .set("SMTP_URL", &mail.url())
            .set("MAIL_FROM", "Trellis <no-reply@trellis.test>")
            .set("LOG_FORMAT", "json")
            .set("RUST_BACKTRACE", "1")
            .set("ARGON2_MEMORY_KIB", "64")
            .set("ARGON2_ITERATIONS", "1");
        for (name, value) in options.settings {
            settings.set(name, value);
        }
        let directory = tempfile::Builder::new().prefix("trellis-e2e-").tempdir().unwrap();
        let (apis, workers) = (Vec::new(), Vec::new());
        let mut stack = Self { apis, workers, mail, redis, database, settings, directory, started: 0 };
        for _ in 0..options.apis {
            stack.start_api(&[]).await;
        }
        for _ in 0..options.workers {
            stack.start_worker(&[]).await;
        }
        for process in stack.processes() {
            process.wait_for_readiness(200, PATIENCE).await;
        }
        stack
    }

    /// Starts one more `api`, with some settings of its own; waits until it listens.
    pub async fn start_api(&mut self, settings: &[(&str, &str)]) -> &mut Process {
        let process = self.launch(Program::Api, settings).await;
        self.apis.push(process);
        self.apis.last_mut().unwrap()
    }

    /// Starts one more `worker`, with some settings of its own; waits until it listens.
    pub async fn start_worker(&mut self, settings: &[(&str, &str)]) -> &mut Process {
        let process = self.launch(Program::Worker, settings).await;
        self.workers.push(process);
        self.workers.last_mut().unwrap()
    }

    /// Starts one more `worker` that dies where its `FAIL_POINT` says; waits until it listens.
    pub async fn start_mortal_worker(&mut self, settings: &[(&str, &str)]) -> &mut Process {
        let process = self.launch(Program::MortalWorker, settings).await;
        self.workers.push(process);
        self.workers.last_mut().unwrap()
    }

    async fn launch(&mut self, program: Program, changes: &[(&str, &str)]) -> Process {
        self.started += 1;
        let mut settings = self.settings.clone();
        for (name, value) in changes {
            settings.set(name, value);
        }
        let name = format!("{}-{}", program.name(), self.started);
        Process::start(program, &name, settings, self.directory.path()).await
    }

    /// Every process that was started.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.apis.iter().chain(&self.workers)
    }

    /// Runs a command of a binary to its end, with the settings of the stack.
    pub async fn command(&self, program: Program, arguments: &[&str]) -> Output {
        program.run(arguments, &self.settings, self.directory()).await
    }

    /// Where the processes work and log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A new browser at the api with this index.
    pub fn client(&self, api: usize) -> Client {
        Client::new(&self.apis[api].base())
    }

    /// Registers somebody at an api, with the address `{username}@example.org`; returns the answer.
    pub async fn register(&self, api: usize, username: &str, referral_code: Option<&str>) -> Reply {
        self.client(api).post("/api/register/", registration(username, referral_code)).await
    }

    /// Signs somebody in at an api.
    pub async fn login(&self, api: usize, username: &str) -> Client {
        let client = self.client(api);
        client.post("/api/login/", credentials(username)).await.expect(200);
        client
    }

    /// Registers somebody and signs them in, both at the first api.
    pub async fn member(&self, username: &str) -> Client {
        self.register(0, username, None).await.expect(201);
        self.login(0, username).await
    }

    /// Waits for the first mail to somebody, as long as a job may be delayed by the loss of everything but PostgreSQL.
    pub async fn mail_to(&self, username: &str) -> Mail {
        let address = format!("{username}@example.org");
        within(RECOVERY, &format!("a mail to {username}"), async || {
            let mails = self.mail.mails();
            let found = mails.iter().find(|mail| mail.to.contains(&address)).cloned();
            found.ok_or_else(|| format!("{} other mails", mails.len()))
        })
        .await
    }

    /// Confirms the address of somebody at an api, with the link of the mail.
    pub async fn verify(&self, api: usize, username: &str) {
        self.verify_in(&self.client(api), username).await;
    }

    /// Confirms the address of a person in this browser, whose session goes on; others end.
    pub async fn verify_in(&self, browser: &Client, username: &str) {
        let token = self.mail_to(username).await.token().expect("the mail has a link");
        browser.post("/api/verify-email/", json!({ "token": token })).await.expect(204);
    }

    /// The figures of whoever is signed in, once they look as wanted.
    pub async fn stats_when(&self, client: &Client, wanted: impl Fn(&Value) -> bool) -> Value {
        within(RECOVERY, "the figures look as wanted", async || {
            let stats = client.get("/api/referral-stats/").await.expect(200).json();
            if wanted(&stats) { Ok(stats) } else { Err(stats.to_string()) }
        })
        .await
    }

    /// Waits until no job is left to do, as long as one may be delayed.
    pub async fn jobs_done(&self) {
        within(RECOVERY, "all jobs are done", async || {
            let open: String = self
                .database
                .value(
                    "SELECT coalesce(string_agg(format('%s: %s attempts, %s', kind, attempts, last_error), '; '), '') \
                     FROM outbox WHERE done_at IS NULL AND dead_at IS NULL",
                )
                .await;
            if open.is_empty() { Ok(()) } else { Err(open) }
        })
        .await;
    }

    /// Ends the leases and the waits of all open jobs, as if their time had passed.
    pub async fn expire_leases(&self) {
        let open = "done_at IS NULL AND dead_at IS NULL";
        let expire = format!("UPDATE outbox SET leased_until = now(), due_at = now() WHERE {open}");
        self.database.batch_execute(&expire).await.unwrap();
    }

    /// Waits until so many sessions of the database wait for a lock.
    pub async fn blocked(&self, count: i64) {
        within(RECOVERY, &format!("{count} sessions wait for a lock"), async || {
            let sql = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
            match self.database.value::<i64>(sql).await {
                waiting if waiting == count => Ok(()),
                waiting => Err(format!("{waiting} wait")),
            }
        })
        .await;
    }

    /// Asserts that `worker check-ledger` finds nothing.
    pub async fn check_ledger(&self) {
        let output = self.command(Program::Worker, &["check-ledger"]).await;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.trim_end().ends_with("\n0 violations"), "{output:?}");
    }
}

impl Drop for Stack {
    #[allow(clippy::print_stderr, reason = "the test harness shows it with the failure")]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for process in self.processes() {
            let log = process.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("--- {}, the last of {} lines", process.name(), lines.len());
            eprintln!("{}", last.join("\n"));
        }
        self.directory.disable_cleanup(true);
        eprintln!("--- all logs are in {}", self.directory().display());
    }
}

/// How long a job may be delayed by the death of its worker or the loss of Redis, and the machine be slow besides.
pub const RECOVERY: Duration = Duration::from_secs(90);

/// What somebody registers with.
pub fn registration(username: &str, referral_code: Option<&str>) -> Value {
    let mut body = json!({
        "email": format!("{username}@example.org"), "username": username, "password": PASSWORD,
    });
    if let Some(code) = referral_code {
        body["referral_code"] = code.into();
    }
    body
}

/// What somebody signs in with.
pub fn credentials(username: &str) -> Value {
    json!({ "identifier": username, "password": PASSWORD })
}

/// Held by a test while it loads the machine or measures time, so that no other one does.
pub async fn busy() -> MutexGuard<'static, ()> {
    static BUSY: Mutex<()> = Mutex::const_new(());
    BUSY.lock().await
}
