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

/// Settings from where on a manager looks, and from where on it is refused; and where they lead whoever comes with an address that
/// is given away for minutes. That is 50 points. Friends who never act may add 30, which lead nobody anywhere here.
pub(super) const LIMITS: [(&str, &str, Option<Stand>); 3] = [
    ("50", "150", Some(("review", "under_review"))),
    ("90", "150", None),
    ("40", "50", Some(("rejected", "suspected_abuse"))),
];

/// Where a referral stands, and why.
pub(super) type Stand = (&'static str, &'static str);

#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Referral {
    pub(super) id: Uuid,
    pub(super) referrer: usize,
    pub(super) referred: usize,
    pub(super) made_on: NaiveDate,
    pub(super) disposable: bool,
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    /// Everywhere it stood, which everybody was told who listens.
    pub(super) told: Vec<Stand>,
    pub(super) promised: bool,
    /// A manager let it pass.
    pub(super) cleared: bool,
    /// It was ready, but for an account that was blocked.
    pub(super) held_up: bool,
    /// It was ready, but for the hold.
    pub(super) held: bool,
    pub(super) decisions: Vec<Decision>,
}

impl Referral {
    pub(super) fn moves(&mut self, (status, reason): Stand) {
        (self.status, self.reason) = (status, reason);
        self.told.push((status, reason));
    }

    /// Whether it moved from here to there.
    pub(super) fn went(&self, from: &str, to: &str) -> bool {
        self.told.windows(2).any(|stands| (stands[0].0, stands[1].0) == (from, to))
    }

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
    /// How many days each referral is held after the address was confirmed.
    hold: i64,
    /// Which of [`LIMITS`] are set.
    pub(super) limits: usize,
    /// Those that stand, by their names.
    pub(super) rules: Vec<RuleSpec>,
    pub(super) people: Vec<Person>,
    pub(super) referrals: Vec<Referral>,
}

/// Whether the address is given away for minutes.
pub(super) fn is_disposable(email: &str) -> bool {
    email.ends_with("@yopmail.com")
}

/// `+tag` cut.
pub(super) fn mailbox(email: &str) -> String {
    let (local, domain) = email.split_once('@').unwrap();
    format!("{}@{domain}", local.split('+').next().unwrap())
}

impl Model {
    pub(super) fn new(today: NaiveDate, hold: i64) -> Self {
        Self { today, hold, limits: 0, rules: shipped(), people: Vec::new(), referrals: Vec::new() }
    }

    /// The states that a referrer's referrals may be in, and how many are.
    pub(super) fn counts(&self, referrer: usize) -> [i64; 6] {
        ["pending", "review", "successful", "rejected", "expired", "reversed"].map(|status| {
            let own = self.referrals.iter().filter(|r| r.referrer == referrer && r.status == status);
            i64::try_from(own.count()).unwrap()
        })
    }

    /// Where the referral of somebody with this address begins, and why.
    pub(super) fn at_first(&self, referrer: usize, email: &str) -> Stand {
        let canonical = mailbox(email);
        if canonical == mailbox(&self.people[referrer].email) {
            ("rejected", "self_referral_same_email")
        } else if self.people.iter().any(|person| person.deleted && mailbox(&person.email) == canonical) {
            ("rejected", "email_of_deleted_account")
        } else {
            self.weigh(is_disposable(email)).unwrap_or(("pending", "awaiting_verification"))
        }
    }

    /// Where the limits lead a referral, unless they let it go its way.
    fn weigh(&self, disposable: bool) -> Option<Stand> {
        LIMITS[self.limits].2.filter(|_| disposable)
    }

    fn is_on_hold(&self, index: usize) -> bool {
        let confirmed = self.people[self.referrals[index].referred].confirmed;
        confirmed.is_some_and(|day| day + TimeDelta::days(self.hold) > self.today)
    }

    /// What a referral waits for that goes back to waiting.
    fn waits(&self, index: usize) -> Stand {
        let reason = if !self.people[self.referrals[index].referred].is_confirmed() {
            "awaiting_verification"
        } else if self.is_on_hold(index) {
            "on_hold"
        } else {
            "awaiting_settlement"
        };
        ("pending", reason)
    }

    pub(super) fn confirm(&mut self, whom: usize) {
        self.people[whom].confirmed = Some(self.today);
        for referral in self.referrals.iter_mut().filter(|r| r.referred == whom) {
            referral.promised |= referral.status == "pending";
        }
    }

    pub(super) fn settle(&mut self, index: usize) {
        let Referral { referrer, referred, status, disposable, cleared, .. } = self.referrals[index];
        if status != "pending" || !self.people[referred].is_confirmed() {
            return;
        }
        if self.people[referrer].blocked || self.people[referred].blocked {
            self.referrals[index].held_up = true;
            return;
        }
        if self.is_on_hold(index) {
            // The job is put off.
            self.referrals[index].held = true;
            self.referrals[index].promised = true;
            return;
        }
        let against = self.weigh(disposable && !cleared);
        self.referrals[index].moves(against.unwrap_or(("successful", "qualified")));
        if against.is_some() {
            return;
        }
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
        let waits = self.waits(index);
        let referral = &mut self.referrals[index];
        match (verdict, referral.status) {
            (Verdict::Approve, "review") => {
                referral.moves(waits);
                (referral.cleared, referral.promised) = (true, true);
            }
            (Verdict::Approve, "pending" | "successful") if referral.cleared => {}
            (Verdict::Reject, "pending") if referral.cleared => return true,
            (Verdict::Reject, "review" | "pending") => referral.moves(("rejected", "rejected_by_manager")),
            (Verdict::Reject, "rejected") | (Verdict::Reverse, "reversed") => {}
            (Verdict::Reverse, "successful") => self.reverse(index),
            _ => return true,
        }
        false
    }

    fn reverse(&mut self, index: usize) {
        let referral = &mut self.referrals[index];
        referral.moves(("reversed", "reversed_by_manager"));
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
                referral.moves(("rejected", "referrer_deleted"));
            } else if referral.referred == whom {
                referral.moves(("rejected", "referred_deleted"));
            }
        }
        self.people[whom].deleted = true;
        self.people[whom].credits = Amount::ZERO;
    }

    pub(super) fn expire(&mut self) {
        for referral in self.referrals.iter_mut().filter(|r| r.status == "pending") {
            let is_old = referral.made_on + TimeDelta::days(30) <= self.today;
            if is_old && !self.people[referral.referred].is_confirmed() {
                referral.moves(("expired", "not_verified_in_time"));
            }
        }
    }

    /// What managers are to look at is weighed by the limits of today.
    pub(super) fn weigh_again(&mut self) {
        for index in 0..self.referrals.len() {
            let Referral { status, disposable, .. } = self.referrals[index];
            if status != "review" {
                continue;
            }
            match self.weigh(disposable) {
                Some(("review", _)) => {}
                Some(refused) => self.referrals[index].moves(refused),
                None => {
                    let waits = self.waits(index);
                    self.referrals[index].moves(waits);
                    self.referrals[index].promised = true;
                }
            }
        }
    }
}
