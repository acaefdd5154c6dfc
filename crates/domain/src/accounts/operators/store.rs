//! The SQL of what operators do to accounts.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::Email;
use crate::db::{Connection, Tx};
use crate::schema::{identities, sessions, totp_factors as factors, users};

/// An account that is locked.
#[derive(Queryable)]
pub(super) struct Target {
    pub(super) id: Uuid,
    pub(super) email: String,
    pub(super) email_verified_at: Option<DateTime<Utc>>,
    role: String,
    blocked_at: Option<DateTime<Utc>>,
}

impl Target {
    pub(super) fn is_manager(&self) -> bool {
        self.role == "admin"
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_at.is_some()
    }
}

/// By what the holder of an account signs in.
#[derive(Clone, Debug)]
pub struct SignInState {
    /// Whether it has a password.
    pub has_password: bool,
    /// Whether it is asked for a second factor.
    pub second_factor: bool,
    /// The identity providers that it may sign in with.
    pub providers: Vec<String>,
    /// Sessions that have not ended.
    pub sessions: i64,
}

/// Locks live accounts, always in one order: two that lock each other's would wait in a ring.
pub(super) async fn lock(tx: &mut Tx, ids: &[Uuid]) -> QueryResult<Vec<Target>> {
    users::table
        .filter(users::id.eq_any(ids).and(users::deleted_at.is_null()))
        .order(users::id)
        .select((users::id, users::email, users::email_verified_at, users::role, users::blocked_at))
        .for_no_key_update()
        .load(&mut **tx)
        .await
}

pub(super) async fn demote(tx: &mut Tx, id: Uuid) -> QueryResult<()> {
    diesel::update(users::table.find(id)).set(users::role.eq("user")).execute(&mut **tx).await?;
    Ok(())
}

/// Gives the account an address that is not confirmed.
pub(super) async fn set_email(tx: &mut Tx, id: Uuid, email: &Email) -> QueryResult<()> {
    diesel::update(users::table.find(id))
        .set((users::email.eq(email.as_str()), users::email_verified_at.eq(None::<DateTime<Utc>>)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn sign_in_state(
    connection: &mut Connection,
    now: DateTime<Utc>,
    id: Uuid,
) -> QueryResult<Option<SignInState>> {
    let account: Option<(bool, i32)> = users::table
        .filter(users::id.eq(id).and(users::deleted_at.is_null()))
        .select((users::password_hash.is_not_null(), users::session_epoch))
        .first(connection)
        .await
        .optional()?;
    let Some((has_password, epoch)) = account else { return Ok(None) };
    let confirmed = factors::table.filter(factors::user_id.eq(id).and(factors::confirmed_at.is_not_null()));
    let second_factor = diesel::select(diesel::dsl::exists(confirmed)).get_result(connection).await?;
    let providers = identities::table
        .filter(identities::user_id.eq(id))
        .order(identities::created_at)
        .select(identities::provider)
        .load(connection)
        .await?;
    let sessions = sessions::table
        .filter(sessions::user_id.eq(id).and(sessions::ended_at.is_null()))
        .filter(sessions::epoch.eq(epoch).and(sessions::expires_at.gt(now)))
        .count()
        .get_result(connection)
        .await?;
    Ok(Some(SignInState { has_password, second_factor, providers, sessions }))
}
