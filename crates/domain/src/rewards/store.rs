//! The SQL of rewards.

mod ledger;

use chrono::{DateTime, NaiveDate, Utc};
use diesel::dsl::{exists, max, not};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::settlement::{Grant, Withheld};
use super::{Amount, Beneficiary, Sides};
use crate::db::{Connection, Tx};
use crate::page::Cursor;
pub(super) use ledger::{Cause, Entry, add_to_balance, insert_entries, lock_balance, take_from_balance};

use crate::schema::{
    discounts, premium_periods as premium, reward_decisions as decisions, reward_rules as rules,
    reward_tallies as tallies, rewards,
};

/// A rule that is in force.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = rules, check_for_backend(diesel::pg::Pg))]
pub(super) struct Rule {
    pub(super) id: Uuid,
    pub(super) key: String,
    pub(super) milestone: Option<i32>,
    pub(super) beneficiary: String,
    pub(super) reward_type: String,
    pub(super) amount: Amount,
    pub(super) max_per_month: Option<i32>,
    pub(super) max_total: Option<i32>,
}

/// What a period or a coupon is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Reward(Uuid),
    Redemption(Uuid),
}

impl Source {
    fn columns(self) -> (Option<Uuid>, Option<Uuid>) {
        match self {
            Self::Reward(id) => (Some(id), None),
            Self::Redemption(id) => (None, Some(id)),
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = decisions)]
struct Decision {
    id: Uuid,
    referral_id: Uuid,
    beneficiary: &'static str,
    user_id: Uuid,
    rule_id: Option<Uuid>,
    decision: &'static str,
    reason: &'static str,
    reward_id: Option<Uuid>,
    decided_at: DateTime<Utc>,
}

/// A decision about a reward, as its beneficiary sees it.
#[derive(Clone, Debug, Queryable)]
pub struct RewardView {
    /// The decision.
    pub id: Uuid,
    /// `granted`, `capped` or `ineligible`.
    pub decision: String,
    /// Why.
    pub reason: String,
    /// The referral it is about.
    pub referral_id: Uuid,
    /// `referrer` or `referred`: which side of it.
    pub beneficiary: String,
    /// `credits`, `premium` or `discount`; `None` when no rule was in force.
    pub reward_type: Option<String>,
    /// What was granted.
    pub granted: Option<Amount>,
    /// What the rule would have given.
    pub offered: Option<Amount>,
    /// The milestone, for rewards of one.
    pub milestone: Option<i32>,
    /// The coupon, for discounts.
    pub code: Option<String>,
    /// When it was decided.
    pub decided_at: DateTime<Utc>,
    /// When a grant was taken back.
    pub reversed_at: Option<DateTime<Utc>>,
    /// What had been spent of it by then, and stays.
    pub shortfall: Option<Amount>,
}

/// What a referral earned somebody.
#[derive(Clone, Debug, Queryable)]
pub(crate) struct Earned {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) reward_type: String,
    pub(crate) amount: Amount,
    /// Of one that was taken back: what had been spent of it.
    pub(crate) shortfall: Option<Amount>,
}

pub(super) async fn of_referral(tx: &mut Tx, referral_id: Uuid) -> QueryResult<Vec<Earned>> {
    rewards::table
        .filter(rewards::referral_id.eq(referral_id))
        .order(rewards::id)
        .select((rewards::id, rewards::user_id, rewards::reward_type, rewards::amount, rewards::shortfall))
        .load(&mut **tx)
        .await
}

type InForce = diesel::helper_types::IntoBoxed<'static, rules::table, Pg>;

fn in_force(now: DateTime<Utc>) -> InForce {
    rules::table
        .filter(rules::retired_at.is_null())
        .filter(rules::starts_at.is_null().or(rules::starts_at.assume_not_null().le(now)))
        .filter(rules::ends_at.is_null().or(rules::ends_at.assume_not_null().gt(now)))
        .into_boxed()
}

/// The rules that are in force, by their keys.
pub(super) async fn rules_in_force(
    connection: &mut Connection,
    now: DateTime<Utc>,
) -> QueryResult<Vec<Rule>> {
    in_force(now).order(rules::key).select(Rule::as_select()).load(connection).await
}

/// The milestones that the user has had, but for those that were taken back in full.
pub(super) async fn reached_milestones(tx: &mut Tx, user_id: Uuid) -> QueryResult<Vec<(i32, String)>> {
    rewards::table
        .filter(rewards::user_id.eq(user_id).and(rewards::milestone.is_not_null()))
        .filter(rewards::beneficiary.eq(Beneficiary::Referrer.as_str()))
        .filter(rewards::shortfall.is_distinct_from(Some(Amount::ZERO)))
        .select((rewards::milestone.assume_not_null(), rewards::reward_type))
        .load(&mut **tx)
        .await
}

/// How often these rules were granted for a referrer's referrals, by month. The caller holds the referrer's counters.
pub(super) async fn tallies(
    tx: &mut Tx,
    referrer_id: Uuid,
    keys: &[&str],
) -> QueryResult<Vec<(String, NaiveDate, i64)>> {
    tallies::table
        .filter(tallies::referrer_id.eq(referrer_id).and(tallies::rule_key.eq_any(keys)))
        .select((tallies::rule_key, tallies::month, tallies::granted))
        .load(&mut **tx)
        .await
}

/// Counts one more grant of each of these rules.
pub(super) async fn tally(
    tx: &mut Tx,
    referrer_id: Uuid,
    month: NaiveDate,
    keys: &[&str],
) -> QueryResult<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            (
                tallies::referrer_id.eq(referrer_id),
                tallies::rule_key.eq(*key),
                tallies::month.eq(month),
                tallies::granted.eq(1),
            )
        })
        .collect();
    diesel::insert_into(tallies::table)
        .values(rows)
        .on_conflict((tallies::referrer_id, tallies::rule_key, tallies::month))
        .do_update()
        .set(tallies::granted.eq(tallies::granted + 1))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The lowest milestone above a count that the user can still reach: none of those of [`reached_milestones`].
pub(super) async fn next_milestone(
    connection: &mut Connection,
    now: DateTime<Utc>,
    user_id: Uuid,
    above: i64,
) -> QueryResult<Option<Rule>> {
    let above = i32::try_from(above).unwrap_or(i32::MAX);
    let had = rewards::table
        .filter(rewards::user_id.eq(user_id).and(rewards::beneficiary.eq(Beneficiary::Referrer.as_str())))
        .filter(rewards::milestone.eq(rules::milestone).and(rewards::reward_type.eq(rules::reward_type)))
        .filter(rewards::shortfall.is_distinct_from(Some(Amount::ZERO)));
    in_force(now)
        .filter(not(exists(had)))
        .filter(rules::milestone.gt(above).and(rules::beneficiary.eq(Beneficiary::Referrer.as_str())))
        .order((rules::milestone, rules::key))
        .select(Rule::as_select())
        .first(connection)
        .await
        .optional()
}

pub(super) async fn insert_rewards(
    tx: &mut Tx,
    now: DateTime<Utc>,
    referral_id: Uuid,
    grants: &[Grant],
) -> QueryResult<()> {
    let rows: Vec<_> = grants
        .iter()
        .map(|grant| {
            (
                rewards::id.eq(grant.id),
                rewards::user_id.eq(grant.user_id),
                rewards::reward_type.eq(grant.kind.as_str()),
                rewards::amount.eq(grant.rule.amount),
                rewards::date_earned.eq(now),
                rewards::referral_id.eq(referral_id),
                rewards::beneficiary.eq(grant.beneficiary.as_str()),
                rewards::rule_id.eq(grant.rule.id),
                rewards::milestone.eq(grant.rule.milestone),
            )
        })
        .collect();
    diesel::insert_into(rewards::table).values(rows).execute(&mut **tx).await?;
    Ok(())
}

/// One decision a grant and a grant withheld, and one that says so for a side that no rule gives anything.
pub(super) async fn insert_decisions(
    tx: &mut Tx,
    now: DateTime<Utc>,
    sides: Sides,
    grants: &[Grant],
    withheld: &[Withheld],
) -> QueryResult<()> {
    let decide = |beneficiary: Beneficiary, rule_id, decision, reason, reward_id| Decision {
        id: Uuid::now_v7(),
        referral_id: sides.referral_id,
        beneficiary: beneficiary.as_str(),
        user_id: sides.user_of(beneficiary),
        rule_id,
        decision,
        reason,
        reward_id,
        decided_at: now,
    };
    let granted = grants.iter().map(|grant| {
        let reason = if grant.rule.milestone.is_some() { "milestone_reached" } else { "referral_successful" };
        decide(grant.beneficiary, Some(grant.rule.id), "granted", reason, Some(grant.id))
    });
    let withheld = withheld.iter().map(|withheld| {
        let (decision, reason) = withheld.why.words();
        decide(withheld.beneficiary, Some(withheld.rule_id), decision, reason, None)
    });
    let mut rows: Vec<Decision> = granted.chain(withheld).collect();
    for beneficiary in [Beneficiary::Referrer, Beneficiary::Referred] {
        if !rows.iter().any(|row| row.beneficiary == beneficiary.as_str()) {
            rows.push(decide(beneficiary, None, "ineligible", "no_rule", None));
        }
    }
    diesel::insert_into(decisions::table).values(rows).execute(&mut **tx).await?;
    Ok(())
}

/// When a user's next period starts: after the last one. The lock on the premium balance, which the caller holds, orders
/// them.
pub(super) async fn premium_end(
    tx: &mut Tx,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<DateTime<Utc>> {
    let last: Option<DateTime<Utc>> = premium::table
        .filter(premium::user_id.eq(user_id).and(premium::reversed_at.is_null()))
        .select(max(premium::ends_at))
        .first(&mut **tx)
        .await?;
    Ok(last.map_or(now, |end| end.max(now)))
}

pub(super) async fn insert_period(
    tx: &mut Tx,
    source: Source,
    user_id: Uuid,
    (starts_at, ends_at): (DateTime<Utc>, DateTime<Utc>),
) -> QueryResult<()> {
    let (reward_id, redemption_id) = source.columns();
    diesel::insert_into(premium::table)
        .values((
            premium::id.eq(Uuid::now_v7()),
            premium::reward_id.eq(reward_id),
            premium::redemption_id.eq(redemption_id),
            premium::user_id.eq(user_id),
            premium::starts_at.eq(starts_at),
            premium::ends_at.eq(ends_at),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn insert_discount(
    tx: &mut Tx,
    source: Source,
    user_id: Uuid,
    code: &str,
    percent: Amount,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let (reward_id, redemption_id) = source.columns();
    diesel::insert_into(discounts::table)
        .values((
            discounts::id.eq(Uuid::now_v7()),
            discounts::reward_id.eq(reward_id),
            discounts::redemption_id.eq(redemption_id),
            discounts::user_id.eq(user_id),
            discounts::code.eq(code),
            discounts::percent.eq(percent),
            discounts::created_at.eq(now),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn list(
    connection: &mut Connection,
    user_id: Uuid,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<RewardView>> {
    let mut query = decisions::table
        .left_join(rewards::table.on(rewards::id.nullable().eq(decisions::reward_id)))
        .left_join(rules::table.on(rules::id.nullable().eq(decisions::rule_id)))
        .left_join(discounts::table.on(discounts::reward_id.eq(decisions::reward_id)))
        .filter(decisions::user_id.eq(user_id))
        .order((decisions::decided_at.desc(), decisions::id.desc()))
        .limit(limit)
        .select((
            decisions::id,
            decisions::decision,
            decisions::reason,
            decisions::referral_id,
            decisions::beneficiary,
            rules::reward_type.nullable(),
            rewards::amount.nullable(),
            rules::amount.nullable(),
            rules::milestone.nullable(),
            discounts::code.nullable(),
            decisions::decided_at,
            rewards::reversed_at.nullable(),
            rewards::shortfall.nullable(),
        ))
        .into_boxed();
    if let Some(Cursor { at, id }) = after {
        query = query
            .filter(decisions::decided_at.lt(at).or(decisions::decided_at.eq(at).and(decisions::id.lt(id))));
    }
    query.load(connection).await
}

pub(super) async fn has_premium(
    connection: &mut Connection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let covering = premium::table.filter(
        premium::user_id
            .eq(user_id)
            .and(premium::starts_at.le(now))
            .and(premium::ends_at.gt(now))
            .and(premium::reversed_at.is_null()),
    );
    diesel::select(exists(covering)).get_result(connection).await
}
