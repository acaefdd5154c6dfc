//! What should be so: people and referrals in memory, and what each event makes of them.

use chrono::{NaiveDate, TimeDelta};
use domain::referrals::Verdict;
use domain::rewards::{Amount, Beneficiary, RewardKind, RuleSpec};
use uuid::Uuid;

use super::decisions::{Decision, shipped};
use super::person::Person;

/// What is bought: the option, its price, and what it is.
pub(super) const OPTIONS: [(&str, i64, RewardKind, i64); 3] = [
    ("premium_7_days", 15, RewardKind::Premium, 7),
    ("discount_10", 30, RewardKind::Discount, 10),
    ("premium_30_days", 50, RewardKind::Premium, 30),
];

pub(super) struct Referral {
    pub(super) id: Uuid,
    pub(super) referrer: usize,
    pub(super) referred: usize,
    pub(super) made_on: NaiveDate,
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    pub(super) promised: bool,
    /// A manager let it pass.
    pub(super) cleared: bool,
    /// It was ready, but for an account that was blocked.
    pub(super) held_up: bool,
    pub(super) decisions: Vec<Decision>,
}

impl Referral {
    pub(super) fn user_of(&self, side: Beneficiary) -> usize {
        match side {
            Beneficiary::Referrer => self.referrer,
            Beneficiary::Referred => self.referred,
        }
    }

    /// Whether a verdict leads somewhere from here.
    pub(super) fn fits(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Approve => self.status == "review",
            Verdict::Reject => self.status == "review" || self.status == "pending",
            Verdict::Reverse => self.status == "successful",
        }
    }
}

/// What comes of a redemption.
#[derive(Debug, PartialEq)]
pub(super) enum Bought {
    Now,
    Before,
    KeyReused,
    TooDear,
    NoAccount,
}

/// What should be so.
pub(super) struct Model {
    pub(super) today: NaiveDate,
    /// Those that stand, by their names.
    pub(super) rules: Vec<RuleSpec>,
    pub(super) people: Vec<Person>,
    pub(super) referrals: Vec<Referral>,
}

/// `+tag` cut.
pub(super) fn mailbox(email: &str) -> String {
    let (local, domain) = email.split_once('@').unwrap();
    format!("{}@{domain}", local.split('+').next().unwrap())
}

impl Model {
    pub(super) fn new(today: NaiveDate) -> Self {
        Self { today, rules: shipped(), people: Vec::new(), referrals: Vec::new() }
    }

    /// The states that a referrer's referrals may be in, and how many are.
    pub(super) fn counts(&self, referrer: usize) -> [i64; 6] {
        ["pending", "review", "successful", "rejected", "expired", "reversed"].map(|status| {
            let own = self.referrals.iter().filter(|r| r.referrer == referrer && r.status == status);
            i64::try_from(own.count()).unwrap()
        })
    }

    /// Where the referral of somebody with this address begins, and why.
    pub(super) fn at_first(&self, referrer: usize, email: &str) -> (&'static str, &'static str) {
        let canonical = mailbox(email);
        if canonical == mailbox(&self.people[referrer].email) {
            ("rejected", "self_referral_same_email")
        } else if self.people.iter().any(|person| person.deleted && mailbox(&person.email) == canonical) {
            ("rejected", "email_of_deleted_account")
        } else if canonical.ends_with("@yopmail.com") {
            ("review", "under_review")
        } else {
            ("pending", "awaiting_verification")
        }
    }

    pub(super) fn confirm(&mut self, whom: usize) {
        self.people[whom].confirmed = true;
        for referral in self.referrals.iter_mut().filter(|r| r.referred == whom) {
            referral.promised = referral.status == "pending";
        }
    }

    pub(super) fn settle(&mut self, index: usize) {
        let Referral { referrer, referred, status, .. } = self.referrals[index];
        if status != "pending" || !self.people[referred].confirmed {
            return;
        }
        if self.people[referrer].blocked || self.people[referred].blocked {
            self.referrals[index].held_up = true;
            return;
        }
        self.referrals[index].status = "successful";
        self.referrals[index].reason = "qualified";
        let [_, _, successful, ..] = self.counts(referrer);
        let decisions = self.decide(referrer, successful);
        for (side, rule) in decisions.iter().filter_map(|one| Some((one.side, one.granted()?))) {
            let whom = self.referrals[index].user_of(side);
            self.people[whom].give(self.today, rule.kind, rule.amount, Some((index, rule.key())));
        }
        self.referrals[index].decisions = decisions;
    }

    /// Whether the verdict is refused: it was decided otherwise, or it is not so far.
    pub(super) fn rule(&mut self, index: usize, verdict: Verdict) -> bool {
        let referral = &mut self.referrals[index];
        match (verdict, referral.status) {
            (Verdict::Approve, "review") => {
                let verified = self.people[referral.referred].confirmed;
                let reason = if verified { "awaiting_settlement" } else { "awaiting_verification" };
                (referral.status, referral.reason) = ("pending", reason);
                (referral.cleared, referral.promised) = (true, true);
            }
            (Verdict::Approve, "pending" | "successful") if referral.cleared => {}
            (Verdict::Reject, "pending") if referral.cleared => return true,
            (Verdict::Reject, "review" | "pending") => {
                (referral.status, referral.reason) = ("rejected", "rejected_by_manager");
            }
            (Verdict::Reject, "rejected") | (Verdict::Reverse, "reversed") => {}
            (Verdict::Reverse, "successful") => self.reverse(index),
            _ => return true,
        }
        false
    }

    fn reverse(&mut self, index: usize) {
        let referral = &mut self.referrals[index];
        (referral.status, referral.reason) = ("reversed", "reversed_by_manager");
        let mut decisions = std::mem::take(&mut referral.decisions);
        for decision in &mut decisions {
            let Some(rule) = decision.granted() else { continue };
            let whom = self.referrals[index].user_of(decision.side);
            let of = Some((index, rule.key()));
            let shortfall = self.people[whom].take_back(self.today, rule.kind, rule.amount, &of);
            decision.shortfall = Some(shortfall);
        }
        self.referrals[index].decisions = decisions;
    }

    pub(super) fn redeem(&mut self, who: usize, option: usize, key: u8) -> Bought {
        let person = &mut self.people[who];
        let (_, cost, kind, amount) = OPTIONS[option];
        let cost = Amount::from_whole(cost);
        match person.bought.get(&key) {
            _ if !person.is_let_in() => return Bought::NoAccount,
            Some(before) if *before == option => return Bought::Before,
            Some(_) => return Bought::KeyReused,
            None if person.credits < cost => return Bought::TooDear,
            None => {}
        }
        person.credits = person.credits - cost;
        person.bought.insert(key, option);
        person.give(self.today, kind, Amount::from_whole(amount), None);
        Bought::Now
    }

    /// Lets somebody in again: what waits with them is promised anew.
    pub(super) fn unblock(&mut self, whom: usize) {
        self.people[whom].blocked = false;
        let waiting = self.referrals.iter_mut().filter(|r| r.status == "pending");
        for referral in waiting.filter(|r| r.referrer == whom || r.referred == whom) {
            referral.promised = true;
        }
    }

    pub(super) fn delete(&mut self, whom: usize) {
        for referral in self.referrals.iter_mut().filter(|r| ["pending", "review"].contains(&r.status)) {
            if referral.referrer == whom {
                (referral.status, referral.reason) = ("rejected", "referrer_deleted");
            } else if referral.referred == whom {
                (referral.status, referral.reason) = ("rejected", "referred_deleted");
            }
        }
        self.people[whom].deleted = true;
        self.people[whom].credits = Amount::ZERO;
    }

    pub(super) fn expire(&mut self) {
        for referral in self.referrals.iter_mut().filter(|r| r.status == "pending") {
            let is_old = referral.made_on + TimeDelta::days(30) <= self.today;
            if is_old && !self.people[referral.referred].confirmed {
                (referral.status, referral.reason) = ("expired", "not_verified_in_time");
            }
        }
    }
}
