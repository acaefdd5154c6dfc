//! A whole Trellis in this process: an api, and a worker when a test wants one, on a database and a mail server of their
//! own and a clock that a test may move.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use domain::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Reply};
use crate::config::TestSettings;
use crate::database::TestDatabase;
use crate::smtp::SmtpSink;

/// A password that every rule takes.
pub const PASSWORD: &str = "Vq7-tangerine-kiln";

/// How long anything may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running system. Everything ends with this value.
pub struct TestApp {
    /// Where the api listens.
    pub addr: SocketAddr,
    /// Its database.
    pub database: TestDatabase,
    /// Where its mails arrive.
    pub mail: SmtpSink,
    /// Its clock.
    pub clock: Clock,
    /// Its settings.
    pub settings: TestSettings,
    api: api::server::Handle,
    worker: Option<(watch::Sender<bool>, JoinHandle<()>)>,
    browsers: Mutex<BTreeMap<String, Client>>,
}

impl TestApp {
    /// An api and a worker.
    pub async fn start() -> Self {
        let mut app = Self::api_only().await;
        app.start_worker();
        app
    }

    /// An api alone: jobs wait.
    pub async fn api_only() -> Self {
        Self::api_with(|_| {}).await
    }

    /// An api with settings of the test's own; jobs wait until [`TestApp::start_worker`].
    pub async fn api_with(change: impl FnOnce(&mut TestSettings)) -> Self {
        let database = TestDatabase::create().await;
        let mail = SmtpSink::start().await.unwrap();
        let mut settings = TestSettings::new(&database.url());
        settings.set("SMTP_URL", &mail.url()).set("MAIL_FROM", "Trellis <no-reply@trellis.test>");
        change(&mut settings);
        let clock = Clock::system();
        let (addr, api) = start_api(&settings, &clock).await;
        Self { addr, database, mail, clock, settings, api, worker: None, browsers: Mutex::default() }
    }

    /// Another api on the same database and Redis.
    pub async fn second_api(&self) -> (SocketAddr, api::server::Handle) {
        let (addr, handle) = start_api(&self.settings, &self.clock).await;
        (addr, handle)
    }

    /// Another api on the same database, with settings of its own.
    pub async fn replica_with(&self, change: impl FnOnce(&mut TestSettings)) -> Replica {
        let mut settings = self.settings.clone();
        change(&mut settings);
        let (addr, api) = start_api(&settings, &self.clock).await;
        Replica { addr, api }
    }

    /// Another api on the same database, changed in what is no setting.
    pub async fn replica_tuned(&self, tune: impl FnOnce(&mut api::config::Config)) -> Replica {
        let mut config = api::config::Config::read(self.settings.settings()).unwrap();
        tune(&mut config);
        let (addr, api) = start_config(config, &self.clock).await;
        Replica { addr, api }
    }

    /// Starts the worker.
    pub fn start_worker(&mut self) {
        let config = worker::Config::read(self.settings.settings()).unwrap();
        let worker = worker::build(config, self.clock.clone()).unwrap();
        let (stop, shutdown) = watch::channel(false);
        self.worker = Some((stop, tokio::spawn(worker.run(shutdown))));
    }

    /// Stops the worker and waits for its end.
    pub async fn stop_worker(&mut self) {
        if let Some((stop, work)) = self.worker.take() {
            stop.send_replace(true);
            work.await.unwrap();
        }
    }

    /// A new browser.
    pub fn client(&self) -> Client {
        Client::new(&self.base())
    }

    /// The address of the api, as a URL.
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Registers somebody, with the address `{username}@example.org`; returns the answer.
    pub async fn register(&self, username: &str, referral_code: Option<&str>) -> Reply {
        let mut body = json!({
            "email": format!("{username}@example.org"), "username": username, "password": PASSWORD,
        });
        if let Some(code) = referral_code {
            body["referral_code"] = code.into();
        }
        self.client().post("/api/register/", body).await
    }

    /// Signs somebody in whom [`TestApp::register`] made.
    pub async fn login(&self, username: &str) -> Client {
        let client = self.client();
        client.post("/api/login/", json!({ "identifier": username, "password": PASSWORD })).await.expect(200);
        self.browsers.lock().unwrap().insert(username.to_owned(), client.clone());
        client
    }

    /// Registers somebody and signs them in.
    pub async fn member(&self, username: &str) -> Client {
        self.register(username, None).await.expect(201);
        self.login(username).await
    }

    /// Confirms the address of a person with the link of the mail, in the browser of their last [`TestApp::login`]: its session
    /// goes on, others end.
    pub async fn verify(&self, username: &str) {
        let browser = self.browsers.lock().unwrap().get(username).cloned();
        self.verify_in(&browser.unwrap_or_else(|| self.client()), username).await;
    }

    /// Confirms the address of a person in this browser.
    pub async fn verify_in(&self, browser: &Client, username: &str) {
        let mail = self.mail.wait_for_to(&format!("{username}@example.org")).await.unwrap();
        let token = mail.token().expect("the mail has a link");
        browser.post("/api/verify-email/", json!({ "token": token })).await.expect(204);
    }

    /// The referral code of whoever is signed in.
    pub async fn code_of(&self, client: &Client) -> String {
        client.get("/api/me/").await.expect(200).json()["referral_code"].as_str().unwrap().to_owned()
    }

    /// The figures of whoever is signed in, once they look as wanted.
    pub async fn stats_when(&self, client: &Client, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually("the figures look as wanted", async || {
            let stats = client.get("/api/referral-stats/").await.expect(200).json();
            if wanted(&stats) { Ok(stats) } else { Err(stats.to_string()) }
        })
        .await
    }

    /// Opens the link of a registration's mail, with `REGISTRATION=verified`, and chooses a password.
    pub async fn confirm_registration(&self, email: &str) -> Reply {
        let mail = self.mail.wait_for_to(email).await.unwrap();
        let token = mail.token().expect("the mail has a link");
        let body = json!({ "token": token, "password": PASSWORD });
        self.client().post("/api/register/confirm/", body).await
    }

    /// Waits until no job is left to do.
    pub async fn jobs_done(&self) {
        eventually("all jobs are done", async || {
            let open: i64 = self
                .database
                .value("SELECT count(*) FROM outbox WHERE done_at IS NULL AND dead_at IS NULL")
                .await;
            if open == 0 { Ok(()) } else { Err(format!("{open} jobs are open")) }
        })
        .await;
    }

    /// Asserts that every invariant of the ledger holds.
    pub async fn check_ledger(&self) {
        let broken = domain::rewards::check_ledger(&self.database.pool(1), |_, _| {}).await.unwrap();
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

/// Another api beside the one of a [`TestApp`]. It ends with this value.
pub struct Replica {
    /// Where it listens.
    pub addr: SocketAddr,
    api: api::server::Handle,
}

impl Replica {
    /// Its address, as a URL.
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Twice: at once.
        self.api.shutdown();
        self.api.shutdown();
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // Twice: at once.
        self.api.shutdown();
        self.api.shutdown();
        if let Some((_, work)) = &self.worker {
            work.abort();
        }
    }
}

/// Asks again and again until the answer is good; fails with the last bad one after [`PATIENCE`].
pub async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, ask).await
}

/// As [`eventually`], for as long as `patience`.
pub async fn within<T>(patience: Duration, what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) => {
                assert!(Instant::now() < deadline, "not within {patience:?}: {what}; at last: {last}");
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// The api runs on a thread of its own, as it does in its process.
async fn start_api(settings: &TestSettings, clock: &Clock) -> (SocketAddr, api::server::Handle) {
    start_config(api::config::Config::read(settings.settings()).unwrap(), clock).await
}

async fn start_config(config: api::config::Config, clock: &Clock) -> (SocketAddr, api::server::Handle) {
    let clock = clock.clone();
    let (started, ready) = oneshot::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = api::build(config, clock).await.unwrap();
            started.send((server.addr(), server.handle())).unwrap();
            server.run().await.unwrap();
        });
    });
    ready.await.unwrap()
}
