//! Settlements whose worker is killed between any two of their statements, and settlements that are delivered again and
//! again.

use domain::audit::{Actor, Trace};
use domain::clock::Clock;
use domain::queue::{QueueName, Queues};
use domain::rewards::{self, Amount, Beneficiary, Replacement, RewardKind, RuleSet, RuleSpec};
use futures_util::future::join_all;
use testkit::app::within;
use testkit::dump;
use testkit::stack::{RECOVERY, Stack, StackOptions, busy};

/// What a settlement writes.
const BOOKS: [&str; 10] = [
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
            "SELECT format('%s successful; %s', (SELECT count(*) FROM referrals WHERE status = 'successful'),
                 (SELECT string_agg(format('%s of %s %s to the %s', grants, amount, reward_type, beneficiary), ', '
                      ORDER BY reward_type, beneficiary)
                  FROM (SELECT count(DISTINCT referral_id) || '/' || count(*) AS grants, amount, reward_type, beneficiary
                        FROM rewards WHERE milestone IS NULL GROUP BY 2, 3, 4) AS granted))",
        )
        .await;
    let n = friends;
    let wanted = format!(
        "{n} successful; {n}/{n} of 5.00 credits to the referred, {n}/{n} of 10.00 credits to the referrer, \
         {n}/{n} of 15.00 discount to the referrer, {n}/{n} of 7.00 premium to the referrer"
    );
    assert_eq!(found, wanted);
    stack.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn q1_a_worker_killed_between_any_two_statements_of_a_settlement_leaves_nothing_half_done() {
    let _busy = busy().await;
    let mut stack = Stack::start(StackOptions { settings: &AT_ONCE, ..StackOptions::default() }).await;
    give_everything_each_time(&stack).await;
    stack.database.batch_execute(include_str!("killed_settlements.sql")).await.unwrap();
    let code = referrer(&stack).await;
    stack.register(0, "friend00", Some(&code)).await.expect(201);
    stack.jobs_done().await;
    assert_settled(&stack, 1).await;
    let steps = stack.database.query("SELECT statement FROM halt.trace ORDER BY step", &[]).await.unwrap();
    let steps: Vec<String> = steps.iter().map(|row| row.get(0)).collect();
    println!("a settlement: {}", steps.join(", "));
    for needed in ["insert ledger_entries", "insert discounts", "insert premium_periods", "update outbox"] {
        assert!(steps.iter().any(|step| step == needed), "{needed} is not in {steps:?}");
    }

    let gate = stack.database.connect().await;
    for (number, statement) in (1..).zip(&steps) {
        let halt = format!("SELECT pg_advisory_lock(4711); UPDATE halt.point SET after = {number}");
        gate.batch_execute(&halt).await.unwrap();
        stack.register(0, &format!("friend{number:02}"), Some(&code)).await.expect(201);
        let before = books(&stack).await;
        stack.blocked(1).await;
        stack.workers[0].kill9();
        let go = "UPDATE halt.point SET after = NULL; SELECT pg_advisory_unlock(4711)";
        gate.batch_execute(go).await.unwrap();
        // Its session ends when PostgreSQL notices that nobody is there any more.
        within(RECOVERY, "the transaction of the killed worker is over", async || {
            let open = "SELECT count(*) FROM pg_locks WHERE relation = 'ledger_entries'::regclass \
                        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            match stack.database.value::<i64>(open).await {
                0 => Ok(()),
                locks => Err(format!("{locks} locks")),
            }
        })
        .await;
        assert_eq!(books(&stack).await, before, "killed after `{statement}`");

        stack.expire_leases().await;
        stack.workers[0].restart().await;
        stack.jobs_done().await;
        assert_settled(&stack, usize::from(u16::try_from(number).unwrap()) + 1).await;
    }
    let again: i64 = stack
        .database
        .value("SELECT count(*) FROM outbox WHERE kind = 'referral.settle' AND attempts = 2")
        .await;
    assert_eq!(usize::try_from(again).unwrap(), steps.len(), "each kill hit a settlement");
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
    let prefix = stack.settings.get("REDIS_PREFIX").unwrap();
    let queues = Queues::new(&stack.redis.url(), prefix).unwrap();
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
    let attempts: i64 = stack.database.value("SELECT count(*) FROM outbox WHERE attempts <> 1").await;
    assert_eq!(attempts, 0, "a delivery of what is done or held begins nothing");
    assert_eq!(stack.mail.mails().len(), FRIENDS + 1, "one mail each");
}
