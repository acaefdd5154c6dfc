//! The SQL of rewards.

mod ledger;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Amount, Beneficiary, Grant, Sides};
use crate::db::{Connection, Tx};
use crate::page::Cursor;
pub(super) use ledger::{Cause, Entry, add_to_balance, insert_entries, lock_balance, take_from_balance};

use crate::schema::{
    discounts, premium_periods as premium, reward_decisions as decisions, reward_rules as rules, rewards,
};

#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = rules, check_for_backend(diesel::pg::Pg))]
pub(super) struct Rule {
    pub(super) id: Uuid,
    pub(super) milestone: Option<i32>,
    pub(super) beneficiary: String,
    pub(super) reward_type: String,
    pub(super) amount: Amount,
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
}

pub(super) async fn active_rules(connection: &mut Connection) -> QueryResult<Vec<Rule>> {
    rules::table
        .filter(rules::retired_at.is_null())
        .order(rules::key)
        .select(Rule::as_select())
        .load(connection)
        .await
}

/// The milestones up to a count that the user has had already.
pub(super) async fn reached_milestones(
    tx: &mut Tx,
    user_id: Uuid,
    successful: i64,
    rules: &[Rule],
) -> QueryResult<Vec<(i32, String)>> {
    if !rules.iter().any(|rule| rule.milestone.is_some_and(|n| i64::from(n) <= successful)) {
        return Ok(Vec::new());
    }
    rewards::table
        .filter(rewards::user_id.eq(user_id).and(rewards::milestone.is_not_null()))
        .select((rewards::milestone.assume_not_null(), rewards::reward_type))
        .load(&mut **tx)
        .await
}

pub(super) async fn next_milestone(connection: &mut Connection, above: i64) -> QueryResult<Option<Rule>> {
    let above = i32::try_from(above).unwrap_or(i32::MAX);
    rules::table
        .filter(rules::retired_at.is_null().and(rules::milestone.gt(above)))
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

/// One decision a grant, and one that says so for a side that no rule gives anything.
pub(super) async fn insert_decisions(
    tx: &mut Tx,
    now: DateTime<Utc>,
    sides: Sides,
    grants: &[Grant],
) -> QueryResult<()> {
    let mut rows: Vec<Decision> = grants
        .iter()
        .map(|grant| Decision {
            id: Uuid::now_v7(),
            referral_id: sides.referral_id,
            beneficiary: grant.beneficiary.as_str(),
            user_id: grant.user_id,
            rule_id: Some(grant.rule.id),
            decision: "granted",
            reason: if grant.rule.milestone.is_some() { "milestone_reached" } else { "referral_successful" },
            reward_id: Some(grant.id),
            decided_at: now,
        })
        .collect();
    for (beneficiary, user_id) in
        [(Beneficiary::Referrer, sides.referrer_id), (Beneficiary::Referred, sides.referred_id)]
    {
        if !grants.iter().any(|grant| grant.beneficiary == beneficiary) {
            rows.push(Decision {
                id: Uuid::now_v7(),
                referral_id: sides.referral_id,
                beneficiary: beneficiary.as_str(),
                user_id,
                rule_id: None,
                decision: "ineligible",
                reason: "no_rule",
                reward_id: None,
                decided_at: now,
            });
        }
    }
    diesel::insert_into(decisions::table).values(rows).execute(&mut **tx).await?;
    Ok(())
}

/// Adds a period after the last one. The lock on the premium balance, which the caller holds, orders them.
pub(super) async fn extend_premium(
    tx: &mut Tx,
    reward_id: Uuid,
    user_id: Uuid,
    now: DateTime<Utc>,
    length: TimeDelta,
) -> QueryResult<()> {
    let last: Option<DateTime<Utc>> = premium::table
        .filter(premium::user_id.eq(user_id).and(premium::reversed_at.is_null()))
        .select(diesel::dsl::max(premium::ends_at))
        .first(&mut **tx)
        .await?;
    let starts_at = last.map_or(now, |end| end.max(now));
    diesel::insert_into(premium::table)
        .values((
            premium::reward_id.eq(reward_id),
            premium::user_id.eq(user_id),
            premium::starts_at.eq(starts_at),
            premium::ends_at.eq(starts_at + length),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn insert_discount(
    tx: &mut Tx,
    reward_id: Uuid,
    user_id: Uuid,
    code: &str,
    percent: Amount,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(discounts::table)
        .values((
            discounts::reward_id.eq(reward_id),
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
        ))
        .into_boxed();
    if let Some(Cursor { at, id }) = after {
        query = query
            .filter(decisions::decided_at.lt(at).or(decisions::decided_at.eq(at).and(decisions::id.lt(id))));
    }
    query.load(connection).await
}
