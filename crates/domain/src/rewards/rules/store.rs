//! The SQL of the set of rules.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::{Amount, Beneficiary, RewardKind};
use super::RuleSpec;
use crate::db::Tx;
use crate::db::constraint::unique_violation;
use crate::schema::{reward_rule_sets as sets, reward_rules as rules};

#[derive(Queryable, Selectable)]
#[diesel(table_name = rules, check_for_backend(diesel::pg::Pg))]
pub(super) struct Row {
    pub(super) id: Uuid,
    milestone: Option<i32>,
    beneficiary: String,
    reward_type: String,
    amount: Amount,
    campaign: Option<String>,
    max_per_month: Option<i32>,
    max_total: Option<i32>,
    starts_at: Option<DateTime<Utc>>,
    ends_at: Option<DateTime<Utc>>,
}

impl Row {
    pub(super) fn spec(&self) -> Option<RuleSpec> {
        Some(RuleSpec {
            milestone: self.milestone,
            beneficiary: Beneficiary::parse(&self.beneficiary)?,
            kind: RewardKind::parse(&self.reward_type)?,
            amount: self.amount,
            campaign: self.campaign.clone(),
            max_per_month: self.max_per_month,
            max_total: self.max_total,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
        })
    }
}

/// The latest version, and when it was made.
pub(super) async fn latest(tx: &mut Tx) -> QueryResult<(i32, DateTime<Utc>)> {
    sets::table.order(sets::version.desc()).select((sets::version, sets::created_at)).first(&mut **tx).await
}

pub(super) async fn standing(tx: &mut Tx) -> QueryResult<Vec<Row>> {
    rules::table
        .filter(rules::retired_at.is_null())
        .order(rules::key)
        .select(Row::as_select())
        .load(&mut **tx)
        .await
}

/// Takes the number after `version`; false when it is taken, or `version` never was. Whoever comes second waits for the
/// first to commit.
pub(super) async fn follow(
    tx: &mut Tx,
    version: i32,
    changed_by: Option<Uuid>,
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let Some(next) = version.checked_add(1) else { return Ok(false) };
    let known: Option<i32> =
        sets::table.find(version).select(sets::version).first(&mut **tx).await.optional()?;
    if known.is_none() {
        return Ok(false);
    }
    let inserted = diesel::insert_into(sets::table)
        .values((sets::version.eq(next), sets::changed_by.eq(changed_by), sets::created_at.eq(now)))
        .execute(&mut **tx)
        .await;
    match inserted {
        Ok(_) => Ok(true),
        Err(error) if unique_violation(&error).is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) async fn retire(tx: &mut Tx, ids: &[Uuid], now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(rules::table.filter(rules::id.eq_any(ids)))
        .set(rules::retired_at.eq(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Inserts the next version of a rule.
pub(super) async fn insert(tx: &mut Tx, rule: &RuleSpec, now: DateTime<Utc>) -> QueryResult<()> {
    let key = rule.key();
    let last: Option<i32> = rules::table
        .filter(rules::key.eq(&key))
        .select(diesel::dsl::max(rules::version))
        .first(&mut **tx)
        .await?;
    diesel::insert_into(rules::table)
        .values((
            rules::id.eq(Uuid::now_v7()),
            rules::key.eq(key),
            rules::version.eq(last.unwrap_or(0).saturating_add(1)),
            rules::milestone.eq(rule.milestone),
            rules::beneficiary.eq(rule.beneficiary.as_str()),
            rules::reward_type.eq(rule.kind.as_str()),
            rules::amount.eq(rule.amount),
            rules::created_at.eq(now),
            rules::campaign.eq(&rule.campaign),
            rules::max_per_month.eq(rule.max_per_month),
            rules::max_total.eq(rule.max_total),
            rules::starts_at.eq(rule.starts_at),
            rules::ends_at.eq(rule.ends_at),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
