//! The SQL of the notices of deletions.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::schema::deletion_notices as deletions;

pub(super) async fn insert(tx: &mut Tx, id: Uuid, sealed: &[u8], now: DateTime<Utc>) -> QueryResult<()> {
    diesel::insert_into(deletions::table)
        .values((deletions::id.eq(id), deletions::sealed.eq(sealed), deletions::created_at.eq(now)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn find(
    connection: &mut Connection,
    id: Uuid,
    since: DateTime<Utc>,
) -> QueryResult<Option<Vec<u8>>> {
    deletions::table
        .filter(deletions::id.eq(id).and(deletions::created_at.gt(since)))
        .select(deletions::sealed)
        .first(connection)
        .await
        .optional()
}

pub(super) async fn delete(connection: &mut Connection, id: Uuid) -> QueryResult<()> {
    diesel::delete(deletions::table.find(id)).execute(connection).await?;
    Ok(())
}

pub(super) async fn purge(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(deletions::table.filter(deletions::created_at.le(before))).execute(connection).await
}
