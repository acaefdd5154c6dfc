//! The SQL of counting again.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Text, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::schema::{referral_counters as counters, users};

#[derive(QueryableByName)]
struct Off {
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Text)]
    line: String,
}

const COUNTERS_OFF: &str = "
    SELECT u AS user_id, format('referrals: counted %s, there are %s', to_json(c), coalesce(to_json(r), '{}')) AS line
    FROM unnest($1) AS u
    LEFT JOIN referral_counters c ON c.user_id = u
    LEFT JOIN (SELECT referrer_id,
                      count(*) FILTER (WHERE status = 'pending') AS pending, count(*) FILTER (WHERE status = 'review') AS review,
                      count(*) FILTER (WHERE status = 'successful') AS successful, count(*) FILTER (WHERE status = 'rejected') AS rejected,
                      count(*) FILTER (WHERE status = 'expired') AS expired, count(*) FILTER (WHERE status = 'reversed') AS reversed
               FROM referrals WHERE referrer_id = ANY($1) GROUP BY 1) r ON r.referrer_id = u
    WHERE (c.pending, c.review, c.successful, c.rejected, c.expired, c.reversed) IS DISTINCT FROM
          (coalesce(r.pending, 0), coalesce(r.review, 0), coalesce(r.successful, 0), coalesce(r.rejected, 0),
           coalesce(r.expired, 0), coalesce(r.reversed, 0))
    ORDER BY u";

const TALLIES_OFF: &str = "
    SELECT referrer_id AS user_id,
           format('%s in %s: tallied %s, granted %s', rule_key, month, coalesce(t.granted, 0), coalesce(g.granted, 0)) AS line
    FROM (SELECT * FROM reward_tallies WHERE referrer_id = ANY($1)) t
    FULL JOIN (SELECT f.referrer_id, k.key AS rule_key, date_trunc('month', r.date_earned AT TIME ZONE 'UTC')::date AS month,
                      count(*) AS granted
               FROM referrals f JOIN rewards r ON r.referral_id = f.id JOIN reward_rules k ON k.id = r.rule_id
               WHERE f.referrer_id = ANY($1) GROUP BY 1, 2, 3) g
        USING (referrer_id, rule_key, month)
    WHERE coalesce(t.granted, 0) <> coalesce(g.granted, 0)
    ORDER BY referrer_id, rule_key, month";

/// What the days of referrers should say, by what is there.
macro_rules! days_of {
    ($referrers:literal) => {
        concat!(
            "SELECT user_id, day, sum(registrations)::bigint AS registrations, sum(successful)::bigint AS successful FROM (
                 SELECT referrer_id AS user_id, (date_referred AT TIME ZONE 'UTC')::date AS day, 1 AS registrations, 0 AS successful
                 FROM referrals WHERE referrer_id ", $referrers, "
                 UNION ALL
                 SELECT referrer_id, (settled_at AT TIME ZONE 'UTC')::date, 0, 1
                 FROM referrals WHERE referrer_id ", $referrers, " AND status = 'successful') AS moves GROUP BY 1, 2"
        )
    };
}

const DAYS_OFF: &str = concat!(
    "SELECT user_id, format('on %s: counted %s registrations and %s that count, there are %s and %s', day,
                coalesce(d.registrations, 0), coalesce(d.successful, 0), coalesce(r.registrations, 0), coalesce(r.successful, 0)) AS line
     FROM (SELECT * FROM referral_days WHERE user_id = ANY($1)) d
     FULL JOIN (", days_of!("= ANY($1)"), ") r USING (user_id, day)
     WHERE (coalesce(d.registrations, 0), coalesce(d.successful, 0)) <> (coalesce(r.registrations, 0), coalesce(r.successful, 0))
     ORDER BY user_id, day"
);

/// Visits have no rows of their own, and stay.
const SET_DAYS: &str = concat!(
    "WITH there AS (", days_of!("= $1"), "),
     gone AS (UPDATE referral_days d SET registrations = 0, successful = 0
              WHERE user_id = $1 AND NOT EXISTS (SELECT FROM there WHERE there.day = d.day))
     INSERT INTO referral_days (user_id, day, registrations, successful)
     SELECT user_id, day, registrations, successful FROM there
     ON CONFLICT (user_id, day) DO UPDATE SET registrations = excluded.registrations, successful = excluded.successful"
);

const SET_COUNTERS: &str = "
    UPDATE referral_counters c SET (pending, review, successful, rejected, expired, reversed, version) =
        (SELECT count(*) FILTER (WHERE status = 'pending'), count(*) FILTER (WHERE status = 'review'),
                count(*) FILTER (WHERE status = 'successful'), count(*) FILTER (WHERE status = 'rejected'),
                count(*) FILTER (WHERE status = 'expired'), count(*) FILTER (WHERE status = 'reversed'), c.version + 1
         FROM referrals WHERE referrer_id = $1)
    WHERE c.user_id = $1";

const SET_TALLIES: &str = "
    WITH gone AS (DELETE FROM reward_tallies WHERE referrer_id = $1 AND (rule_key, month) NOT IN
        (SELECT k.key, date_trunc('month', r.date_earned AT TIME ZONE 'UTC')::date
         FROM referrals f JOIN rewards r ON r.referral_id = f.id JOIN reward_rules k ON k.id = r.rule_id
         WHERE f.referrer_id = $1))
    INSERT INTO reward_tallies (referrer_id, rule_key, month, granted)
    SELECT f.referrer_id, k.key, date_trunc('month', r.date_earned AT TIME ZONE 'UTC')::date, count(*)
    FROM referrals f JOIN rewards r ON r.referral_id = f.id JOIN reward_rules k ON k.id = r.rule_id
    WHERE f.referrer_id = $1 GROUP BY 1, 2, 3
    ON CONFLICT (referrer_id, rule_key, month) DO UPDATE SET granted = excluded.granted";

pub(super) async fn take_time(tx: &mut Tx) -> QueryResult<()> {
    tx.batch_execute("SET LOCAL statement_timeout = 0").await
}

pub(super) async fn population(connection: &mut Connection) -> QueryResult<i64> {
    users::table.count().get_result(connection).await
}

pub(super) async fn users_after(tx: &mut Tx, after: Uuid, limit: i64) -> QueryResult<Vec<Uuid>> {
    users::table
        .filter(users::id.gt(after))
        .order(users::id)
        .limit(limit)
        .select(users::id)
        .load(&mut **tx)
        .await
}

async fn off(tx: &mut Tx, query: &str, ids: &[Uuid]) -> QueryResult<Vec<(Uuid, String)>> {
    let found: Vec<Off> = sql_query(query).bind::<Array<SqlUuid>, _>(ids).load(&mut **tx).await?;
    Ok(found.into_iter().map(|off| (off.user_id, off.line)).collect())
}

pub(super) async fn counters_off(tx: &mut Tx, ids: &[Uuid]) -> QueryResult<Vec<(Uuid, String)>> {
    off(tx, COUNTERS_OFF, ids).await
}

pub(super) async fn tallies_off(tx: &mut Tx, ids: &[Uuid]) -> QueryResult<Vec<(Uuid, String)>> {
    off(tx, TALLIES_OFF, ids).await
}

pub(super) async fn days_off(tx: &mut Tx, ids: &[Uuid]) -> QueryResult<Vec<(Uuid, String)>> {
    off(tx, DAYS_OFF, ids).await
}

/// Locks a user's counters, and makes them when they are missing.
pub(super) async fn lock_counters(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    diesel::insert_into(counters::table)
        .values(counters::user_id.eq(user_id))
        .on_conflict_do_nothing()
        .execute(&mut **tx)
        .await?;
    let row = counters::table.find(user_id).select(counters::user_id).for_update();
    row.first::<Uuid>(&mut **tx).await?;
    Ok(())
}

pub(super) async fn set_counters(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    sql_query(SET_COUNTERS).bind::<SqlUuid, _>(user_id).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn set_tallies(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    sql_query(SET_TALLIES).bind::<SqlUuid, _>(user_id).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn set_days(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    sql_query(SET_DAYS).bind::<SqlUuid, _>(user_id).execute(&mut **tx).await?;
    Ok(())
}
