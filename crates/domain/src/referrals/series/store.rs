//! The SQL of figures over time.

use chrono::NaiveDate;
use diesel::dsl::sum;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::Connection;
use crate::schema::{referral_counters as counters, referral_days as days, users};

/// The figures of one day.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Day {
    /// The day, in UTC.
    pub day: NaiveDate,
    /// Visits of the referral link.
    pub visits: i64,
    /// Accounts that were made with it.
    pub registrations: i64,
    /// Referrals that came to count on this day, and still do.
    pub successful: i64,
}

/// A place on the leaderboard.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Standing {
    /// Who.
    pub username: String,
    /// How many referrals count.
    pub successful: i64,
}

pub(super) async fn days(
    connection: &mut Connection,
    user_id: Uuid,
    from: NaiveDate,
    to: NaiveDate,
) -> QueryResult<Vec<Day>> {
    days::table
        .filter(days::user_id.eq(user_id).and(days::day.between(from, to)))
        .order(days::day)
        .select((days::day, days::visits, days::registrations, days::successful))
        .load(connection)
        .await
}

/// Those who may be named: they asked for it and are still there.
macro_rules! named {
    () => {
        users::leaderboard.and(users::deleted_at.is_null()).and(users::blocked_at.is_null())
    };
}

pub(super) async fn leaders(connection: &mut Connection, limit: i64) -> QueryResult<Vec<Standing>> {
    counters::table
        .inner_join(users::table)
        .filter(counters::successful.gt(0).and(named!()))
        .order((counters::successful.desc(), counters::user_id))
        .limit(limit)
        .select((users::username, counters::successful))
        .load(connection)
        .await
}

pub(super) async fn leaders_since(
    connection: &mut Connection,
    first: NaiveDate,
    limit: i64,
) -> QueryResult<Vec<Standing>> {
    // PostgreSQL sums `bigint` into `numeric`.
    let total = || diesel::dsl::sql::<BigInt>("sum(referral_days.successful)::bigint");
    days::table
        .inner_join(users::table.on(users::id.eq(days::user_id)))
        .filter(days::successful.gt(0).and(days::day.ge(first)).and(named!()))
        .group_by((users::id, users::username))
        .order((sum(days::successful).desc(), users::id))
        .limit(limit)
        .select((users::username, total()))
        .load(connection)
        .await
}

pub(super) async fn is_named(connection: &mut Connection, user_id: Uuid) -> QueryResult<Option<bool>> {
    users::table
        .filter(users::id.eq(user_id).and(users::deleted_at.is_null()))
        .select(users::leaderboard)
        .first(connection)
        .await
        .optional()
}

pub(super) async fn set_named(connection: &mut Connection, user_id: Uuid, named: bool) -> QueryResult<bool> {
    let changed = diesel::update(users::table.filter(users::id.eq(user_id).and(users::deleted_at.is_null())))
        .set(users::leaderboard.eq(named))
        .execute(connection)
        .await?;
    Ok(changed == 1)
}
