//! What speaks against a referral: noticed, written down, weighed by the limits of the configuration.

use chrono::TimeDelta;
use domain::audit::Trace;
use domain::outbox::Job;
use domain::sessions::{self, Origin};
use domain::{accounts, referrals};
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::desk::{Desk, Friend, Place};

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

/// What a referral was last judged by.
async fn assessment(desk: &Desk, referral: Uuid) -> Value {
    let query = format!("SELECT assessment::text FROM referrals WHERE id = '{referral}'");
    let text: String = desk.database.value(&query).await;
    serde_json::from_str(&text).unwrap()
}

/// The signals of a referral with whether they counted, and its score.
async fn signals(desk: &Desk, referral: Uuid) -> (Vec<(String, bool)>, i64) {
    let assessment = assessment(desk, referral).await;
    let signals = assessment["signals"].as_array().unwrap();
    let named = signals
        .iter()
        .map(|one| (one["signal"].as_str().unwrap().to_owned(), one["counted"].as_bool().unwrap()));
    (named.collect(), assessment["score"].as_i64().unwrap())
}

/// Confirms an address and lets the worker decide.
async fn settled(desk: &Desk, friend: Friend) -> (String, String) {
    desk.confirm(friend.id).await;
    desk.run_queue("rewards").await;
    desk.referral(friend.referral).await
}

async fn recheck(desk: &Desk) {
    let job = desk.promise(&Job::RecheckReferrals {}).await;
    desk.run(job).await;
    assert!(desk.job(job).await.done);
}

/// Somebody signs in, as the api lets them.
async fn sign_in(desk: &Desk, user: Uuid, place: &Place) {
    let checked = accounts::own_credentials(&desk.pool, user).await.unwrap().unwrap();
    let origin = Origin { user_agent: String::new(), ip_prefix: String::new(), known_browser: false };
    let lifetime = chrono::TimeDelta::days(30);
    sessions::start(&desk.pool, desk.clock.now(), lifetime, &checked, &origin, None, &place.trace())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn f5_of_thirty_at_once_from_one_network_three_count_and_the_rest_wait() {
    let desk = Desk::new().await;
    // Two codes: the network is one.
    let (ada, eve) = (desk.person("ada").await, desk.person("eve").await);
    let hall = Place::network("lecture hall");
    let friends = join_all((0..30).map(|number| {
        let (desk, hall) = (&desk, &hall);
        let referrer = if number % 2 == 0 { &ada } else { &eve };
        async move {
            let name = format!("friend{number}");
            desk.friend_at(hall, &name, &format!("{name}@example.org"), referrer).await
        }
    }))
    .await;
    join_all(friends.iter().map(|friend| desk.confirm(friend.id))).await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.count("referrals WHERE status = 'successful'").await, 3);
    assert_eq!(desk.count("referrals WHERE status = 'review' AND reason = 'under_review'").await, 27);
    let counted = "referrals WHERE (assessment #>> '{facts,network_hour}')::int BETWEEN 1 AND 30";
    assert_eq!(desk.count(counted).await, 30);
    let ranks = "(SELECT DISTINCT assessment #>> '{facts,network_hour}' FROM referrals) AS ranks";
    assert_eq!(desk.count(ranks).await, 30, "each was counted once, however many came at once");
    assert_eq!(desk.count("security_events WHERE event = 'referral_held' AND actor = 'system'").await, 27);
    desk.check_ledger().await;

    // An hour later the network is as good as any other.
    desk.clock.advance(TimeDelta::hours(1));
    let late = desk.friend_at(&hall, "late", "late@example.org", &ada).await;
    assert_eq!(settled(&desk, late).await, is("successful", "qualified"));
    desk.check_ledger().await;
}

#[tokio::test]
async fn f5_too_many_by_one_code_wait_and_the_limit_is_a_setting() {
    let desk = Desk::with(|settings| {
        settings.set("REFERRAL_CODE_PER_HOUR", "2");
    })
    .await;
    let ada = desk.person("ada").await;
    let networks = ["a", "b", "c", "d"];
    let mut decided = Vec::new();
    for network in networks {
        let name = format!("friend-{network}");
        let friend =
            desk.friend_at(&Place::network(network), &name, &format!("{name}@example.org"), &ada).await;
        decided.push(settled(&desk, friend).await.0);
    }
    assert_eq!(decided, ["successful", "successful", "review", "review"]);
    // Whoever comes from nowhere in particular is not counted: everybody may be behind one proxy.
    let local = desk.friend("local", &ada).await;
    assert_eq!(settled(&desk, local).await.0, "successful");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f5_the_network_of_the_referrer_waits_for_a_manager() {
    let desk = Desk::new().await;
    let home = Place::network("home");
    let ada = desk.register_at(&home, "ada", "ada@example.org", None).await.unwrap().account;
    let bob = desk.friend_at(&home, "bob", "bob@example.org", &ada).await;
    assert_eq!(desk.referral(bob.referral).await, is("review", "under_review"));
    assert_eq!(signals(&desk, bob.referral).await, (vec![("same_network".to_owned(), true)], 60));
    assert_eq!(settled(&desk, bob).await.0, "review", "confirming the address does not help");
    // Where the referrer signed in counts as well as where she registered.
    sign_in(&desk, ada.id, &Place::network("office")).await;
    let eve = desk.friend_at(&Place::network("office"), "eve", "eve@example.org", &ada).await;
    assert_eq!(desk.referral(eve.referral).await.0, "review");
    let mia = desk.friend_at(&Place::network("far away"), "mia", "mia@example.org", &ada).await;
    assert_eq!(settled(&desk, mia).await, is("successful", "qualified"));
    // A month later home is nothing special.
    desk.clock.advance(TimeDelta::days(31));
    let leo = desk.friend_at(&home, "leo", "leo@example.org", &ada).await;
    assert_eq!(settled(&desk, leo).await.0, "successful");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f5_a_disposable_address_waits_and_three_kinds_of_evidence_are_refused() {
    let list = std::env::temp_dir().join(format!("trellis-list-{}", Uuid::now_v7()));
    std::fs::write(&list, "burner.example\n!mailinator.com\n").unwrap();
    let path = list.to_str().unwrap().to_owned();
    let desk = Desk::with(|settings| {
        settings.set("DISPOSABLE_DOMAINS_PATH", &path);
    })
    .await;
    let home = Place::network("home");
    let ada = desk.register_at(&home, "ada", "ada@example.org", None).await.unwrap().account;
    for (name, domain, status) in [
        ("bob", "yopmail.com", "review"),
        ("eve", "mx.burner.example", "review"),
        ("mia", "mailinator.com", "successful"),
    ] {
        let friend = desk.friend_at(&Place::default(), name, &format!("{name}@{domain}"), &ada).await;
        assert_eq!(settled(&desk, friend).await.0, status, "{domain}");
    }
    let sibling = desk.friend("sibling", &ada).await;
    let place = Place { browser_of: vec![sibling.id], ..home };
    let leo = desk.friend_at(&place, "leo", "leo@yopmail.com", &ada).await;
    assert_eq!(desk.referral(leo.referral).await, is("rejected", "suspected_abuse"));
    let expected =
        ["same_network", "disposable_address", "sibling_browser"].map(|name| (name.to_owned(), true));
    assert_eq!(signals(&desk, leo.referral).await, (expected.to_vec(), 150));
    assert_eq!(settled(&desk, leo).await.0, "rejected");
    desk.check_ledger().await;
    std::fs::remove_file(list).unwrap();
}

#[tokio::test]
async fn f6_a_cycle_is_refused_and_looked_for_no_further_than_needed() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    assert_eq!(settled(&desk, bob).await.0, "successful");
    // No request makes this row: somebody who holds the database did.
    let forged = Uuid::now_v7();
    desk.sql(&format!(
        "INSERT INTO referrals (id, referrer_id, referred_user_id, date_referred, status, reason, qualifies_at)
         VALUES ('{forged}', '{0}', '{1}', now(), 'pending', 'awaiting_settlement', now());
         UPDATE referral_counters SET pending = pending + 1 WHERE user_id = '{0}';
         INSERT INTO referral_days (user_id, day, registrations) VALUES ('{0}', current_date, 1)",
        bob.id, ada.id
    ))
    .await;
    desk.confirm(ada.id).await;
    desk.run(desk.promise_settlement(forged).await).await;
    assert_eq!(desk.referral(forged).await, is("rejected", "ring_cycle"));
    assert_eq!(assessment(&desk, forged).await["refusal"], "ring_cycle");
    // The graph has a cycle now, and registering below it ends.
    let eve = desk.friend("eve", &ada).await;
    assert_eq!(settled(&desk, eve).await.0, "successful");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f6_a_ring_of_three_is_refused_by_mailbox_and_by_browser() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    let bob = accounts::find(&desk.pool, bob.id).await.unwrap().unwrap();
    let eve = desk.friend("eve", &bob).await;
    let eve = accounts::find(&desk.pool, eve.id).await.unwrap().unwrap();
    for (number, (place, email, reason)) in [
        (Place::default(), "ada+again@example.org", "ring_same_email"),
        (Place::default(), "bob+again@example.org", "ring_same_email"),
        (Place::browser_of(ada.id), "new1@example.org", "ring_same_browser"),
        (Place::browser_of(bob.id), "new2@example.org", "ring_same_browser"),
    ]
    .into_iter()
    .enumerate()
    {
        let friend = desk.friend_at(&place, &format!("ring{number}"), email, &eve).await;
        assert_eq!(desk.referral(friend.referral).await, is("rejected", reason), "{email}");
        assert_eq!(settled(&desk, friend).await, is("rejected", reason));
    }
    // The same network further up is a coincidence, and not alone enough.
    let home = Place::network("home");
    sign_in(&desk, ada.id, &home).await;
    let near = desk.friend_at(&home, "near", "near@example.org", &eve).await;
    assert_eq!(signals(&desk, near.referral).await, (vec![("ring_network".to_owned(), true)], 40));
    assert_eq!(settled(&desk, near).await.0, "successful");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f5_accounts_that_never_act_speak_against_the_next() {
    let desk = Desk::with(|settings| {
        settings.set("REFERRAL_REVIEW_SCORE", "30");
    })
    .await;
    let (ada, eve) = (desk.person("ada").await, desk.person("eve").await);
    for friend in desk.friends("idle", 5, &ada).await {
        assert_eq!(settled(&desk, friend).await.0, "successful", "nobody is idle in the first week");
    }
    for friend in desk.friends("lively", 5, &eve).await {
        assert_eq!(settled(&desk, friend).await.0, "successful");
        sign_in(&desk, friend.id, &Place::default()).await;
    }
    desk.clock.advance(TimeDelta::days(8));
    let bob = desk.friend("bob", &ada).await;
    assert_eq!(desk.referral(bob.referral).await.0, "review");
    assert_eq!(signals(&desk, bob.referral).await, (vec![("idle_friends".to_owned(), true)], 30));
    let facts = assessment(&desk, bob.referral).await["facts"].clone();
    assert_eq!((&facts["friends"], &facts["idle_friends"]), (&json!(5), &json!(5)));
    let mia = desk.friend("mia", &eve).await;
    assert_eq!(settled(&desk, mia).await.0, "successful");
    desk.check_ledger().await;
}

/// What is noticed between registration and settlement counts too.
#[tokio::test]
async fn f5_a_referral_that_was_held_is_judged_again_when_it_is_due() {
    let desk = Desk::with(|settings| {
        settings.set("REFERRAL_REVIEW_SCORE", "30").set("REFERRAL_HOLD", "8d");
    })
    .await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("idle", 6, &ada).await;
    for friend in &friends {
        assert_eq!(desk.referral(friend.referral).await.0, "pending");
        desk.confirm(friend.id).await;
    }
    desk.clock.advance(TimeDelta::days(9));
    desk.let_leases_end().await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.count("referrals WHERE status = 'review'").await, 6);
    desk.check_ledger().await;
}

#[tokio::test]
async fn limits_that_are_raised_let_go_what_waits_and_lowered_ones_refuse_it() {
    let mut desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let mut friends = Vec::new();
    for name in ["bob", "eve", "mia"] {
        let friend = desk.friend_at(&Place::default(), name, &format!("{name}@yopmail.com"), &ada).await;
        desk.confirm(friend.id).await;
        friends.push(friend);
    }
    recheck(&desk).await;
    assert_eq!(
        desk.count("referrals WHERE status = 'review'").await,
        3,
        "the same limits, the same decision"
    );

    desk.change_settings(|settings| {
        settings.set("REFERRAL_REVIEW_SCORE", "51");
    });
    recheck(&desk).await;
    assert_eq!(desk.count("referrals WHERE status = 'pending'").await, 3);
    desk.check_ledger().await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.count("referrals WHERE status = 'successful'").await, 3);
    let released = "security_events WHERE event = 'referral_released' AND reason = 'limits_changed'";
    assert_eq!(desk.count(released).await, 3);

    desk.change_settings(|settings| {
        settings.set("REFERRAL_REVIEW_SCORE", "50");
    });
    let leo = desk.friend_at(&Place::default(), "leo", "leo@yopmail.com", &ada).await;
    desk.change_settings(|settings| {
        settings.set("REFERRAL_REVIEW_SCORE", "10").set("REFERRAL_DENY_SCORE", "50");
    });
    recheck(&desk).await;
    assert_eq!(desk.referral(leo.referral).await, is("rejected", "suspected_abuse"));
    desk.check_ledger().await;
}

#[tokio::test]
async fn a_due_referral_that_lost_its_job_is_settled_by_the_schedule() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 3, &ada).await;
    for friend in &friends[..2] {
        desk.confirm(friend.id).await;
    }
    desk.sql("DELETE FROM outbox").await;
    recheck(&desk).await;
    assert_eq!(desk.count("outbox WHERE queue = 'rewards'").await, 0, "it may still be on its way");
    desk.clock.advance(TimeDelta::minutes(11));
    for _ in 0..3 {
        recheck(&desk).await;
    }
    assert_eq!(desk.count("outbox WHERE queue = 'rewards'").await, 2, "once each; one has not confirmed");
    desk.run_queue("rewards").await;
    assert_eq!(desk.count("referrals WHERE status = 'successful'").await, 2);
    assert_eq!(desk.referral(friends[2].referral).await.0, "pending");
    desk.check_ledger().await;
}

#[tokio::test]
async fn v1_an_assessment_tells_nothing_of_anybody_and_networks_are_forgotten() {
    let desk = Desk::new().await;
    let home = Place::network("home");
    let ada = desk.register_at(&home, "canary-ada", "canary-ada@example.org", None).await.unwrap().account;
    let mut friends = Vec::new();
    for name in ["canary-bob", "canary-eve", "canary-mia", "canary-leo", "canary-kim"] {
        let place =
            Place { browser_of: friends.last().map(|f: &Friend| f.id).into_iter().collect(), ..home.clone() };
        friends.push(desk.friend_at(&place, name, &format!("{name}@yopmail.com"), &ada).await);
    }
    let hash = home.trace().ip_hash.unwrap();
    let hash = domain::token::hex(&hash);
    for friend in &friends {
        let told = assessment(&desk, friend.referral).await.to_string();
        assert!(told.contains("same_network"), "{told}");
        for personal in ["canary", "yopmail", &hash, &ada.id.to_string(), &friend.id.to_string()] {
            assert!(!told.contains(personal), "{personal} is in {told}");
        }
    }
    let events: String = desk
        .database
        .value("SELECT string_agg(e::text, ' ') FROM security_events e WHERE event LIKE 'referral%'")
        .await;
    assert!(!events.contains("canary") && !events.contains(&hash), "{events}");

    desk.delete(friends[0].id).await;
    assert_eq!(desk.count("referrals WHERE network IS NULL").await, 1, "with the account");
    desk.clock.advance(TimeDelta::days(91));
    desk.run(desk.promise(&Job::Purge {}).await).await;
    assert_eq!(desk.count("referrals WHERE network IS NOT NULL").await, 0, "with time");
    desk.check_ledger().await;
}

/// The statistics and the list say what a referral waits for.
#[tokio::test]
async fn a_referrer_reads_what_a_referral_waits_for() {
    let desk = Desk::with(|settings| {
        settings.set("REFERRAL_HOLD", "1h");
    })
    .await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    let reason = async || {
        let now = desk.clock.now();
        let list = referrals::list(&desk.pool, now, ada.id, None, None, 10).await.unwrap();
        let of_bob = list.into_iter().find(|view| view.id == bob.referral).unwrap();
        format!("{} {}", of_bob.status, of_bob.reason)
    };
    assert_eq!(reason().await, "pending awaiting_verification");
    desk.confirm(bob.id).await;
    assert_eq!(reason().await, "pending on_hold");
    let blocking =
        accounts::Blocking { user_id: bob.id, actor: domain::audit::Actor::Operator, reason: "a test" };
    accounts::block(&desk.pool, desk.clock.now(), blocking, &Trace::default()).await.unwrap();
    assert_eq!(reason().await, "pending account_blocked");
    accounts::unblock(&desk.pool, desk.clock.now(), blocking, &Trace::default()).await.unwrap();
    desk.clock.advance(TimeDelta::hours(2));
    assert_eq!(reason().await, "pending awaiting_settlement");
    desk.let_leases_end().await;
    desk.run_queue("rewards").await;
    assert_eq!(reason().await, "successful qualified");
    let eve = desk.friend_at(&Place::default(), "eve", "eve@yopmail.com", &ada).await;
    let stats = referrals::stats(&desk.pool, desk.clock.now(), ada.id).await.unwrap().unwrap();
    assert_eq!((stats.in_review, stats.successful, stats.total), (1, 1, 2));
    assert_eq!(desk.referral(eve.referral).await.1, "under_review");
    // What a manager lets pass waits for what is missing, and for nothing that is there.
    desk.confirm(eve.id).await;
    super::review::rule(&desk, eve.referral, referrals::Verdict::Approve).await.unwrap();
    assert_eq!(desk.referral(eve.referral).await.1, "on_hold");
    let told = "SELECT payload ->> 'reason' FROM outbox WHERE payload ->> 'event' = 'referral.pending' ORDER BY id DESC LIMIT 1";
    assert_eq!(desk.database.value::<String>(told).await, "on_hold");
    desk.check_ledger().await;
}
