//! Taking back what a referral earned, and adjusting credits.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use domain::audit::{Actor, Trace};
use domain::rewards::{self, AdjustError, CouponError, Reversal, Till};
use futures_util::future::join_all;
use uuid::Uuid;

use super::desk::Desk;

/// What was taken and what stayed, by user and kind.
fn figures(reversals: &[Reversal]) -> BTreeMap<(Uuid, &'static str), (String, String)> {
    let figure =
        |r: &Reversal| ((r.user_id, r.kind.as_str()), (r.taken.to_string(), r.shortfall.to_string()));
    reversals.iter().map(figure).collect()
}

fn took(taken: &str, shortfall: &str) -> (String, String) {
    (taken.to_owned(), shortfall.to_owned())
}

#[tokio::test]
async fn f9_l6_a_reversal_takes_back_both_sides_once() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    desk.run_queue("rewards").await;
    let reversals = desk.reverse(bob.referral).await;
    let expected =
        [((ada.id, "credits"), took("10.00", "0.00")), ((bob.id, "credits"), took("5.00", "0.00"))];
    assert_eq!(figures(&reversals), expected.into());
    assert_eq!(desk.balances(ada.id).await["credits"], "0.00");
    assert_eq!(desk.balances(bob.id).await["credits"], "0.00");
    let entries = "ledger_entries e JOIN ledger_entries g ON g.id = e.reverses_id
                   WHERE e.cause = 'reversal' AND e.amount = -g.amount AND e.shortfall = 0 AND e.reason = 'forged accounts'";
    assert_eq!(desk.count(entries).await, 2, "each names the entry it takes back");
    desk.check_ledger().await;

    assert_eq!(desk.reverse(bob.referral).await, [], "twice changes nothing");
    let pools: Vec<_> = (0..8).map(|_| desk.reverse(bob.referral)).collect();
    assert!(join_all(pools).await.iter().all(Vec::is_empty));
    assert_eq!(desk.count("ledger_entries").await, 4);
    desk.check_ledger().await;
}

#[tokio::test]
async fn f9_l6_reversals_at_once_take_back_once() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    desk.run_queue("rewards").await;
    let done = join_all((0..20).map(|_| desk.reverse(bob.referral))).await;
    let taken: Vec<_> = done.into_iter().flatten().collect();
    assert_eq!(taken.len(), 2, "{taken:?}");
    assert_eq!(desk.count("ledger_entries WHERE cause = 'reversal'").await, 2);
    desk.check_ledger().await;
}

#[tokio::test]
async fn f9_what_was_spent_stays_and_is_written_as_the_shortfall() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 2, &ada).await;
    for friend in &friends {
        desk.confirm(friend.id).await;
    }
    desk.run_queue("rewards").await;
    desk.redeem(ada.id, "premium_7_days", "week").await.unwrap();
    assert_eq!(desk.balances(ada.id).await["credits"], "5.00");
    let first = figures(&desk.reverse(friends[0].referral).await);
    assert_eq!(first[&(ada.id, "credits")], took("5.00", "5.00"));
    let second = figures(&desk.reverse(friends[1].referral).await);
    assert_eq!(second[&(ada.id, "credits")], took("0.00", "10.00"), "an entry of nothing says so");
    assert_eq!(desk.balances(ada.id).await["credits"], "0.00");
    assert_eq!(desk.balances(ada.id).await["premium"], "7.00", "what was bought stays");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f9_a_reversed_period_ends_and_later_ones_move_up() {
    let desk = Desk::new().await;
    desk.change_rules(|rules| rules.iter_mut().for_each(|rule| rule.milestone = rule.milestone.map(|_| 1)))
        .await;
    desk.sql("UPDATE reward_catalog SET cost = 1").await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    desk.run_queue("rewards").await;
    let granted = desk.clock.now();
    desk.redeem(ada.id, "premium_7_days", "a week").await.unwrap();
    let until = async || -> f64 {
        let end =
            "SELECT extract(epoch FROM max(ends_at))::float8 FROM premium_periods WHERE reversed_at IS NULL";
        desk.database.value(end).await
    };
    let days = |at: f64| (at - granted.timestamp() as f64) / 86_400.0;
    assert!((days(until().await) - 37.0).abs() < 0.01, "thirty days and then seven");

    desk.clock.advance(TimeDelta::days(10));
    let reversed = figures(&desk.reverse(bob.referral).await);
    assert_eq!(reversed[&(ada.id, "premium")], took("20.00", "10.00"), "to the nearest hundredth");
    assert!((days(until().await) - 17.0).abs() < 0.01, "the week bought begins now");
    assert_eq!(desk.balances(ada.id).await["premium"], "17.00");
    desk.adjust(ada.id, 100, "the price of a week").await.unwrap();
    desk.redeem(ada.id, "premium_7_days", "another week").await.unwrap();
    assert!((days(until().await) - 24.0).abs() < 0.01, "periods add up as before");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f9_a_coupon_that_was_used_cannot_be_voided_and_a_void_one_not_used() {
    let desk = Desk::new().await;
    desk.change_rules(|rules| rules.iter_mut().for_each(|rule| rule.milestone = rule.milestone.map(|_| 1)))
        .await;
    let ada = desk.person("ada").await;
    let carl = desk.person("carl").await;
    let (bob, dora) = (desk.friend("bob", &ada).await, desk.friend("dora", &carl).await);
    desk.confirm(bob.id).await;
    desk.confirm(dora.id).await;
    desk.run_queue("rewards").await;
    let code = async |user: Uuid| -> String {
        desk.database.value(&format!("SELECT code FROM discounts WHERE user_id = '{user}'")).await
    };
    let (of_ada, of_carl) = (code(ada.id).await, code(carl.id).await);
    let till = Till { code: &of_ada, order: "1", actor: Actor::System };
    rewards::use_coupon(&desk.pool, desk.clock.now(), till, &Trace::default()).await.unwrap();
    assert_eq!(figures(&desk.reverse(bob.referral).await)[&(ada.id, "discount")], took("0.00", "1.00"));
    assert_eq!(figures(&desk.reverse(dora.referral).await)[&(carl.id, "discount")], took("1.00", "0.00"));
    let till = Till { code: &of_carl, order: "2", actor: Actor::System };
    let refused = rewards::use_coupon(&desk.pool, desk.clock.now(), till, &Trace::default()).await;
    assert!(matches!(refused, Err(CouponError::Unavailable)), "{refused:?}");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f8_f9_a_milestone_that_was_taken_back_in_full_can_be_reached_again() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 11, &ada).await;
    for friend in &friends[..10] {
        desk.confirm(friend.id).await;
        desk.run_queue("rewards").await;
    }
    desk.clock.advance(TimeDelta::hours(1));
    desk.reverse(friends[4].referral).await; // The fifth: its thirty days had begun.
    desk.reverse(friends[9].referral).await; // The tenth: its coupon was not used.
    assert_eq!(desk.balances(ada.id).await["discount"], "0.00");
    desk.confirm(friends[10].id).await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.balances(ada.id).await["discount"], "0.00", "nine are successful");
    let last = desk.friend("last", &ada).await;
    desk.confirm(last.id).await;
    desk.run_queue("rewards").await;
    assert_eq!(desk.balances(ada.id).await["discount"], "1.00", "ten again");
    assert_eq!(
        desk.count("rewards WHERE milestone = 5").await,
        1,
        "what was spent in part is not given again"
    );
    assert_eq!(desk.count("rewards WHERE milestone = 10").await, 2);
    desk.check_ledger().await;
}

#[tokio::test]
async fn f8_f9_a_milestone_is_promised_and_given_again_only_if_nothing_of_it_was_used() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 7, &ada).await;
    let settle = async |friend: usize| {
        desk.confirm(friends[friend].id).await;
        desk.run_queue("rewards").await;
    };
    let next = async || {
        let stats = domain::referrals::stats(&desk.pool, desk.clock.now(), ada.id).await.unwrap().unwrap();
        stats.next_milestone.map(|next| (next.at, next.remaining))
    };
    for friend in 0..5 {
        settle(friend).await;
    }
    assert_eq!(next().await, Some((10, 5)));
    assert_eq!(
        figures(&desk.reverse(friends[4].referral).await)[&(ada.id, "premium")],
        took("30.00", "0.00")
    );
    assert_eq!(next().await, Some((5, 1)));
    settle(5).await;
    assert_eq!(desk.count("rewards WHERE milestone = 5").await, 2);

    desk.clock.advance(TimeDelta::days(1));
    assert_eq!(
        figures(&desk.reverse(friends[5].referral).await)[&(ada.id, "premium")],
        took("29.00", "1.00")
    );
    assert_eq!(next().await, Some((10, 6)), "a day of it was used");
    settle(6).await;
    assert_eq!(desk.count("rewards WHERE milestone = 5").await, 2);
    let said = "reward_decisions WHERE decision = 'ineligible' AND reason = 'milestone_had'";
    assert_eq!(desk.count(said).await, 1);
    desk.check_ledger().await;
}

#[tokio::test]
async fn l4_l5_adjustments_have_one_effect_for_a_key_and_never_go_below_zero() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await.id;
    let made = desk.adjust(ada, 2_500, "k1").await.unwrap();
    assert!(!made.repeated && made.balance.to_string() == "25.00");
    let again = desk.adjust(ada, 2_500, "k1").await.unwrap();
    assert_eq!((again.repeated, again.entry_id, again.balance), (true, made.entry_id, made.balance));
    assert!(matches!(desk.adjust(ada, 2_600, "k1").await, Err(AdjustError::KeyReused)));
    assert!(matches!(desk.adjust(ada, 0, "k2").await, Err(AdjustError::Nothing)));
    match desk.adjust(ada, -2_501, "k2").await {
        Err(AdjustError::Insufficient(balance)) => assert_eq!(balance.to_string(), "25.00"),
        other => panic!("{other:?}"),
    }
    desk.adjust(ada, -500, "k2").await.unwrap();
    assert_eq!(desk.balances(ada).await["credits"], "20.00");
    assert!(matches!(desk.adjust(Uuid::now_v7(), 1, "k").await, Err(AdjustError::NoSuchAccount)));
    desk.check_ledger().await;

    let spent =
        join_all((0..20).map(|n| desk.adjust(ada, -2_000, if n % 2 == 0 { "even" } else { "odd" }))).await;
    let effects = spent.iter().flatten().filter(|adjusted| !adjusted.repeated).count();
    assert_eq!(effects, 1, "of twenty at once one takes what there is: {spent:?}");
    assert_eq!(desk.balances(ada).await["credits"], "0.00");
    desk.delete(ada).await;
    assert!(matches!(desk.adjust(ada, 100, "late").await, Err(AdjustError::NoSuchAccount)));
    desk.check_ledger().await;
}
