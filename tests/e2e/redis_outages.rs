//! Redis gone, frozen or emptied: people notice nothing, and jobs wait.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use testkit::app::within;
use testkit::client::Client;
use testkit::process::Process;
use testkit::stack::{RECOVERY, Stack, StackOptions, busy, credentials, registration};

/// How long people wait for an answer while Redis is away: half of them less than one call to it may take, and nobody
/// longer than the few that go to see whether it is back, on a slow machine.
const USUAL: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(2);

/// The longest a queue may rest after Redis is back.
const BACK: Duration = Duration::from_secs(5);

/// Limits as in production, and a proxy in front that tells clients apart.
const LIMITED: &[(&str, &str)] = &[("RATE_LIMITS", "on"), ("TRUSTED_PROXIES", "127.0.0.1")];

#[tokio::test(flavor = "multi_thread")]
async fn o2_while_redis_is_down_people_register_and_ask_for_mails_which_leave_after_it() {
    let _busy = busy().await;
    let mut stack = Stack::start(StackOptions { apis: 2, workers: 1, settings: LIMITED }).await;
    let members = people(&stack, "member", 20);
    timed(&members, register).await;
    stack.mail.wait_for(20, RECOVERY).await.unwrap();

    stack.redis.stop().await.unwrap();
    let guests = people(&stack, "guest", 60);
    let mut waits = timed(&guests, register).await;
    // In this order: whoever signs in knows the password, and is mailed no link.
    waits.extend(timed(&members, log_in).await);
    waits.extend(timed(&members, forget_password).await);
    report("down", &mut waits);
    for api in &stack.apis {
        api.wait_for_readiness(200, RECOVERY).await;
    }
    assert_eq!(stack.mail.mails().len(), 20);

    stack.redis.restart().await.unwrap();
    let began = Instant::now();
    stack.mail.wait_for(20 + 60 + 20, RECOVERY).await.unwrap();
    println!("all mails were there {:?} after Redis", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(30));
    stack.jobs_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_while_redis_is_frozen_nobody_waits_for_it() {
    let _busy = busy().await;
    let stack = Stack::start(StackOptions { apis: 1, workers: 1, settings: LIMITED }).await;
    let guests = people(&stack, "guest", 20);
    stack.redis.pause().await.unwrap();
    let mut waits = timed(&guests, register).await;
    waits.extend(timed(&guests, log_in).await);
    waits.extend(timed(&guests, look_at_figures).await);
    report("frozen", &mut waits);
    stack.redis.resume().await.unwrap();
    stack.mail.wait_for(20, RECOVERY).await.unwrap();
    stack.jobs_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o2_while_redis_is_full_people_register_and_jobs_wait() {
    let _busy = busy().await;
    let stack = Stack::start(StackOptions { apis: 1, workers: 1, settings: LIMITED }).await;
    stack.redis.set("maxmemory", "1").await.unwrap();
    let guests = people(&stack, "guest", 20);
    let mut waits = timed(&guests, register).await;
    waits.extend(timed(&guests, log_in).await);
    waits.extend(timed(&guests, look_at_figures).await);
    report("full", &mut waits);
    stack.redis.set("maxmemory", "0").await.unwrap();
    stack.mail.wait_for(20, RECOVERY).await.unwrap();
    stack.jobs_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q9_workers_are_unready_while_redis_is_down_and_consume_five_seconds_after_it() {
    let mut stack = Stack::start(StackOptions { apis: 1, workers: 2, ..StackOptions::default() }).await;
    let before: Vec<u32> = stack.workers.iter().map(Process::id).collect();
    stack.redis.stop().await.unwrap();
    for worker in &stack.workers {
        let body = worker.wait_for_readiness(503, RECOVERY).await;
        assert_eq!(body["checks"]["postgresql"], "ok", "{body}");
        assert_eq!(worker.get("/health/live").await.unwrap().0, 200);
    }
    stack.apis[0].wait_for_readiness(200, RECOVERY).await;
    stack.register(0, "ada", None).await.expect(201);

    let _busy = busy().await;
    stack.redis.restart().await.unwrap();
    let began = Instant::now();
    stack.mail_to("ada").await;
    println!("consuming again {:?} after Redis", began.elapsed());
    assert!(began.elapsed() < BACK, "{:?}", began.elapsed());
    for worker in &mut stack.workers {
        worker.wait_for_readiness(200, RECOVERY).await;
        assert!(worker.is_running());
    }
    assert_eq!(stack.workers.iter().map(Process::id).collect::<Vec<_>>(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn q9_workers_consume_five_seconds_after_redis_forgot_everything() {
    let _busy = busy().await;
    let stack = Stack::start(StackOptions { apis: 1, workers: 2, ..StackOptions::default() }).await;
    for name in ["ada", "bob", "eve"] {
        stack.redis.empty().await.unwrap();
        let began = Instant::now();
        stack.register(0, name, None).await.expect(201);
        stack.mail_to(name).await;
        assert!(began.elapsed() < BACK, "{:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn o4_jobs_that_redis_forgot_are_sent_again() {
    let mut stack = Stack::start(StackOptions { apis: 1, workers: 0, ..StackOptions::default() }).await;
    let busy = busy().await;
    let guests = people(&stack, "guest", 50);
    timed(&guests, register).await;
    within(RECOVERY, "every job is in Redis", async || {
        let unsent: i64 = stack
            .database
            .value("SELECT count(*) FROM outbox WHERE generation = 0 AND done_at IS NULL")
            .await;
        if unsent == 0 { Ok(()) } else { Err(format!("{unsent} are not")) }
    })
    .await;
    stack.redis.empty().await.unwrap();
    stack.start_worker(&[]).await;
    drop(busy);
    let began = Instant::now();
    stack.jobs_done().await;
    println!("all were done {:?} after Redis forgot them", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(90));
    assert_eq!(stack.mail.mails().len(), 50);
}

/// Somebody with an address of their own, in two senses.
struct Person {
    name: String,
    client: Client,
}

fn people(stack: &Stack, name: &str, count: usize) -> Vec<Person> {
    let person = |number: usize| {
        let client = stack.client(number % stack.apis.len());
        let client = client.with_header("X-Forwarded-For", &format!("203.0.{number}.1"));
        Person { name: format!("{name}{number:02}"), client }
    };
    (0..count).map(person).collect()
}

/// Lets all do the same, four at a time; returns how long each took.
async fn timed(people: &[Person], act: impl AsyncFn(&Person)) -> Vec<Duration> {
    let act = &act;
    let quarters = people.chunks(people.len().div_ceil(4)).map(async |people| {
        let mut waits = Vec::new();
        for person in people {
            let began = Instant::now();
            act(person).await;
            waits.push(began.elapsed());
        }
        waits
    });
    join_all(quarters).await.concat()
}

async fn register(person: &Person) {
    person.client.post("/api/register/", registration(&person.name, None)).await.expect(201);
}

async fn log_in(person: &Person) {
    person.client.post("/api/login/", credentials(&person.name)).await.expect(200);
}

async fn look_at_figures(person: &Person) {
    person.client.get("/api/referral-stats/").await.expect(200);
}

async fn forget_password(person: &Person) {
    let body = json!({ "email": format!("{}@example.org", person.name) });
    person.client.post("/api/forgot-password/", body).await.expect(202);
}

fn report(what: &str, waits: &mut [Duration]) {
    waits.sort();
    let (middle, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!("Redis {what}: {} answers, half of them within {middle:?}, all within {longest:?}", waits.len());
    assert!(middle < USUAL && longest < LONGEST, "{middle:?}, {longest:?}");
}
