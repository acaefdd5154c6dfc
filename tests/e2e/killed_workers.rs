//! Workers that die, freeze or are told to stop while they hold a job.

use std::time::{Duration, Instant};

use testkit::app::within;
use testkit::process::Program;
use testkit::smtp::{Rule, Step};
use testkit::stack::{RECOVERY, Stack, StackOptions, busy};
use tokio_postgres::Client;

/// The attempts that a settlement has.
const ATTEMPTS: i16 = 5;

/// How long a running job may be waited for, and the machine be slow besides.
const DRAIN: Duration = Duration::from_secs(30);

/// The state of one person's mail, or of the one settlement.
#[derive(Debug, PartialEq)]
struct Job {
    attempts: i16,
    done: bool,
    dead: bool,
}

async fn job(stack: &Stack, condition: &str) -> Job {
    let sql =
        format!("SELECT attempts, done_at IS NOT NULL, dead_at IS NOT NULL FROM outbox WHERE {condition}");
    let row = stack.database.query_one(&sql, &[]).await.unwrap();
    Job { attempts: row.get(0), done: row.get(1), dead: row.get(2) }
}

const SETTLEMENT: &str = "kind = 'referral.settle'";

/// The mail that confirms the address of somebody.
fn mail_of(username: &str) -> String {
    format!(
        "(payload ->> 'verification_id')::uuid = (SELECT v.id FROM email_verifications v \
         JOIN users ON users.id = user_id WHERE username = '{username}')"
    )
}

/// Locks ada's account, registers her friend bob and confirms his address: the settlement begins, and waits.
async fn a_settlement_that_waits(stack: &Stack) -> Client {
    let ada = stack.register(0, "ada", None).await.expect(201).json();
    let code = ada["user"]["referral_code"].as_str().unwrap();
    stack.register(0, "bob", Some(code)).await.expect(201);
    let lock = stack.database.connect().await;
    stack.mail_to("bob").await;
    lock.batch_execute("BEGIN; SELECT FROM users WHERE username = 'ada' FOR NO KEY UPDATE").await.unwrap();
    stack.verify(0, "bob").await;
    lock
}

async fn until(stack: &Stack, condition: &str, wanted: Job) {
    within(RECOVERY, &format!("{condition}: {wanted:?}"), async || match job(stack, condition).await {
        job if job == wanted => Ok(()),
        job => Err(format!("{job:?}")),
    })
    .await;
}

async fn grants(stack: &Stack) -> String {
    let sql = "SELECT coalesce(string_agg(format('%s %s', amount, beneficiary), ', ' ORDER BY amount), '') FROM rewards";
    stack.database.value(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn q2_a_job_over_which_its_workers_die_is_given_up_and_the_others_are_done() {
    let _busy = busy().await;
    let mut stack = Stack::start(StackOptions::default()).await;
    let lock = a_settlement_that_waits(&stack).await;
    for attempt in 1..=ATTEMPTS {
        until(&stack, SETTLEMENT, Job { attempts: attempt, done: false, dead: false }).await;
        stack.workers[0].kill9();
        stack.expire_leases().await;
        stack.workers[0].restart().await;
    }
    until(&stack, SETTLEMENT, Job { attempts: ATTEMPTS + 1, done: false, dead: true }).await;

    let before = stack.workers[0].id();
    stack.register(0, "carol", None).await.expect(201);
    stack.mail_to("carol").await;
    let listed = stack.command(Program::Worker, &["dead-jobs"]).await;
    let line = String::from_utf8_lossy(&listed.stdout).trim_end().to_owned();
    assert!(line.contains("referral.settle") && line.ends_with("its workers died"), "{line}");
    assert_eq!(grants(&stack).await, "");

    // What killed them is mended.
    lock.batch_execute("COMMIT").await.unwrap();
    let redriven = stack.command(Program::Worker, &["redrive", "--all"]).await;
    assert!(redriven.status.success(), "{redriven:?}");
    until(&stack, SETTLEMENT, Job { attempts: 1, done: true, dead: false }).await;
    assert_eq!(grants(&stack).await, "5.00 referred, 10.00 referrer");
    assert_eq!(stack.workers[0].id(), before);
    assert!(stack.workers[0].is_running());
    stack.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q7_the_jobs_of_a_killed_worker_start_elsewhere_within_a_minute() {
    let mut stack = Stack::start(StackOptions::default()).await;
    stack.mail.script(Rule::stall(Step::Rcpt).times(1));
    stack.register(0, "ada", None).await.expect(201);
    stack.mail.wait_for_misbehaviour(1).await.unwrap();
    stack.start_worker(&[]).await.wait_for_readiness(200, RECOVERY).await;
    stack.workers[0].kill9();

    let began = Instant::now();
    stack.mail_to("ada").await;
    let took = began.elapsed();
    println!("started elsewhere after {took:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
    until(&stack, &mail_of("ada"), Job { attempts: 2, done: true, dead: false }).await;
    assert_eq!(stack.mail.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn q8_sigterm_lets_a_running_job_end_and_begins_no_other() {
    let mut stack = Stack::start(StackOptions::default()).await;
    stack.mail.script(Rule::stall(Step::EndOfData));
    stack.register(0, "ada", None).await.expect(201);
    stack.mail.wait_for_misbehaviour(1).await.unwrap();
    stack.workers[0].sigterm();
    within(RECOVERY, "the worker drains", async || match stack.workers[0].log() {
        log if log.contains("stopping: running jobs may end") => Ok(()),
        log => Err(log),
    })
    .await;
    stack.register(0, "bob", None).await.expect(201);
    assert!(stack.workers[0].is_running(), "it waits for the job");
    stack.mail.behave();
    assert_eq!(stack.workers[0].exit(DRAIN).await.code(), Some(0));
    assert_eq!(job(&stack, &mail_of("ada")).await, Job { attempts: 1, done: true, dead: false });
    assert_eq!(job(&stack, &mail_of("bob")).await, Job { attempts: 0, done: false, dead: false });
    let senders: Vec<_> = stack.mail.mails().iter().map(|mail| mail.to[0].clone()).collect();
    assert_eq!(senders, ["ada@example.org"]);

    stack.workers[0].restart().await;
    stack.jobs_done().await;
    assert_eq!(stack.mail.mails().len(), 2);
    assert_eq!(job(&stack, &mail_of("bob")).await, Job { attempts: 1, done: true, dead: false });
}

#[tokio::test(flavor = "multi_thread")]
async fn q8_a_job_that_is_cut_short_by_a_second_signal_runs_elsewhere() {
    let mut stack = Stack::start(StackOptions::default()).await;
    let lock = a_settlement_that_waits(&stack).await;
    stack.blocked(1).await;
    stack.workers[0].sigterm();
    within(RECOVERY, "the worker drains", async || match stack.workers[0].log() {
        log if log.contains("stopping: running jobs may end") => Ok(()),
        log => Err(log),
    })
    .await;
    stack.workers[0].sigterm();
    let began = Instant::now();
    assert_eq!(stack.workers[0].exit(DRAIN).await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(job(&stack, SETTLEMENT).await, Job { attempts: 1, done: false, dead: false });

    lock.batch_execute("COMMIT").await.unwrap();
    stack.start_worker(&[]).await;
    stack.expire_leases().await;
    until(&stack, SETTLEMENT, Job { attempts: 2, done: true, dead: false }).await;
    assert_eq!(grants(&stack).await, "5.00 referred, 10.00 referrer");
    stack.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q8_a_mail_server_that_stalls_through_the_drain_holds_no_worker_up() {
    let mut stack = Stack::start(StackOptions::default()).await;
    stack.mail.script(Rule::stall(Step::Rcpt).times(1));
    stack.register(0, "ada", None).await.expect(201);
    stack.mail.wait_for_misbehaviour(1).await.unwrap();
    stack.start_worker(&[]).await;
    stack.workers[0].sigterm();
    assert_eq!(stack.workers[0].exit(DRAIN).await.code(), Some(0));
    stack.mail_to("ada").await;
    until(&stack, &mail_of("ada"), Job { attempts: 2, done: true, dead: false }).await;
    assert_eq!(stack.mail.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_a_worker_that_was_frozen_settles_nothing_once_another_holds_the_job() {
    let mut stack = Stack::start(StackOptions::default()).await;
    let lock = a_settlement_that_waits(&stack).await;
    stack.blocked(1).await;
    stack.workers[0].sigstop();
    stack.start_worker(&[]).await;
    stack.expire_leases().await;
    stack.blocked(2).await;
    assert_eq!(job(&stack, SETTLEMENT).await.attempts, 2);

    // The frozen one is the first in the queue for the lock, and goes on from where it was.
    lock.batch_execute("COMMIT").await.unwrap();
    stack.workers[0].sigcont();
    until(&stack, SETTLEMENT, Job { attempts: 2, done: true, dead: false }).await;
    within(RECOVERY, "the late one hears that it is late", async || match stack.workers[0].log() {
        log if log.contains("rolled back: the lease had ended") => Ok(()),
        log => Err(log),
    })
    .await;
    assert_eq!(grants(&stack).await, "5.00 referred, 10.00 referrer");
    stack.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q9_a_worker_that_was_frozen_until_redis_forgot_it_works_again() {
    let stack = Stack::start(StackOptions::default()).await;
    stack.workers[0].sigstop();
    stack.redis.empty().await.unwrap();
    stack.register(0, "ada", None).await.expect(201);
    stack.workers[0].sigcont();
    stack.mail_to("ada").await;
    stack.workers[0].wait_for_readiness(200, RECOVERY).await;
    stack.jobs_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_a_frozen_worker_that_sends_late_sends_the_same_mail_and_changes_nothing() {
    let mut stack = Stack::start(StackOptions::default()).await;
    stack.mail.script(Rule::stall(Step::EndOfData).times(1));
    stack.register(0, "ada", None).await.expect(201);
    stack.mail.wait_for_misbehaviour(1).await.unwrap();
    stack.workers[0].sigstop();
    stack.start_worker(&[]).await;
    stack.expire_leases().await;
    until(&stack, &mail_of("ada"), Job { attempts: 2, done: true, dead: false }).await;
    let row = format!("SELECT outbox::text FROM outbox WHERE {}", mail_of("ada"));
    let before: String = stack.database.value(&row).await;

    stack.mail.behave();
    stack.workers[0].sigcont();
    let mails = stack.mail.wait_for(2, RECOVERY).await.unwrap();
    assert_eq!((&mails[0].message_id, mails[0].token()), (&mails[1].message_id, mails[1].token()));
    within(RECOVERY, "the late one hears that it is late", async || match stack.workers[0].log() {
        log if log.contains("rolled back: the lease had ended") => Ok(()),
        log => Err(log),
    })
    .await;
    assert_eq!(stack.database.value::<String>(&row).await, before);
}
