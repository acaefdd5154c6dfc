//! The SQL of changes of usernames.

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, select};
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::schema::{profiles, username_changes as changes, usernames, users};

/// A change of a username.
#[derive(Clone, Debug, Queryable)]
pub struct Change {
    /// The name of before.
    pub old_username: String,
    /// When it was changed.
    pub changed_at: DateTime<Utc>,
}

pub(super) async fn lock(tx: &mut Tx, key: &str) -> QueryResult<()> {
    diesel::sql_query("SELECT pg_advisory_xact_lock(hashtextextended('username ' || $1, 0))")
        .bind::<Text, _>(key)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn is_claimed(tx: &mut Tx, key: &str) -> QueryResult<bool> {
    select(exists(usernames::table.find(key))).get_result(&mut **tx).await
}

pub(super) async fn insert(
    tx: &mut Tx,
    id: Uuid,
    user_id: Uuid,
    old: &str,
    new: &str,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(changes::table)
        .values((
            changes::id.eq(id),
            changes::user_id.eq(user_id),
            changes::old_username.eq(old),
            changes::new_username.eq(new),
            changes::changed_at.eq(now),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Newest first.
pub(super) async fn list(connection: &mut Connection, user_id: Uuid) -> QueryResult<Vec<Change>> {
    changes::table
        .filter(changes::user_id.eq(user_id))
        .order((changes::changed_at.desc(), changes::id.desc()))
        .select((changes::old_username, changes::changed_at))
        .load(connection)
        .await
}

/// Of a public page only: as `pages::public_page` has it.
pub(super) async fn moved_to(connection: &mut Connection, former: &str) -> QueryResult<Option<String>> {
    changes::table
        .inner_join(users::table.on(users::id.eq(changes::user_id)))
        .left_join(profiles::table.on(profiles::user_id.eq(users::id)))
        .filter(
            changes::old_username
                .eq(former)
                .and(users::username.ne(former))
                .and(users::deleted_at.is_null())
                .and(users::blocked_at.is_null())
                .and(users::email_verified_at.is_not_null())
                .and(profiles::disabled_at.nullable().is_null()),
        )
        .select(users::username)
        .first(connection)
        .await
        .optional()
}

pub(super) async fn mail(
    connection: &mut Connection,
    id: Uuid,
) -> QueryResult<Option<(String, String, String, DateTime<Utc>)>> {
    changes::table
        .inner_join(users::table.on(users::id.eq(changes::user_id)))
        .filter(changes::id.eq(id).and(users::deleted_at.is_null()))
        .select((users::email, changes::old_username, changes::new_username, changes::changed_at))
        .first(connection)
        .await
        .optional()
}

pub(super) async fn delete_all(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    diesel::delete(changes::table.filter(changes::user_id.eq(user_id))).execute(&mut **tx).await?;
    Ok(())
}
