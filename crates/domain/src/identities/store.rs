//! The SQL of identities.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Profile;
use crate::db::Connection;
use crate::schema::{identities, spent_states};

/// An identity, as the holder of the account sees it.
#[derive(Clone, Queryable, Selectable)]
#[diesel(table_name = identities, check_for_backend(diesel::pg::Pg))]
pub struct Identity {
    /// The id of the link.
    pub id: Uuid,
    /// The provider's name in the settings.
    pub provider: String,
    /// The issuer.
    pub issuer: String,
    /// Whom the issuer means.
    pub subject: String,
    /// The address that the provider told when it was linked.
    pub email: Option<String>,
    /// When it was linked.
    pub created_at: DateTime<Utc>,
    /// When it last signed in.
    pub last_used_at: DateTime<Utc>,
}

/// An address never reaches a log by way of `{:?}`.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The identity's id and its user.
pub(super) async fn find(
    connection: &mut Connection,
    issuer: &str,
    subject: &str,
) -> QueryResult<Option<(Uuid, Uuid)>> {
    identities::table
        .filter(identities::issuer.eq(issuer).and(identities::subject.eq(subject)))
        .select((identities::id, identities::user_id))
        .first(connection)
        .await
        .optional()
}

pub(super) async fn find_by_id(
    connection: &mut Connection,
    id: Uuid,
) -> QueryResult<Option<(Uuid, String, DateTime<Utc>)>> {
    identities::table
        .find(id)
        .select((identities::user_id, identities::provider, identities::created_at))
        .first(connection)
        .await
        .optional()
}

pub(super) async fn insert(
    connection: &mut Connection,
    id: Uuid,
    now: DateTime<Utc>,
    user_id: Uuid,
    profile: &Profile,
) -> QueryResult<()> {
    diesel::insert_into(identities::table)
        .values((
            identities::id.eq(id),
            identities::user_id.eq(user_id),
            identities::provider.eq(&profile.provider),
            identities::issuer.eq(&profile.issuer),
            identities::subject.eq(&profile.subject),
            identities::email.eq(profile.email.as_ref().map(crate::accounts::Email::as_str)),
            identities::created_at.eq(now),
            identities::last_used_at.eq(now),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes a use.
pub(super) async fn touch(connection: &mut Connection, id: Uuid, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(identities::table.find(id))
        .set(identities::last_used_at.eq(now))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn list(connection: &mut Connection, user_id: Uuid) -> QueryResult<Vec<Identity>> {
    identities::table
        .filter(identities::user_id.eq(user_id))
        .order((identities::created_at, identities::id))
        .select(Identity::as_select())
        .load(connection)
        .await
}

pub(super) async fn delete(connection: &mut Connection, id: Uuid) -> QueryResult<()> {
    diesel::delete(identities::table.find(id)).execute(connection).await?;
    Ok(())
}

pub(super) async fn delete_all(connection: &mut Connection, user_id: Uuid) -> QueryResult<usize> {
    diesel::delete(identities::table.filter(identities::user_id.eq(user_id))).execute(connection).await
}

/// Writes a state down; whether it was not there.
pub(super) async fn spend_state(
    connection: &mut Connection,
    state: &[u8],
    expires_at: DateTime<Utc>,
) -> QueryResult<bool> {
    let written = diesel::insert_into(spent_states::table)
        .values((spent_states::state_hash.eq(state), spent_states::expires_at.eq(expires_at)))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(written == 1)
}

pub(super) async fn purge_states(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(spent_states::table.filter(spent_states::expires_at.lt(before))).execute(connection).await
}
