//! The SQL of rolling up. Everything goes in arrays: a statement for thousands of rows.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Date, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::tally::{RowKey, Visit};
use crate::clicks::figures::{Counts, Dimension};
use crate::clicks::visitor::Visitor;
use crate::db::Tx;
use crate::schema::{click_rollup as rollup, links, users};

/// How many rows a statement writes.
const PIECE: usize = 10_000;

/// Takes the lock unless somebody has it.
pub(super) async fn try_lock(tx: &mut Tx) -> QueryResult<bool> {
    let lock = rollup::table.select(rollup::single).for_update().skip_locked();
    Ok(lock.first::<bool>(&mut **tx).await.optional()?.is_some())
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// Remembers batches, and returns those that were not known.
pub(super) async fn remember(tx: &mut Tx, now: DateTime<Utc>, ids: &[Uuid]) -> QueryResult<Vec<Uuid>> {
    let new: Vec<Id> = sql_query(
        "INSERT INTO click_batches (id, counted_at) SELECT unnest($1), $2 ON CONFLICT DO NOTHING RETURNING id",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<Timestamptz, _>(now)
    .load(&mut **tx)
    .await?;
    Ok(new.into_iter().map(|row| row.id).collect())
}

/// The links that are there, with whose page they are on.
pub(super) async fn owners(tx: &mut Tx, ids: &[Uuid]) -> QueryResult<HashMap<Uuid, Uuid>> {
    let rows: Vec<(Uuid, Uuid)> = links::table
        .inner_join(users::table.on(users::id.eq(links::user_id)))
        .filter(links::id.eq_any(ids).and(users::deleted_at.is_null()))
        .select((links::id, links::user_id))
        .load(&mut **tx)
        .await?;
    Ok(rows.into_iter().collect())
}

/// The accounts that are there.
pub(super) async fn pages(tx: &mut Tx, ids: &[Uuid]) -> QueryResult<HashSet<Uuid>> {
    let rows: Vec<Uuid> = users::table
        .filter(users::id.eq_any(ids).and(users::deleted_at.is_null()))
        .select(users::id)
        .load(&mut **tx)
        .await?;
    Ok(rows.into_iter().collect())
}

#[derive(QueryableByName)]
struct VisitRow {
    #[diesel(sql_type = Date)]
    day: NaiveDate,
    #[diesel(sql_type = Binary)]
    visitor: Vec<u8>,
}

/// Remembers visitors, and returns those that were not there on their day before.
pub(super) async fn first_visits(tx: &mut Tx, visits: &[Visit]) -> QueryResult<HashSet<Visit>> {
    let mut first = HashSet::with_capacity(visits.len());
    for piece in visits.chunks(PIECE) {
        let (days, visitors): (Vec<NaiveDate>, Vec<&[u8]>) =
            piece.iter().map(|(day, visitor)| (*day, &visitor.0[..])).unzip();
        let rows: Vec<VisitRow> = sql_query(
            "INSERT INTO click_visitors (day, visitor) SELECT unnest($1), unnest($2)
             ON CONFLICT DO NOTHING RETURNING day, visitor",
        )
        .bind::<Array<Date>, _>(days)
        .bind::<Array<Binary>, _>(visitors)
        .load(&mut **tx)
        .await?;
        first.extend(
            rows.into_iter().filter_map(|row| Some((row.day, Visitor(row.visitor.try_into().ok()?)))),
        );
    }
    Ok(first)
}

#[derive(QueryableByName)]
struct ReferrerRow {
    #[diesel(sql_type = SqlUuid)]
    subject_id: Uuid,
    #[diesel(sql_type = Timestamptz)]
    hour: DateTime<Utc>,
    #[diesel(sql_type = Text)]
    value: String,
}

/// The referrers that have rows in these hours.
pub(super) async fn referrers(
    tx: &mut Tx,
    hours: &[(Uuid, DateTime<Utc>)],
) -> QueryResult<HashMap<(Uuid, DateTime<Utc>), HashSet<String>>> {
    let mut known: HashMap<_, HashSet<String>> = HashMap::new();
    for piece in hours.chunks(PIECE) {
        let (subjects, hours): (Vec<Uuid>, Vec<DateTime<Utc>>) = piece.iter().copied().unzip();
        let rows: Vec<ReferrerRow> = sql_query(
            "SELECT subject_id, hour, value
             FROM (SELECT unnest($1) AS subject_id, unnest($2) AS hour) AS asked JOIN click_hours USING (subject_id, hour)
             WHERE dimension = $3 AND value NOT IN ('', '(other)')",
        )
        .bind::<Array<SqlUuid>, _>(subjects)
        .bind::<Array<Timestamptz>, _>(hours)
        .bind::<SmallInt, _>(Dimension::Referrer.code())
        .load(&mut **tx)
        .await?;
        for row in rows {
            known.entry((row.subject_id, row.hour)).or_default().insert(row.value);
        }
    }
    Ok(known)
}

/// Raises rows.
pub(super) async fn write(
    tx: &mut Tx,
    rows: impl ExactSizeIterator<Item = (RowKey, Counts)>,
) -> QueryResult<()> {
    let rows: Vec<_> = rows.collect();
    for piece in rows.chunks(PIECE) {
        let column =
            |of: fn(&Counts) -> i64| piece.iter().map(|(_, counts)| of(counts)).collect::<Vec<i64>>();
        sql_query(
            "INSERT INTO click_hours AS h (subject_id, dimension, hour, value, clicks, unique_clicks, robot_clicks,
                                           own_clicks, views, unique_views, robot_views, own_views)
             SELECT unnest($1), unnest($2), unnest($3), unnest($4), unnest($5), unnest($6), unnest($7), unnest($8),
                    unnest($9), unnest($10), unnest($11), unnest($12)
             ON CONFLICT (subject_id, dimension, hour, value) DO UPDATE SET
                 clicks = h.clicks + excluded.clicks,
                 unique_clicks = h.unique_clicks + excluded.unique_clicks,
                 robot_clicks = h.robot_clicks + excluded.robot_clicks,
                 own_clicks = h.own_clicks + excluded.own_clicks,
                 views = h.views + excluded.views,
                 unique_views = h.unique_views + excluded.unique_views,
                 robot_views = h.robot_views + excluded.robot_views,
                 own_views = h.own_views + excluded.own_views",
        )
        .bind::<Array<SqlUuid>, _>(piece.iter().map(|(key, _)| key.subject).collect::<Vec<_>>())
        .bind::<Array<SmallInt>, _>(piece.iter().map(|(key, _)| key.dimension.code()).collect::<Vec<_>>())
        .bind::<Array<Timestamptz>, _>(piece.iter().map(|(key, _)| key.hour).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(piece.iter().map(|(key, _)| key.value.as_str()).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(column(|counts| counts.clicks))
        .bind::<Array<BigInt>, _>(column(|counts| counts.unique_clicks))
        .bind::<Array<BigInt>, _>(column(|counts| counts.robot_clicks))
        .bind::<Array<BigInt>, _>(column(|counts| counts.own_clicks))
        .bind::<Array<BigInt>, _>(column(|counts| counts.views))
        .bind::<Array<BigInt>, _>(column(|counts| counts.unique_views))
        .bind::<Array<BigInt>, _>(column(|counts| counts.robot_views))
        .bind::<Array<BigInt>, _>(column(|counts| counts.own_views))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Notes that batches were counted.
pub(super) async fn note(tx: &mut Tx, now: DateTime<Utc>, batches: u64) -> QueryResult<()> {
    let batches = i64::try_from(batches).unwrap_or(i64::MAX);
    diesel::update(rollup::table)
        .set((rollup::batches.eq(rollup::batches + batches), rollup::counted_at.eq(now)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
