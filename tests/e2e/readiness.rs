//! What the processes say of themselves, and how they leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use testkit::app::within;
use testkit::cable::Cable;
use testkit::client::{Client, Reply};
use testkit::process::{Process, Program};
use testkit::stack::{RECOVERY, Stack, StackOptions, busy, credentials, registration};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, sleep};

/// How soon a process must be well again after PostgreSQL is.
const HEALED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn p1_without_postgresql_processes_live_are_not_ready_answer_503_and_heal() {
    let _busy = busy().await;
    let mut stack = Stack::start(StackOptions::default()).await;
    let ada = stack.member("ada").await;
    stack.mail_to("ada").await;
    let cable = Cable::to(&stack.database.url()).await;
    stack.start_api(&[("DATABASE_URL", &cable.url())]).await.wait_for_readiness(200, RECOVERY).await;
    stack.workers[0].kill9();
    stack.workers.clear();
    stack.start_worker(&[("DATABASE_URL", &cable.url())]).await.wait_for_readiness(200, RECOVERY).await;
    let (api, ada) = (&stack.apis[1], ada.at(&stack.apis[1].base()));
    ada.get("/api/me/").await.expect(200);

    cable.cut();
    for process in [api, &stack.workers[0]] {
        process.wait_for_readiness(503, RECOVERY).await;
        assert_eq!(process.get("/health/live").await.unwrap().0, 200);
    }
    for reply in [
        try_get(&ada, "/health/ready").await,
        try_get(&ada, "/api/me/").await,
        try_post(&ada, "/api/login/", credentials("ada")).await,
        try_post(&ada, "/api/register/", registration("bob", None)).await,
        try_post(&ada, "/api/forgot-password/", json!({ "email": "ada@example.org" })).await,
    ] {
        assert_eq!((reply.status, reply.code().as_str()), (503, "unavailable"), "{reply:?}");
        assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
    }
    // Meanwhile a job comes that the worker cannot take.
    stack.register(0, "eve", None).await.expect(201);

    cable.mend();
    let began = Instant::now();
    for process in [api, &stack.workers[0]] {
        process.wait_for_readiness(200, RECOVERY).await;
    }
    ada.get("/api/me/").await.expect(200);
    assert!(began.elapsed() < HEALED, "{:?}", began.elapsed());
    stack.mail_to("eve").await;
    stack.jobs_done().await;
}

/// As the health check of an image does, which has no shell.
#[tokio::test(flavor = "multi_thread")]
async fn p1_the_binaries_say_whether_their_process_lives() {
    let mut stack = Stack::start(StackOptions::default()).await;
    stack.redis.stop().await.unwrap();
    let mut settings = stack.settings.clone();
    for (setting, process) in [("HTTP_ADDR", &stack.apis[0]), ("WORKER_METRICS_ADDR", &stack.workers[0])] {
        settings.set(setting, process.base().trim_start_matches("http://"));
    }
    for program in [Program::Api, Program::Worker] {
        let output = program.run(&["healthcheck"], &settings, stack.directory()).await;
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    stack.apis[0].kill9();
    stack.workers[0].kill9();
    for program in [Program::Api, Program::Worker] {
        let output = program.run(&["healthcheck"], &settings, stack.directory()).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no answer from 127.0.0.1:"), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_processes_start_without_postgresql_and_redis_and_say_so() {
    let mut stack = Stack::start(StackOptions { apis: 0, workers: 0, settings: &[] }).await;
    let cable = Cable::to(&stack.database.url()).await;
    cable.cut();
    stack.redis.stop().await.unwrap();
    stack.start_api(&[("DATABASE_URL", &cable.url())]).await;
    stack.start_worker(&[("DATABASE_URL", &cable.url())]).await;
    for process in stack.processes() {
        process.wait_for_readiness(503, RECOVERY).await;
        assert_eq!(process.get("/health/live").await.unwrap().0, 200);
    }
    cable.mend();
    stack.apis[0].wait_for_readiness(200, RECOVERY).await;
    stack.register(0, "ada", None).await.expect(201);
    stack.redis.restart().await.unwrap();
    stack.workers[0].wait_for_readiness(200, RECOVERY).await;
    stack.mail_to("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_processes_start_beside_a_postgresql_that_never_answers() {
    let mut stack = Stack::start(StackOptions { apis: 0, workers: 0, settings: &[] }).await;
    // The system takes connections for it, and nobody reads them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://trellis@{}/trellis", silent.local_addr().unwrap());
    stack.start_api(&[("DATABASE_URL", &url)]).await;
    stack.start_worker(&[("DATABASE_URL", &url)]).await;
    for process in stack.processes() {
        process.wait_for_readiness(503, RECOVERY).await;
        assert_eq!(process.get("/health/live").await.unwrap().0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_an_api_that_drains_serves_and_says_that_it_is_not_ready() {
    let settings = &[("DRAIN_SECONDS", "3")];
    let mut stack = Stack::start(StackOptions { apis: 1, workers: 0, settings }).await;
    let ada = stack.member("ada").await;
    stack.apis[0].sigterm();
    stack.apis[0].wait_for_readiness(503, RECOVERY).await;
    assert_eq!(stack.apis[0].get("/health/live").await.unwrap().0, 200);
    let reply = ada.get("/api/me/").await.expect(200);
    assert_eq!(reply.header("connection"), Some("close"));
    stack.register(0, "bob", None).await.expect(201);
    assert_eq!(stack.apis[0].exit(RECOVERY).await.code(), Some(0));
    assert!(stack.database.value::<i64>("SELECT count(*) FROM users").await == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_replacing_one_api_after_the_other_under_load_fails_no_request() {
    let _busy = busy().await;
    let settings = &[("DRAIN_SECONDS", "2")];
    let mut stack = Stack::start(StackOptions { apis: 2, workers: 1, settings }).await;
    let ada = stack.member("ada").await;
    let balancer = Balancer::default();
    let over = AtomicBool::new(false);
    for api in &stack.apis {
        balancer.add(api);
    }
    let load = join_all((0..4).map(|number| balancer.load(&ada, number, &over)));
    let apis = &mut stack.apis;
    let replacing = async {
        for api in apis {
            let served = balancer.answers();
            within(RECOVERY, "the load goes on", async || {
                if balancer.answers() > served + 50 { Ok(()) } else { Err("it does not".to_owned()) }
            })
            .await;
            api.sigterm();
            assert_eq!(api.exit(RECOVERY).await.code(), Some(0));
            api.restart().await;
            balancer.add(api);
        }
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(load, replacing);
    println!("{} requests, none failed", balancer.answers());
    stack.jobs_done().await;
}

/// Round robin over the replicas that say they are ready, without a second try.
#[derive(Default)]
struct Balancer {
    replicas: std::sync::Mutex<Vec<Arc<Replica>>>,
    turn: AtomicUsize,
    answered: AtomicUsize,
}

struct Replica {
    base: String,
    ready: AtomicBool,
}

impl Balancer {
    /// Takes a replica in, and asks it ten times a second whether it is ready.
    fn add(&self, api: &Process) {
        let replica = Arc::new(Replica { base: api.base(), ready: AtomicBool::new(false) });
        self.replicas.lock().unwrap().push(Arc::clone(&replica));
        tokio::spawn(async move {
            let http = reqwest::Client::new();
            let mut checks = interval(Duration::from_millis(100));
            loop {
                checks.tick().await;
                let answer = http.get(format!("{}/health/ready", replica.base)).send().await;
                let ready = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
                replica.ready.store(ready, Ordering::SeqCst);
                if answer.is_err() {
                    return;
                }
            }
        });
    }

    fn answers(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    fn next(&self) -> Option<Arc<Replica>> {
        let replicas = self.replicas.lock().unwrap();
        let ready: Vec<_> = replicas.iter().filter(|replica| replica.ready.load(Ordering::SeqCst)).collect();
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        ready.get(turn % ready.len().max(1)).map(|replica| Arc::clone(replica))
    }

    async fn load(&self, ada: &Client, number: usize, over: &AtomicBool) {
        let mut round = 0;
        while !over.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(10)).await;
            let Some(replica) = self.next() else { continue };
            let ada = ada.at(&replica.base);
            round += 1;
            if round % 5 == 0 {
                let body = registration(&format!("guest{number}-{round}"), None);
                ada.post("/api/register/", body).await.expect(201);
            } else {
                ada.get("/api/referral-stats/").await.expect(200);
            }
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn try_get(client: &Client, path: &str) -> Reply {
    client.try_send(Method::GET, path, None, &[]).await.unwrap()
}

async fn try_post(client: &Client, path: &str, body: serde_json::Value) -> Reply {
    let csrf = client.cookie("csrf_token").unwrap().value;
    let body = Some(("application/json", body.to_string().into_bytes()));
    client.try_send(Method::POST, path, body, &[("X-CSRF-Token", &csrf)]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_api_that_stops_answers_what_is_under_way_and_waits_for_nobody_idle() {
    let settings = &[("DRAIN_SECONDS", "0")];
    let mut stack = Stack::start(StackOptions { apis: 1, workers: 0, settings }).await;
    let ada = stack.register(0, "ada", None).await.expect(201).json();
    let code = ada["user"]["referral_code"].as_str().unwrap();
    // A connection that was used, and is kept.
    let idle = stack.client(0);
    idle.get("/health/live").await.expect(200);
    let lock = stack.database.connect().await;
    lock.batch_execute("BEGIN; SELECT FROM users WHERE username = 'ada' FOR UPDATE").await.unwrap();

    let client = stack.client(0);
    let body = registration("bob", Some(code));
    let under_way = tokio::spawn(async move { client.post("/api/register/", body).await });
    stack.blocked(1).await;
    stack.apis[0].sigterm();
    let address = stack.apis[0].base().trim_start_matches("http://").to_owned();
    within(RECOVERY, "nobody else is let in", async || match TcpStream::connect(&address).await {
        Ok(_) => Err("somebody was".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
    lock.batch_execute("COMMIT").await.unwrap();
    let began = Instant::now();
    under_way.await.unwrap().expect(201);
    assert_eq!(stack.apis[0].exit(RECOVERY).await.code(), Some(0));
    println!("it ended {:?} after its last answer", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
