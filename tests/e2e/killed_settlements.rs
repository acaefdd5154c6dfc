//! Settlements whose worker is killed between any two of their statements, and settlements that are delivered again and
//! again.

use std::os::unix::process::ExitStatusExt as _;

use domain::audit::{Actor, Trace};
use domain::clock::Clock;
use domain::queue::{QueueName, Queues};
use domain::rewards::{self, Amount, Beneficiary, Replacement, RewardKind, RuleSet, RuleSpec};
use futures_util::future::join_all;
use serde_json::Value;
use testkit::app::within;
use testkit::dump;
use testkit::process::{Process, Program};
use testkit::stack::{RECOVERY, Stack, StackOptions, busy};

use crate::model::{Model, count};

/// What a process ends with that aborts (POSIX's number on Linux and macOS).
const SIGABRT: i32 = 6;

/// What a settlement writes.
const BOOKS: [&str; 11] = [
    "balances",
    "discounts",
    "ledger_entries",
    "premium_periods",
    "referral_counters",
    "referral_days",
    "referrals",
    "reward_decisions",
    "reward_tallies",
    "rewards",
    "security_events",
];

/// Referrals that count at once: what is looked at is their settlement.
pub(crate) const AT_ONCE: [(&str, &str); 3] = [
    ("REFERRAL_QUALIFIES_ON", "registration"),
    ("REFERRAL_REVIEW_SCORE", "9999"),
    ("REFERRAL_DENY_SCORE", "9999"),
];

async fn books(stack: &Stack) -> Vec<Vec<String>> {
    let mut tables = dump::tables(&stack.database, &[]).await;
    BOOKS.map(|table| tables.remove(table).expect(table)).into()
}

/// Each referral earns the referrer something of every kind, so that each settlement writes all there is to write.
async fn give_everything_each_time(stack: &Stack) {
    let pool = stack.database.pool(1);
    let RuleSet { version, mut rules, .. } = rewards::rules(&pool).await.unwrap();
    rules.extend([(RewardKind::Premium, 7), (RewardKind::Discount, 15)].map(|(kind, amount)| RuleSpec {
        milestone: None,
        beneficiary: Beneficiary::Referrer,
        kind,
        amount: Amount::from_whole(amount),
        campaign: None,
        max_per_month: None,
        max_total: Some(1_000),
        starts_at: None,
        ends_at: None,
    }));
    let replacement = Replacement { version, rules, actor: Actor::Operator };
    rewards::replace_rules(&pool, Clock::system().now(), replacement, &Trace::default()).await.unwrap();
}

fn queues(stack: &Stack) -> Queues {
    Queues::new(&stack.redis.url(), stack.settings.get("REDIS_PREFIX").unwrap()).unwrap()
}

/// Registers the person who brings the others; returns their code.
async fn referrer(stack: &Stack) -> String {
    let reply = stack.register(0, "ada", None).await.expect(201).json();
    reply["user"]["referral_code"].as_str().unwrap().to_owned()
}

/// Asserts that so many friends count, each with a grant of every rule, and nothing else.
async fn assert_settled(stack: &Stack, friends: usize) {
    let found: String = stack
        .database
        .value(
            "SELECT format('%s successful, %s on record, %s announced; %s',
                 (SELECT count(*) FROM referrals WHERE status = 'successful'),
                 (SELECT count(*) FROM security_events WHERE event = 'referral_successful'),
                 (SELECT count(*) FROM outbox WHERE payload ->> 'event' = 'referral.successful'),
                 (SELECT string_agg(format('%s of %s %s to the %s', grants, amount, reward_type, beneficiary), ', '
                      ORDER BY reward_type, beneficiary)
                  FROM (SELECT count(DISTINCT referral_id) || '/' || count(*) AS grants, amount, reward_type, beneficiary
                        FROM rewards WHERE milestone IS NULL GROUP BY 2, 3, 4) AS granted))",
        )
        .await;
    let n = friends;
    let wanted = format!(
        "{n} successful, {n} on record, {n} announced; {n}/{n} of 5.00 credits to the referred, {n}/{n} of 10.00 credits to the referrer, \
         {n}/{n} of 15.00 discount to the referrer, {n}/{n} of 7.00 premium to the referrer"
    );
    assert_eq!(found, wanted);
    stack.check_ledger().await;
}

/// Lets a worker that is armed with `point` settle what waits. Returns the last statement before it died, empty if there was
/// none; or `None` if the settlement ended and the worker lives.
async fn settle_to_the_death(worker: &mut Process, point: &str) -> Option<String> {
    worker.restart_with(&[("FAIL_POINT", point)]).await;
    let died = within(RECOVERY, "the settlement ends, or its worker", async || match worker.is_running() {
        false => Ok(true),
        true if worker.log_lines().iter().any(did_settle) => Ok(false),
        true => Err(worker.log()),
    })
    .await;
    if died { Some(last_statement(worker, point).await) } else { None }
}

/// The last statement before a worker died at `point`, empty if there was none.
async fn last_statement(worker: &mut Process, point: &str) -> String {
    assert_eq!(worker.exit(RECOVERY).await.signal(), Some(SIGABRT), "it ended itself");
    let lines = worker.log_lines();
    let last = lines.iter().rfind(|line| line["message"] == "dies at its fail point").expect(point);
    assert_eq!(format!("referral.settle:{}", last["statements"]), point);
    last["last"].as_str().unwrap().to_owned()
}

fn did_settle(line: &Value) -> bool {
    line["message"] == "did a job" && line["span"]["kind"] == "referral.settle"
}

/// Waits until PostgreSQL has noticed that nobody is there any more, and rolled back.
async fn transactions_are_over(stack: &Stack) {
    within(RECOVERY, "the transaction of the dead worker is over", async || {
        let open = "SELECT count(*) FROM pg_stat_activity \
                    WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()";
        match stack.database.value::<i64>(open).await {
            0 => Ok(()),
            open => Err(format!("{open} are open")),
        }
    })
    .await;
}

/// Asserts that workers died at every place of a settlement, from before its first statement to after its last one.
fn assert_every_place(deaths: &[String]) {
    println!("a settlement:{}", deaths.join("\n"));
    assert_eq!(
        (deaths[0].as_str(), deaths[1].as_str(), deaths.last().unwrap().as_str()),
        ("", "BEGIN", "COMMIT")
    );
    for needed in [
        r#"SELECT "referrals""#,
        r#"UPDATE "referrals""#,
        r#"INSERT INTO "security_events""#,
        r#"INSERT INTO "ledger_entries""#,
        r#"INSERT INTO "discounts""#,
        r#"INSERT INTO "premium_periods""#,
        r#"UPDATE "outbox""#,
    ] {
        assert!(
            deaths.iter().any(|statement| statement.starts_with(needed)),
            "{needed} is not in {deaths:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_a_worker_killed_between_any_two_statements_of_a_settlement_leaves_nothing_half_done() {
    let _busy = busy().await;
    let mut stack = Stack::start(StackOptions { settings: &AT_ONCE, ..StackOptions::default() }).await;
    give_everything_each_time(&stack).await;
    let code = referrer(&stack).await;
    stack.jobs_done().await;
    stack.start_mortal_worker(&[]).await;
    stack.workers.iter_mut().for_each(Process::kill9);

    // What it died after: nothing, its first statement, its first two..., until it has no statement left to die after.
    let mut deaths = Vec::new();
    loop {
        let friends = deaths.len() + 1;
        stack.register(0, &format!("friend{friends:02}"), Some(&code)).await.expect(201);
        let before = books(&stack).await;
        let point = format!("referral.settle:{}", deaths.len());
        let Some(statement) = settle_to_the_death(&mut stack.workers[1], &point).await else { break };
        transactions_are_over(&stack).await;
        if statement == "COMMIT" {
            assert_settled(&stack, friends).await;
        } else {
            assert_eq!(books(&stack).await, before, "killed after `{statement}`");
        }
        deaths.push(statement);

        stack.expire_leases().await;
        stack.workers[0].restart().await;
        stack.jobs_done().await;
        assert_settled(&stack, friends).await;
        stack.workers[0].kill9();
    }
    assert!(stack.workers[1].is_running(), "there was nothing left to die after");
    assert_settled(&stack, deaths.len() + 1).await;

    assert_every_place(&deaths);
    let attempts = "SELECT array_agg(attempts::int ORDER BY id) FROM outbox WHERE kind = 'referral.settle'";
    let mut wanted = vec![2; deaths.len() - 1];
    // One had committed, and one was not killed.
    wanted.extend([1, 1]);
    assert_eq!(stack.database.value::<Vec<i32>>(attempts).await, wanted, "each death hit one settlement");
}

/// What comes of a settlement among workers, of which the last may die at it.
#[derive(PartialEq)]
enum End {
    Died,
    SettledByLast,
    SettledByAnother,
}

async fn end_of_settlement(stack: &mut Stack) -> End {
    within(RECOVERY, "the settlement ends, or its worker", async || {
        let open = "SELECT count(*) FROM outbox WHERE kind = 'referral.settle' AND done_at IS NULL";
        let open: i64 = stack.database.value(open).await;
        let last = stack.workers.last_mut().unwrap();
        if !last.is_running() {
            Ok(End::Died)
        } else if last.log_lines().iter().any(did_settle) {
            Ok(End::SettledByLast)
        } else if open == 0 {
            Ok(End::SettledByAnother)
        } else {
            Err(last.log())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_f7_of_three_workers_one_dies_after_any_statement_and_the_others_are_given_its_job_twenty_times() {
    let _busy = busy().await;
    let mut stack = Stack::start(StackOptions { apis: 3, workers: 2, settings: &AT_ONCE }).await;
    give_everything_each_time(&stack).await;
    let code = referrer(&stack).await;
    let queues = queues(&stack);
    // One counts before anybody dies.
    let mut model = Model::default();
    stack.register(0, "friend000", Some(&code)).await.expect(201);
    stack.jobs_done().await;
    model.brought("friend000".to_owned(), "ada", "successful");
    stack.start_mortal_worker(&[]).await;
    let mut deaths = Vec::new();
    loop {
        let point = format!("referral.settle:{}", deaths.len());
        stack.workers[2].restart_with(&[("FAIL_POINT", &point)]).await;
        // Whoever is quicker takes a settlement: until it is the one that dies of it.
        let (friend, end) = loop {
            let n = model.all("successful");
            let friend = format!("friend{n:03}");
            stack.register(n % 3, &friend, Some(&code)).await.expect(201);
            model.brought(friend.clone(), "ada", "successful");
            match end_of_settlement(&mut stack).await {
                End::SettledByAnother => {}
                end => break (friend, end),
            }
        };
        if end == End::SettledByLast {
            break;
        }
        let statement = last_statement(&mut stack.workers[2], &point).await;
        transactions_are_over(&stack).await;
        if statement != "COMMIT" {
            let held = "outbox WHERE kind = 'referral.settle' AND done_at IS NULL AND leased_until > now()";
            assert_eq!(count(&stack, held).await, 1, "killed after `{statement}`");
            model.becomes(&friend, "pending");
            model.assert_holds(&stack).await;
            assert_settled(&stack, model.all("successful")).await;
            model.becomes(&friend, "successful");
        }

        let job = format!(
            "SELECT id::text FROM outbox WHERE kind = 'referral.settle' AND payload ->> 'referral_id' = \
             (SELECT r.id::text FROM referrals r JOIN users u ON u.id = referred_user_id WHERE username = '{friend}')"
        );
        let job: String = stack.database.value(&job).await;
        stack.expire_leases().await;
        queues.push(QueueName::Rewards, &vec![job; 20]).await.unwrap();
        stack.jobs_done().await;
        assert_settled(&stack, model.all("successful")).await;
        deaths.push(statement);
    }
    stack.jobs_done().await;
    model.assert_holds(&stack).await;
    assert_every_place(&deaths);
    let attempts = "SELECT max(attempts) FROM outbox WHERE kind = 'referral.settle'";
    assert_eq!(stack.database.value::<i16>(attempts).await, 2, "no delivery began what was done or held");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_program_that_is_shipped_has_a_fail_point() {
    let settings = [AT_ONCE.as_slice(), &[("FAIL_POINT", "referral.settle:0")]].concat();
    let mut stack = Stack::start(StackOptions { settings: &settings, ..StackOptions::default() }).await;
    let worker = stack.workers[0].id();
    let code = referrer(&stack).await;
    stack.register(0, "friend", Some(&code)).await.expect(201);
    stack.jobs_done().await;
    assert!(stack.workers[0].is_running());
    assert_eq!(stack.workers[0].id(), worker);
    for (program, knows) in [(Program::Api, false), (Program::Worker, false), (Program::MortalWorker, true)] {
        let listed = stack.command(program, &["--print-config"]).await;
        assert!(listed.status.success(), "{listed:?}");
        let list = String::from_utf8_lossy(&listed.stdout);
        assert_eq!(list.contains("FAIL_POINT=referral.settle:0\n"), knows, "{program:?}: {list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_every_job_delivered_twenty_times_to_three_workers_has_one_effect() {
    const FRIENDS: usize = 40;
    let _busy = busy().await;
    let options = StackOptions { apis: 3, workers: 3, settings: &AT_ONCE };
    let stack = Stack::start(options).await;
    give_everything_each_time(&stack).await;
    let code = referrer(&stack).await;
    // Each browser goes on when it has its answer: what the machine can do sets the pace.
    let registering = join_all((0..3).map(async |api| {
        for n in (api..FRIENDS).step_by(3) {
            stack.register(api, &format!("friend{n:02}"), Some(&code)).await.expect(201);
        }
    }));
    let queues = queues(&stack);
    let taken_but_for = async |left: usize| {
        for queue in [QueueName::Rewards, QueueName::Mail] {
            within(RECOVERY, "deliveries were taken", async || {
                let depth = queues.depth(queue).await.unwrap();
                if depth <= left { Ok(()) } else { Err(format!("{depth} wait")) }
            })
            .await;
        }
    };
    let repeating = async {
        let mut times = 0;
        while times < 20 {
            let ids = "SELECT queue, array_agg(id::text) FROM outbox GROUP BY 1";
            let rows = stack.database.query(ids, &[]).await.unwrap();
            for row in &rows {
                let queue: QueueName = row.get::<_, String>(0).parse().unwrap();
                queues.push(queue, &row.get::<_, Vec<String>>(1)).await.unwrap();
            }
            let all: i64 = stack.database.value("SELECT count(*) FROM referrals").await;
            // Only rounds that repeat every one of them count.
            times += usize::from(all == i64::try_from(FRIENDS).unwrap());
            // There is always work, and never so much that registrations starve.
            taken_but_for(FRIENDS).await;
        }
    };
    tokio::join!(registering, repeating);
    stack.jobs_done().await;
    taken_but_for(0).await;
    assert_settled(&stack, FRIENDS).await;
    let mut model = Model::default();
    (0..FRIENDS).for_each(|n| model.brought(format!("friend{n:02}"), "ada", "successful"));
    model.assert_holds(&stack).await;
    let attempts: i64 = stack
        .database
        .value("SELECT count(*) FROM outbox WHERE attempts <> 1 AND kind <> 'event.announce'")
        .await;
    assert_eq!(attempts, 0, "a delivery of what is done or held begins nothing");
    assert_eq!(stack.mail.mails().len(), FRIENDS + 1, "one mail each");
}
