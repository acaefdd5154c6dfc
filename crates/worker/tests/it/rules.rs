//! Caps, campaigns and new versions of the rules, while workers settle.

use chrono::TimeDelta;
use domain::audit::{Actor, Trace};
use domain::rewards::{self, Amount, Beneficiary, ReplaceError, Replacement, RewardKind, RuleSpec};
use futures_util::future::join_all;

use super::desk::{Desk, rule};

const PER_REFERRAL: &str = "per_referral.referrer.credits";

#[tokio::test(flavor = "multi_thread")]
async fn l7_of_twenty_settlements_at_once_a_cap_of_three_lets_three_through() {
    let desk = Desk::new().await;
    desk.change_rules(|rules| rule(rules, PER_REFERRAL).max_total = Some(3)).await;
    let ada = desk.person("ada").await;
    let friends = desk.friends("friend", 20, &ada).await;
    desk.sql("DELETE FROM outbox WHERE queue = 'mail'").await;
    join_all(friends.iter().map(|friend| desk.confirm(friend.id))).await;
    let _workers: Vec<_> = (0..3).map(|_| desk.work()).collect();
    desk.all_done().await;

    let decided = |decision: &str, reason: &str| {
        format!(
            "reward_decisions d JOIN reward_rules r ON r.id = d.rule_id
             WHERE r.key = '{PER_REFERRAL}' AND decision = '{decision}' AND reason = '{reason}'"
        )
    };
    assert_eq!(desk.count(&decided("granted", "referral_successful")).await, 3);
    assert_eq!(desk.count(&decided("capped", "cap_total")).await, 17, "each is decided, with its reason");
    assert_eq!(desk.balances(ada.id).await["credits"], "30.00");
    assert_eq!(
        desk.count("rewards WHERE beneficiary = 'referred'").await,
        20,
        "the friends' side is its own"
    );
    assert_eq!(desk.count("rewards WHERE milestone IS NOT NULL").await, 2, "milestones are too");
    desk.check_ledger().await;
}

#[tokio::test]
async fn l7_a_cap_by_month_begins_anew_each_month_and_one_in_all_does_not() {
    let desk = Desk::new().await;
    desk.change_rules(|rules| {
        rule(rules, PER_REFERRAL).max_per_month = Some(2);
        rule(rules, PER_REFERRAL).max_total = Some(5);
    })
    .await;
    let ada = desk.person("ada").await;
    let mut credits = Vec::new();
    for month in 0..4 {
        for friend in desk.friends(&format!("friend{month}-"), 3, &ada).await {
            desk.confirm(friend.id).await;
        }
        desk.run_queue("rewards").await;
        credits.push(desk.balances(ada.id).await["credits"].clone());
        desk.check_ledger().await;
        desk.clock.advance(TimeDelta::days(31));
    }
    assert_eq!(credits, ["20.00", "40.00", "50.00", "50.00"]);
    let withheld =
        |reason: &str| format!("reward_decisions WHERE decision = 'capped' AND reason = '{reason}'");
    assert_eq!(desk.count(&withheld("cap_per_month")).await, 2);
    assert_eq!(desk.count(&withheld("cap_total")).await, 5);
}

/// A reversal does not make room: a cap is on what was granted.
#[tokio::test]
async fn l7_a_cap_counts_what_was_granted_whatever_became_of_it_or_of_the_rule() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let settle = async |name: &str| {
        let friend = desk.friend(name, &ada).await;
        desk.confirm(friend.id).await;
        desk.run_queue("rewards").await;
        friend
    };
    let first = settle("first").await;
    settle("second").await;
    desk.reverse(first.referral).await;
    desk.change_rules(|rules| rule(rules, PER_REFERRAL).max_total = Some(3)).await;
    settle("third").await;
    settle("fourth").await;
    assert_eq!(desk.balances(ada.id).await["credits"], "20.00", "two of the three were kept");
    desk.change_rules(|rules| rule(rules, PER_REFERRAL).max_total = Some(1)).await;
    desk.check_ledger().await;
    settle("fifth").await;
    desk.change_rules(|rules| rule(rules, PER_REFERRAL).max_total = None).await;
    settle("sixth").await;
    assert_eq!(desk.balances(ada.id).await["credits"], "30.00");
    desk.check_ledger().await;
}

#[tokio::test]
async fn a_campaign_is_in_force_between_its_dates_beside_the_standing_rules() {
    let desk = Desk::new().await;
    let now = desk.clock.now();
    desk.change_rules(|rules| {
        rules.push(RuleSpec {
            milestone: None,
            beneficiary: Beneficiary::Referred,
            kind: RewardKind::Credits,
            amount: Amount::from_hundredths(750),
            campaign: Some("advent".to_owned()),
            max_per_month: None,
            max_total: None,
            starts_at: Some(now + TimeDelta::days(10)),
            ends_at: Some(now + TimeDelta::days(20)),
        });
    })
    .await;
    let ada = desk.person("ada").await;
    let mut credits = Vec::new();
    for name in ["before", "within", "after"] {
        let friend = desk.friend(name, &ada).await;
        desk.confirm(friend.id).await;
        desk.run_queue("rewards").await;
        credits.push(desk.balances(friend.id).await["credits"].clone());
        desk.clock.advance(TimeDelta::days(11));
    }
    assert_eq!(credits, ["5.00", "12.50", "5.00"]);
    assert_eq!(desk.balances(ada.id).await["credits"], "30.00");
    desk.check_ledger().await;
}

#[tokio::test]
async fn f8_a_milestone_of_the_referred_side_goes_to_the_friend_who_made_it() {
    let desk = Desk::new().await;
    desk.change_rules(|rules| {
        let third = RuleSpec {
            milestone: Some(3),
            beneficiary: Beneficiary::Referred,
            kind: RewardKind::Discount,
            amount: Amount::from_whole(15),
            ..rules[0].clone()
        };
        rules.push(RuleSpec { campaign: None, ..third });
    })
    .await;
    let ada = desk.person("ada").await;
    for n in 0..6 {
        let friend = desk.friend(&format!("friend{n}"), &ada).await;
        desk.confirm(friend.id).await;
        desk.run_queue("rewards").await;
        assert_eq!(desk.balances(friend.id).await.contains_key("discount"), n == 2, "friend {n}");
    }
    desk.check_ledger().await;
}

#[tokio::test]
async fn of_managers_who_edit_the_rules_at_once_one_does_and_history_keeps_its_figures() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let bob = desk.friend("bob", &ada).await;
    desk.confirm(bob.id).await;
    desk.run_queue("rewards").await;
    let before = rewards::rules(&desk.pool).await.unwrap();
    let edits =
        join_all((1..=8).map(|n| {
            let mut rules = before.rules.clone();
            rule(&mut rules, PER_REFERRAL).amount = Amount::from_whole(100 + n);
            let replacement = Replacement { version: before.version, rules, actor: Actor::Operator };
            let desk = &desk;
            async move {
                rewards::replace_rules(&desk.pool, desk.clock.now(), replacement, &Trace::default()).await
            }
        }))
        .await;
    let (done, overtaken): (Vec<_>, Vec<_>) = edits.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), 1);
    assert!(overtaken.iter().all(|edit| matches!(edit, Err(ReplaceError::Overtaken))), "{overtaken:?}");
    let after = rewards::rules(&desk.pool).await.unwrap();
    assert_eq!((after.version, after.rules.len()), (before.version + 1, 4));
    assert_eq!(
        desk.count("reward_rules WHERE retired_at IS NOT NULL").await,
        1,
        "the others were not touched"
    );
    assert_eq!(desk.count("security_events WHERE event = 'reward_rules_changed'").await, 1);
    let kept = "rewards r JOIN reward_rules k ON k.id = r.rule_id
                WHERE r.beneficiary = 'referrer' AND r.amount = 10 AND k.version = 1 AND k.amount = 10";
    assert_eq!(desk.count(kept).await, 1);
    for version in [0, before.version, after.version + 1, i32::MAX] {
        let replacement = Replacement { version, rules: before.rules.clone(), actor: Actor::Operator };
        let refused =
            rewards::replace_rules(&desk.pool, desk.clock.now(), replacement, &Trace::default()).await;
        assert!(matches!(refused, Err(ReplaceError::Overtaken)), "{version}: {refused:?}");
    }
    // And back again: a version of its own.
    desk.change_rules(|rules| rules.clone_from(&before.rules)).await;
    let versions = "reward_rules WHERE key = 'per_referral.referrer.credits' AND version = 3 AND retired_at IS NULL AND amount = 10";
    assert_eq!(desk.count(versions).await, 1);
    desk.check_ledger().await;
}
