//! The SQL of the evidence. Each query reads a bounded number of rows, whoever it is about.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::RING_BOUND;
use crate::db::Tx;
use crate::schema::referral_counters as counters;

/// How the accounts that somebody brought behave: the last twenty of a week ago or earlier. Events are kept for a year, so
/// older friends cannot be told from idle ones.
const CONDUCT: &str = "
    (SELECT count(*) AS friends, count(*) FILTER (WHERE NOT EXISTS
        (SELECT FROM security_events e WHERE e.user_id = f.referred_user_id AND e.event = 'signed_in')) AS idle_friends
     FROM (SELECT referred_user_id FROM referrals
           WHERE referrer_id = $1 AND status <> 'rejected'
             AND date_referred BETWEEN $2 - interval '300 days' AND $2 - interval '7 days'
           ORDER BY date_referred DESC LIMIT 20) f)";

/// Somebody who brought the referrer, directly or not.
#[derive(QueryableByName)]
pub(super) struct Above {
    #[diesel(sql_type = SqlUuid)]
    pub(super) id: Uuid,
    #[diesel(sql_type = Text)]
    pub(super) email: String,
}

#[derive(QueryableByName)]
pub(super) struct FactsRow {
    #[diesel(sql_type = Bool)]
    pub(super) same_network: bool,
    #[diesel(sql_type = Bool)]
    pub(super) ring_network: bool,
    #[diesel(sql_type = BigInt)]
    pub(super) network_hour: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) code_hour: i64,
    #[diesel(sql_type = Bool)]
    pub(super) sibling: bool,
    #[diesel(sql_type = BigInt)]
    pub(super) friends: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) idle_friends: i64,
}

/// What may change between registration and settlement.
#[derive(QueryableByName)]
pub(in crate::referrals) struct Later {
    #[diesel(sql_type = Bool)]
    pub(in crate::referrals) in_cycle: bool,
    #[diesel(sql_type = BigInt)]
    pub(super) friends: i64,
    #[diesel(sql_type = BigInt)]
    pub(super) idle_friends: i64,
}

/// Waits for registrations by the same code, then for those from the same network, until they have committed. In this
/// order always, and a settlement takes no lock of the second kind: nobody waits in a ring.
pub(super) async fn queue_up(tx: &mut Tx, referrer_id: Uuid, network: &[u8]) -> QueryResult<()> {
    counters::table
        .find(referrer_id)
        .select(counters::user_id)
        .for_update()
        .first::<Uuid>(&mut **tx)
        .await
        .optional()?;
    let key = network.iter().take(8).fold(0_i64, |key, byte| (key << 8) | i64::from(*byte));
    sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(key).execute(&mut **tx).await?;
    Ok(())
}

/// The people above somebody in the graph of referrals, nearest first, [`RING_BOUND`] at most.
pub(super) async fn above(tx: &mut Tx, user_id: Uuid) -> QueryResult<Vec<Above>> {
    sql_query(
        "WITH RECURSIVE above (id, depth) AS (
             SELECT referrer_id, 1 FROM referrals WHERE referred_user_id = $1
             UNION ALL
             SELECT r.referrer_id, depth + 1 FROM above JOIN referrals r ON r.referred_user_id = above.id
             WHERE depth < $2)
         SELECT u.id, u.email FROM above JOIN users u USING (id) ORDER BY depth",
    )
    .bind::<SqlUuid, _>(user_id)
    .bind::<Integer, _>(RING_BOUND)
    .load(&mut **tx)
    .await
}

/// A failed attempt to sign in tells where somebody else was.
pub(super) async fn facts(
    tx: &mut Tx,
    now: DateTime<Utc>,
    referrer_id: Uuid,
    network: Option<&[u8]>,
    above: &[Uuid],
    known_as: &[Uuid],
) -> QueryResult<FactsRow> {
    const SEEN: &str = "ip_hash = $3 AND actor = 'account' AND created_at > $2 - interval '30 days'";
    // Beyond any limit that makes sense, more is not counted.
    const HOUR: &str = "date_referred > $2 - interval '1 hour' LIMIT 10000";
    sql_query(format!(
        "SELECT $3 IS NOT NULL AND EXISTS (SELECT FROM security_events WHERE user_id = $1 AND {SEEN}) AS same_network,
                $3 IS NOT NULL AND EXISTS (SELECT FROM security_events WHERE user_id = ANY($4) AND {SEEN}) AS ring_network,
                CASE WHEN $3 IS NULL THEN 0 ELSE
                    1 + (SELECT count(*) FROM (SELECT FROM referrals WHERE network = $3 AND {HOUR}) AS n) END AS network_hour,
                CASE WHEN $3 IS NULL THEN 0 ELSE
                    1 + (SELECT count(*) FROM (SELECT FROM referrals
                         WHERE referrer_id = $1 AND network IS NOT NULL AND {HOUR}) AS n) END AS code_hour,
                EXISTS (SELECT FROM referrals WHERE referrer_id = $1 AND referred_user_id = ANY($5)) AS sibling,
                friends, idle_friends
         FROM {CONDUCT} AS conduct"
    ))
    .bind::<SqlUuid, _>(referrer_id)
    .bind::<Timestamptz, _>(now)
    .bind::<Nullable<Binary>, _>(network)
    .bind::<Array<SqlUuid>, _>(above)
    .bind::<Array<SqlUuid>, _>(known_as)
    .get_result(&mut **tx)
    .await
}

/// What may have changed since a referral was made.
pub(in crate::referrals) async fn later(
    tx: &mut Tx,
    now: DateTime<Utc>,
    referrer_id: Uuid,
    referred_id: Uuid,
) -> QueryResult<Later> {
    sql_query(format!(
        "WITH RECURSIVE above (id, depth) AS (
             SELECT referrer_id, 1 FROM referrals WHERE referred_user_id = $1
             UNION ALL
             SELECT r.referrer_id, depth + 1 FROM above JOIN referrals r ON r.referred_user_id = above.id
             WHERE depth < $4)
         SELECT EXISTS (SELECT FROM above WHERE id = $3) AS in_cycle, friends, idle_friends FROM {CONDUCT} AS conduct"
    ))
    .bind::<SqlUuid, _>(referrer_id)
    .bind::<Timestamptz, _>(now)
    .bind::<SqlUuid, _>(referred_id)
    .bind::<Integer, _>(RING_BOUND)
    .get_result(&mut **tx)
    .await
}
