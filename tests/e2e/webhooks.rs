//! Webhooks of real processes that are killed: whatever happened is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use testkit::app::within;
use testkit::client::Client;
use testkit::config::seed;
use testkit::process::Program;
use testkit::receiver::{Answer, Receiver};
use testkit::stack::{RECOVERY, Stack, StackOptions, busy};
use testkit::tls::{Certificate, Door};
use tokio::sync::watch;

use crate::killed_settlements::AT_ONCE;

const FRIENDS: usize = 40;

/// How many register between two kills, at least.
const BETWEEN_KILLS: usize = 5;

async fn manager(stack: &Stack) -> Client {
    stack.register(0, "boss", None).await.expect(201);
    let promoted = stack.command(Program::Api, &["admin", "promote", "boss@example.org"]).await;
    assert!(promoted.status.success(), "{promoted:?}");
    stack.login(0, "boss").await
}

#[tokio::test(flavor = "multi_thread")]
async fn w1_w2_every_event_is_told_by_one_id_though_workers_are_killed_and_the_receiver_fails() {
    let _busy = busy().await;
    let mut stack = Stack::start(StackOptions { apis: 2, workers: 2, settings: &AT_ONCE }).await;
    let receiver = Receiver::start().await;
    let boss = manager(&stack).await;
    let added = boss.post("/api/admin/webhooks/", json!({ "url": receiver.url() })).await.expect(201).json();
    let secret = added["secret"].as_str().unwrap();

    // Out of order at first, and then half of the time.
    receiver.answer(Answer::status(500));
    let ada = stack.register(0, "ada", None).await.expect(201).json();
    receiver.wait_for(1, RECOVERY).await;
    let code = ada["user"]["referral_code"].as_str().unwrap();
    let (mut workers, mut random) = (std::mem::take(&mut stack.workers), StdRng::seed_from_u64(seed()));
    let (registered, mut progress) = watch::channel(0);
    let registering = async {
        // Gone when all are there, which ends the killing.
        let registered = registered;
        let registered = &registered;
        join_all((0..2).map(async |api| {
            for n in (api..FRIENDS).step_by(2) {
                stack.register(api, &format!("friend{n:02}"), Some(code)).await.expect(201);
                registered.send_modify(|registered| *registered += 1);
            }
        }))
        .await;
    };
    // Killed at any moment until everybody is there.
    let killing = async {
        let mut kills = 0;
        loop {
            let next = *progress.borrow() + BETWEEN_KILLS;
            if progress.wait_for(|registered| *registered >= next).await.is_err() {
                return kills;
            }
            let victim = random.random_range(0..workers.len());
            workers[victim].restart().await;
            receiver.answer(Answer::status(if random.random() { 500 } else { 204 }));
            kills += 1;
        }
    };
    let ((), kills) = tokio::join!(registering, killing);
    receiver.answer(Answer::status(204));
    println!("{kills} kills");
    assert!(kills >= 3, "{kills} kills are too few");

    // Nobody waits for pauses to run out; leases of workers that were killed do.
    within(RECOVERY, "all jobs are done", async || {
        let wake = "UPDATE outbox SET leased_until = now(), due_at = now() WHERE done_at IS NULL AND lease_token IS NULL \
                    AND leased_until > now()";
        stack.database.batch_execute(wake).await.unwrap();
        match stack.database.value::<i64>("SELECT count(*) FROM outbox WHERE done_at IS NULL").await {
            0 => Ok(()),
            open => Err(format!("{open} are open")),
        }
    })
    .await;
    let happened = "SELECT id::text || ' ' || (payload ->> 'event') FROM outbox WHERE kind = 'event.announce' \
                    AND id > (SELECT id FROM webhook_endpoints)";
    let happened: BTreeSet<String> =
        stack.database.query(happened, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    // An account each, and of each friend a referral that waits and one that counts.
    assert_eq!(happened.len(), 1 + 3 * FRIENDS);
    let received = receiver.received();
    let told: BTreeSet<String> =
        received.iter().map(|message| format!("{} {}", message.id(), message.event())).collect();
    assert_eq!(told, happened);
    println!("{} events in {} messages", told.len(), received.len());
    assert!(received.len() > told.len(), "what was refused was told again");
    assert!(received.iter().all(|message| message.is_signed_by(secret)));
    let taken: i64 =
        stack.database.value("SELECT count(*) FROM webhook_deliveries WHERE delivered_at IS NOT NULL").await;
    assert_eq!(usize::try_from(taken).unwrap(), happened.len());
    stack.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w1_w4_webhooks_go_over_tls_to_whoever_has_a_certificate_and_to_nobody_else() {
    let certificate = Arc::new(Certificate::for_host("localhost").unwrap());
    let receiver = Receiver::start().await;
    let door = Door::to_http(&certificate, receiver.address()).await;
    let mut stack = Stack::start(StackOptions { workers: 0, ..StackOptions::default() }).await;
    let boss = manager(&stack).await;
    let url = format!("https://localhost:{}/hook", door.port());
    let added = boss.post("/api/admin/webhooks/", json!({ "url": url })).await.expect(201).json();
    let path = format!("/api/admin/webhooks/{}", added["id"].as_str().unwrap());
    boss.post(&format!("{path}/ping/"), json!({})).await.expect(202);
    let listed =
        async || boss.get(&format!("{path}/deliveries/")).await.expect(200).json()["items"][0].clone();

    // Nobody vouches for it.
    stack.start_worker(&[]).await;
    let error = within(RECOVERY, "the certificate is looked at", async || match listed().await["last_error"]
        .as_str()
    {
        Some(error) => Ok(error.to_owned()),
        None => Err("no attempt".to_owned()),
    })
    .await;
    assert_eq!(error, "its certificate is not one that the system trusts for that name");
    let log = stack.workers[0].log();
    assert!(!log.contains("localhost:"), "no address: {log}");
    assert_eq!(receiver.received().len(), 0);

    let authorities = stack.directory().join("authorities.pem");
    std::fs::write(&authorities, certificate.pem()).unwrap();
    stack.workers[0].restart_with(&[("SSL_CERT_FILE", authorities.to_str().unwrap())]).await;
    boss.post(&format!("{path}/ping/"), json!({})).await.expect(202);
    let message = receiver.wait_for(1, RECOVERY).await.remove(0);
    assert!(message.is_signed_by(added["secret"].as_str().unwrap()));
}
