//! Random histories of people, referrals, jobs, managers, redemptions and time, against a model of the rules in memory.

use std::cell::Cell;
use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::accounts::{self, RegisterError};
use domain::outbox::Job;
use domain::referrals::{Claim, ReferralCode, RulingError, Verdict};
use domain::rewards::{Amount, RedeemError};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use uuid::Uuid;

use super::desk::Desk;
use super::review::rule;

/// What is bought: the option, its price, days of premium.
const OPTIONS: [(&str, i64, i64); 3] =
    [("premium_7_days", 15, 7), ("discount_10", 30, 0), ("premium_30_days", 50, 30)];

/// How many histories are played.
const HISTORIES: u32 = 24;

/// Something that happens. An index picks among those that are there.
#[derive(Clone, Debug)]
enum Event {
    /// Somebody registers, perhaps with the code of somebody.
    Register { by: By, typed: bool, address: Address },
    /// Somebody confirms the address.
    Confirm(Index),
    /// A settlement is delivered, once more than was promised.
    Settle(Index),
    /// A worker does what was promised.
    Work,
    /// A manager decides about a referral, perhaps again, perhaps about one that is decided.
    Rule(Index, Verdict),
    /// A manager gives or takes credits.
    Adjust(Index, i64),
    /// Somebody spends credits, perhaps by a key that was used.
    Redeem { who: Index, option: usize, key: u8 },
    /// Somebody's account is deleted.
    Delete(Index),
    /// Days go by.
    Wait(i64),
    /// What waited too long expires.
    Expire,
}

/// Who brings somebody.
#[derive(Clone, Debug)]
enum By {
    Nobody,
    /// Whoever came first: somebody must come to the milestones.
    First,
    Anybody(Index),
}

/// With which address somebody registers.
#[derive(Clone, Copy, Debug)]
enum Address {
    New,
    /// The referrer's, with another tag.
    OfReferrer,
    /// One of an account that was deleted.
    OfDeleted,
    /// One that is given away for minutes: a manager is to look.
    Disposable,
}

fn event() -> impl Strategy<Value = Event> {
    let address = prop_oneof![
        6 => Just(Address::New), 1 => Just(Address::OfReferrer), 1 => Just(Address::OfDeleted),
        2 => Just(Address::Disposable),
    ];
    let verdict =
        prop_oneof![4 => Just(Verdict::Approve), 1 => Just(Verdict::Reject), 2 => Just(Verdict::Reverse)];
    let by =
        prop_oneof![1 => Just(By::Nobody), 6 => Just(By::First), 3 => any::<Index>().prop_map(By::Anybody)];
    prop_oneof![
        20 => (by, any::<bool>(), address).prop_map(|(by, typed, address)| Event::Register { by, typed, address }),
        16 => any::<Index>().prop_map(Event::Confirm),
        4 => any::<Index>().prop_map(Event::Settle),
        3 => Just(Event::Work),
        6 => (any::<Index>(), verdict).prop_map(|(which, verdict)| Event::Rule(which, verdict)),
        2 => (any::<Index>(), -15_i64..=25).prop_map(|(who, amount)| Event::Adjust(who, amount)),
        4 => (any::<Index>(), 0..OPTIONS.len(), 0_u8..6).prop_map(|(who, option, key)| Event::Redeem { who, option, key }),
        1 => any::<Index>().prop_map(Event::Delete),
        1 => (1_i64..=20).prop_map(Event::Wait),
        1 => Just(Event::Expire),
    ]
}

struct Person {
    id: Uuid,
    email: String,
    code: ReferralCode,
    verified: bool,
    deleted: bool,
    credits: i64,
    /// Days: what was given less what was taken back, the latter to a hundredth.
    premium: f64,
    discounts: i64,
    /// Premium that was not taken back.
    periods: Vec<Period>,
    /// Milestones that were reached, but for those that were taken back in full.
    milestones: Vec<i64>,
    /// What was bought by which key.
    bought: BTreeMap<u8, usize>,
}

impl Person {
    fn extend(&mut self, now: DateTime<Utc>, days: i64, referral: Option<usize>) {
        let starts_at =
            self.periods.iter().map(|period| period.ends_at).max().map_or(now, |end| end.max(now));
        self.periods.push(Period { referral, starts_at, ends_at: starts_at + TimeDelta::days(days) });
        self.premium += days as f64;
    }

    /// Takes back what a referral gave of premium; whether that was all of it.
    fn shorten(&mut self, now: DateTime<Utc>, referral: usize) -> bool {
        let Some(index) = self.periods.iter().position(|period| period.referral == Some(referral)) else {
            return true;
        };
        let Period { starts_at, ends_at, .. } = self.periods.remove(index);
        let left = ends_at - now.clamp(starts_at, ends_at);
        for later in self.periods.iter_mut().filter(|period| period.starts_at >= ends_at) {
            later.starts_at -= left;
            later.ends_at -= left;
        }
        self.premium -= left.as_seconds_f64() / 86_400.0;
        // The books count hundredths of a day.
        now < starts_at + TimeDelta::minutes(7)
    }
}

/// A stretch of premium.
#[derive(Clone, Copy)]
struct Period {
    /// What it was given for, if it was not bought.
    referral: Option<usize>,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
}

struct Referral {
    id: Uuid,
    referrer: usize,
    referred: usize,
    made_at: DateTime<Utc>,
    status: &'static str,
    reason: &'static str,
    promised: bool,
    /// A manager let it pass.
    cleared: bool,
    /// Those that it made.
    milestones: Vec<i64>,
}

/// What comes of a redemption.
#[derive(Debug, PartialEq)]
enum Bought {
    Now,
    Before,
    KeyReused,
    TooDear,
    NoAccount,
}

/// What should be so.
#[derive(Default)]
struct Model {
    people: Vec<Person>,
    referrals: Vec<Referral>,
    deleted_mailboxes: Vec<String>,
}

/// `+tag` cut.
fn mailbox(email: &str) -> String {
    let (local, domain) = email.split_once('@').unwrap();
    format!("{}@{domain}", local.split('+').next().unwrap())
}

impl Model {
    /// The states that a referrer's referrals may be in, and how many are.
    fn counts(&self, referrer: usize) -> [i64; 6] {
        ["pending", "review", "successful", "rejected", "expired", "reversed"].map(|status| {
            let own = self.referrals.iter().filter(|r| r.referrer == referrer && r.status == status);
            i64::try_from(own.count()).unwrap()
        })
    }

    fn settle(&mut self, now: DateTime<Utc>, index: usize) {
        let Referral { referrer, referred, status, .. } = self.referrals[index];
        if status != "pending" || !self.people[referred].verified {
            return;
        }
        self.referrals[index].status = "successful";
        self.referrals[index].reason = "qualified";
        self.people[referred].credits += 5;
        let [_, _, successful, ..] = self.counts(referrer);
        let referrer = &mut self.people[referrer];
        referrer.credits += 10;
        for milestone in [5, 10] {
            if successful < milestone || referrer.milestones.contains(&milestone) {
                continue;
            }
            referrer.milestones.push(milestone);
            self.referrals[index].milestones.push(milestone);
            if milestone == 5 { referrer.extend(now, 30, Some(index)) } else { referrer.discounts += 1 }
        }
    }

    /// Whether the verdict is refused: it was decided otherwise, or it is not so far.
    fn rule(&mut self, now: DateTime<Utc>, index: usize, verdict: Verdict) -> bool {
        let referral = &mut self.referrals[index];
        match (verdict, referral.status) {
            (Verdict::Approve, "review") => {
                (referral.status, referral.reason) = ("pending", "awaiting_verification");
                (referral.cleared, referral.promised) = (true, true);
            }
            (Verdict::Approve, "pending" | "successful") if referral.cleared => {}
            (Verdict::Reject, "pending") if referral.cleared => return true,
            (Verdict::Reject, "review" | "pending") => {
                (referral.status, referral.reason) = ("rejected", "rejected_by_manager");
            }
            (Verdict::Reject, "rejected") | (Verdict::Reverse, "reversed") => {}
            (Verdict::Reverse, "successful") => self.reverse(now, index),
            _ => return true,
        }
        false
    }

    fn reverse(&mut self, now: DateTime<Utc>, index: usize) {
        let Referral { referrer, referred, .. } = self.referrals[index];
        self.referrals[index].status = "reversed";
        self.referrals[index].reason = "reversed_by_manager";
        for (whom, granted) in [(referrer, 10), (referred, 5)] {
            let person = &mut self.people[whom];
            person.credits -= granted.min(person.credits);
        }
        let referrer = &mut self.people[referrer];
        for milestone in std::mem::take(&mut self.referrals[index].milestones) {
            // Nobody uses a coupon in these histories.
            let in_full = milestone != 5 || referrer.shorten(now, index);
            if milestone == 10 {
                referrer.discounts -= 1;
            }
            if in_full {
                referrer.milestones.retain(|reached| *reached != milestone);
            }
        }
    }

    /// Whether it is bought now or was before.
    fn redeem(&mut self, now: DateTime<Utc>, who: usize, option: usize, key: u8) -> Bought {
        let person = &mut self.people[who];
        let (_, cost, days) = OPTIONS[option];
        match person.bought.get(&key) {
            _ if person.deleted => return Bought::NoAccount,
            Some(before) if *before == option => return Bought::Before,
            Some(_) => return Bought::KeyReused,
            None if person.credits < cost => return Bought::TooDear,
            None => {}
        }
        person.credits -= cost;
        person.bought.insert(key, option);
        if days > 0 {
            person.extend(now, days, None);
        } else {
            person.discounts += 1;
        }
        Bought::Now
    }

    fn delete(&mut self, index: usize) {
        for referral in self.referrals.iter_mut().filter(|r| ["pending", "review"].contains(&r.status)) {
            if referral.referrer == index {
                (referral.status, referral.reason) = ("rejected", "referrer_deleted");
            } else if referral.referred == index {
                (referral.status, referral.reason) = ("rejected", "referred_deleted");
            }
        }
        self.people[index].deleted = true;
        self.people[index].credits = 0;
        self.deleted_mailboxes.push(mailbox(&self.people[index].email));
    }

    fn expire(&mut self, now: DateTime<Utc>) {
        for referral in self.referrals.iter_mut().filter(|r| r.status == "pending") {
            if referral.made_at < now - TimeDelta::days(30) && !self.people[referral.referred].verified {
                (referral.status, referral.reason) = ("expired", "not_verified_in_time");
            }
        }
    }
}

/// A history as it is played, with names of its own in a database that others share.
struct Play<'a> {
    desk: &'a Desk,
    number: u32,
    model: Model,
}

impl Play<'_> {
    async fn happen(&mut self, event: Event) {
        let people = self.model.people.len();
        match event {
            Event::Register { by, typed, address } => {
                let by = match by {
                    By::First => Some(0),
                    By::Anybody(by) if people > 0 => Some(by.index(people)),
                    By::Anybody(_) | By::Nobody => None,
                };
                self.register(by.filter(|_| people > 0), typed, address).await;
            }
            Event::Confirm(whom) if people > 0 => self.confirm(whom.index(people)).await,
            Event::Delete(whom) if people > 0 => {
                let whom = whom.index(people);
                if !self.model.people[whom].deleted {
                    self.desk.delete(self.model.people[whom].id).await;
                    self.model.delete(whom);
                }
            }
            Event::Settle(which) if !self.model.referrals.is_empty() => {
                let which = which.index(self.model.referrals.len());
                let job = self.desk.promise_settlement(self.model.referrals[which].id).await;
                self.desk.run(job).await;
                self.model.settle(self.desk.clock.now(), which);
            }
            Event::Rule(which, verdict) if !self.model.referrals.is_empty() => {
                let which = which.index(self.model.referrals.len());
                let ruled = rule(self.desk, self.model.referrals[which].id, verdict).await;
                let refused = self.model.rule(self.desk.clock.now(), which, verdict);
                assert_eq!(matches!(ruled, Err(RulingError::Conflict(_))), refused, "{verdict:?}: {ruled:?}");
            }
            Event::Adjust(who, amount) if people > 0 => self.adjust(who.index(people), amount).await,
            Event::Redeem { who, option, key } if people > 0 => {
                self.redeem(who.index(people), option, key).await;
            }
            Event::Work => self.work().await,
            Event::Wait(days) => self.desk.clock.advance(TimeDelta::days(days)),
            Event::Expire => {
                let job = self.desk.promise(&Job::ExpireReferrals {}).await;
                self.desk.run(job).await;
                self.model.expire(self.desk.clock.now());
            }
            Event::Confirm(_)
            | Event::Delete(_)
            | Event::Settle(_)
            | Event::Rule(..)
            | Event::Adjust(..)
            | Event::Redeem { .. } => {}
        }
    }

    fn address(&self, by: Option<usize>, address: Address) -> String {
        let people = &self.model.people;
        let fresh = people.len();
        let taken = |email: &str| people.iter().any(|person| !person.deleted && person.email == email);
        let of_deleted = people.iter().find(|person| person.deleted && !taken(&person.email));
        match (address, by, of_deleted) {
            (Address::OfReferrer, Some(by), _) => {
                mailbox(&people[by].email).replace('@', &format!("+{fresh}@"))
            }
            (Address::OfDeleted, _, Some(person)) => person.email.clone(),
            (Address::Disposable, ..) => format!("h{}-{fresh}@yopmail.com", self.number),
            _ => format!("h{}-{fresh}@example.org", self.number),
        }
    }

    async fn register(&mut self, by: Option<usize>, typed: bool, address: Address) {
        let email = self.address(by, address);
        let username = format!("h{}-{}", self.number, self.model.people.len());
        let claim = by.map(|by| match &self.model.people[by].code {
            code if typed => Claim::Typed(code.clone()),
            code => Claim::Link(code.to_string()),
        });
        let made_at = self.desk.clock.now();
        let registered = self.desk.register(&username, &email, claim).await;
        let referrer = by.filter(|by| !self.model.people[*by].deleted);
        if by.is_some() && referrer.is_none() && typed {
            assert!(matches!(registered, Err(RegisterError::UnknownReferralCode)), "{registered:?}");
            return;
        }
        let registered = registered.unwrap();
        let referred = self.model.people.len();
        let (own, canonical) = (registered.account, mailbox(&email));
        self.model.people.push(Person {
            id: own.id,
            email,
            code: ReferralCode::parse(&own.referral_code).unwrap(),
            verified: false,
            deleted: false,
            credits: 0,
            premium: 0.0,
            discounts: 0,
            periods: Vec::new(),
            milestones: Vec::new(),
            bought: BTreeMap::new(),
        });
        let Some(referrer) = referrer else {
            assert!(registered.referral.is_none());
            return;
        };
        let (status, reason) = if canonical == mailbox(&self.model.people[referrer].email) {
            ("rejected", "self_referral_same_email")
        } else if self.model.deleted_mailboxes.contains(&canonical) {
            ("rejected", "email_of_deleted_account")
        } else if canonical.ends_with("@yopmail.com") {
            ("review", "under_review")
        } else {
            ("pending", "awaiting_verification")
        };
        assert_eq!(registered.referral.unwrap().status.as_str(), status);
        let id =
            self.desk.id(&format!("SELECT id FROM referrals WHERE referred_user_id = '{}'", own.id)).await;
        self.model.referrals.push(Referral {
            id,
            referrer,
            referred,
            made_at,
            status,
            reason,
            promised: false,
            cleared: false,
            milestones: Vec::new(),
        });
    }

    async fn adjust(&mut self, who: usize, amount: i64) {
        let person = &mut self.model.people[who];
        let key = Uuid::now_v7().to_string();
        let adjusted = self.desk.adjust(person.id, amount * 100, &key).await;
        if person.deleted || amount == 0 || person.credits + amount < 0 {
            assert!(adjusted.is_err(), "{adjusted:?}");
        } else {
            person.credits += amount;
            assert_eq!(adjusted.unwrap().balance, Amount::from_whole(person.credits));
        }
    }

    async fn redeem(&mut self, who: usize, option: usize, key: u8) {
        let id = self.model.people[who].id;
        let redeemed = self.desk.redeem(id, OPTIONS[option].0, &format!("key-{key}")).await;
        let expected = self.model.redeem(self.desk.clock.now(), who, option, key);
        let found = match &redeemed {
            Ok(_) if expected == Bought::Before => Bought::Before,
            Ok(_) => Bought::Now,
            Err(RedeemError::KeyReused) => Bought::KeyReused,
            Err(RedeemError::Insufficient(_)) => Bought::TooDear,
            Err(RedeemError::NoSuchAccount) => Bought::NoAccount,
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(found, expected, "{redeemed:?}");
    }

    async fn confirm(&mut self, whom: usize) {
        let person = &mut self.model.people[whom];
        if person.verified || person.deleted {
            return;
        }
        let now = self.desk.clock.now();
        accounts::request_verification(&self.desk.pool, now, person.id, None).await.unwrap();
        self.desk.confirm(person.id).await;
        person.verified = true;
        for referral in self.model.referrals.iter_mut().filter(|r| r.referred == whom) {
            referral.promised = referral.status == "pending";
        }
    }

    /// In the order of the referrals: which of two friends makes a milestone is a matter of who is settled first.
    async fn work(&mut self) {
        for index in 0..self.model.referrals.len() {
            if std::mem::take(&mut self.model.referrals[index].promised) {
                let job = self.desk.settlement_of(self.model.referrals[index].id).await;
                self.desk.run(job).await;
                self.model.settle(self.desk.clock.now(), index);
            }
        }
    }

    async fn compare(&self) -> Result<(), TestCaseError> {
        for (index, referral) in self.model.referrals.iter().enumerate() {
            let stands = self.desk.referral(referral.id).await;
            prop_assert_eq!(
                (stands.0.as_str(), stands.1.as_str()),
                (referral.status, referral.reason),
                "referral {}",
                index
            );
        }
        for (index, person) in self.model.people.iter().enumerate() {
            let query = format!(
                "SELECT pending, review, successful, rejected, expired, reversed FROM referral_counters WHERE user_id = '{}'",
                person.id
            );
            let row = self.desk.database.query_one(&query, &[]).await.unwrap();
            let counted: [i64; 6] = std::array::from_fn(|column| row.get(column));
            prop_assert_eq!(counted, self.model.counts(index), "counters of {}", index);
            let expected = [("credits", person.credits), ("discount", person.discounts)];
            let held = self.desk.balances(person.id).await;
            let premium: f64 = held.get("premium").map_or(0.0, |days| days.parse().unwrap());
            prop_assert!(
                (premium - person.premium).abs() < 0.2,
                "premium of {index}: {premium}, {}",
                person.premium
            );
            let amounts: BTreeMap<_, _> = expected
                .into_iter()
                .map(|(kind, amount)| (kind.to_owned(), format!("{amount}.00")))
                .collect();
            for (kind, amount) in amounts {
                prop_assert_eq!(
                    held.get(&kind).map_or("0.00", String::as_str),
                    &amount,
                    "{} of {}",
                    kind,
                    index
                );
            }
        }
        prop_assert_eq!(self.desk.broken_invariants().await, [""; 0]);
        Ok(())
    }
}

#[test]
fn f7_f8_random_histories_end_as_the_rules_say() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let desk = runtime.block_on(Desk::new());
    let number = Cell::new(0);
    let config = Config { cases: HISTORIES, failure_persistence: None, ..Config::default() };
    // The same histories each time: a failure stays one.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let played = runner.run(&proptest::collection::vec(event(), 30..130), |events| {
        number.set(number.get() + 1);
        runtime.block_on(async {
            let mut play = Play { desk: &desk, number: number.get(), model: Model::default() };
            for event in events {
                play.happen(event).await;
            }
            play.compare().await?;
            play.work().await;
            play.compare().await
        })
    });
    let reached = runtime.block_on(desk.count("rewards WHERE milestone IS NOT NULL"));
    let cleared =
        runtime.block_on(desk.count("referrals WHERE cleared_at IS NOT NULL AND status = 'successful'"));
    runtime.block_on(async { drop(desk) });
    played.unwrap();
    assert!(reached > 5, "the histories are long enough to reach milestones: {reached}");
    assert!(cleared > 5, "and for managers to let some pass: {cleared}");
}
