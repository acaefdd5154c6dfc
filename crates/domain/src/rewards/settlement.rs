//! What a successful referral earns: each rule in force is granted, withheld by a cap, or not due.

use std::cmp::Ordering;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use super::store::{self, Cause, Entry, Rule, Source};
use super::{Beneficiary, RewardKind, coupons};
use crate::db::{DbError, Tx};

/// A referral that has just become successful, and its two sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides {
    pub(crate) referral_id: Uuid,
    pub(crate) referrer_id: Uuid,
    pub(crate) referred_id: Uuid,
}

impl Sides {
    pub(super) fn user_of(self, beneficiary: Beneficiary) -> Uuid {
        match beneficiary {
            Beneficiary::Referrer => self.referrer_id,
            Beneficiary::Referred => self.referred_id,
        }
    }
}

/// One grant that a rule gives.
pub(super) struct Grant {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) beneficiary: Beneficiary,
    pub(super) rule: Rule,
    pub(super) kind: RewardKind,
}

/// One that is withheld, and why.
pub(super) struct Withheld {
    pub(super) rule_id: Uuid,
    pub(super) beneficiary: Beneficiary,
    pub(super) why: Why,
}

/// Why a rule gives nothing, though its referral is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The cap of a month.
    MonthFull,
    /// The cap in all.
    TotalFull,
    /// The milestone was reached before, and what it gave then was kept or used in part.
    MilestoneHad,
}

impl Why {
    /// The decision and its reason, as the beneficiary reads them.
    pub(super) const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::MonthFull => ("capped", "cap_per_month"),
            Self::TotalFull => ("capped", "cap_total"),
            Self::MilestoneHad => ("ineligible", "milestone_had"),
        }
    }
}

/// What was granted to a referrer's referrals before.
struct Before {
    /// Of the referrer's milestones: at how many, and which kind.
    reached: Vec<(i32, String)>,
    /// By rule and month.
    tallies: Vec<(String, NaiveDate, i64)>,
    /// This month.
    month: NaiveDate,
}

/// What becomes of a rule.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Due,
    Withheld(Why),
    NotDue,
}

impl Before {
    fn total(&self, key: &str) -> i64 {
        self.tallies.iter().filter(|(of, ..)| of == key).map(|(.., granted)| granted).sum()
    }

    fn in_month(&self, key: &str) -> i64 {
        let own = self.tallies.iter().filter(|(of, month, _)| of == key && *month == self.month);
        own.map(|(.., granted)| granted).sum()
    }

    fn judge(&self, rule: &Rule, beneficiary: Beneficiary, successful: i64) -> Outcome {
        if let Some(milestone) = rule.milestone {
            let had = match beneficiary {
                Beneficiary::Referrer => {
                    self.reached.iter().any(|(n, kind)| *n == milestone && *kind == rule.reward_type)
                }
                // The friend who made it so many, once a referrer.
                Beneficiary::Referred => self.total(&rule.key) > 0,
            };
            return match i64::from(milestone).cmp(&successful) {
                Ordering::Greater => Outcome::NotDue,
                _ if !had => Outcome::Due,
                // Said once, when it is reached again.
                Ordering::Equal => Outcome::Withheld(Why::MilestoneHad),
                Ordering::Less => Outcome::NotDue,
            };
        }
        let full = |cap: Option<i32>, granted: i64| cap.is_some_and(|cap| granted >= i64::from(cap));
        if full(rule.max_total, self.total(&rule.key)) {
            Outcome::Withheld(Why::TotalFull)
        } else if full(rule.max_per_month, self.in_month(&rule.key)) {
            Outcome::Withheld(Why::MonthFull)
        } else {
            Outcome::Due
        }
    }
}

/// The first day of the month of an instant, in UTC.
fn month_of(instant: DateTime<Utc>) -> NaiveDate {
    let day = instant.date_naive();
    day.checked_sub_days(Days::new(u64::from(day.day0()))).unwrap_or(day)
}

/// Decides the rewards of both sides and writes them. `successful` is the referrer's count with this referral in it; the
/// caller holds the lock on that counter, so each count is seen by one settlement only, and caps by one at a time.
pub(crate) async fn decide(
    tx: &mut Tx,
    now: DateTime<Utc>,
    sides: Sides,
    successful: i64,
) -> Result<(), DbError> {
    let rules = store::rules_in_force(tx, now).await?;
    let before = look_back(tx, now, sides, successful, &rules).await?;
    let (mut grants, mut withheld) = (Vec::new(), Vec::new());
    for rule in rules {
        let words = (RewardKind::parse(&rule.reward_type), Beneficiary::parse(&rule.beneficiary));
        let (Some(kind), Some(beneficiary)) = words else { continue };
        match before.judge(&rule, beneficiary, successful) {
            Outcome::Due => {
                let user_id = sides.user_of(beneficiary);
                grants.push(Grant { id: Uuid::now_v7(), user_id, beneficiary, rule, kind });
            }
            Outcome::Withheld(why) => withheld.push(Withheld { rule_id: rule.id, beneficiary, why }),
            Outcome::NotDue => {}
        }
    }
    store::insert_rewards(tx, now, sides.referral_id, &grants).await?;
    store::insert_decisions(tx, now, sides, &grants, &withheld).await?;
    let keys: Vec<&str> = grants.iter().map(|grant| grant.rule.key.as_str()).collect();
    store::tally(tx, sides.referrer_id, before.month, &keys).await?;
    post(tx, now, &grants).await?;
    for grant in &grants {
        hand_over(tx, now, grant).await?;
    }
    Ok(())
}

/// Reads only what a rule asks about.
async fn look_back(
    tx: &mut Tx,
    now: DateTime<Utc>,
    sides: Sides,
    successful: i64,
    rules: &[Rule],
) -> Result<Before, DbError> {
    let due = |rule: &Rule| rule.milestone.is_some_and(|n| i64::from(n) <= successful);
    let of_referred = |rule: &Rule| rule.beneficiary == Beneficiary::Referred.as_str();
    let reached = if rules.iter().any(|rule| due(rule) && !of_referred(rule)) {
        store::reached_milestones(tx, sides.referrer_id).await?
    } else {
        Vec::new()
    };
    let counted = |rule: &&Rule| {
        rule.max_total.is_some() || rule.max_per_month.is_some() || due(rule) && of_referred(rule)
    };
    let keys: Vec<&str> = rules.iter().filter(counted).map(|rule| rule.key.as_str()).collect();
    let tallies =
        if keys.is_empty() { Vec::new() } else { store::tallies(tx, sides.referrer_id, &keys).await? };
    Ok(Before { reached, tallies, month: month_of(now) })
}

/// Adds the grants to the balances, in one order for all (user, kind), and writes the entries.
async fn post(tx: &mut Tx, now: DateTime<Utc>, grants: &[Grant]) -> Result<(), DbError> {
    let mut sorted: Vec<&Grant> = grants.iter().collect();
    sorted.sort_by_key(|grant| (grant.user_id, grant.kind.as_str()));
    let mut entries = Vec::with_capacity(sorted.len());
    for grant in sorted {
        let amount = grant.kind.entry(grant.rule.amount);
        let balance_after = store::add_to_balance(tx, grant.user_id, grant.kind, amount).await?;
        let cause = Cause::Referral { reward_id: grant.id };
        entries.push(Entry::new((grant.user_id, grant.kind), amount, balance_after, cause, now));
    }
    Ok(store::insert_entries(tx, &entries).await?)
}

/// Makes what a grant is besides its entry: the period, or the coupon.
async fn hand_over(tx: &mut Tx, now: DateTime<Utc>, grant: &Grant) -> Result<(), DbError> {
    let (source, user_id, amount) = (Source::Reward(grant.id), grant.user_id, grant.rule.amount);
    match grant.kind {
        RewardKind::Credits => {}
        RewardKind::Premium => {
            let starts_at = store::premium_end(tx, user_id, now).await?;
            let ends_at = starts_at + TimeDelta::try_days(amount.whole()).unwrap_or_default();
            store::insert_period(tx, source, user_id, (starts_at, ends_at)).await?;
        }
        RewardKind::Discount => {
            store::insert_discount(tx, source, user_id, &coupons::new_code(), amount, now).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Amount;
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn rule(milestone: Option<i32>, max_per_month: Option<i32>, max_total: Option<i32>) -> Rule {
        Rule {
            id: Uuid::nil(),
            key: "k".to_owned(),
            milestone,
            beneficiary: "referrer".to_owned(),
            reward_type: "credits".to_owned(),
            amount: Amount::from_whole(1),
            max_per_month,
            max_total,
        }
    }

    fn before(this_month: i64, last_month: i64) -> Before {
        Before {
            reached: vec![(5, "credits".to_owned()), (10, "premium".to_owned())],
            tallies: vec![
                ("k".to_owned(), day("2026-11-01"), this_month),
                ("k".to_owned(), day("2026-10-01"), last_month),
                ("other".to_owned(), day("2026-11-01"), 99),
            ],
            month: day("2026-11-01"),
        }
    }

    #[test]
    fn l7_caps_count_the_month_and_the_whole() {
        let judge = |this, last, month, total| {
            before(this, last).judge(&rule(None, month, total), Beneficiary::Referrer, 1)
        };
        assert_eq!(judge(50, 50, None, None), Outcome::Due);
        assert_eq!(judge(2, 50, Some(3), None), Outcome::Due);
        assert_eq!(judge(3, 0, Some(3), None), Outcome::Withheld(Why::MonthFull));
        assert_eq!(judge(4, 0, Some(3), None), Outcome::Withheld(Why::MonthFull), "the cap was lowered");
        assert_eq!(judge(2, 5, Some(3), Some(8)), Outcome::Due);
        assert_eq!(judge(2, 6, Some(3), Some(8)), Outcome::Withheld(Why::TotalFull));
    }

    #[test]
    fn f8_a_milestone_is_due_from_its_number_on_and_once_a_side() {
        let judge = |n, side, successful| before(0, 0).judge(&rule(Some(n), None, None), side, successful);
        assert_eq!(judge(5, Beneficiary::Referrer, 7), Outcome::NotDue, "it was had");
        assert_eq!(judge(5, Beneficiary::Referrer, 5), Outcome::Withheld(Why::MilestoneHad), "reached again");
        assert_eq!(judge(10, Beneficiary::Referrer, 9), Outcome::NotDue);
        assert_eq!(judge(10, Beneficiary::Referrer, 10), Outcome::Due, "the premium of ten is another one");
        assert_eq!(judge(5, Beneficiary::Referred, 5), Outcome::Due);
        let had = before(1, 0).judge(&rule(Some(5), None, None), Beneficiary::Referred, 6);
        assert_eq!(had, Outcome::NotDue);
    }

    #[test]
    fn months_are_those_of_utc() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(month_of(at("2026-11-30T23:59:59Z")), day("2026-11-01"));
        assert_eq!(month_of(at("2026-12-01T00:30:00+01:00")), day("2026-11-01"));
        assert_eq!(month_of(at("2026-12-01T00:00:00Z")), day("2026-12-01"));
    }
}
