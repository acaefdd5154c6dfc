//! The SQL of figures.

use std::ops::AddAssign;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Dimension;
use crate::db::Tx;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, QueryableByName)]
pub struct Counts {
    /// Clicks of people.
    #[diesel(sql_type = BigInt)]
    pub clicks: i64,
    /// Of these, the first of a visitor on a day.
    #[diesel(sql_type = BigInt)]
    pub unique_clicks: i64,
    /// Clicks of robots, prefetches and HEAD requests.
    #[diesel(sql_type = BigInt)]
    pub robot_clicks: i64,
    /// Clicks of the owner.
    #[diesel(sql_type = BigInt)]
    pub own_clicks: i64,
    /// Views by people.
    #[diesel(sql_type = BigInt)]
    pub views: i64,
    /// Of these, the first of a visitor on a day.
    #[diesel(sql_type = BigInt)]
    pub unique_views: i64,
    /// Views by robots, prefetches and HEAD requests.
    #[diesel(sql_type = BigInt)]
    pub robot_views: i64,
    /// Views by the owner.
    #[diesel(sql_type = BigInt)]
    pub own_views: i64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.clicks += other.clicks;
        self.unique_clicks += other.unique_clicks;
        self.robot_clicks += other.robot_clicks;
        self.own_clicks += other.own_clicks;
        self.views += other.views;
        self.unique_views += other.unique_views;
        self.robot_views += other.robot_views;
        self.own_views += other.own_views;
    }
}

#[derive(QueryableByName)]
struct Hour {
    #[diesel(sql_type = Timestamptz)]
    hour: DateTime<Utc>,
    #[diesel(embed)]
    counts: Counts,
}

/// The hours with anything, in order.
pub(super) async fn hours(
    tx: &mut Tx,
    subject: Uuid,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> QueryResult<Vec<(DateTime<Utc>, Counts)>> {
    let rows: Vec<Hour> = sql_query(
        "SELECT hour, clicks::bigint, unique_clicks::bigint, robot_clicks::bigint, own_clicks::bigint,
                views::bigint, unique_views::bigint, robot_views::bigint, own_views::bigint
         FROM click_hours WHERE subject_id = $1 AND dimension = 0 AND hour >= $2 AND hour < $3 ORDER BY hour",
    )
    .bind::<SqlUuid, _>(subject)
    .bind::<Timestamptz, _>(from)
    .bind::<Timestamptz, _>(to)
    .load(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.hour, row.counts)).collect())
}

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = Text)]
    value: String,
    #[diesel(embed)]
    counts: Counts,
}

/// The values of a dimension, most clicks and views first.
pub(super) async fn list(
    tx: &mut Tx,
    subject: Uuid,
    dimension: Dimension,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    most: i64,
) -> QueryResult<Vec<(String, Counts)>> {
    let rows: Vec<Value> = sql_query(
        "SELECT value, sum(clicks)::bigint AS clicks, sum(unique_clicks)::bigint AS unique_clicks, sum(robot_clicks)::bigint AS robot_clicks,
                sum(own_clicks)::bigint AS own_clicks, sum(views)::bigint AS views, sum(unique_views)::bigint AS unique_views,
                sum(robot_views)::bigint AS robot_views, sum(own_views)::bigint AS own_views
         FROM click_hours WHERE subject_id = $1 AND dimension = $2 AND hour >= $3 AND hour < $4
         GROUP BY value ORDER BY sum(clicks) + sum(views) DESC, sum(robot_clicks) + sum(robot_views) DESC, value LIMIT $5",
    )
    .bind::<SqlUuid, _>(subject)
    .bind::<SmallInt, _>(dimension.code())
    .bind::<Timestamptz, _>(from)
    .bind::<Timestamptz, _>(to)
    .bind::<BigInt, _>(most)
    .load(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.value, row.counts)).collect())
}
