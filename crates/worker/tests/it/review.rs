//! What managers decide: every move that is allowed and every one that is not, twice, at once, and beside deletions and
//! settlements.

use std::sync::Arc;

use domain::accounts::{self, Account, Blocking};
use domain::audit::{Actor, Trace};
use domain::outbox::Job;
use domain::referrals::{self, ReferralStatus, Ruled, Ruling, RulingError, Verdict};
use domain::rewards::{self, AdjustError, Adjustment, Amount, RedeemError};
use futures_util::future::join_all;
use uuid::Uuid;

use super::desk::{Desk, Friend, Place};

/// Decides as the command line does.
pub(super) async fn rule(desk: &Desk, referral_id: Uuid, verdict: Verdict) -> Result<Ruled, RulingError> {
    let ruling = Ruling { referral_id, verdict, actor: Actor::Operator, reason: "a test" };
    let policy = desk.config.common.referrals;
    referrals::rule(&desk.pool, desk.clock.now(), policy, ruling, &Trace::default()).await
}

pub(super) async fn block(desk: &Desk, user_id: Uuid) {
    let blocking = Blocking { user_id, actor: Actor::Operator, reason: "a test" };
    accounts::block(&desk.pool, desk.clock.now(), blocking, &Trace::default()).await.unwrap();
}

pub(super) async fn unblock(desk: &Desk, user_id: Uuid) {
    let blocking = Blocking { user_id, actor: Actor::Operator, reason: "a test" };
    accounts::unblock(&desk.pool, desk.clock.now(), blocking, &Trace::default()).await.unwrap();
}

/// Somebody whose referral lies with the managers.
async fn doubtful(desk: &Desk, name: &str, referrer: &Account) -> Friend {
    let friend = desk.friend_at(&Place::default(), name, &format!("{name}@yopmail.com"), referrer).await;
    assert_eq!(desk.referral(friend.referral).await.0, "review");
    friend
}

/// A referral of `ada` in a state, reached the way it is reached in life.
async fn standing(desk: &Desk, name: &str, ada: &Account, state: ReferralStatus, cleared: bool) -> Friend {
    let friend = if cleared { doubtful(desk, name, ada).await } else { desk.friend(name, ada).await };
    if cleared {
        rule(desk, friend.referral, Verdict::Approve).await.unwrap();
        assert_eq!(desk.referral(friend.referral).await.0, "pending");
    }
    match state {
        ReferralStatus::Pending => {}
        ReferralStatus::Review => {
            // By hand: nothing sends a referral back that a manager let pass.
            desk.sql(&format!(
                "UPDATE referrals SET status = 'review' WHERE id = '{}';
                 UPDATE referral_counters SET pending = pending - 1, review = review + 1 WHERE user_id = '{}'",
                friend.referral, ada.id
            ))
            .await;
        }
        ReferralStatus::Rejected => {
            desk.sql(&format!(
                "UPDATE referrals SET status = 'rejected', settled_at = now() WHERE id = '{}';
                 UPDATE referral_counters SET pending = pending - 1, rejected = rejected + 1 WHERE user_id = '{}'",
                friend.referral, ada.id
            ))
            .await;
        }
        ReferralStatus::Expired => {
            desk.sql(&format!(
                "UPDATE referrals SET date_referred = date_referred - interval '31 days' WHERE id = '{0}';
                 UPDATE referral_days d SET registrations = registrations - 1 FROM referrals r
                 WHERE r.id = '{0}' AND user_id = referrer_id AND day = (date_referred + interval '31 days')::date;
                 INSERT INTO referral_days (user_id, day, registrations)
                 SELECT referrer_id, date_referred::date, 1 FROM referrals WHERE id = '{0}'
                 ON CONFLICT (user_id, day) DO UPDATE SET registrations = referral_days.registrations + 1",
                friend.referral
            ))
            .await;
            desk.run(desk.promise(&Job::ExpireReferrals {}).await).await;
        }
        ReferralStatus::Successful | ReferralStatus::Reversed => {
            desk.confirm(friend.id).await;
            desk.run_queue("rewards").await;
            if state == ReferralStatus::Reversed {
                rule(desk, friend.referral, Verdict::Reverse).await.unwrap();
            }
        }
    }
    assert_eq!(desk.referral(friend.referral).await.0, state.as_str());
    friend
}

#[tokio::test]
async fn every_move_that_is_allowed_happens_once_and_no_other_does() {
    use ReferralStatus::{Pending, Rejected, Reversed, Review, Successful};
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let mut number = 0;
    for state in ReferralStatus::ALL {
        for cleared in [false, true] {
            for verdict in [Verdict::Approve, Verdict::Reject, Verdict::Reverse] {
                number += 1;
                let what = format!("{verdict:?} {state} cleared={cleared}");
                let friend = standing(&desk, &format!("friend{number}"), &ada, state, cleared).await;
                let before = desk.referral(friend.referral).await;
                let events = desk.count("security_events").await;
                let jobs = desk.count("outbox").await;
                let expected = match (verdict, state) {
                    (Verdict::Approve, Review) => Some(Pending),
                    (Verdict::Reject, Review) => Some(Rejected),
                    (Verdict::Reject, Pending) if !cleared => Some(Rejected),
                    (Verdict::Reverse, Successful) => Some(Reversed),
                    _ => None,
                };
                let first = rule(&desk, friend.referral, verdict).await;
                if let Some(to) = expected {
                    let ruled = first.unwrap();
                    assert_eq!((ruled.status, ruled.changed.len()), (to, 2), "{what}");
                    assert_eq!(desk.referral(friend.referral).await.0, to.as_str(), "{what}");
                    assert_eq!(desk.count("security_events").await, events + 1, "{what}");
                    // The event of the move, and the settlement of what may pass.
                    let followed = desk.count("outbox").await - jobs;
                    assert_eq!(followed, 1 + i64::from(verdict == Verdict::Approve), "{what}");
                    let announced = format!(
                        "outbox WHERE payload ->> 'event' = 'referral.{to}' AND payload ->> 'subject_id' = '{}'",
                        friend.referral
                    );
                    assert!(desk.count(&announced).await > 0, "{what}");
                    let again = rule(&desk, friend.referral, verdict).await.unwrap();
                    assert_eq!(again, Ruled { status: to, changed: Vec::new() }, "{what}: twice is once");
                    assert_eq!(desk.count("security_events").await, events + 1, "{what}");
                } else {
                    match first {
                        Ok(ruled) => assert_eq!(ruled.changed, [], "{what}: it was decided so before"),
                        Err(RulingError::Conflict(stands)) => assert_eq!(stands, state, "{what}"),
                        Err(error) => panic!("{what}: {error}"),
                    }
                    assert_eq!(desk.referral(friend.referral).await, before, "{what}");
                    assert_eq!(desk.count("security_events").await, events, "{what}");
                    assert_eq!(desk.count("outbox").await, jobs, "{what}");
                }
                // What is settled stays so, whatever is delivered.
                let stands = desk.referral(friend.referral).await;
                if !["pending"].contains(&stands.0.as_str()) {
                    desk.run(desk.promise_settlement(friend.referral).await).await;
                    assert_eq!(desk.referral(friend.referral).await, stands, "{what}");
                }
                assert_eq!(desk.broken_invariants().await, [""; 0], "{what}");
            }
        }
    }
    let nobody = rule(&desk, Uuid::now_v7(), Verdict::Approve).await;
    assert!(matches!(nobody, Err(RulingError::NoSuchReferral)), "{nobody:?}");
}

#[tokio::test]
async fn an_approved_referral_is_settled_whatever_speaks_against_it() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = doubtful(&desk, "bob", &ada).await;
    rule(&desk, bob.referral, Verdict::Approve).await.unwrap();
    desk.run_queue("rewards").await;
    assert_eq!(desk.referral(bob.referral).await.1, "awaiting_verification", "one thing is still missing");
    desk.confirm(bob.id).await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.referral(bob.referral).await.0, "successful");
    assert_eq!(desk.balances(ada.id).await["credits"], "10.00");
    desk.check_ledger().await;
    // And if it was confirmed before, at once.
    let eve = doubtful(&desk, "eve", &ada).await;
    desk.confirm(eve.id).await;
    rule(&desk, eve.referral, Verdict::Approve).await.unwrap();
    desk.run_queue("rewards").await;
    assert_eq!(desk.referral(eve.referral).await.0, "successful");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f9_a_reversal_takes_back_what_both_sides_earned_once() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 5, &ada).await;
    for friend in &friends {
        desk.confirm(friend.id).await;
        desk.run_queue("rewards").await;
    }
    assert_eq!(desk.balances(ada.id).await["premium"], "30.00");
    for _ in 0..2 {
        rule(&desk, friends[4].referral, Verdict::Reverse).await.unwrap();
        assert_eq!(
            desk.referral(friends[4].referral).await,
            ("reversed".into(), "reversed_by_manager".into())
        );
        assert_eq!(desk.balances(ada.id).await["credits"], "40.00");
        assert_eq!(desk.balances(friends[4].id).await["credits"], "0.00");
        desk.check_ledger().await;
    }
    let parallel = join_all((0..10).map(|_| rule(&desk, friends[3].referral, Verdict::Reverse))).await;
    assert_eq!(parallel.iter().filter(|ruled| !ruled.as_ref().unwrap().changed.is_empty()).count(), 1);
    assert_eq!(desk.balances(ada.id).await["credits"], "30.00");
    assert_eq!(desk.count("security_events WHERE event = 'referral_reversed'").await, 2);
    desk.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_managers_at_once_one_decides() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    for round in 0..10 {
        let friend = doubtful(&desk, &format!("friend{round}"), &ada).await;
        desk.confirm(friend.id).await;
        let (approved, rejected) = tokio::join!(
            rule(&desk, friend.referral, Verdict::Approve),
            rule(&desk, friend.referral, Verdict::Reject)
        );
        let status = match (approved, rejected) {
            (Ok(_), Err(RulingError::Conflict(ReferralStatus::Pending))) => "pending",
            (Err(RulingError::Conflict(ReferralStatus::Rejected)), Ok(_)) => "rejected",
            other => panic!("both or neither: {other:?}"),
        };
        assert_eq!(desk.referral(friend.referral).await.0, status);
        desk.check_ledger().await;
    }
}

/// Everything that may happen to one referral, at once, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn decisions_settlements_deletions_and_blocks_that_race_end_in_order() {
    let desk = Arc::new(Desk::new().await);
    for round in 0..8 {
        let ada = desk.person(&format!("ada{round}")).await;
        let mut friends = Vec::new();
        for number in 0..6 {
            let friend = doubtful(&desk, &format!("f{round}-{number}"), &ada).await;
            desk.confirm(friend.id).await;
            friends.push(friend);
        }
        for friend in &friends[..3] {
            rule(&desk, friend.referral, Verdict::Approve).await.unwrap();
        }
        desk.sql("DELETE FROM outbox WHERE queue = 'mail'").await;
        let mut happening = Vec::new();
        for friend in &friends {
            for verdict in [Verdict::Approve, Verdict::Reverse, Verdict::Reject, Verdict::Reverse] {
                let (desk, referral) = (Arc::clone(&desk), friend.referral);
                happening.push(tokio::spawn(async move {
                    match rule(&desk, referral, verdict).await {
                        Ok(_) | Err(RulingError::Conflict(_)) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }));
            }
            let job = desk.promise_settlement(friend.referral).await;
            let desk = Arc::clone(&desk);
            happening.push(tokio::spawn(async move { desk.run(job).await }));
        }
        for gone in [friends[1].id, friends[4].id].into_iter().chain((round % 2 == 0).then_some(ada.id)) {
            let desk = Arc::clone(&desk);
            happening.push(tokio::spawn(async move { desk.delete(gone).await }));
        }
        let kept_out = friends[5].id;
        {
            let desk = Arc::clone(&desk);
            happening.push(tokio::spawn(async move {
                block(&desk, kept_out).await;
                unblock(&desk, kept_out).await;
            }));
        }
        for happened in happening {
            happened.await.unwrap();
        }
        desk.run_queue("rewards").await;
        desk.check_ledger().await;
        assert_eq!(desk.count("outbox WHERE queue = 'rewards' AND attempts <> 1").await, 0, "no job failed");
        for friend in [friends[1], friends[4]] {
            let (status, reason) = desk.referral(friend.referral).await;
            assert!(["rejected", "successful", "reversed"].contains(&status.as_str()), "{status} {reason}");
        }
    }
}

#[tokio::test]
async fn a_blocked_account_earns_and_brings_nothing_until_it_is_let_in_again() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    let eve = doubtful(&desk, "eve", &ada).await;
    desk.confirm(eve.id).await;
    block(&desk, bob.id).await;
    block(&desk, eve.id).await;
    rule(&desk, eve.referral, Verdict::Approve).await.unwrap();
    // The mail was out already.
    desk.sql(&format!("UPDATE users SET email_verified_at = now() WHERE id = '{}'", bob.id)).await;
    desk.run(desk.promise_settlement(bob.referral).await).await;
    desk.run_queue("rewards").await;
    for friend in [bob, eve] {
        assert_eq!(desk.referral(friend.referral).await.0, "pending");
    }
    assert_eq!(desk.count("rewards").await, 0);
    // Nothing has waited for long: it is not for the hourly look at what stands still.
    for friend in [bob, eve] {
        unblock(&desk, friend.id).await;
    }
    desk.run_queue("rewards").await;
    for friend in [bob, eve] {
        assert_eq!(desk.referral(friend.referral).await.0, "successful");
    }
    desk.check_ledger().await;

    block(&desk, ada.id).await;
    let late = desk
        .register("late", "late@example.org", Some(domain::referrals::Claim::Link(ada.referral_code.clone())))
        .await
        .unwrap();
    assert!(late.referral.is_none(), "the code of a blocked account brings nobody");
    let spent = desk.redeem(ada.id, "premium_7_days", "week").await;
    assert!(matches!(spent, Err(RedeemError::NoSuchAccount)), "{spent:?}");
    let events =
        "security_events WHERE actor = 'operator' AND event IN ('account_blocked', 'account_unblocked')";
    assert_eq!(desk.count(events).await, 5);
    block(&desk, ada.id).await;
    assert_eq!(desk.count(events).await, 5, "twice is once");
    desk.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_close_what_lies_with_the_managers_too() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = doubtful(&desk, "bob", &ada).await;
    let eve = doubtful(&desk, "eve", &ada).await;
    let mia = desk.friend("mia", &ada).await;
    desk.delete(bob.id).await;
    assert_eq!(desk.referral(bob.referral).await, ("rejected".into(), "referred_deleted".into()));
    desk.check_ledger().await;
    desk.delete(ada.id).await;
    for friend in [eve, mia] {
        assert_eq!(desk.referral(friend.referral).await, ("rejected".into(), "referrer_deleted".into()));
    }
    let late = rule(&desk, eve.referral, Verdict::Approve).await;
    assert!(matches!(late, Err(RulingError::Conflict(ReferralStatus::Rejected))), "{late:?}");
    assert_eq!(desk.count("security_events WHERE event = 'referral_rejected'").await, 3);
    desk.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_has_one_effect_and_one_row_in_the_record() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let adjust = |hundredths: i64, key: &'static str| {
        let adjustment = Adjustment {
            user_id: ada.id,
            amount: Amount::from_hundredths(hundredths),
            reason: "a test",
            actor: Actor::Operator,
            idempotency_key: key,
        };
        let (pool, now) = (desk.pool.clone(), desk.clock.now());
        async move { rewards::adjust_and_record(&pool, now, adjustment, &Trace::default()).await }
    };
    let made = join_all((0..10).map(|_| adjust(2_500, "once"))).await;
    assert_eq!(made.iter().filter(|one| !one.as_ref().unwrap().repeated).count(), 1);
    assert_eq!(desk.balances(ada.id).await["credits"], "25.00");
    assert_eq!(desk.count("security_events WHERE event = 'credits_adjusted'").await, 1);
    assert!(matches!(adjust(-2_501, "more").await, Err(AdjustError::Insufficient(_))));
    assert!(matches!(adjust(1, "once").await, Err(AdjustError::KeyReused)));
    adjust(-2_500, "all").await.unwrap();
    assert_eq!(desk.balances(ada.id).await["credits"], "0.00");
    desk.check_ledger().await;
}
