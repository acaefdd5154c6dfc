//! What runs by the clock: expiry, purges, and that each period has one of them.

use chrono::TimeDelta;
use domain::accounts;
use domain::audit::Trace;
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

    accounts::request_verification(
        &desk.pool,
        desk.clock.now(),
        chrono::TimeDelta::hours(48),
        desk.config.common.mail_limits.confirmation,
        bob.id,
        None,
    )
    .await
    .unwrap();
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
        accounts::request_verification(
            &desk.pool,
            desk.clock.now(),
            chrono::TimeDelta::hours(48),
            desk.config.common.mail_limits.confirmation,
            friend.id,
            None,
        )
        .await
        .unwrap();
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
        // All jobs of this hour are there and done.
        let done = desk.count("outbox WHERE queue = 'maintenance' AND done_at IS NOT NULL").await;
        if done >= 4 { Ok(()) } else { Err(format!("{done} are done")) }
    })
    .await;
    for worker in workers {
        worker.stop().await;
    }
    let keys = desk.count("outbox WHERE dedupe_key LIKE 'schedule:%'").await;
    // The hour may turn while the test runs.
    assert!(keys == 4 || keys == 8, "{keys} jobs for one hour or two");
    assert_eq!(desk.count("outbox WHERE queue = 'maintenance' AND attempts <> 1").await, 0);
}

/// Nobody ever confirmed these: what speaks for one of them keeps it.
#[tokio::test]
async fn v3_abandoned_accounts_go_after_sixty_days_and_nobody_elses() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    desk.confirm(ada.id).await;
    let abandoned = desk.friend("abandoned", &ada).await;
    let mut kept = Vec::new();
    for name in ["session", "recent", "brought", "manager", "blocked", "confirmed", "rich"] {
        kept.push(desk.person(name).await);
    }
    let id = |name: &str| kept.iter().find(|account| account.username == name).unwrap().id;
    desk.friend("friend-of-brought", &kept[2]).await;
    desk.confirm(id("confirmed")).await;
    desk.sql(&format!(
        "INSERT INTO sessions (id, user_id, epoch, created_at, last_seen_at, expires_at, user_agent, ip_prefix)
            VALUES (gen_random_uuid(), '{}', 0, now(), now(), now() + interval '90 days', '', '');
         INSERT INTO security_events (id, user_id, actor, actor_id, event, created_at)
            VALUES (gen_random_uuid(), '{recent}', 'account', '{recent}', 'signed_in', now() + interval '10 days');
         UPDATE users SET role = 'admin' WHERE username = 'manager';
         UPDATE users SET blocked_at = now() WHERE username = 'blocked';
         INSERT INTO balances VALUES ('{rich}', 'credits', 1);
         INSERT INTO referrals (id, referrer_id, referred_user_id, date_referred, status, reason, qualifies_at, settled_at)
            VALUES ('{rich}', '{ada}', '{rich}', now(), 'successful', 'qualified', now(), now());
         INSERT INTO rewards (id, user_id, reward_type, amount, date_earned, referral_id, beneficiary, rule_id)
            SELECT '{rich}', '{rich}', 'credits', 1, now(), '{rich}', 'referred', id FROM reward_rules LIMIT 1;",
        id("session"),
        recent = id("recent"),
        rich = id("rich"),
        ada = ada.id,
    ))
    .await;
    let deleted = async || desk.ids("SELECT id FROM users WHERE deleted_at IS NOT NULL ORDER BY id").await;
    desk.clock.advance(TimeDelta::days(60) - TimeDelta::minutes(1));
    desk.run(desk.promise(&Job::ExpireAccounts {}).await).await;
    assert!(deleted().await.is_empty(), "a minute is left");
    desk.clock.advance(TimeDelta::minutes(2));
    for _ in 0..2 {
        desk.run(desk.promise(&Job::ExpireAccounts {}).await).await;
    }
    let friend = desk.id("SELECT id FROM users WHERE username = 'friend-of-brought'").await;
    let mut gone = vec![abandoned.id, friend];
    gone.sort();
    assert_eq!(deleted().await, gone);
    assert_eq!(desk.referral(abandoned.referral).await.0, "rejected");
    assert_eq!(testkit::dump::holding(&desk.database, "abandoned@example.org").await, [""; 0]);
    // It was never shown to be theirs: whoever has the address may come, by invitation too.
    assert_eq!(desk.count("deleted_identities").await, 0);
    assert_eq!(desk.count("security_events WHERE event = 'account_deleted' AND actor = 'system'").await, 2);
    assert_eq!(desk.count("users WHERE username = 'abandoned'").await, 1, "the name stays reserved");

    // Ten days after the last sign-in plus sixty, nothing speaks for `recent` any more.
    desk.clock.advance(TimeDelta::days(11));
    desk.run(desk.promise(&Job::ExpireAccounts {}).await).await;
    assert!(deleted().await.contains(&id("recent")));
    assert_eq!(deleted().await.len(), 3);
}

#[tokio::test]
async fn v3_accounts_are_kept_for_ever_when_that_is_configured() {
    let desk = Desk::with(|settings| {
        settings.set("UNVERIFIED_ACCOUNTS_KEPT", "0");
    })
    .await;
    desk.person("ada").await;
    desk.clock.advance(TimeDelta::days(4_000));
    desk.run(desk.promise(&Job::ExpireAccounts {}).await).await;
    assert_eq!(desk.count("users WHERE deleted_at IS NULL").await, 1);
}

#[tokio::test]
async fn v3_registrations_go_when_they_run_out_and_changes_of_address_a_week_later() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let keys = &desk.config.common.keys;
    let new = accounts::NewRegistration {
        email: accounts::Email::parse("bob@example.org").unwrap(),
        username: accounts::Username::parse("bob").unwrap(),
        claim: None,
        known_as: Vec::new(),
        earlier: None,
        lifetime: TimeDelta::hours(48),
        trace: Trace::default(),
    };
    accounts::begin_registration(&desk.pool, desk.clock.now(), keys, new).await.unwrap();
    let checked = accounts::own_credentials(&desk.pool, ada.id).await.unwrap().unwrap();
    let email = accounts::Email::parse("new@example.org").unwrap();
    let new = accounts::NewAddress { email: &email, lifetime: TimeDelta::hours(48) };
    let session = uuid::Uuid::nil();
    let (now, trace) = (desk.clock.now(), Trace::default());
    accounts::request_email_change(&desk.pool, now, keys, &checked, session, new, &trace).await.unwrap();
    desk.run_queue("mail").await;

    desk.clock.advance(TimeDelta::hours(48) - TimeDelta::minutes(1));
    desk.run(desk.promise(&Job::Purge {}).await).await;
    assert_eq!((desk.count("pending_registrations").await, desk.count("email_changes").await), (1, 1));
    desk.clock.advance(TimeDelta::minutes(2));
    desk.run(desk.promise(&Job::Purge {}).await).await;
    assert_eq!((desk.count("pending_registrations").await, desk.count("email_changes").await), (0, 1));
    assert_eq!(testkit::dump::holding(&desk.database, "bob@example.org").await, [""; 0]);
    desk.clock.advance(TimeDelta::days(7));
    desk.run(desk.promise(&Job::Purge {}).await).await;
    assert_eq!(desk.count("email_changes").await, 0);
    assert_eq!(testkit::dump::holding(&desk.database, "new@example.org").await, [""; 0]);
}
