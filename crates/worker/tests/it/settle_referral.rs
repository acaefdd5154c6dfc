//! Settling a referral: when it counts, that it counts once, and what it earns.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::queue::QueueName;
use domain::rewards::RuleSpec;
use futures_util::future::join_all;
use uuid::Uuid;

use super::desk::{Desk, Friend, rule};

/// `SQLSTATE` of a trigger that refuses a change, of a UNIQUE key and of a CHECK.
const APPEND_ONLY: &str = "23001";
const UNIQUE: &str = "23505";
const CHECK: &str = "23514";

/// Counters of a referrer: pending, successful, rejected, expired.
async fn counters(desk: &Desk, user: Uuid) -> [i64; 4] {
    let query = format!(
        "SELECT pending, successful, rejected, expired FROM referral_counters WHERE user_id = '{user}'"
    );
    let row = desk.database.query_one(&query, &[]).await.unwrap();
    std::array::from_fn(|column| row.get(column))
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn f4_unverified_stays_pending_however_often_a_worker_looks() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    assert_eq!(desk.count("outbox WHERE queue = 'rewards'").await, 0, "registering promises no settlement");
    for _ in 0..10 {
        let job = desk.promise_settlement(bob.referral).await;
        desk.run(job).await;
        assert!(desk.job(job).await.done);
    }
    assert_eq!(desk.referral(bob.referral).await, is("pending", "awaiting_verification"));
    assert_eq!(counters(&desk, ada.id).await, [1, 0, 0, 0]);
    assert_eq!(desk.count("rewards").await, 0);

    desk.confirm(bob.id).await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.referral(bob.referral).await, is("successful", "qualified"));
    assert_eq!(counters(&desk, ada.id).await, [0, 1, 0, 0]);
    assert_eq!(desk.balances(ada.id).await["credits"], "10.00");
    assert_eq!(desk.balances(bob.id).await["credits"], "5.00");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f4_referral_hold_delays_the_settlement_until_it_has_passed_since_the_address_was_confirmed() {
    let desk = Desk::with(|settings| {
        settings.set("REFERRAL_HOLD", "24h");
    })
    .await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.clock.advance(TimeDelta::hours(6));
    desk.confirm(bob.id).await;
    let due_with_the_hold = format!(
        "outbox JOIN referrals ON referrals.id = '{}' JOIN users ON users.id = referred_user_id
         WHERE kind = 'referral.settle' AND due_at = qualifies_at
         AND qualifies_at = email_verified_at + interval '24 hours'",
        bob.referral
    );
    assert_eq!(desk.count(&due_with_the_hold).await, 1, "the job is not due before the hold ends");

    desk.run(desk.settlement_of(bob.referral).await).await;
    assert_eq!(desk.referral(bob.referral).await.0, "pending", "delivered early, it decides nothing");
    desk.clock.advance(TimeDelta::hours(24));
    desk.let_leases_end().await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.referral(bob.referral).await, is("successful", "qualified"));
    desk.check_ledger().await;
}

/// The database's clock says when a job is due, the worker's own whether the hold has passed: a worker that lags behind
/// looks too early, perhaps several times.
#[tokio::test]
async fn f4_referral_hold_survives_workers_whose_clocks_lag() {
    let desk = Desk::with(|settings| {
        settings.set("REFERRAL_HOLD", "1h");
    })
    .await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    desk.clock.advance(TimeDelta::minutes(59));
    for _ in 0..5 {
        desk.let_leases_end().await;
        desk.run(desk.settlement_of(bob.referral).await).await;
        assert_eq!(desk.referral(bob.referral).await.0, "pending");
    }
    let early = desk.job(desk.settlement_of(bob.referral).await).await;
    assert!(early.attempts == 0 && !early.dead, "looking too early is no failed attempt: {early:?}");
    desk.clock.advance(TimeDelta::minutes(1));
    desk.let_leases_end().await;
    desk.run(desk.settlement_of(bob.referral).await).await;
    assert_eq!(desk.referral(bob.referral).await, is("successful", "qualified"));
}

#[tokio::test]
async fn f4_registration_is_enough_where_the_policy_says_so() {
    let desk = Desk::with(|settings| {
        settings.set("REFERRAL_QUALIFIES_ON", "registration");
    })
    .await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    assert_eq!(
        desk.referral(bob.referral).await,
        is("pending", "awaiting_settlement"),
        "never in the request"
    );
    desk.run_queue("rewards").await;
    assert_eq!(desk.referral(bob.referral).await, is("successful", "qualified"));
    desk.confirm(bob.id).await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.balances(ada.id).await["credits"], "10.00", "confirming later earns nothing more");
    desk.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_one_settlement_delivered_to_three_workers_at_once_has_one_effect() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    let job = desk.settlement_of(bob.referral).await;
    let workers: Vec<_> = (0..3).map(|_| desk.context()).collect();
    let deliveries = (0..20).map(|n| tokio::spawn(worker::handle(workers[n % 3].clone(), job.to_string())));
    for delivery in deliveries.collect::<Vec<_>>() {
        delivery.await.unwrap();
    }
    assert_eq!(desk.job(job).await.attempts, 1, "one claim wins");
    assert_settled_once(&desk, ada.id, bob).await;
}

/// As before, but through Redis and whole workers.
#[tokio::test(flavor = "multi_thread")]
async fn f7_one_id_pushed_again_and_again_has_one_effect() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    let job = desk.settlement_of(bob.referral).await;
    let queues = desk.queues();
    queues.push(QueueName::Rewards, &vec![job.to_string(); 20]).await.unwrap();
    let _workers: Vec<_> = (0..3).map(|_| desk.work()).collect();
    desk.all_done().await;
    assert_settled_once(&desk, ada.id, bob).await;
}

/// Twenty jobs for one referral: no claim keeps them apart, only the row locks and keys of the settlement itself.
#[tokio::test(flavor = "multi_thread")]
async fn f7_settlements_of_one_referral_that_race_have_one_effect() {
    let desk = Arc::new(Desk::new().await);
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    let mut jobs = vec![desk.settlement_of(bob.referral).await];
    for _ in 1..20 {
        jobs.push(desk.promise_settlement(bob.referral).await);
    }
    let racing: Vec<_> = jobs
        .iter()
        .map(|job| {
            let (desk, job) = (Arc::clone(&desk), *job);
            tokio::spawn(async move { desk.run(job).await })
        })
        .collect();
    for job in racing {
        job.await.unwrap();
    }
    assert_eq!(desk.count("outbox WHERE queue = 'rewards' AND done_at IS NOT NULL").await, 20);
    assert_settled_once(&desk, ada.id, bob).await;
}

async fn assert_settled_once(desk: &Desk, referrer: Uuid, friend: Friend) {
    assert_eq!(desk.referral(friend.referral).await, is("successful", "qualified"));
    assert_eq!(counters(desk, referrer).await, [0, 1, 0, 0]);
    for table in ["rewards", "reward_decisions", "ledger_entries"] {
        assert_eq!(desk.count(table).await, 2, "{table}: one for each side");
    }
    assert_eq!(desk.balances(referrer).await["credits"], "10.00");
    assert_eq!(desk.balances(friend.id).await["credits"], "5.00");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f7_the_database_itself_refuses_what_would_falsify_the_books() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    desk.run_queue("rewards").await;
    for (statement, refusal) in [
        ("UPDATE ledger_entries SET amount = amount + 1", APPEND_ONLY),
        ("UPDATE ledger_entries SET created_at = now() WHERE false OR true", APPEND_ONLY),
        ("DELETE FROM ledger_entries", APPEND_ONLY),
        ("TRUNCATE ledger_entries CASCADE", APPEND_ONLY),
        ("TRUNCATE users CASCADE", APPEND_ONLY),
        (
            "INSERT INTO rewards SELECT gen_random_uuid(), user_id, reward_type, amount, now(), referral_id, beneficiary, rule_id, milestone FROM rewards",
            UNIQUE,
        ),
        (
            "INSERT INTO ledger_entries SELECT gen_random_uuid(), user_id, kind, amount, balance_after, cause, reward_id, now() FROM ledger_entries",
            UNIQUE,
        ),
        (
            "INSERT INTO reward_decisions SELECT gen_random_uuid(), referral_id, beneficiary, user_id, rule_id, 'ineligible', 'x', NULL, now() FROM reward_decisions",
            UNIQUE,
        ),
        (
            "INSERT INTO ledger_entries SELECT gen_random_uuid(), user_id, kind, amount, balance_after, 'referral', NULL, now() FROM ledger_entries",
            CHECK,
        ),
        ("UPDATE balances SET amount = -0.01", CHECK),
        ("UPDATE rewards SET amount = 0", CHECK),
        ("UPDATE referrals SET status = 'won'", CHECK),
        ("UPDATE referral_counters SET pending = -1", CHECK),
    ] {
        assert_eq!(desk.refusal(statement).await, refusal, "{statement}");
    }
    desk.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f8_tiers_are_exact_when_two_hundred_referrals_settle_at_once() {
    let desk = Desk::new().await;
    desk.change_rules(|rules| {
        let fifty = RuleSpec { milestone: Some(50), ..rule(rules, "milestone_5.referrer.premium").clone() };
        rules.push(fifty);
    })
    .await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 200, &ada).await;
    desk.sql("DELETE FROM outbox WHERE queue = 'mail'").await;
    join_all(friends.iter().map(|friend| desk.confirm(friend.id))).await;
    let _workers: Vec<_> = (0..3).map(|_| desk.work()).collect();
    desk.all_done().await;

    assert_eq!(counters(&desk, ada.id).await, [0, 200, 0, 0]);
    let balances = desk.balances(ada.id).await;
    assert_eq!(balances["credits"], "2000.00");
    assert_eq!(balances["premium"], "60.00", "the tiers of 5 and of 50, once each");
    assert_eq!(balances["discount"], "1.00", "the milestone of 10, once");
    for (milestone, reward) in [(5, "premium"), (10, "discount"), (50, "premium")] {
        let granted = format!("rewards WHERE milestone = {milestone} AND reward_type = '{reward}'");
        assert_eq!(desk.count(&granted).await, 1, "{granted}");
    }
    assert_eq!(desk.count("rewards").await, 200 * 2 + 3);
    assert_eq!(desk.count("premium_periods WHERE ends_at - starts_at = interval '30 days'").await, 2);
    assert_eq!(desk.count("discounts WHERE percent = 20 AND code ~ '^[0-9A-Z]{5}-[0-9A-Z]{5}$'").await, 1);
    assert_eq!(
        desk.count("outbox WHERE attempts <> 1 AND queue = 'rewards'").await,
        0,
        "no settlement failed"
    );
    desk.check_ledger().await;
}

#[tokio::test]
async fn f8_a_milestone_comes_with_its_own_referral() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 6, &ada).await;
    for (index, friend) in friends.iter().enumerate() {
        desk.confirm(friend.id).await;
        desk.run_queue("rewards").await;
        let premium = desk.count("rewards WHERE reward_type = 'premium'").await;
        assert_eq!(premium, i64::from(index >= 4), "after {} referrals", index + 1);
    }
    let fifth = format!(
        "rewards WHERE milestone = 5 AND referral_id = '{}' AND user_id = '{}'",
        friends[4].referral, ada.id
    );
    assert_eq!(desk.count(&fifth).await, 1);
    desk.check_ledger().await;
}

#[tokio::test]
async fn a_new_version_of_a_rule_changes_what_is_granted_next_and_nothing_before() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 7, &ada).await;
    for friend in &friends[..5] {
        desk.confirm(friend.id).await;
    }
    desk.run_queue("rewards").await;
    desk.sql(
        "UPDATE reward_rules SET retired_at = now();
         INSERT INTO reward_rules (id, key, version, milestone, beneficiary, reward_type, amount) VALUES
            (gen_random_uuid(), 'per_referral.referrer.credits', 2, NULL, 'referrer', 'credits', 12.50),
            (gen_random_uuid(), 'milestone_5.referrer.premium', 2, 5, 'referrer', 'premium', 60.00)",
    )
    .await;
    desk.confirm(friends[5].id).await;
    desk.run_queue("rewards").await;
    let balances = desk.balances(ada.id).await;
    assert_eq!(balances["credits"], "62.50", "five times 10.00 and once 12.50");
    assert_eq!(balances["premium"], "30.00", "a milestone is reached once, whatever becomes of its rule");
    assert!(desk.balances(friends[5].id).await.is_empty());
    let withheld = format!(
        "reward_decisions WHERE user_id = '{}' AND decision = 'ineligible' AND reason = 'no_rule' AND reward_id IS NULL",
        friends[5].id
    );
    assert_eq!(desk.count(&withheld).await, 1);

    desk.sql("UPDATE reward_rules SET retired_at = now() WHERE retired_at IS NULL").await;
    desk.confirm(friends[6].id).await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.referral(friends[6].referral).await.0, "successful");
    let neither =
        format!("reward_decisions WHERE referral_id = '{}' AND decision = 'ineligible'", friends[6].referral);
    assert_eq!(desk.count(&neither).await, 2, "both sides are decided without any rule");
    assert_eq!(desk.balances(ada.id).await["credits"], "62.50");
    desk.check_ledger().await;
}

#[tokio::test]
async fn deleting_either_side_rejects_what_is_pending_and_keeps_what_was_earned() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 4, &ada).await;
    desk.confirm(friends[0].id).await;
    desk.run_queue("rewards").await;
    desk.confirm(friends[1].id).await;
    desk.delete(friends[2].id).await;
    assert_eq!(desk.referral(friends[2].referral).await, is("rejected", "referred_deleted"));
    assert_eq!(counters(&desk, ada.id).await, [2, 1, 1, 0]);

    desk.delete(ada.id).await;
    assert_eq!(desk.referral(friends[0].referral).await, is("successful", "qualified"));
    for pending in [friends[1], friends[3]] {
        assert_eq!(desk.referral(pending.referral).await, is("rejected", "referrer_deleted"));
    }
    assert_eq!(desk.balances(ada.id).await["credits"], "0.00", "what was left is forfeited");
    assert_eq!(
        desk.count("ledger_entries WHERE cause = 'forfeit' AND amount = -10 AND balance_after = 0").await,
        1
    );
    assert_eq!(desk.balances(friends[0].id).await["credits"], "5.00", "the friend keeps the own reward");

    desk.run_queue("rewards").await;
    desk.run(desk.promise_settlement(friends[3].referral).await).await;
    assert_eq!(counters(&desk, ada.id).await, [0, 1, 3, 0], "late settlements change nothing");
    assert_eq!(desk.count("rewards").await, 2);
    desk.delete(friends[0].id).await;
    assert_eq!(desk.referral(friends[0].referral).await, is("successful", "qualified"));
    desk.check_ledger().await;
}

#[tokio::test]
async fn a_settlement_of_a_referral_that_does_not_exist_is_done() {
    let desk = Desk::new().await;
    let job = desk.promise_settlement(Uuid::now_v7()).await;
    desk.run(job).await;
    assert!(desk.job(job).await.done);
}

/// A deletion is a request, and takes no longer for whoever brought very many.
#[tokio::test]
async fn what_a_deletion_leaves_of_very_many_referrals_a_job_rejects() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    desk.sql(&format!(
        "INSERT INTO users (id, username, username_key, email, referral_code, created_at)
         SELECT gen_random_uuid(), 'f' || n, 'f' || n, 'f' || n || '@example.org', lpad(to_hex(n), 10, '0'), now()
         FROM generate_series(1, 2700) AS n;
         INSERT INTO referral_counters (user_id) SELECT id FROM users WHERE username <> 'ada';
         INSERT INTO referrals (id, referrer_id, referred_user_id, date_referred, status, reason, qualifies_at)
         SELECT gen_random_uuid(), '{0}', id, created_at, 'pending', 'awaiting_verification', created_at
         FROM users WHERE username <> 'ada';
         UPDATE referral_counters SET pending = 2700 WHERE user_id = '{0}';
         INSERT INTO referral_days (user_id, day, registrations)
         SELECT referrer_id, (date_referred AT TIME ZONE 'UTC')::date, count(*) FROM referrals GROUP BY 1, 2;",
        ada.id
    ))
    .await;
    desk.check_ledger().await;
    desk.delete(ada.id).await;
    assert_eq!(desk.count("referrals WHERE status = 'pending'").await, 700);
    desk.check_ledger().await;
    desk.run_queue("maintenance").await;
    assert_eq!(desk.count("referrals WHERE status = 'rejected' AND reason = 'referrer_deleted'").await, 2700);
    assert_eq!(desk.count("outbox WHERE payload ->> 'event' = 'referral.rejected'").await, 2700);
    assert_eq!(desk.count("security_events WHERE event = 'referral_rejected'").await, 2700);
    desk.check_ledger().await;
}
