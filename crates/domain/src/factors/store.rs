//! The SQL of second factors.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::schema::{recovery_codes as codes, totp_factors as factors};
use crate::token::Digest;

#[derive(Queryable)]
pub(super) struct ConfirmedTotp {
    pub(super) id: Uuid,
    pub(super) sealed_secret: Vec<u8>,
    pub(super) confirmed_at: DateTime<Utc>,
    pub(super) last_used_at: DateTime<Utc>,
}

#[derive(Queryable)]
pub(super) struct PendingTotp {
    pub(super) id: Uuid,
    pub(super) sealed_secret: Vec<u8>,
}

pub(super) async fn is_on(connection: &mut Connection, user_id: Uuid) -> QueryResult<bool> {
    let confirmed =
        factors::table.filter(factors::user_id.eq(user_id).and(factors::confirmed_at.is_not_null()));
    diesel::select(diesel::dsl::exists(confirmed)).get_result(connection).await
}

pub(super) async fn confirmed(
    connection: &mut Connection,
    user_id: Uuid,
) -> QueryResult<Option<ConfirmedTotp>> {
    factors::table
        .filter(factors::user_id.eq(user_id).and(factors::confirmed_at.is_not_null()))
        .select((
            factors::id,
            factors::sealed_secret,
            factors::confirmed_at.assume_not_null(),
            factors::last_used_at.assume_not_null(),
        ))
        .first(connection)
        .await
        .optional()
}

pub(super) async fn pending(
    connection: &mut Connection,
    user_id: Uuid,
    since: DateTime<Utc>,
) -> QueryResult<Option<PendingTotp>> {
    factors::table
        .filter(factors::user_id.eq(user_id).and(factors::confirmed_at.is_null()))
        .filter(factors::created_at.gt(since))
        .select((factors::id, factors::sealed_secret))
        .first(connection)
        .await
        .optional()
}

/// Whether it was put there: not over one that is confirmed.
pub(super) async fn put_pending(
    tx: &mut Tx,
    id: Uuid,
    user_id: Uuid,
    sealed: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    diesel::delete(factors::table.filter(factors::user_id.eq(user_id).and(factors::confirmed_at.is_null())))
        .execute(&mut **tx)
        .await?;
    let inserted = diesel::insert_into(factors::table)
        .values((
            factors::id.eq(id),
            factors::user_id.eq(user_id),
            factors::sealed_secret.eq(sealed),
            factors::created_at.eq(now),
        ))
        .on_conflict(factors::user_id)
        .do_nothing()
        .execute(&mut **tx)
        .await?;
    Ok(inserted == 1)
}

/// Whether it waited until now.
pub(super) async fn confirm(tx: &mut Tx, id: Uuid, step: i64, now: DateTime<Utc>) -> QueryResult<bool> {
    let confirmed =
        diesel::update(factors::table.filter(factors::id.eq(id).and(factors::confirmed_at.is_null())))
            .set((factors::confirmed_at.eq(now), factors::last_step.eq(step), factors::last_used_at.eq(now)))
            .execute(&mut **tx)
            .await?;
    Ok(confirmed == 1)
}

/// Whether the step, and every later one, was free.
pub(super) async fn take_step(tx: &mut Tx, id: Uuid, step: i64, now: DateTime<Utc>) -> QueryResult<bool> {
    let taken = diesel::update(factors::table.filter(factors::id.eq(id).and(factors::last_step.lt(step))))
        .set((factors::last_step.eq(step), factors::last_used_at.eq(now)))
        .execute(&mut **tx)
        .await?;
    Ok(taken == 1)
}

pub(super) async fn reseal(tx: &mut Tx, id: Uuid, sealed: &[u8]) -> QueryResult<()> {
    diesel::update(factors::table.find(id)).set(factors::sealed_secret.eq(sealed)).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn delete_factor(tx: &mut Tx, user_id: Uuid) -> QueryResult<usize> {
    diesel::delete(factors::table.filter(factors::user_id.eq(user_id))).execute(&mut **tx).await
}

pub(super) async fn purge_pending(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(factors::table.filter(factors::confirmed_at.is_null().and(factors::created_at.lt(before))))
        .execute(connection)
        .await
}

pub(super) async fn insert_codes(
    tx: &mut Tx,
    user_id: Uuid,
    digests: &[Digest],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    let rows: Vec<_> = digests
        .iter()
        .map(|digest| {
            (codes::code_hash.eq(digest.as_slice()), codes::user_id.eq(user_id), codes::created_at.eq(now))
        })
        .collect();
    diesel::insert_into(codes::table).values(rows).execute(&mut **tx).await?;
    Ok(())
}

/// Whether it was there to be used.
pub(super) async fn take_code(
    tx: &mut Tx,
    user_id: Uuid,
    digest: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<bool> {
    let open = codes::code_hash.eq(digest).and(codes::user_id.eq(user_id)).and(codes::used_at.is_null());
    let taken =
        diesel::update(codes::table.filter(open)).set(codes::used_at.eq(now)).execute(&mut **tx).await?;
    Ok(taken == 1)
}

pub(super) async fn count_codes(connection: &mut Connection, user_id: Uuid) -> QueryResult<i64> {
    codes::table
        .filter(codes::user_id.eq(user_id).and(codes::used_at.is_null()))
        .count()
        .get_result(connection)
        .await
}

pub(super) async fn delete_codes(tx: &mut Tx, user_id: Uuid) -> QueryResult<usize> {
    diesel::delete(codes::table.filter(codes::user_id.eq(user_id))).execute(&mut **tx).await
}
