//! What runs by the clock: expiry, purges, and that each period has one of them.

use chrono::TimeDelta;
use domain::accounts;
use domain::outbox::Job;
use testkit::app::eventually;

use super::desk::Desk;

async fn expire(desk: &Desk) {
    let job = desk.promise(&Job::ExpireReferrals {}).await;
    desk.run(job).await;
    assert!(desk.job(job).await.done);
}

#[tokio::test]
async fn f4_a_referral_that_waited_thirty_days_expires() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.clock.advance(TimeDelta::days(1));
    let eve = desk.friend("eve", &ada).await;
    desk.clock.advance(TimeDelta::days(29) - TimeDelta::minutes(1));
    expire(&desk).await;
    assert_eq!(desk.referral(bob.referral).await.0, "pending", "a minute is left");
    desk.clock.advance(TimeDelta::minutes(2));
    expire(&desk).await;
    assert_eq!(desk.referral(bob.referral).await, ("expired".to_owned(), "not_verified_in_time".to_owned()));
    assert_eq!(desk.referral(eve.referral).await.0, "pending", "a day is left");
    desk.check_ledger().await;

    accounts::request_verification(&desk.pool, desk.clock.now(), bob.id, None).await.unwrap();
    desk.confirm(bob.id).await;
    desk.run_queue("rewards").await;
    desk.run(desk.promise_settlement(bob.referral).await).await;
    assert_eq!(desk.referral(bob.referral).await.0, "expired", "late is late");
    assert_eq!(desk.count("rewards").await, 0);
    desk.check_ledger().await;
}

/// The worker was away for long: whoever confirmed in time must not pay for that.
#[tokio::test]
async fn f4_a_confirmed_referral_whose_settlement_is_late_does_not_expire() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    desk.clock.advance(TimeDelta::days(31));
    expire(&desk).await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.referral(bob.referral).await.0, "successful");
    desk.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiries_and_settlements_that_race_count_each_referral_once() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 12, &ada).await;
    desk.clock.advance(TimeDelta::days(31));
    for friend in &friends[..6] {
        accounts::request_verification(&desk.pool, desk.clock.now(), friend.id, None).await.unwrap();
        desk.confirm(friend.id).await;
    }
    desk.sql("DELETE FROM outbox WHERE queue = 'mail'").await;
    for _ in 0..3 {
        desk.promise(&Job::ExpireReferrals {}).await;
    }
    let _workers: Vec<_> = (0..3).map(|_| desk.work()).collect();
    desk.all_done().await;
    assert_eq!(desk.count("referrals WHERE status = 'successful'").await, 6);
    assert_eq!(desk.count("referrals WHERE status = 'expired'").await, 6);
    desk.check_ledger().await;
}

#[tokio::test]
async fn v3_what_ran_out_a_week_ago_is_purged_and_nothing_else() {
    let desk = Desk::new().await;
    desk.person("ada").await;
    desk.run_queue("mail").await;
    desk.sql(
        "UPDATE outbox SET done_at = now() - interval '7 days 1 minute';
         INSERT INTO outbox (id, queue, kind, version, payload, due_at, done_at, dead_at) VALUES
            (gen_random_uuid(), 'mail', 'young', 1, '{}', now(), now() - interval '6 days', NULL),
            (gen_random_uuid(), 'mail', 'dead', 1, '{}', now(), NULL, now() - interval '60 days'),
            (gen_random_uuid(), 'mail', 'open', 1, '{}', now() + interval '1 day', NULL, NULL)",
    )
    .await;
    let purge = desk.promise(&Job::Purge {}).await;
    desk.run(purge).await;
    assert_eq!(desk.count("outbox WHERE kind = 'mail.verification'").await, 0);
    assert_eq!(desk.count("outbox WHERE kind IN ('young', 'dead', 'open')").await, 3);
    assert_eq!(desk.count("email_verifications").await, 1, "it has not run out for a week");

    desk.clock.advance(TimeDelta::days(10));
    desk.run(desk.promise(&Job::Purge {}).await).await;
    assert_eq!(desk.count("email_verifications").await, 0);
    assert_eq!(desk.count("users").await, 1);
}

#[tokio::test]
async fn v3_security_events_forget_networks_after_90_days_and_go_after_a_year() {
    let desk = Desk::new().await;
    for days in [1, 91, 364, 367] {
        desk.sql(&format!(
            "INSERT INTO security_events (id, actor, event, ip_hash, created_at)
             VALUES (gen_random_uuid(), 'unknown', 'sign_in_failed', '\\x01', now() - interval '{days} days')"
        ))
        .await;
    }
    desk.run(desk.promise(&Job::Purge {}).await).await;
    assert_eq!(desk.count("security_events").await, 3);
    assert_eq!(desk.count("security_events WHERE ip_hash IS NOT NULL").await, 1);
}

#[tokio::test]
async fn v3_a_purge_takes_any_number_of_jobs() {
    let desk = Desk::new().await;
    desk.sql(
        "INSERT INTO outbox (id, queue, kind, version, payload, due_at, done_at)
         SELECT gen_random_uuid(), 'mail', 'old', 1, '{}', now(), now() - interval '8 days' FROM generate_series(1, 12000)",
    )
    .await;
    desk.run(desk.promise(&Job::Purge {}).await).await;
    assert_eq!(desk.count("outbox WHERE kind = 'old'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_keep_one_schedule() {
    let desk = Desk::new().await;
    let workers: Vec<_> = (0..3).map(|_| desk.work()).collect();
    eventually("each worker has looked at the schedule", async || {
        // Both jobs of this hour are there and done.
        let done = desk.count("outbox WHERE queue = 'maintenance' AND done_at IS NOT NULL").await;
        if done >= 2 { Ok(()) } else { Err(format!("{done} are done")) }
    })
    .await;
    for worker in workers {
        worker.stop().await;
    }
    let keys = desk.count("outbox WHERE dedupe_key LIKE 'schedule:%'").await;
    // The hour may turn while the test runs.
    assert!(keys == 2 || keys == 4, "{keys} jobs for one hour or two");
    assert_eq!(desk.count("outbox WHERE queue = 'maintenance' AND attempts <> 1").await, 0);
}
