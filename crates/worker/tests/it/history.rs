//! Random histories of people, referrals, jobs and time, against a model of the rules in memory.

use std::cell::Cell;
use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::accounts::{self, RegisterError};
use domain::outbox::Job;
use domain::referrals::{Claim, ReferralCode};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use uuid::Uuid;

use super::desk::Desk;

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
}

fn event() -> impl Strategy<Value = Event> {
    let address =
        prop_oneof![6 => Just(Address::New), 1 => Just(Address::OfReferrer), 1 => Just(Address::OfDeleted)];
    let by =
        prop_oneof![1 => Just(By::Nobody), 6 => Just(By::First), 3 => any::<Index>().prop_map(By::Anybody)];
    prop_oneof![
        12 => (by, any::<bool>(), address).prop_map(|(by, typed, address)| Event::Register { by, typed, address }),
        9 => any::<Index>().prop_map(Event::Confirm),
        4 => any::<Index>().prop_map(Event::Settle),
        3 => Just(Event::Work),
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
    premium: i64,
    discounts: i64,
}

struct Referral {
    id: Uuid,
    referrer: usize,
    referred: usize,
    made_at: DateTime<Utc>,
    status: &'static str,
    reason: &'static str,
    promised: bool,
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
    fn counts(&self, referrer: usize) -> [i64; 4] {
        ["pending", "successful", "rejected", "expired"].map(|status| {
            let own = self.referrals.iter().filter(|r| r.referrer == referrer && r.status == status);
            i64::try_from(own.count()).unwrap()
        })
    }

    fn settle(&mut self, index: usize) {
        let Referral { referrer, referred, status, .. } = self.referrals[index];
        if status != "pending" || !self.people[referred].verified {
            return;
        }
        self.referrals[index].status = "successful";
        self.referrals[index].reason = "qualified";
        self.people[referred].credits += 5;
        let [_, successful, ..] = self.counts(referrer);
        let referrer = &mut self.people[referrer];
        referrer.credits += 10;
        match successful {
            5 => referrer.premium += 30,
            10 => referrer.discounts += 1,
            _ => {}
        }
    }

    fn delete(&mut self, index: usize) {
        for referral in self.referrals.iter_mut().filter(|r| r.status == "pending") {
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
                self.model.settle(which);
            }
            Event::Work => self.work().await,
            Event::Wait(days) => self.desk.clock.advance(TimeDelta::days(days)),
            Event::Expire => {
                let job = self.desk.promise(&Job::ExpireReferrals {}).await;
                self.desk.run(job).await;
                self.model.expire(self.desk.clock.now());
            }
            Event::Confirm(_) | Event::Delete(_) | Event::Settle(_) => {}
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
            premium: 0,
            discounts: 0,
        });
        let Some(referrer) = referrer else {
            assert!(registered.referral.is_none());
            return;
        };
        let (status, reason) = if canonical == mailbox(&self.model.people[referrer].email) {
            ("rejected", "self_referral_same_email")
        } else if self.model.deleted_mailboxes.contains(&canonical) {
            ("rejected", "email_of_deleted_account")
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
        });
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

    async fn work(&mut self) {
        self.desk.run_queue("rewards").await;
        for index in 0..self.model.referrals.len() {
            if std::mem::take(&mut self.model.referrals[index].promised) {
                self.model.settle(index);
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
                "SELECT pending, successful, rejected, expired FROM referral_counters WHERE user_id = '{}'",
                person.id
            );
            let row = self.desk.database.query_one(&query, &[]).await.unwrap();
            let counted: [i64; 4] = std::array::from_fn(|column| row.get(column));
            prop_assert_eq!(counted, self.model.counts(index), "counters of {}", index);
            let expected =
                [("credits", person.credits), ("premium", person.premium), ("discount", person.discounts)];
            let held = self.desk.balances(person.id).await;
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
    let played = runner.run(&proptest::collection::vec(event(), 20..90), |events| {
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
    runtime.block_on(async { drop(desk) });
    played.unwrap();
    assert!(reached > 5, "the histories are long enough to reach milestones: {reached}");
}
