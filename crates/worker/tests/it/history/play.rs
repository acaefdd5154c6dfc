//! A history as it is played: each event in the system and in the model, and what both answer.

use chrono::{NaiveDate, TimeDelta};
use domain::accounts::{self, RegisterError};
use domain::audit::{Actor, Trace};
use domain::outbox::Job;
use domain::referrals::{self, Claim, ReferralCode, RulingError, Verdict};
use domain::rewards::{self, Amount, CouponError, RedeemError, Till};
use proptest::sample::Index;
use uuid::Uuid;

use super::super::desk::Desk;
use super::super::review::{block, rule, unblock};
use super::events::{Address, By, Event, noon};
use super::model::{Bought, LIMITS, Model, OPTIONS, Referral, is_disposable, mailbox};
use super::person::Person;

/// On which day every history begins: some days before the end of a month.
const FIRST_DAY: NaiveDate = NaiveDate::from_ymd_opt(2027, 1, 20).unwrap();

/// A history, in a system of its own.
pub(super) struct Play {
    pub(super) desk: Desk,
    pub(super) model: Model,
}

/// One of so many.
fn pick(index: Index, of: usize) -> Option<usize> {
    (of > 0).then(|| index.index(of))
}

/// One of those that are meant.
fn pick_from<T>(index: Index, all: &[T], meant: impl Fn(&T) -> bool) -> Option<usize> {
    let meant: Vec<usize> = (0..all.len()).filter(|one| meant(&all[*one])).collect();
    pick(index, meant.len()).map(|one| meant[one])
}

impl Play {
    /// Begins, with a hold of so many days.
    pub(super) async fn new(hold: i64) -> Self {
        let desk = Desk::with(|settings| {
            settings.set("REFERRAL_HOLD", &format!("{hold}d"));
        })
        .await;
        desk.clock.advance(noon(FIRST_DAY) + TimeDelta::seconds(1) - desk.clock.now());
        Self { desk, model: Model::new(FIRST_DAY, hold) }
    }

    pub(super) async fn happen(&mut self, event: Event) {
        let (people, referrals) = (self.model.people.len(), self.model.referrals.len());
        match event {
            Event::Register { by, typed, address } => self.register(self.somebody(by), typed, address).await,
            Event::Visit(by) => {
                if let Some(whom) = self.somebody(by) {
                    self.visit(whom).await;
                }
            }
            Event::Confirm(whom) => {
                if let Some(whom) = pick(whom, people) {
                    self.confirm(whom).await;
                }
            }
            Event::Settle(which) => {
                if let Some(which) = pick(which, referrals) {
                    let job = self.desk.promise_settlement(self.model.referrals[which].id).await;
                    self.settle(which, job).await;
                }
            }
            Event::Work => self.work().await,
            Event::Rule { which, verdict, fitting } => {
                let fits = |referral: &Referral| !fitting || referral.fits(verdict);
                if let Some(which) = pick_from(which, &self.model.referrals, fits) {
                    self.rule(which, verdict).await;
                }
            }
            Event::PutRule(draft) => {
                self.model.put_rule(draft.rule(self.model.today));
                self.replace_rules().await;
            }
            Event::EndRule(which) => {
                if let Some(which) = pick(which, self.model.rules.len()) {
                    self.model.rules.remove(which);
                    self.replace_rules().await;
                }
            }
            Event::Block(by) => {
                if let Some(whom) = self.somebody(by) {
                    self.block(whom).await;
                }
            }
            Event::Unblock(which) => self.unblock(which).await,
            Event::Adjust(who, amount) => {
                if let Some(who) = self.somebody(who) {
                    self.adjust(who, amount).await;
                }
            }
            Event::Redeem { who, option, key } => {
                if let Some(who) = self.somebody(who) {
                    self.redeem(who, option, key).await;
                }
            }
            Event::UseCoupon(who) => {
                if let Some(who) = pick_from(who, &self.model.people, |person| !person.coupons.is_empty()) {
                    self.use_coupon(who).await;
                }
            }
            Event::Delete(whom) => {
                if let Some(whom) = pick(whom, people) {
                    self.delete(whom).await;
                }
            }
            Event::Wait(days) => {
                let days = TimeDelta::days(days);
                self.desk.clock.advance(days);
                self.model.today += days;
            }
            Event::Limits(limits) => {
                let (review, deny, _) = LIMITS[limits];
                self.desk.change_settings(|settings| {
                    settings.set("REFERRAL_REVIEW_SCORE", review).set("REFERRAL_DENY_SCORE", deny);
                });
                self.model.limits = limits;
            }
            Event::Schedule => self.follow_schedule().await,
        }
    }

    fn somebody(&self, by: By) -> Option<usize> {
        let people = self.model.people.len();
        match by {
            By::Nobody => None,
            By::First => (people > 0).then_some(0),
            By::Anybody(index) => pick(index, people),
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
            (Address::Disposable, ..) => format!("person{fresh}@yopmail.com"),
            _ => format!("person{fresh}@example.org"),
        }
    }

    async fn register(&mut self, by: Option<usize>, typed: bool, address: Address) {
        let email = self.address(by, address);
        let referred = self.model.people.len();
        let name = format!("person{referred}");
        let claim = by.map(|by| match &self.model.people[by].code {
            code if typed => Claim::Typed(code.clone()),
            code => Claim::Link(code.to_string()),
        });
        let registered = self.desk.register(&name, &email, claim).await;
        let referrer = by.filter(|by| self.model.people[*by].is_let_in());
        if by.is_some() && referrer.is_none() && typed {
            assert!(matches!(registered, Err(RegisterError::UnknownReferralCode)), "{registered:?}");
            return;
        }
        let registered = registered.unwrap();
        let own = registered.account;
        let code = ReferralCode::parse(&own.referral_code).unwrap();
        let first = referrer.map(|referrer| (referrer, self.model.at_first(referrer, &email)));
        self.model.people.push(Person::new(own.id, name, email, code));
        let Some((referrer, (status, reason))) = first else {
            assert!(registered.referral.is_none());
            return;
        };
        assert_eq!(registered.referral.unwrap().status.as_str(), status);
        let id =
            self.desk.id(&format!("SELECT id FROM referrals WHERE referred_user_id = '{}'", own.id)).await;
        self.model.referrals.push(Referral {
            id,
            referrer,
            referred,
            made_on: self.model.today,
            disposable: is_disposable(&self.model.people[referred].email),
            status,
            reason,
            told: vec![(status, reason)],
            promised: false,
            cleared: false,
            held_up: false,
            held: false,
            decisions: Vec::new(),
        });
    }

    async fn visit(&mut self, whom: usize) {
        let person = &mut self.model.people[whom];
        let counted = referrals::visit(&self.desk.pool, self.desk.clock.now(), &person.code).await.unwrap();
        assert_eq!(counted, person.is_let_in());
        person.visits += i64::from(counted);
    }

    async fn confirm(&mut self, whom: usize) {
        let person = &self.model.people[whom];
        if person.is_confirmed() || !person.is_let_in() {
            return;
        }
        let now = self.desk.clock.now();
        accounts::request_verification(
            &self.desk.pool,
            now,
            chrono::TimeDelta::hours(48),
            self.desk.config.common.mail_limits.confirmation,
            person.id,
            None,
        )
        .await
        .unwrap();
        self.desk.confirm(person.id).await;
        self.model.confirm(whom);
    }

    async fn settle(&mut self, which: usize, job: Uuid) {
        self.desk.run(job).await;
        self.model.settle(which);
    }

    /// In the order of the referrals: which of two friends makes a milestone is a matter of who is settled first.
    pub(super) async fn work(&mut self) {
        self.desk.let_leases_end().await;
        for which in 0..self.model.referrals.len() {
            if std::mem::take(&mut self.model.referrals[which].promised) {
                // Of several, those that came before the end of the hold are there still.
                for job in self.desk.settlements_of(self.model.referrals[which].id).await {
                    self.settle(which, job).await;
                }
            }
        }
    }

    async fn rule(&mut self, which: usize, verdict: Verdict) {
        let ruled = rule(&self.desk, self.model.referrals[which].id, verdict).await;
        let refused = self.model.rule(which, verdict);
        assert_eq!(matches!(ruled, Err(RulingError::Conflict(_))), refused, "{verdict:?}: {ruled:?}");
    }

    /// All rules at once, as managers do.
    async fn replace_rules(&self) {
        self.desk.change_rules(|rules| rules.clone_from(&self.model.rules)).await;
    }

    async fn block(&mut self, whom: usize) {
        let person = &mut self.model.people[whom];
        if !person.deleted {
            block(&self.desk, person.id).await;
            person.blocked = true;
        }
    }

    async fn unblock(&mut self, which: Index) {
        let people = &self.model.people;
        if let Some(whom) = pick_from(which, people, |person| person.blocked) {
            unblock(&self.desk, people[whom].id).await;
            self.model.unblock(whom);
        }
    }

    async fn adjust(&mut self, who: usize, amount: i64) {
        let person = &mut self.model.people[who];
        let key = Uuid::now_v7().to_string();
        let adjusted = self.desk.adjust(person.id, amount * 100, &key).await;
        let balance = person.credits + Amount::from_whole(amount);
        if person.deleted || amount == 0 || balance < Amount::ZERO {
            assert!(adjusted.is_err(), "{adjusted:?}");
        } else {
            person.credits = balance;
            assert_eq!(adjusted.unwrap().balance, balance);
        }
    }

    async fn redeem(&mut self, who: usize, option: usize, key: u8) {
        let id = self.model.people[who].id;
        let redeemed = self.desk.redeem(id, OPTIONS[option].0, &format!("key-{key}")).await;
        let expected = self.model.redeem(who, option, key);
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

    /// The newest coupon, which may be used or void.
    async fn use_coupon(&mut self, who: usize) {
        let person = &mut self.model.people[who];
        let coupon = person.coupons.last_mut().unwrap();
        let newest =
            format!("SELECT code FROM discounts WHERE user_id = '{}' ORDER BY id DESC LIMIT 1", person.id);
        let code: String = self.desk.database.value(&newest).await;
        let order = Uuid::now_v7().to_string();
        let till = Till { code: &code, order: &order, actor: Actor::System };
        let used = rewards::use_coupon(&self.desk.pool, self.desk.clock.now(), till, &Trace::default()).await;
        if coupon.is_good() {
            assert_eq!(used.unwrap().0.percent, coupon.percent);
            coupon.used = true;
        } else {
            assert!(matches!(used, Err(CouponError::Unavailable)), "{used:?}");
        }
    }

    async fn delete(&mut self, whom: usize) {
        if self.model.people[whom].is_let_in() {
            self.desk.delete(self.model.people[whom].id).await;
            self.model.delete(whom);
        }
    }

    /// What stands still is promised again, which changes nothing: it is promised already, or was blocked meanwhile.
    async fn follow_schedule(&mut self) {
        for job in [Job::ExpireReferrals {}, Job::RecheckReferrals {}, Job::Purge {}] {
            let job = self.desk.promise(&job).await;
            self.desk.run(job).await;
        }
        self.model.expire();
        self.model.weigh_again();
    }
}
