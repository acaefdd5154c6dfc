//! Somebody of the model, and what they hold.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use domain::referrals::ReferralCode;
use domain::rewards::{Amount, RewardKind};
use uuid::Uuid;

/// Which grant something is of: the referral, and the name of the rule. `None`: it was bought.
pub(super) type Source = Option<(usize, String)>;

/// Somebody.
pub(super) struct Person {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) code: ReferralCode,
    /// When the address was confirmed.
    pub(super) confirmed: Option<NaiveDate>,
    pub(super) blocked: bool,
    pub(super) deleted: bool,
    /// Visits of the link.
    pub(super) visits: i64,
    pub(super) credits: Amount,
    /// Days of premium that were given and not taken back.
    pub(super) premium: i64,
    /// Premium that was not taken back, one period after the other.
    pub(super) periods: Vec<Period>,
    /// In the order in which they were given.
    pub(super) coupons: Vec<Coupon>,
    /// What was bought by which key.
    pub(super) bought: BTreeMap<u8, usize>,
}

/// A stretch of premium: from noon to noon.
pub(super) struct Period {
    of: Source,
    pub(super) starts_on: NaiveDate,
    pub(super) ends_on: NaiveDate,
}

pub(super) struct Coupon {
    of: Source,
    pub(super) percent: Amount,
    pub(super) used: bool,
    pub(super) void: bool,
}

impl Coupon {
    pub(super) fn is_good(&self) -> bool {
        !self.used && !self.void
    }
}

impl Person {
    pub(super) fn new(id: Uuid, name: String, email: String, code: ReferralCode) -> Self {
        Self {
            id,
            name,
            email,
            code,
            confirmed: None,
            blocked: false,
            deleted: false,
            visits: 0,
            credits: Amount::ZERO,
            premium: 0,
            periods: Vec::new(),
            coupons: Vec::new(),
            bought: BTreeMap::new(),
        }
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed.is_some()
    }

    /// Whether they can sign in, be brought by, and spend.
    pub(super) fn is_let_in(&self) -> bool {
        !self.blocked && !self.deleted
    }

    pub(super) fn give(&mut self, today: NaiveDate, kind: RewardKind, amount: Amount, of: Source) {
        match kind {
            RewardKind::Credits => self.credits = self.credits + amount,
            RewardKind::Premium => {
                let end = self.periods.iter().map(|period| period.ends_on).max();
                let starts_on = end.map_or(today, |end| end.max(today));
                let days = amount.whole();
                let ends_on = starts_on + Days::new(days.unsigned_abs());
                self.periods.push(Period { of, starts_on, ends_on });
                self.premium += days;
            }
            RewardKind::Discount => {
                self.coupons.push(Coupon { of, percent: amount, used: false, void: false });
            }
        }
    }

    /// Takes back what is left of a grant, and returns what had been spent of it.
    pub(super) fn take_back(
        &mut self,
        today: NaiveDate,
        kind: RewardKind,
        amount: Amount,
        of: &Source,
    ) -> Amount {
        match kind {
            RewardKind::Credits => {
                let taken = amount.min(self.credits);
                self.credits = self.credits - taken;
                amount - taken
            }
            RewardKind::Premium => amount - Amount::from_whole(self.shorten(today, of)),
            RewardKind::Discount => {
                let coupon = self.coupons.iter_mut().find(|coupon| coupon.of == *of).unwrap();
                coupon.void = !coupon.used;
                Amount::from_whole(i64::from(coupon.used))
            }
        }
    }

    /// Ends a period; later ones move up. How many days of it had not run.
    fn shorten(&mut self, today: NaiveDate, of: &Source) -> i64 {
        let index = self.periods.iter().position(|period| period.of == *of).unwrap();
        let Period { starts_on, ends_on, .. } = self.periods.remove(index);
        let left = ends_on - today.clamp(starts_on, ends_on);
        for later in self.periods.iter_mut().filter(|period| period.starts_on >= ends_on) {
            later.starts_on -= left;
            later.ends_on -= left;
        }
        self.premium -= left.num_days();
        left.num_days()
    }
}
