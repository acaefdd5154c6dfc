//! Many things at once on three apis and three workers, with one database: settlements across milestones and a cap,
//! purchases of one balance, two managers and one referral, deletions beside it all.

use domain::audit::{Actor, Trace};
use domain::clock::Clock;
use domain::rewards::{self, Amount, Beneficiary, Replacement, RewardKind, RuleSet, RuleSpec};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use testkit::app::PASSWORD;
use testkit::client::Client;
use testkit::process::{Process, Program};
use testkit::stack::{Stack, StackOptions, busy};

use crate::killed_settlements::AT_ONCE;

const FRIENDS: usize = 200;

/// Beside the rules as they are shipped: a coupon at fifty, and a day of premium for each of three friends.
async fn add_rules(stack: &Stack) {
    let pool = stack.database.pool(1);
    let RuleSet { version, mut rules, .. } = rewards::rules(&pool).await.unwrap();
    let rule = |milestone, kind, amount, max_total| RuleSpec {
        milestone,
        beneficiary: Beneficiary::Referrer,
        kind,
        amount: Amount::from_whole(amount),
        campaign: None,
        max_per_month: None,
        max_total,
        starts_at: None,
        ends_at: None,
    };
    rules.push(rule(Some(50), RewardKind::Discount, 25, None));
    rules.push(rule(None, RewardKind::Premium, 1, Some(3)));
    let replacement = Replacement { version, rules, actor: Actor::Operator };
    rewards::replace_rules(&pool, Clock::system().now(), replacement, &Trace::default()).await.unwrap();
}

/// Three apis, three workers, `ada` with her code, and the friends whose settlements all wait for the workers.
async fn a_backlog() -> (Stack, Client) {
    let stack = Stack::start(StackOptions { apis: 3, workers: 3, settings: &AT_ONCE }).await;
    add_rules(&stack).await;
    let ada = stack.member("ada").await;
    let code = ada.get("/api/me/").await.expect(200).json()["referral_code"].as_str().unwrap().to_owned();
    stack.jobs_done().await;
    stack.workers.iter().for_each(Process::sigstop);
    join_all((0..6).map(async |lane| {
        for n in (lane..FRIENDS).step_by(6) {
            stack.register(n % 3, &format!("friend{n:03}"), Some(&code)).await.expect(201);
        }
    }))
    .await;
    (stack, ada)
}

async fn count(stack: &Stack, rows: &str) -> i64 {
    stack.database.value(&format!("SELECT count(*) FROM {rows}")).await
}

/// A manager at an api.
async fn manager(stack: &Stack, api: usize, name: &str) -> Client {
    stack.register(0, name, None).await.expect(201);
    let email = format!("{name}@example.org");
    assert!(stack.command(Program::Api, &["admin", "promote", &email]).await.status.success());
    stack.login(api, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_f8_l7_two_hundred_settled_at_once_reach_each_milestone_once_and_stay_within_a_cap() {
    let _busy = busy().await;
    let (stack, ada) = a_backlog().await;
    stack.workers.iter().for_each(Process::sigcont);
    stack.jobs_done().await;
    assert_eq!(count(&stack, "referrals WHERE status = 'successful'").await, 200);
    assert_eq!(count(&stack, "rewards WHERE reward_type = 'credits'").await, 400);
    for (milestone, given) in [(5, 1), (10, 1), (50, 1)] {
        assert_eq!(count(&stack, &format!("rewards WHERE milestone = {milestone}")).await, given);
    }
    assert_eq!(count(&stack, "rewards WHERE reward_type = 'premium' AND milestone IS NULL").await, 3);
    assert_eq!(count(&stack, "reward_decisions WHERE decision = 'capped'").await, 197);
    stack.check_ledger().await;

    // Two thousand credits are forty times fifty, whoever asks where.
    let buyers = join_all((0..3).map(|api| stack.login(api, "ada"))).await;
    let bought = join_all((0..50).map(async |n| {
        let (key, token) = (format!("key-{n}"), buyers[n % 3].cookie("csrf_token").unwrap().value);
        let headers = [("Idempotency-Key", key.as_str()), ("X-CSRF-Token", token.as_str())];
        let wish = Some(json!({ "option": "premium_30_days" }));
        buyers[n % 3].send(Method::POST, "/api/rewards/redeem/", wish, &headers).await.status
    }))
    .await;
    assert_eq!(bought.iter().filter(|status| **status == 201).count(), 40, "{bought:?}");
    assert_eq!(bought.iter().filter(|status| **status == 409).count(), 10, "{bought:?}");
    let stats = stack.stats_when(&ada, |stats| stats["rewards"]["credits"] == "0.00").await;
    assert_eq!(stats["successful"], 200);
    stack.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_f9_rulings_and_deletions_beside_the_settlements_leave_every_referral_in_one_state() {
    let _busy = busy().await;
    let (stack, _ada) = a_backlog().await;
    let managers = [manager(&stack, 1, "boss").await, manager(&stack, 2, "chief").await];
    let rows = stack.database.query("SELECT id::text FROM referrals ORDER BY id", &[]).await.unwrap();
    let referrals: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let names: Vec<String> = (0..10).map(|n| format!("friend{n:03}")).collect();
    let leavers = join_all(names.iter().map(|name| stack.login(0, name))).await;
    stack.workers.iter().for_each(Process::sigcont);

    // Both managers about the same twenty, one to reverse them and one to reject them; what is not so far is refused.
    let ruling = join_all(managers.iter().zip(["reverse", "reject"]).map(async |(manager, verdict)| {
        for id in &referrals[..20] {
            let path = format!("/api/admin/referrals/{id}/{verdict}/");
            let status = manager.post(&path, json!({ "reason": "at once" })).await.status;
            assert!([200, 409].contains(&status), "{verdict}: {status}");
        }
    }));
    let deleting = join_all(leavers.iter().map(async |leaver| {
        leaver.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    }));
    tokio::join!(ruling, deleting);
    stack.jobs_done().await;

    let states = async |status: &str| count(&stack, &format!("referrals WHERE status = '{status}'")).await;
    let moves = async |event: &str| count(&stack, &format!("security_events WHERE event = '{event}'")).await;
    let (successful, rejected, reversed) =
        (states("successful").await, states("rejected").await, states("reversed").await);
    println!("{successful} successful, {rejected} rejected, {reversed} reversed");
    assert_eq!(successful + rejected + reversed, 200);
    // Each move is on record once.
    let recorded = (
        moves("referral_successful").await,
        moves("referral_rejected").await,
        moves("referral_reversed").await,
    );
    assert_eq!(recorded, (successful + reversed, rejected, reversed));
    stack.check_ledger().await;
}
