//! Transactions that meet over the same rows: one waits for the other, and none dies of it.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::accounts::{self, VerifyError};
use domain::audit::Trace;
use domain::outbox::Job;
use domain::referrals;
use testkit::app::eventually;

use super::desk::Desk;

/// Waits until so many statements wait for a lock.
async fn waiting(desk: &Desk, count: i64) {
    eventually(&format!("{count} wait for a lock"), async || {
        let waiting = desk
            .count("pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
            .await;
        if waiting >= count { Ok(()) } else { Err(format!("{waiting}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmation_waits_for_a_deletion_and_not_both_for_each_other() {
    let desk = Arc::new(Desk::new().await);
    let ada = desk.person("ada").await;
    desk.sql(&format!(
        "INSERT INTO sessions (id, user_id, epoch, created_at, last_seen_at, expires_at, user_agent, ip_prefix)
         VALUES (gen_random_uuid(), '{}', 0, now(), now(), now() + interval '1 day', '', '')",
        ada.id
    ))
    .await;
    let token = desk.token_of(ada.id).await;
    // The deletion has the account and waits for its session; then comes the confirmation.
    let gate = desk.database.connect().await;
    gate.batch_execute("BEGIN; SELECT FROM sessions FOR UPDATE").await.unwrap();
    let deleting = {
        let desk = Arc::clone(&desk);
        tokio::spawn(async move { desk.delete(ada.id).await })
    };
    waiting(&desk, 1).await;
    let confirming = {
        let (pool, now, policy) = (desk.pool.clone(), desk.clock.now(), desk.config.common.referrals);
        tokio::spawn(async move {
            accounts::verify_email(&pool, now, policy, &token, None, &Trace::default()).await
        })
    };
    waiting(&desk, 2).await;
    gate.batch_execute("COMMIT").await.unwrap();
    deleting.await.unwrap();
    let confirmed = confirming.await.unwrap();
    assert!(matches!(confirmed, Err(VerifyError::InvalidToken)), "{confirmed:?}");
}

/// A row of people, each brought by the one before; everything happens to all of them at once.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_chain_of_people_at_once_ends_in_order() {
    let desk = Arc::new(Desk::new().await);
    for round in 0..6 {
        let mut chain = vec![desk.person(&format!("r{round}-0")).await];
        let mut friends = Vec::new();
        for number in 1..8 {
            let friend = desk.friend(&format!("r{round}-{number}"), &chain[number - 1]).await;
            friends.push(friend);
            chain.push(accounts::find(&desk.pool, friend.id).await.unwrap().unwrap());
        }
        desk.sql("DELETE FROM outbox WHERE queue = 'mail'").await;
        for friend in &friends[..5] {
            desk.confirm(friend.id).await;
        }
        desk.clock.advance(TimeDelta::days(31));
        let mut happening = Vec::new();
        for friend in &friends[..5] {
            let settlement = desk.settlement_of(friend.referral).await;
            let desk = Arc::clone(&desk);
            happening.push(tokio::spawn(async move { desk.run(settlement).await }));
        }
        for index in [0, 2, 5, 7] {
            let (desk, person) = (Arc::clone(&desk), chain[index].id);
            happening.push(tokio::spawn(async move { desk.delete(person).await }));
        }
        for _ in 0..2 {
            let expiry = desk.promise(&Job::ExpireReferrals {}).await;
            let desk = Arc::clone(&desk);
            happening.push(tokio::spawn(async move { desk.run(expiry).await }));
        }
        for happened in happening {
            happened.await.unwrap();
        }
        while referrals::expire(&desk.pool, desk.clock.now()).await.unwrap() > 0 {}
        // Deletions are mailed, which nothing here runs.
        let failed = "outbox WHERE queue <> 'mail' AND (done_at IS NULL OR attempts <> 1 AND kind <> 'event.announce')";
        assert_eq!(desk.count(failed).await, 0, "no job failed");
        assert_eq!(desk.count("referrals WHERE status = 'pending'").await, 0);
        desk.check_ledger().await;
    }
}
