//! The outbox's own rules: attempts, leases, strangers, and what operators see and do.

use domain::accounts;
use domain::outbox::{self, Claim, Job, Lease, Options, OutboxError};
use domain::referrals;
use secrecy::ExposeSecret;
use testkit::app::eventually;
use testkit::process::{Process, Program};
use testkit::redis::RedisServer;
use testkit::smtp::{Rule, Step};
use uuid::Uuid;

use super::desk::Desk;

/// Takes a job as a worker does that then dies.
async fn claim(desk: &Desk, job: Uuid) -> Option<Lease> {
    match outbox::claim(&desk.pool, job).await.unwrap() {
        Claim::Job { lease, .. } => Some(lease),
        Claim::Nothing => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn q2_a_job_whose_workers_die_is_given_up_after_its_attempts() {
    let desk = Desk::new().await;
    let killer = desk.promise_settlement(Uuid::now_v7()).await;
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(desk.promise_settlement(Uuid::now_v7()).await);
    }
    for attempt in 1..=5 {
        let lease = claim(&desk, killer).await.unwrap();
        assert_eq!(lease.attempt, attempt, "counted before the work");
        assert_eq!(desk.job(killer).await.attempts, i16::try_from(attempt).unwrap(), "and committed");
        assert!(claim(&desk, killer).await.is_none(), "nobody else has it while the lease lasts");
        desk.let_leases_end().await;
    }
    desk.run(killer).await;
    let row = desk.job(killer).await;
    assert!(row.dead && !row.done && row.last_error == "its workers died", "{row:?}");
    for job in others {
        desk.run(job).await;
        assert!(desk.job(job).await.done);
    }
    assert!(claim(&desk, killer).await.is_none(), "dead is dead");
}

#[tokio::test]
async fn q7_a_lease_ends_within_a_minute() {
    let desk = Desk::new().await;
    let job = desk.promise_settlement(Uuid::now_v7()).await;
    claim(&desk, job).await.unwrap();
    let waits = desk.job(job).await.waits;
    assert!((1.0..=60.0).contains(&waits), "{waits} s");
    let due: f64 = desk.database.value("SELECT extract(epoch FROM due_at - now())::float8 FROM outbox").await;
    assert!(due <= 60.0, "and it is pushed again by then: {due} s");
}

/// A worker that was frozen comes back after somebody else took the job.
#[tokio::test]
async fn q7_a_late_finisher_leaves_no_trace() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    let job = desk.settlement_of(bob.referral).await;
    let frozen = claim(&desk, job).await.unwrap();
    desk.let_leases_end().await;
    let second = claim(&desk, job).await.unwrap();

    let (now, policy) = (desk.clock.now(), desk.config.common.referrals);
    let late = referrals::settle(&desk.pool, now, policy, bob.referral, &frozen, None).await;
    assert!(matches!(late, Err(OutboxError::LeaseLost)), "{late:?}");
    let late = outbox::complete_alone(&desk.pool, &frozen).await;
    assert!(matches!(late, Err(OutboxError::LeaseLost)), "{late:?}");
    outbox::retry(&desk.pool, &frozen, std::time::Duration::ZERO, "late").await.unwrap();
    outbox::fail(&desk.pool, &frozen, "late").await.unwrap();
    let row = desk.job(job).await;
    assert!(!row.done && !row.dead && row.attempts == 2 && row.last_error.is_empty(), "{row:?}");
    assert_eq!(desk.referral(bob.referral).await.0, "pending");
    assert_eq!(desk.count("rewards").await, 0);

    referrals::settle(&desk.pool, now, policy, bob.referral, &second, None).await.unwrap();
    assert!(desk.job(job).await.done);
    assert_eq!(desk.referral(bob.referral).await.0, "successful");
    desk.check_ledger().await;
}

#[tokio::test]
async fn q11_kinds_and_versions_of_a_newer_release_wait_for_it() {
    domain::telemetry::init_metrics();
    let desk = Desk::new().await;
    desk.sql(
        "INSERT INTO outbox (id, queue, kind, version, payload, due_at) VALUES
            ('00000000-0000-7000-8000-000000000001', 'rewards', 'referral.frobnicate', 1, '{}', now()),
            ('00000000-0000-7000-8000-000000000002', 'rewards', 'referral.settle', 2, '{\"referral\": 7}', now()),
            ('00000000-0000-7000-8000-000000000003', 'rewards', 'referral.settle', 1, '{\"referral\": 7}', now())",
    )
    .await;
    let strangers = desk.ids("SELECT id FROM outbox").await;
    for _ in 0..20 {
        for job in &strangers {
            desk.run(*job).await;
            let row = desk.job(*job).await;
            assert!(!row.done && !row.dead && row.attempts == 0, "{row:?}");
            assert!((30.0..=60.0).contains(&row.waits), "put off for a while: {row:?}");
            desk.run(*job).await;
            assert_eq!(desk.job(*job).await.attempts, 0);
        }
        desk.let_leases_end().await;
    }
    // The release that knows it arrives.
    desk.sql(&format!(
        "UPDATE outbox SET kind = 'referral.settle', version = 1, payload = '{{\"referral_id\": \"{}\"}}'",
        Uuid::now_v7()
    ))
    .await;
    for job in strangers {
        desk.run(job).await;
        let row = desk.job(job).await;
        assert!(row.done && row.attempts == 1, "{row:?}");
    }
    let metrics = domain::telemetry::render_metrics();
    let alarm = value(&metrics, "trellis_jobs_total", &["outcome=\"put_off\""]).unwrap_or_default();
    assert!(alarm >= 60.0, "an alarm can be raised over them: {alarm}");
}

#[tokio::test]
async fn o1_a_job_exists_when_its_transaction_commits_and_only_then() {
    let desk = Desk::new().await;
    desk.person("ada").await;
    let taken = desk.register("ada", "other@example.org", None).await;
    assert!(matches!(taken, Err(accounts::RegisterError::UsernameTaken)), "{taken:?}");
    let taken = desk.register("other", "ada@example.org", None).await;
    assert!(matches!(taken, Err(accounts::RegisterError::EmailTaken)), "{taken:?}");
    assert_eq!(desk.count("outbox").await, 2, "a mail and an event for the account that was made");
    assert_eq!(desk.count("users").await, 1);
    assert_eq!(desk.count("referral_counters").await, 1);

    let mut tx = domain::db::Tx::begin(&desk.pool).await.unwrap();
    outbox::enqueue(&mut tx, &Job::Purge {}, Options::default()).await.unwrap();
    drop(tx);
    outbox::enqueue_alone(&desk.pool, &Job::ExpireReferrals {}, Options::default()).await.unwrap();
    assert_eq!(desk.count("outbox WHERE kind = 'maintenance.purge'").await, 0);
    assert_eq!(desk.count("outbox WHERE kind = 'maintenance.expire_referrals'").await, 1);
}

#[tokio::test]
async fn one_dedupe_key_is_one_job_for_ever() {
    let desk = Desk::new().await;
    let options = || Options { dedupe_key: Some("once".to_owned()), ..Options::default() };
    for _ in 0..3 {
        outbox::enqueue_alone(&desk.pool, &Job::Purge {}, options()).await.unwrap();
        desk.run_queue("maintenance").await;
    }
    assert_eq!(desk.count("outbox").await, 1);
}

#[tokio::test]
async fn o6_lag_is_measured_and_dead_jobs_are_listed_and_run_again_once() {
    let mut redis = RedisServer::start().await.unwrap();
    let desk = Desk::with(|settings| {
        settings.set("REDIS_URL", redis.url().expose_secret()).set("LOG_FORMAT", "json");
    })
    .await;
    desk.person("ada").await;
    let job = desk.id("SELECT id FROM outbox WHERE queue = 'mail'").await;
    assert_eq!(list(&desk).await.0, "no dead jobs");
    desk.mail.script(Rule::reply(Step::Rcpt, 550, "5.7.1 relaying denied").times(1));
    desk.run(job).await;
    let (listed, code) = list(&desk).await;
    assert_eq!(code, Some(0));
    for part in [job.to_string().as_str(), "mail.verification", "1 attempts", "550"] {
        assert!(listed.contains(part), "{part} is missing in: {listed}");
    }
    assert!(!listed.contains("ada"), "{listed}");

    // With Redis down the lag grows, and shows; the job that waits is five minutes old.
    redis.stop().await.unwrap();
    desk.person("bob").await;
    desk.sql(
        "UPDATE outbox SET created_at = now() - interval '5 minutes', due_at = now() - interval '5 minutes'
              WHERE dead_at IS NULL",
    )
    .await;
    let directory = tempfile::tempdir().unwrap();
    let worker = Process::start(Program::Worker, "worker", desk.settings.clone(), directory.path()).await;
    let mail = &["queue=\"mail\""];
    eventually("the lag shows", async || {
        let metrics = worker.metrics().await;
        let lag = value(&metrics, "trellis_outbox_oldest_seconds", mail).unwrap_or_default();
        if lag >= 300.0 { Ok(()) } else { Err(format!("{lag} s")) }
    })
    .await;
    let metrics = worker.metrics().await;
    assert_eq!(value(&metrics, "trellis_outbox_waiting", mail), Some(1.0));
    assert_eq!(value(&metrics, "trellis_outbox_dead", mail), Some(1.0));
    assert!(!metrics.contains("example.org"), "{metrics}");

    assert_eq!(command(&desk, &["redrive", "--id", &Uuid::now_v7().to_string()]).await.1, Some(1));
    assert_eq!(command(&desk, &["redrive", "--all"]).await, ("1 jobs will run again".to_owned(), Some(0)));
    assert_eq!(command(&desk, &["redrive", "--all"]).await.1, Some(1), "nothing is left to run again");
    redis.restart().await.unwrap();
    desk.mail.wait_for_to("ada@example.org").await.unwrap();
    desk.mail.wait_for_to("bob@example.org").await.unwrap();
    desk.all_done().await;
    let row = desk.job(job).await;
    assert!(row.done && row.attempts == 1, "from its first attempt, and once: {row:?}");
    assert_eq!(desk.mail.mails().len(), 2);
    eventually("the lag is gone", async || {
        let metrics = worker.metrics().await;
        match value(&metrics, "trellis_outbox_oldest_seconds", mail) {
            Some(0.0) => Ok(()),
            lag => Err(format!("{lag:?}")),
        }
    })
    .await;
    assert_eq!(value(&worker.metrics().await, "trellis_outbox_dead", mail), Some(0.0));
}

#[tokio::test]
async fn o6_the_lag_counts_from_when_a_job_was_due() {
    let desk = Desk::new().await;
    for (created, due, generation, attempts, lag) in [
        // Held for a day, and due just now; pushed just now; put off after a failure.
        ("1 day", "-2 seconds", 0, 0, 2),
        ("1 day", "30 seconds", 1, 0, 0),
        ("1 day", "-3 seconds", 9, 8, 3),
        // Pushed again and again for ten minutes, and claimed by nobody; never pushed for as long.
        ("600 seconds", "30 seconds", 21, 0, 600),
        ("600 seconds", "-600 seconds", 0, 0, 600),
    ] {
        desk.sql(&format!(
            "DELETE FROM outbox;
             INSERT INTO outbox (id, queue, kind, version, payload, created_at, due_at, generation, attempts)
             VALUES (gen_random_uuid(), 'mail', 'x', 1, '{{}}', now() - interval '{created}', now() + interval '{due}',
                     {generation}, {attempts})"
        ))
        .await;
        let states = outbox::states(&desk.pool).await.unwrap();
        let (_, mail) = states.iter().find(|(queue, _)| queue.as_str() == "mail").unwrap();
        assert_eq!(mail.waiting, 1);
        let age = (desk.clock.now() - mail.oldest.unwrap()).num_seconds();
        assert!((lag - 1..=lag + 20).contains(&age), "{age} s for {lag} s");
    }
    desk.sql("UPDATE outbox SET generation = 1, due_at = now() + interval '1 day', leased_until = now() + interval '1 day'")
        .await;
    let states = outbox::states(&desk.pool).await.unwrap();
    assert!(states.iter().all(|(_, state)| state.waiting == 0 && state.oldest.is_none()), "held is not late");
}

async fn list(desk: &Desk) -> (String, Option<i32>) {
    command(desk, &["dead-jobs"]).await
}

/// What a command prints, and its exit code.
async fn command(desk: &Desk, arguments: &[&str]) -> (String, Option<i32>) {
    let directory = std::env::temp_dir();
    let output = Program::Worker.run(arguments, &desk.settings, &directory).await;
    (String::from_utf8(output.stdout).unwrap().trim().to_owned(), output.status.code())
}

/// The sum of the samples of a metric that have these labels.
fn value(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let samples = metrics.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).reduce(|sum, value| sum + value)
}
