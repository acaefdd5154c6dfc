//! What happens in a history, and how often.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use domain::referrals::Verdict;
use domain::rewards::{Amount, Beneficiary, RewardKind, RuleSpec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::model::{LIMITS, OPTIONS};

/// Something that happens. An index picks among those that are there.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Somebody registers, perhaps with the code of somebody.
    Register { by: By, typed: bool, address: Address },
    /// Somebody follows the link of somebody.
    Visit(By),
    /// Somebody confirms the address.
    Confirm(Index),
    /// A settlement is delivered, once more than was promised.
    Settle(Index),
    /// A worker does what was promised.
    Work,
    /// A manager decides about a referral: one where it leads somewhere, or any, perhaps one that is decided.
    Rule { which: Index, verdict: Verdict, fitting: bool },
    /// A manager adds a rule, or puts it in place of the one of the same name.
    PutRule(Draft),
    /// A manager ends a rule.
    EndRule(Index),
    /// A manager keeps somebody out.
    Block(By),
    /// A manager lets one of those in again.
    Unblock(Index),
    /// A manager gives or takes credits.
    Adjust(By, i64),
    /// Somebody spends credits, perhaps by a key that was used.
    Redeem { who: By, option: usize, key: u8 },
    /// One of those who have coupons uses the newest in the shop, perhaps again.
    UseCoupon(Index),
    /// Somebody's account is deleted.
    Delete(Index),
    /// Days go by.
    Wait(i64),
    /// A worker does what the schedule promises.
    Schedule,
    /// The operator starts everything anew with other limits for what speaks against a referral.
    Limits(usize),
}

/// Somebody, if anybody is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum By {
    Nobody,
    /// Whoever came first: somebody must come to the milestones and the caps.
    First,
    Anybody(Index),
}

/// With which address somebody registers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Address {
    New,
    /// The referrer's, with another tag.
    OfReferrer,
    /// One of an account that was deleted.
    OfDeleted,
    /// One that is given away for minutes, which speaks against a referral.
    Disposable,
}

/// A rule that a manager thinks of, in days from then.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    trigger: Trigger,
    side: Beneficiary,
    kind: RewardKind,
    /// Days, percent, or halves of a credit.
    amount: i64,
    caps: (Option<i32>, Option<i32>),
    starts_in: Option<u64>,
    lasts: Option<u64>,
}

/// When it gives something.
#[derive(Clone, Copy, Debug)]
enum Trigger {
    Each,
    Campaign(&'static str),
    Milestone(i32),
}

impl Draft {
    /// The rule, as it is written down on a day.
    pub(super) fn rule(&self, today: NaiveDate) -> RuleSpec {
        let (milestone, campaign) = match self.trigger {
            Trigger::Each => (None, None),
            Trigger::Campaign(name) => (None, Some(name.to_owned())),
            Trigger::Milestone(number) => (Some(number), None),
        };
        let (max_per_month, max_total) = if milestone.is_some() { (None, None) } else { self.caps };
        let begin = today + Days::new(self.starts_in.unwrap_or_default());
        RuleSpec {
            milestone,
            beneficiary: self.side,
            kind: self.kind,
            amount: match self.kind {
                RewardKind::Credits => Amount::from_hundredths(self.amount * 50),
                RewardKind::Premium | RewardKind::Discount => Amount::from_whole(self.amount),
            },
            campaign,
            max_per_month,
            max_total,
            starts_at: self.starts_in.map(|_| noon(begin)),
            ends_at: self.lasts.map(|days| noon(begin + Days::new(days))),
        }
    }
}

/// Each day of a history begins a little after this.
pub(super) fn noon(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc() + chrono::TimeDelta::hours(12)
}

/// A history: for how many days referrals are held, and what happens.
pub(super) fn history() -> impl Strategy<Value = (i64, Vec<Event>)> {
    (prop_oneof![3 => Just(0), 1 => 1_i64..=5], proptest::collection::vec(event(), 150..300))
}

fn event() -> impl Strategy<Value = Event> {
    let address = prop_oneof![
        6 => Just(Address::New), 1 => Just(Address::OfReferrer), 1 => Just(Address::OfDeleted),
        3 => Just(Address::Disposable),
    ];
    let verdict =
        prop_oneof![4 => Just(Verdict::Approve), 1 => Just(Verdict::Reject), 6 => Just(Verdict::Reverse)];
    prop_oneof![
        16 => (by(1, 6, 3), any::<bool>(), address).prop_map(|(by, typed, address)| Event::Register { by, typed, address }),
        1 => by(0, 1, 1).prop_map(Event::Visit),
        20 => any::<Index>().prop_map(Event::Confirm),
        4 => any::<Index>().prop_map(Event::Settle),
        8 => Just(Event::Work),
        10 => (any::<Index>(), verdict, any::<bool>()).prop_map(|(which, verdict, fitting)| Event::Rule { which, verdict, fitting }),
        4 => draft().prop_map(Event::PutRule),
        1 => any::<Index>().prop_map(Event::EndRule),
        2 => by(0, 1, 1).prop_map(Event::Block),
        4 => any::<Index>().prop_map(Event::Unblock),
        4 => (by(0, 1, 3), -15_i64..=15).prop_map(|(who, amount)| Event::Adjust(who, amount)),
        5 => (by(0, 2, 1), 0..OPTIONS.len(), 0_u8..6).prop_map(|(who, option, key)| Event::Redeem { who, option, key }),
        3 => any::<Index>().prop_map(Event::UseCoupon),
        1 => any::<Index>().prop_map(Event::Delete),
        2 => (1_i64..=20).prop_map(Event::Wait),
        2 => Just(Event::Schedule),
        6 => (0..LIMITS.len()).prop_map(Event::Limits),
    ]
}

/// Somebody, by the weight of each.
fn by(nobody: u32, first: u32, anybody: u32) -> impl Strategy<Value = By> {
    prop_oneof![
        nobody => Just(By::Nobody), first => Just(By::First), anybody => any::<Index>().prop_map(By::Anybody)
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    // No number begins with another one: names are then in the same order in any language.
    let trigger = prop_oneof![
        5 => Just(Trigger::Each), 3 => select(vec!["advent", "spring"]).prop_map(Trigger::Campaign),
        3 => (2..=4).prop_map(Trigger::Milestone),
    ];
    let side = prop_oneof![2 => Just(Beneficiary::Referrer), 1 => Just(Beneficiary::Referred)];
    let kind = prop_oneof![
        4 => Just(RewardKind::Credits), 1 => Just(RewardKind::Premium), 2 => Just(RewardKind::Discount),
    ];
    let caps = (option::of(1..=3), option::of(1..=5));
    let dates = (option::weighted(0.3, 0_u64..10), option::weighted(0.3, 1_u64..40));
    (trigger, side, kind, 1_i64..=40, caps, dates).prop_map(
        |(trigger, side, kind, amount, caps, (starts_in, lasts))| Draft {
            trigger,
            side,
            kind,
            amount,
            caps,
            starts_in,
            lasts,
        },
    )
}
