//! Many things at once on three apis and three workers, with one database: registrations of one address, settlements across
//! milestones and caps, purchases of one balance, two managers and the same referrals, deletions of either side beside it
//! all. After each the books balance, and every figure is the one of a model that the test keeps.

use std::collections::{BTreeMap, BTreeSet};

use domain::audit::{Actor, Trace};
use domain::clock::Clock;
use domain::rewards::{self, Amount, Beneficiary, Replacement, RewardKind, RuleSet, RuleSpec};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use reqwest::Method;
use serde_json::json;
use testkit::app::{PASSWORD, within};
use testkit::client::{Client, Reply};
use testkit::process::{Process, Program};
use testkit::stack::{RECOVERY, Stack, StackOptions, busy, registration};

use crate::killed_settlements::AT_ONCE;
use crate::model::{Model, STATES, count, pairs};

/// Referrals that a manager is to look at, if anything speaks against them.
const REVIEWED: [(&str, &str); 3] = [
    ("REFERRAL_QUALIFIES_ON", "registration"),
    ("REFERRAL_REVIEW_SCORE", "1"),
    ("REFERRAL_DENY_SCORE", "9999"),
];

/// Each api may have as many connections as it is asked for at once: all may wait for one person's row.
async fn start(settings: &[(&str, &str)]) -> Stack {
    let settings = [settings, &[("DATABASE_POOL", "20")]].concat();
    Stack::start(StackOptions { apis: 3, workers: 3, settings: &settings }).await
}

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

/// Registers somebody who brings others; returns the code.
async fn referrer(stack: &Stack, name: &str) -> String {
    let reply = stack.register(0, name, None).await.expect(201).json();
    reply["user"]["referral_code"].as_str().unwrap().to_owned()
}

/// The friends of these people, as many as it says, whose settlements all wait for the workers: those are frozen.
async fn a_backlog(bring: &[(&str, usize)]) -> (Stack, Model) {
    let (stack, mut model) = (start(&AT_ONCE).await, Model::default());
    add_rules(&stack).await;
    let mut codes = BTreeMap::new();
    for (name, friends) in bring {
        codes.insert((*name).to_owned(), referrer(&stack, name).await);
        (0..*friends).for_each(|n| model.brought(format!("{name}{n:03}"), name, "pending"));
    }
    stack.jobs_done().await;
    stack.workers.iter().for_each(Process::sigstop);
    let friends: Vec<_> = model.referrals.iter().collect();
    join_all((0..6).map(async |lane| {
        for (friend, (by, _)) in friends.iter().skip(lane).step_by(6) {
            stack.register(lane % 3, friend, Some(&codes[by])).await.expect(201);
        }
    }))
    .await;
    (stack, model)
}

/// A manager at an api.
async fn manager(stack: &Stack, api: usize, name: &str) -> Client {
    stack.register(0, name, None).await.expect(201);
    let email = format!("{name}@example.org");
    assert!(stack.command(Program::Api, &["admin", "promote", &email]).await.status.success());
    stack.login(api, name).await
}

/// The ids of the referrals, in the order of the model.
async fn ids(stack: &Stack) -> Vec<(String, String)> {
    let sql = "SELECT username, referrals.id::text FROM referrals JOIN users ON users.id = referred_user_id";
    pairs(stack, sql).await.into_iter().collect()
}

/// Whether a manager's verdict was taken, or had been given before. If not, the referral stands where it cannot be given.
async fn decides(manager: &Client, id: &str, verdict: &str) -> bool {
    let reply =
        manager.post(&format!("/api/admin/referrals/{id}/{verdict}/"), json!({ "reason": "at once" })).await;
    if reply.status == 200 {
        return true;
    }
    assert_eq!(reply.expect(409).code(), "conflicting_state");
    false
}

/// What two managers are told who decide about each of these at once.
async fn both(
    managers: &[Client; 2],
    referrals: &[(String, String)],
    verdicts: [&str; 2],
) -> Vec<(bool, bool)> {
    let ([one, other], [first, second]) = (managers, verdicts);
    each(referrals, async |(_, id)| tokio::join!(decides(one, id, first), decides(other, id, second))).await
}

/// Does it for each of them, six at a time.
async fn each<T, R>(items: &[T], work: impl AsyncFn(&T) -> R) -> Vec<R> {
    stream::iter(items).map(|item| work(item)).buffered(6).collect().await
}

async fn redeem(buyer: &Client, key: &str) -> Reply {
    let token = buyer.cookie("csrf_token").unwrap().value;
    let headers = [("Idempotency-Key", key), ("X-CSRF-Token", token.as_str())];
    buyer
        .send(Method::POST, "/api/rewards/redeem/", Some(json!({ "option": "premium_30_days" })), &headers)
        .await
}

/// Fifty purchases of 50 credits at once over all apis, the keys as they are told.
async fn fifty_purchases(stack: &Stack, name: &str, key: impl Fn(usize) -> String) -> Vec<Reply> {
    let buyers = join_all((0..3).map(|api| stack.login(api, name))).await;
    join_all((0..50).map(async |n| redeem(&buyers[n % 3], &key(n)).await)).await
}

/// How many were answered so.
fn answered(replies: &[Reply], status: u16) -> usize {
    replies.iter().filter(|reply| reply.status == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_f2_f7_of_fifty_registrations_of_one_address_at_once_one_is_an_account_and_a_referral() {
    let _busy = busy().await;
    let stack = start(&AT_ONCE).await;
    let code = referrer(&stack, "ada").await;
    let replies = join_all((0..50).map(async |n| {
        let mut body = registration(&format!("friend{n:02}"), Some(&code));
        body["email"] = "friend@example.org".into();
        stack.client(n % 3).post("/api/register/", body).await
    }))
    .await;
    let (made, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 201);
    assert_eq!((made.len(), refused.len()), (1, 49));
    for reply in refused {
        assert_eq!(reply.expect(409).code(), "email_taken");
    }
    stack.jobs_done().await;
    let mut model = Model::default();
    model.brought(made[0].json()["user"]["username"].as_str().unwrap().to_owned(), "ada", "successful");
    model.assert_holds(&stack).await;
    assert_eq!(count(&stack, "users").await, 2);
    let mails = stack.mail.mails();
    assert_eq!(mails.iter().filter(|mail| mail.to == ["friend@example.org"]).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_f8_l3_l4_l7_whatever_settles_at_once_meets_each_milestone_once_and_each_cap_and_is_spent_once() {
    const BRING: [(&str, usize); 3] = [("ada", 200), ("carl", 20), ("dora", 5)];
    let _busy = busy().await;
    let (stack, mut model) = a_backlog(&BRING).await;
    model.assert_holds(&stack).await;
    stack.workers.iter().for_each(Process::sigcont);
    stack.jobs_done().await;
    model.referrals.values_mut().for_each(|(_, stands)| *stands = "successful");
    model.assert_holds(&stack).await;
    for (name, friends) in BRING {
        let of =
            |rows: &str| format!("{rows} AND user_id = (SELECT id FROM users WHERE username = '{name}')");
        for milestone in [5, 10, 50] {
            let reached = count(&stack, &of(&format!("rewards WHERE milestone = {milestone}"))).await;
            assert_eq!(reached, usize::from(friends >= milestone), "{name} at {milestone}");
        }
        let days = of("rewards WHERE reward_type = 'premium' AND milestone IS NULL");
        let capped = of("reward_decisions WHERE decision = 'capped'");
        assert_eq!((count(&stack, &days).await, count(&stack, &capped).await), (3, friends - 3), "{name}");
    }

    // All of a balance, which is the price; a part of one under one key; forty times the price.
    let replies = fifty_purchases(&stack, "dora", |n| format!("key-{n}")).await;
    assert_eq!((answered(&replies, 201), answered(&replies, 409)), (1, 49));
    for refused in replies.iter().filter(|reply| reply.status == 409) {
        assert_eq!(
            (refused.code().as_str(), &refused.json()["balance"]),
            ("insufficient_credits", &json!("0.00"))
        );
    }
    let replies = fifty_purchases(&stack, "carl", |_| "one-key".to_owned()).await;
    assert_eq!(answered(&replies, 201), 50);
    assert_eq!(replies.iter().map(Reply::text).collect::<BTreeSet<_>>().len(), 1, "one answer");
    let replies = fifty_purchases(&stack, "ada", |n| format!("key-{n}")).await;
    assert_eq!((answered(&replies, 201), answered(&replies, 409)), (40, 10));

    model.spent =
        [("ada", 2_000), ("carl", 50), ("dora", 50)].map(|(name, spent)| (name.to_owned(), spent)).into();
    model.assert_holds(&stack).await;
    assert_eq!(count(&stack, "redemptions").await, 42);
    assert_eq!(count(&stack, "ledger_entries WHERE cause = 'redemption' AND kind = 'credits'").await, 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_f9_l6_what_two_managers_decide_at_once_is_done_once_and_taken_back_once() {
    const FRIENDS: usize = 60;
    let _busy = busy().await;
    let (stack, mut model) = (start(&REVIEWED).await, Model::default());
    let code = referrer(&stack, "ada").await;
    let managers = [manager(&stack, 1, "boss").await, manager(&stack, 2, "chief").await];
    join_all((0..6).map(async |lane| {
        for n in (lane..FRIENDS).step_by(6) {
            let mut body = registration(&format!("ada{n:03}"), Some(&code));
            body["email"] = format!("ada{n:03}@mailinator.com").into();
            stack.client(lane % 3).post("/api/register/", body).await.expect(201);
        }
    }))
    .await;
    (0..FRIENDS).for_each(|n| model.brought(format!("ada{n:03}"), "ada", "review"));
    model.assert_holds(&stack).await;

    // Of a third one lets pass what the other rejects; a third both let pass; and a third one lets pass what the other takes
    // back as soon as it counts.
    let referrals = ids(&stack).await;
    let (contested, rest) = referrals.split_at(FRIENDS / 3);
    let (agreed, chased) = rest.split_at(FRIENDS / 3);
    let contest = both(&managers, contested, ["approve", "reject"]);
    let agree = both(&managers, agreed, ["approve", "approve"]);
    let [boss, chief] = &managers;
    let chase = each(chased, async |(_, id)| {
        let reversed = within(RECOVERY, "it counts, and is taken back", async || {
            if decides(chief, id, "reverse").await { Ok(()) } else { Err(id.clone()) }
        });
        tokio::join!(decides(boss, id, "approve"), reversed)
    });
    let (contest, agree, chase) = tokio::join!(contest, agree, chase);
    stack.jobs_done().await;

    for ((friend, _), answers) in contested.iter().zip(contest) {
        assert_ne!(answers.0, answers.1, "{friend}");
        model.becomes(friend, if answers.0 { "successful" } else { "rejected" });
    }
    for ((friend, _), answers) in agreed.iter().zip(agree) {
        assert_eq!(answers, (true, true), "{friend}");
        model.becomes(friend, "successful");
    }
    for ((friend, _), answers) in chased.iter().zip(chase) {
        assert_eq!(answers, (true, ()), "{friend}");
        model.becomes(friend, "reversed");
    }
    println!("{} were rejected", model.all("rejected"));
    model.released = FRIENDS - model.all("rejected");
    model.assert_holds(&stack).await;
    assert_eq!(count(&stack, "outbox WHERE kind = 'referral.settle'").await, model.released);

    // Both take back all but ten, at once.
    let (again, _) = referrals.split_at(FRIENDS - 10);
    let answers = both(&managers, again, ["reverse", "reverse"]).await;
    for ((friend, _), answers) in again.iter().zip(answers) {
        let counted = model.stands(friend) != "rejected";
        assert_eq!(answers, (counted, counted), "{friend}");
        if counted {
            model.becomes(friend, "reversed");
        }
    }
    model.assert_holds(&stack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f7_f9_rulings_and_deletions_of_either_side_beside_the_settlements_leave_every_referral_in_one_state()
{
    let _busy = busy().await;
    let (stack, mut model) = a_backlog(&[("ada", 120), ("carl", 40), ("dora", 40)]).await;
    let managers = [manager(&stack, 1, "boss").await, manager(&stack, 2, "chief").await];
    let referrals = ids(&stack).await;
    // Friends leave, and people who brought others, and of one pair both.
    let friends = (0..10).map(|n| format!("ada{n:03}")).chain(["dora000".to_owned()]);
    model.gone = friends.chain(["carl".to_owned(), "dora".to_owned()]).collect();
    let leavers = join_all(model.gone.iter().enumerate().map(|(n, name)| stack.login(n % 3, name))).await;
    stack.workers.iter().for_each(Process::sigcont);

    // Both managers about the same twenty, one to reverse them and one to reject them; what is not so far is refused.
    let ruling = join_all(managers.iter().zip(["reverse", "reject"]).map(async |(manager, verdict)| {
        let mut taken = Vec::new();
        for (_, id) in &referrals[..20] {
            taken.push(decides(manager, id, verdict).await);
        }
        taken
    }));
    let deleting = join_all(leavers.iter().map(async |leaver| {
        leaver.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    }));
    let (ruled, _) = tokio::join!(ruling, deleting);
    stack.jobs_done().await;

    let sql =
        "SELECT username, status || ' ' || reason FROM referrals JOIN users ON users.id = referred_user_id";
    let found = pairs(&stack, sql).await;
    for (index, (friend, _)) in referrals.iter().enumerate() {
        let [reversed, rejected] = [0, 1].map(|manager| ruled[manager].get(index).copied().unwrap_or(false));
        let left = model.gone.contains(friend) || model.gone.contains(&model.referrals[friend].0);
        model.becomes(friend, outcome(&found[friend], reversed, rejected, left));
    }
    println!("{:?}", STATES.map(|status| (status, model.all(status))));
    model.assert_holds(&stack).await;
}

/// Where a referral stands, which must be one of the places that it can have come to by what was done to it.
fn outcome(found: &str, reversed: bool, rejected: bool, left: bool) -> &'static str {
    let possible: &[&str] = match (reversed, rejected, left) {
        (true, false, _) => &["reversed reversed_by_manager"],
        // It may have been the deletion: a manager is told alike.
        (false, true, true) => {
            &["rejected rejected_by_manager", "rejected referrer_deleted", "rejected referred_deleted"]
        }
        (false, true, false) => &["rejected rejected_by_manager"],
        (false, false, true) => {
            &["successful qualified", "rejected referrer_deleted", "rejected referred_deleted"]
        }
        (false, false, false) => &["successful qualified"],
        (true, true, _) => &[],
    };
    assert!(possible.contains(&found), "{found}: {possible:?}");
    STATES.into_iter().find(|status| found.starts_with(status)).unwrap()
}
