//! The rules of what a successful referral earns, as managers read and replace them: the whole set at once.
//!
//! A rule that changes is retired, and its next version inserted; grants keep pointing at the version they were made by.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Amount, Beneficiary, RewardKind};
use crate::audit::{self, Actor, Event, Trace};
use crate::db::{DbError, Pool, Tx};

/// How many rules a set may have.
const MOST_RULES: usize = 50;

/// The most that one rule gives: credits, days, percent.
const fn most(kind: RewardKind) -> Amount {
    Amount::from_whole(match kind {
        RewardKind::Credits => 1_000_000,
        RewardKind::Premium => 3_650,
        RewardKind::Discount => 100,
    })
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// `None`: for every successful referral. n: once, with the n-th of a referrer.
    pub milestone: Option<i32>,
    /// Who gets it.
    pub beneficiary: Beneficiary,
    /// What.
    pub kind: RewardKind,
    /// How much: credits, days of premium, or percent.
    pub amount: Amount,
    /// Tells it from the standing rule of the same side and kind.
    pub campaign: Option<String>,
    /// Grants for one referrer's referrals in a calendar month (UTC).
    pub max_per_month: Option<i32>,
    /// The same in all.
    pub max_total: Option<i32>,
    /// In force from then.
    pub starts_at: Option<DateTime<Utc>>,
    /// In force until just before then.
    pub ends_at: Option<DateTime<Utc>>,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It gives nothing, or too much.
    #[error("an amount is above 0; at most 1000000.00 credits, 3650.00 days or 100.00 percent")]
    Amount,
    /// Premium is counted in days.
    #[error("premium is given in whole days")]
    WholeDays,
    /// Not a number of referrals.
    #[error("a milestone is a number of successful referrals, 1 at least")]
    Milestone,
    /// A milestone that is a campaign of its own name.
    #[error("a milestone has no campaign: dates suffice")]
    MilestoneCampaign,
    /// A milestone with a cap.
    #[error("a milestone is reached once and has no cap")]
    MilestoneCap,
    /// A cap of nothing.
    #[error("a cap is 1 at least")]
    Cap,
    /// Not a name of a campaign.
    #[error("a campaign is 1 to 40 of a-z, 0-9 and -, and starts with a letter or digit")]
    Campaign,
    /// It ends before it starts.
    #[error("a rule ends after it starts")]
    Dates,
    /// Two rules that cannot be told apart.
    #[error("another rule has the same trigger, side, kind and campaign")]
    Duplicate,
    /// Too many of them.
    #[error("there are 50 rules at most")]
    TooMany,
}

impl RuleSpec {
    /// Its name: the same for all its versions.
    pub fn key(&self) -> String {
        let trigger = self.milestone.map_or("per_referral".to_owned(), |n| format!("milestone_{n}"));
        let campaign = self.campaign.as_ref().map(|name| format!(".{name}")).unwrap_or_default();
        format!("{trigger}.{}.{}{campaign}", self.beneficiary.as_str(), self.kind)
    }

    /// What is wrong with it by itself: each with the name of the field.
    pub fn errors(&self) -> Vec<(&'static str, RuleError)> {
        let is_name = |name: &String| {
            (1..=40).contains(&name.len())
                && !name.starts_with('-')
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let below_one = |number: Option<i32>| number.is_some_and(|number| number < 1);
        let ends_first = self.starts_at.zip(self.ends_at).is_some_and(|(start, end)| end <= start);
        let of_milestone = self.milestone.is_some();
        let wrong = [
            (self.amount <= Amount::ZERO || self.amount > most(self.kind), "amount", RuleError::Amount),
            (
                self.kind == RewardKind::Premium && self.amount != Amount::from_whole(self.amount.whole()),
                "amount",
                RuleError::WholeDays,
            ),
            (below_one(self.milestone), "milestone", RuleError::Milestone),
            (of_milestone && self.campaign.is_some(), "campaign", RuleError::MilestoneCampaign),
            (self.campaign.as_ref().is_some_and(|name| !is_name(name)), "campaign", RuleError::Campaign),
            (of_milestone && self.max_per_month.is_some(), "max_per_month", RuleError::MilestoneCap),
            (of_milestone && self.max_total.is_some(), "max_total", RuleError::MilestoneCap),
            (below_one(self.max_per_month), "max_per_month", RuleError::Cap),
            (below_one(self.max_total), "max_total", RuleError::Cap),
            (ends_first, "ends_at", RuleError::Dates),
        ];
        wrong.into_iter().filter(|(is_wrong, ..)| *is_wrong).map(|(_, field, error)| (field, error)).collect()
    }
}

/// What is wrong with a set of rules, whatever is wrong with each of them: the index of the rule, and why. `keys` are the
/// rules' names, as far as they are known.
pub fn check_set(keys: impl IntoIterator<Item = Option<String>>) -> Vec<(usize, RuleError)> {
    let mut wrong = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (index, key) in keys.into_iter().enumerate() {
        if key.is_some_and(|key| !seen.insert(key)) {
            wrong.push((index, RuleError::Duplicate));
        }
        if index == MOST_RULES {
            wrong.push((index, RuleError::TooMany));
        }
    }
    wrong
}

/// The rules that stand, campaigns to come and campaigns gone included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// Rises with each replacement.
    pub version: i32,
    /// When it was made.
    pub changed_at: DateTime<Utc>,
    /// The rules, by their keys.
    pub rules: Vec<RuleSpec>,
}

/// The rules that stand.
pub async fn rules(pool: &Pool) -> Result<RuleSet, DbError> {
    let mut tx = Tx::snapshot(pool).await?;
    let set = read(&mut tx).await?;
    tx.commit().await?;
    Ok(set)
}

async fn read(tx: &mut Tx) -> Result<RuleSet, DbError> {
    let (version, changed_at) = store::latest(tx).await?;
    let rules = store::standing(tx).await?.iter().filter_map(store::Row::spec).collect();
    Ok(RuleSet { version, changed_at, rules })
}

/// A set in place of the one that stands.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// The version that it was made from.
    pub version: i32,
    /// All rules.
    pub rules: Vec<RuleSpec>,
    /// Who does it.
    pub actor: Actor,
}

/// Why the rules are not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// Somebody else replaced them since, or the version never was.
    #[error("the rules are of another version")]
    Overtaken,
    /// Some are wrong: see [`RuleSpec::errors`] and [`check_set`].
    #[error("some rules are wrong")]
    Invalid,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for ReplaceError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Replaces all rules, if they are still of `version`, with an audit row. Of two at once, the key of the sets lets one. Where the
/// same rules stand already, nothing is done, whatever `version` says: whoever did not get the answer may ask again.
pub async fn replace_rules(
    pool: &Pool,
    now: DateTime<Utc>,
    replacement: Replacement,
    trace: &Trace,
) -> Result<RuleSet, ReplaceError> {
    let Replacement { version, rules, actor } = replacement;
    let each_is_right = rules.iter().all(|rule| rule.errors().is_empty());
    if !each_is_right || !check_set(rules.iter().map(|rule| Some(rule.key()))).is_empty() {
        return Err(ReplaceError::Invalid);
    }
    let changed_by = match actor {
        Actor::Manager(id) | Actor::Account(id) => Some(id),
        Actor::Operator | Actor::System | Actor::Unknown => None,
    };
    if let Some(stands) = stand_already(pool, &rules).await? {
        return Ok(stands);
    }
    let mut tx = Tx::begin(pool).await?;
    if !store::follow(&mut tx, version, changed_by, now).await? {
        drop(tx);
        // By the same rules, perhaps: whoever clicked twice.
        return stand_already(pool, &rules).await?.ok_or(ReplaceError::Overtaken);
    }
    let standing = store::standing(&mut tx).await?;
    let kept: Vec<RuleSpec> = standing.iter().filter_map(store::Row::spec).collect();
    let gone: Vec<Uuid> = standing
        .iter()
        .filter(|row| row.spec().is_none_or(|spec| !rules.contains(&spec)))
        .map(|row| row.id)
        .collect();
    store::retire(&mut tx, &gone, now).await?;
    for rule in rules.iter().filter(|rule| !kept.contains(rule)) {
        store::insert(&mut tx, rule, now).await?;
    }
    let set = read(&mut tx).await?;
    let reason = format!("version {}", set.version);
    let entry = audit::Entry {
        user_id: None,
        actor,
        event: Event::RewardRulesChanged,
        subject_id: None,
        reason: Some(&reason),
    };
    audit::record(&mut tx, now, entry, trace).await?;
    tx.commit().await?;
    tracing::info!(version = set.version, by = ?actor, "replaced the reward rules");
    Ok(set)
}

/// The set that stands, if it has these rules and no others.
async fn stand_already(pool: &Pool, wanted: &[RuleSpec]) -> Result<Option<RuleSet>, DbError> {
    let set = rules(pool).await?;
    let is_same = set.rules.len() == wanted.len() && wanted.iter().all(|rule| set.rules.contains(rule));
    Ok(is_same.then_some(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> RuleSpec {
        RuleSpec {
            milestone: None,
            beneficiary: Beneficiary::Referrer,
            kind: RewardKind::Credits,
            amount: Amount::from_whole(10),
            campaign: None,
            max_per_month: None,
            max_total: None,
            starts_at: None,
            ends_at: None,
        }
    }

    #[test]
    fn keys_name_trigger_side_kind_and_campaign() {
        assert_eq!(rule().key(), "per_referral.referrer.credits");
        let advent = RuleSpec { campaign: Some("advent".to_owned()), ..rule() };
        assert_eq!(advent.key(), "per_referral.referrer.credits.advent");
        let fifth = RuleSpec { milestone: Some(5), kind: RewardKind::Premium, ..rule() };
        assert_eq!(fifth.key(), "milestone_5.referrer.premium");
    }

    #[test]
    fn what_a_rule_may_not_be_is_said_by_field() {
        let now = DateTime::UNIX_EPOCH;
        let name = |name: &str| RuleSpec { campaign: Some(name.to_owned()), ..rule() };
        assert_eq!(rule().errors(), []);
        assert_eq!(name("a-1").errors(), []);
        for (wrong, field, error) in [
            (RuleSpec { amount: Amount::ZERO, ..rule() }, "amount", RuleError::Amount),
            (
                RuleSpec { amount: Amount::from_hundredths(100_000_001), ..rule() },
                "amount",
                RuleError::Amount,
            ),
            (
                RuleSpec { kind: RewardKind::Discount, amount: Amount::from_hundredths(10_001), ..rule() },
                "amount",
                RuleError::Amount,
            ),
            (
                RuleSpec { kind: RewardKind::Premium, amount: Amount::from_hundredths(150), ..rule() },
                "amount",
                RuleError::WholeDays,
            ),
            (RuleSpec { milestone: Some(0), ..rule() }, "milestone", RuleError::Milestone),
            (
                RuleSpec { milestone: Some(5), max_total: Some(1), ..rule() },
                "max_total",
                RuleError::MilestoneCap,
            ),
            (RuleSpec { max_per_month: Some(0), ..rule() }, "max_per_month", RuleError::Cap),
            (RuleSpec { starts_at: Some(now), ends_at: Some(now), ..rule() }, "ends_at", RuleError::Dates),
            (name("-a"), "campaign", RuleError::Campaign),
            (name("Advent"), "campaign", RuleError::Campaign),
            (name(""), "campaign", RuleError::Campaign),
            (RuleSpec { milestone: Some(5), ..name("a") }, "campaign", RuleError::MilestoneCampaign),
        ] {
            assert_eq!(wrong.errors(), [(field, error)], "{wrong:?}");
        }
    }

    #[test]
    fn rules_of_a_set_can_be_told_apart_and_are_not_without_number() {
        let twice = [Some("a"), None, Some("b"), None, Some("a")].map(|key| key.map(str::to_owned));
        assert_eq!(check_set(twice), [(4, RuleError::Duplicate)]);
        let many = |count: usize| (0..count).map(|n| Some(n.to_string()));
        assert_eq!(check_set(many(52)), [(50, RuleError::TooMany)]);
        assert_eq!(check_set(many(50)), []);
        assert_eq!(check_set((0..51).map(|_| None)), [(50, RuleError::TooMany)], "whatever they are");
    }
}
