//! `GET /api/rewards/`: what was decided for the caller, granted or not.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Client;

use crate::crowd::Crowd;

async fn app_with_worker() -> TestApp {
    let mut app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await;
    app.start_worker();
    app
}

/// `Ada` and her friends, so many of them settled.
async fn ada_with(app: &TestApp, friends: usize) -> Client {
    let ada = app.member("ada").await;
    let crowd = Crowd::at(app);
    let friends = crowd.bring("friend", friends, &app.code_of(&ada).await).await;
    crowd.confirm(&friends).await;
    app.jobs_done().await;
    ada
}

async fn items(client: &Client, query: &str) -> (Vec<Value>, Option<String>) {
    let page = client.get(&format!("/api/rewards/{query}")).await.expect(200).json();
    (page["items"].as_array().unwrap().clone(), page["next_cursor"].as_str().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn rewards_name_what_was_earned_for_what() {
    let app = app_with_worker().await;
    let ada = ada_with(&app, 10).await;
    let (rewards, next) = items(&ada, "?limit=100").await;
    assert_eq!((rewards.len(), next), (12, None));
    let fields: BTreeSet<_> = rewards[0].as_object().unwrap().keys().map(String::as_str).collect();
    let documented = [
        "amount",
        "beneficiary",
        "code",
        "date_earned",
        "decision",
        "id",
        "milestone",
        "reason",
        "referral_id",
        "reversed_at",
        "reward_type",
        "shortfall",
    ];
    assert_eq!(fields.into_iter().collect::<Vec<_>>(), documented);
    let of = |kind: &str| rewards.iter().filter(|reward| reward["reward_type"] == kind).collect::<Vec<_>>();
    let [credits, premium, discount] = ["credits", "premium", "discount"].map(of);
    assert_eq!((credits.len(), premium.len(), discount.len()), (10, 1, 1));
    for credit in credits {
        assert_eq!(
            (
                &credit["amount"],
                &credit["decision"],
                &credit["reason"],
                &credit["beneficiary"],
                &credit["milestone"]
            ),
            (
                &json!("10.00"),
                &json!("granted"),
                &json!("referral_successful"),
                &json!("referrer"),
                &Value::Null
            )
        );
        assert_eq!(credit["code"], Value::Null);
    }
    assert_eq!((&premium[0]["amount"], &premium[0]["milestone"]), (&json!("30.00"), &json!(5)));
    assert_eq!((&discount[0]["amount"], &discount[0]["milestone"]), (&json!("20.00"), &json!(10)));
    assert_eq!(discount[0]["reason"], "milestone_reached");
    let stats = ada.get("/api/referral-stats/").await.expect(200).json();
    assert_eq!(discount[0]["code"], stats["rewards"]["discounts"][0]["code"]);
    let referrals = ada.get("/api/referrals/?limit=100").await.expect(200).json();
    let known: BTreeSet<_> =
        referrals["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()).collect();
    assert!(rewards.iter().all(|reward| known.contains(&reward["referral_id"].to_string())));
}

#[tokio::test(flavor = "multi_thread")]
async fn rewards_that_were_withheld_say_why() {
    let app = app_with_worker().await;
    app.database
        .batch_execute("UPDATE reward_rules SET retired_at = now() WHERE beneficiary = 'referred'")
        .await
        .unwrap();
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    app.register("bob", Some(&code)).await.expect(201);
    app.verify("bob").await;
    app.jobs_done().await;
    let bob = app.login("bob").await;
    let (rewards, _) = items(&bob, "").await;
    assert_eq!(rewards.len(), 1);
    assert_eq!((&rewards[0]["decision"], &rewards[0]["reason"]), (&json!("ineligible"), &json!("no_rule")));
    assert_eq!((&rewards[0]["amount"], &rewards[0]["reward_type"]), (&Value::Null, &Value::Null));
    assert_eq!(items(&ada, "").await.0[0]["decision"], "granted", "each side is decided by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_rewards_come_in_pages_and_are_ones_own() {
    let app = app_with_worker().await;
    let ada = ada_with(&app, 6).await;
    let bob = app.member("bob").await;
    let expected: Vec<_> = items(&ada, "?limit=100").await.0.iter().map(|item| item["id"].clone()).collect();
    assert_eq!(expected.len(), 7);
    for limit in [1, 2, 3, 7] {
        let mut seen = Vec::new();
        let mut query = format!("?limit={limit}");
        loop {
            let (page, next) = items(&ada, &query).await;
            assert!(page.len() <= limit);
            seen.extend(page.iter().map(|item| item["id"].clone()));
            let Some(cursor) = next else { break };
            let refused = bob.get(&format!("/api/rewards/?cursor={cursor}")).await.expect(400);
            assert_eq!(refused.code(), "invalid_cursor");
            query = format!("?limit={limit}&cursor={cursor}");
        }
        assert_eq!(seen, expected, "{limit}");
    }
    let first = ada.get("/api/rewards/?limit=3").await.expect(200);
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let link = format!("</api/rewards/?limit=3&cursor={cursor}>; rel=\"next\"");
    assert_eq!(first.header("link"), Some(link.as_str()));
    assert_eq!(first.header("cache-control"), Some("no-store"));
    assert_eq!(
        ada.get(&format!("/api/rewards/?cursor={}", &cursor[1..])).await.expect(400).code(),
        "invalid_cursor"
    );
    for limit in ["0", "101", "x"] {
        let reply = ada.get(&format!("/api/rewards/?limit={limit}")).await.expect(422);
        assert_eq!(reply.errors(), ["?limit invalid_value"]);
    }
    assert_eq!(items(&bob, "").await, (Vec::new(), None));
    app.client().get("/api/rewards/").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_friend_earned_outlives_the_referrer() {
    let app = app_with_worker().await;
    let ada = app.member("ada").await;
    app.register("bob", Some(&app.code_of(&ada).await)).await.expect(201);
    app.verify("bob").await;
    app.jobs_done().await;
    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    let bob = app.login("bob").await;
    let (rewards, _) = items(&bob, "").await;
    assert_eq!((&rewards[0]["amount"], &rewards[0]["beneficiary"]), (&json!("5.00"), &json!("referred")));
    let stats = bob.get("/api/referral-stats/").await.expect(200).json();
    assert_eq!(stats["rewards"]["credits"], "5.00");
    app.check_ledger().await;
}

/// Either side reads what is not decided yet, why, and when it will be.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_said_with_its_reason_and_its_time() {
    let app = TestApp::api_with(|settings| {
        settings.set("REFERRAL_HOLD", "24h");
    })
    .await;
    let waiting =
        async |client: &Client| client.get("/api/rewards/").await.expect(200).json()["waiting"].clone();
    let ada = app.member("ada").await;
    let nothing = json!({ "pending": 0, "in_review": 0, "own": null });
    assert_eq!(waiting(&ada).await, nothing);
    app.register("bob", Some(&app.code_of(&ada).await)).await.expect(201);
    let bob = app.login("bob").await;
    assert_eq!(waiting(&ada).await, json!({ "pending": 1, "in_review": 0, "own": null }));
    let listed = ada.get("/api/referrals/").await.json()["items"][0].clone();
    let own = waiting(&bob).await["own"].clone();
    for field in ["id", "status", "reason", "qualifies_at", "expires_at"] {
        assert_eq!(own[field], listed[field], "both sides read the same {field}");
    }
    assert_eq!((&own["status"], &own["reason"]), (&json!("pending"), &json!("awaiting_verification")));
    assert!(own["expires_at"].is_string(), "an address that nobody confirms: {own}");

    let reviewed = "UPDATE referrals SET status = 'review', reason = 'under_review';
                    UPDATE referral_counters SET pending = 0, review = 1 WHERE pending = 1";
    app.database.batch_execute(reviewed).await.unwrap();
    assert_eq!(waiting(&ada).await, json!({ "pending": 0, "in_review": 1, "own": null }));
    assert_eq!(waiting(&bob).await["own"]["reason"], "under_review");
    let decided =
        "UPDATE referrals SET status = 'rejected', reason = 'rejected_by_manager', settled_at = now();
                   UPDATE referral_counters SET review = 0, rejected = 1 WHERE review = 1";
    app.database.batch_execute(decided).await.unwrap();
    let refused = waiting(&bob).await["own"].clone();
    assert_eq!((&refused["status"], &refused["reason"]), (&json!("rejected"), &json!("rejected_by_manager")));
    assert_eq!(refused["expires_at"], json!(null));
    app.database
        .batch_execute("UPDATE referrals SET status = 'successful', reason = 'qualified'")
        .await
        .unwrap();
    assert_eq!(waiting(&bob).await, nothing, "what counted is among the rewards");
}
