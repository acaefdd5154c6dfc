//! What the rules decide in the model, from all that was decided before.

use std::cmp::Ordering;

use chrono::{Datelike as _, NaiveDate};
use domain::rewards::{Amount, Beneficiary, RewardKind, RuleSpec};

use super::model::Model;

/// A decision about one side of a successful referral.
pub(super) struct Decision {
    pub(super) side: Beneficiary,
    /// As it was then. `None`: no rule gave anything to this side.
    pub(super) rule: Option<RuleSpec>,
    /// What was decided, and why.
    pub(super) outcome: Outcome,
    pub(super) on: NaiveDate,
    /// What had been spent of a grant when it was taken back.
    pub(super) shortfall: Option<Amount>,
}

pub(super) type Outcome = (&'static str, &'static str);

pub(super) const MONTH_FULL: Outcome = ("capped", "cap_per_month");
pub(super) const TOTAL_FULL: Outcome = ("capped", "cap_total");

impl Decision {
    /// The rule of a grant.
    pub(super) fn granted(&self) -> Option<&RuleSpec> {
        self.rule.as_ref().filter(|_| self.outcome.0 == "granted")
    }

    fn is_grant_of(&self, key: &str) -> bool {
        self.granted().is_some_and(|rule| rule.key() == key)
    }
}

/// The rules that come with a new database.
pub(super) fn shipped() -> Vec<RuleSpec> {
    let rule = |milestone, beneficiary, kind, amount| RuleSpec {
        milestone,
        beneficiary,
        kind,
        amount: Amount::from_whole(amount),
        campaign: None,
        max_per_month: None,
        max_total: None,
        starts_at: None,
        ends_at: None,
    };
    let (referrer, referred) = (Beneficiary::Referrer, Beneficiary::Referred);
    vec![
        rule(Some(10), referrer, RewardKind::Discount, 20),
        rule(Some(5), referrer, RewardKind::Premium, 30),
        rule(None, referred, RewardKind::Credits, 5),
        rule(None, referrer, RewardKind::Credits, 10),
    ]
}

impl Model {
    /// Adds a rule, or puts it in place of the one of the same name.
    pub(super) fn put_rule(&mut self, rule: RuleSpec) {
        self.rules.retain(|other| other.key() != rule.key());
        self.rules.push(rule);
        self.rules.sort_by_key(RuleSpec::key);
    }

    /// Whether a rule gives anything today: what begins or ends, does so at noon.
    fn is_in_force(&self, rule: &RuleSpec) -> bool {
        rule.starts_at.is_none_or(|at| at.date_naive() <= self.today)
            && rule.ends_at.is_none_or(|at| at.date_naive() > self.today)
    }

    /// What was granted for a referrer's referrals, whatever became of it.
    pub(super) fn grants(&self, referrer: usize) -> impl Iterator<Item = &Decision> {
        let own = self.referrals.iter().filter(move |referral| referral.referrer == referrer);
        own.flat_map(|referral| &referral.decisions).filter(|decision| decision.granted().is_some())
    }

    /// Everything that is decided for both sides, when a referral is a referrer's `successful`-th.
    pub(super) fn decide(&self, referrer: usize, successful: i64) -> Vec<Decision> {
        let decision =
            |side, rule, outcome| Decision { side, rule, outcome, on: self.today, shortfall: None };
        let in_force = self.rules.iter().filter(|rule| self.is_in_force(rule));
        let mut decisions: Vec<Decision> = in_force
            .filter_map(|rule| {
                let outcome = self.judge(rule, referrer, successful)?;
                Some(decision(rule.beneficiary, Some(rule.clone()), outcome))
            })
            .collect();
        for side in [Beneficiary::Referrer, Beneficiary::Referred] {
            if !decisions.iter().any(|decision| decision.side == side) {
                decisions.push(decision(side, None, ("ineligible", "no_rule")));
            }
        }
        decisions
    }

    /// What comes of a rule, if anything.
    fn judge(&self, rule: &RuleSpec, referrer: usize, successful: i64) -> Option<Outcome> {
        let key = rule.key();
        let of_rule: Vec<&Decision> = self.grants(referrer).filter(|grant| grant.is_grant_of(&key)).collect();
        let Some(milestone) = rule.milestone else {
            let month = |day: NaiveDate| (day.year(), day.month());
            let in_month = of_rule.iter().filter(|grant| month(grant.on) == month(self.today)).count();
            let full =
                |cap: Option<i32>, granted| cap.is_some_and(|cap| i32::try_from(granted).unwrap() >= cap);
            return Some(if full(rule.max_total, of_rule.len()) {
                TOTAL_FULL
            } else if full(rule.max_per_month, in_month) {
                MONTH_FULL
            } else {
                ("granted", "referral_successful")
            });
        };
        let had = match rule.beneficiary {
            // What was taken back in full can be reached again.
            Beneficiary::Referrer => of_rule.iter().any(|grant| grant.shortfall != Some(Amount::ZERO)),
            Beneficiary::Referred => !of_rule.is_empty(),
        };
        match successful.cmp(&i64::from(milestone)) {
            Ordering::Less => None,
            _ if !had => Some(("granted", "milestone_reached")),
            Ordering::Equal => Some(("ineligible", "milestone_had")),
            Ordering::Greater => None,
        }
    }

    /// The milestone that a referrer is shown: the next that can be reached, in how many, and what it gives.
    pub(super) fn next_milestone(&self, referrer: usize) -> Option<(i64, i64, RewardKind, Amount)> {
        let [_, _, successful, ..] = self.counts(referrer);
        let ahead = self.rules.iter().filter(|rule| self.is_in_force(rule)).filter_map(|rule| {
            let number = rule.milestone.map(i64::from)?;
            let reached = self.judge(rule, referrer, number)? == ("granted", "milestone_reached");
            let is_next = rule.beneficiary == Beneficiary::Referrer && number > successful && reached;
            is_next.then_some((number, number - successful, rule.kind, rule.amount))
        });
        // Of several at one number the first by name, which is how the rules are sorted.
        ahead.min_by_key(|(number, ..)| *number)
    }
}
