//! The main job over several replicas, while parts of the system are taken away.

use domain::queue::{QueueName, Queues};
use serde_json::json;
use testkit::app::within;
use testkit::stack::{RECOVERY, Stack, StackOptions, busy};

#[tokio::test(flavor = "multi_thread")]
async fn two_apis_two_workers_one_killed_and_redis_emptied_the_reward_arrives_once() {
    let busy = busy().await;
    let mut stack = Stack::start(StackOptions { apis: 2, workers: 2, ..StackOptions::default() }).await;
    stack.register(0, "ada", None).await.expect(201);
    let ada = stack.login(1, "ada").await;
    let code = ada.get("/api/me/").await.expect(200).json()["referral_code"].as_str().unwrap().to_owned();
    drop(busy);

    let reply = stack.register(0, "bob", Some(&code)).await.expect(201).json();
    assert_eq!(reply["referral"], json!({ "status": "pending" }));
    stack.workers[0].kill9();
    stack.redis.empty().await.unwrap();
    stack.verify(1, "bob").await;
    stack.redis.empty().await.unwrap();

    let stats = stack.stats_when(&ada, |stats| stats["successful"] == 1).await;
    assert_eq!(stats["rewards"], json!({ "credits": "10.00", "premium_until": null, "discounts": [] }));
    let elsewhere = ada.at(&stack.apis[0].base()).get("/api/referral-stats/").await.expect(200).json();
    assert_eq!(elsewhere["rewards"], stats["rewards"]);
    let bob = stack.login(1, "bob").await;
    let rewards = bob.get("/api/rewards/").await.expect(200).json();
    assert_eq!(rewards["items"].as_array().unwrap().len(), 1, "{rewards}");
    assert_eq!(
        (&rewards["items"][0]["amount"], &rewards["items"][0]["beneficiary"]),
        (&json!("5.00"), &json!("referred"))
    );

    stack.workers[0].restart().await;
    stack.jobs_done().await;
    deliver_all_again(&stack).await;
    let granted: String = stack
        .database
        .value("SELECT string_agg(format('%s %s', amount, beneficiary), ', ' ORDER BY amount) FROM rewards")
        .await;
    assert_eq!(granted, "5.00 referred, 10.00 referrer");
    stack.check_ledger().await;
}

/// Every job again, done as they are, as a queue that repeats itself would.
async fn deliver_all_again(stack: &Stack) {
    let prefix = stack.settings.get("REDIS_PREFIX").unwrap();
    let queues = Queues::new(&stack.redis.url(), prefix).unwrap();
    for queue in QueueName::ALL {
        let sql = format!("SELECT id::text FROM outbox WHERE queue = '{queue}'");
        let rows = stack.database.query(&sql, &[]).await.unwrap();
        let ids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        for _ in 0..3 {
            queues.push(queue, &ids).await.unwrap();
        }
        within(RECOVERY, "the repeated jobs are taken", async || match queues.depth(queue).await.unwrap() {
            0 => Ok(()),
            depth => Err(format!("{depth} wait")),
        })
        .await;
    }
}
