//! The SQL of accounts.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Credentials, Email, NewAccount, Username};
use crate::db::{Connection, Tx};
use crate::referrals::ReferralCode;
use crate::schema::{deleted_identities, former_identities, referral_counters, users};

/// An account, as its owner sees it.
#[derive(Clone, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(diesel::pg::Pg))]
pub struct Account {
    /// The id.
    pub id: Uuid,
    /// The name.
    pub username: String,
    /// The normalised address.
    pub email: String,
    /// When the address was confirmed.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// The referral code.
    pub referral_code: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// `user` or `admin`.
    pub role: String,
    /// When the password was last set.
    pub password_changed_at: Option<DateTime<Utc>>,
    /// When mail to the address was last refused for good.
    pub email_bounced_at: Option<DateTime<Utc>>,
}

impl Account {
    /// Whether it may do what only programme managers may.
    pub fn is_manager(&self) -> bool {
        self.role == "admin"
    }
}

/// An address never reaches a log by way of `{:?}`.
impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

type Alive = diesel::dsl::And<diesel::dsl::IsNull<users::deleted_at>, diesel::dsl::IsNull<users::blocked_at>>;

fn alive() -> Alive {
    users::deleted_at.is_null().and(users::blocked_at.is_null())
}

/// Inserts the account and its counters; `None` when the code is taken.
pub(super) async fn insert(
    tx: &mut Tx,
    id: Uuid,
    now: DateTime<Utc>,
    new: &NewAccount,
    code: &ReferralCode,
    referred_by: Option<Uuid>,
    verified_at: Option<DateTime<Utc>>,
) -> QueryResult<Option<Account>> {
    let account = diesel::insert_into(users::table)
        .values((
            users::id.eq(id),
            users::username.eq(new.username.as_str()),
            users::username_key.eq(new.username.key()),
            users::email.eq(new.email.as_str()),
            users::email_verified_at.eq(verified_at),
            users::password_hash.eq(&new.password_hash),
            users::password_changed_at.eq(new.password_hash.as_ref().map(|_| now)),
            users::referral_code.eq(code.as_str()),
            users::referred_by.eq(referred_by),
            users::created_at.eq(now),
        ))
        .on_conflict(users::referral_code)
        .do_nothing()
        .returning(Account::as_returning())
        .get_result(&mut **tx)
        .await
        .optional()?;
    if account.is_some() {
        diesel::insert_into(referral_counters::table)
            .values(referral_counters::user_id.eq(id))
            .execute(&mut **tx)
            .await?;
    }
    Ok(account)
}

type CredentialsRow = (Uuid, Option<String>, i32, Option<DateTime<Utc>>);

fn credentials((user_id, password_hash, session_epoch, blocked_at): CredentialsRow) -> Credentials {
    Credentials { user_id, password_hash, session_epoch, is_blocked: blocked_at.is_some() }
}

pub(super) async fn credentials_by_email(
    connection: &mut Connection,
    email: &Email,
) -> QueryResult<Option<Credentials>> {
    let row = users::table
        .filter(users::email.eq(email.as_str()).and(users::deleted_at.is_null()))
        .select((users::id, users::password_hash, users::session_epoch, users::blocked_at))
        .first(connection)
        .await
        .optional()?;
    Ok(row.map(credentials))
}

pub(super) async fn credentials_by_username(
    connection: &mut Connection,
    username: &Username,
) -> QueryResult<Option<Credentials>> {
    let row = users::table
        .filter(users::username.eq(username.as_str()).and(users::deleted_at.is_null()))
        .select((users::id, users::password_hash, users::session_epoch, users::blocked_at))
        .first(connection)
        .await
        .optional()?;
    Ok(row.map(credentials))
}

pub(super) async fn credentials_by_id(
    connection: &mut Connection,
    id: Uuid,
) -> QueryResult<Option<Credentials>> {
    let row = users::table
        .filter(users::id.eq(id).and(alive()))
        .select((users::id, users::password_hash, users::session_epoch, users::blocked_at))
        .first(connection)
        .await
        .optional()?;
    Ok(row.map(credentials))
}

pub(super) async fn credentials_if_blocked_too(
    connection: &mut Connection,
    id: Uuid,
) -> QueryResult<Option<Credentials>> {
    let row = users::table
        .filter(users::id.eq(id).and(users::deleted_at.is_null()))
        .select((users::id, users::password_hash, users::session_epoch, users::blocked_at))
        .first(connection)
        .await
        .optional()?;
    Ok(row.map(credentials))
}

pub(super) async fn find(connection: &mut Connection, id: Uuid) -> QueryResult<Option<Account>> {
    users::table
        .filter(users::id.eq(id).and(users::deleted_at.is_null()))
        .select(Account::as_select())
        .first(connection)
        .await
        .optional()
}

pub(super) async fn find_by_email(connection: &mut Connection, email: &str) -> QueryResult<Option<Account>> {
    users::table
        .filter(users::email.eq(email).and(alive()))
        .select(Account::as_select())
        .first(connection)
        .await
        .optional()
}

pub(super) async fn rename(
    connection: &mut Connection,
    id: Uuid,
    username: &Username,
) -> QueryResult<Option<Account>> {
    diesel::update(users::table.filter(users::id.eq(id).and(users::deleted_at.is_null())))
        .set((users::username.eq(username.as_str()), users::username_key.eq(username.key())))
        .returning(Account::as_returning())
        .get_result(connection)
        .await
        .optional()
}

/// Locks the row of a live user and returns its session epoch. Rows that merely refer to the user need not wait, which the
/// checks of foreign keys else did: both sides of a referral, deleted at once, would wait for each other.
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> QueryResult<Option<i32>> {
    users::table
        .filter(users::id.eq(id).and(users::deleted_at.is_null()))
        .select(users::session_epoch)
        .for_no_key_update()
        .first(&mut **tx)
        .await
        .optional()
}

/// As [`lock`], beside others who only need the row to stay as it is.
pub(super) async fn lock_shared(tx: &mut Tx, id: Uuid) -> QueryResult<Option<i32>> {
    users::table
        .filter(users::id.eq(id).and(users::deleted_at.is_null()))
        .select(users::session_epoch)
        .for_share()
        .first(&mut **tx)
        .await
        .optional()
}

/// As [`lock_shared`]; false when the user is gone or blocked.
pub(super) async fn lock_alive(tx: &mut Tx, id: Uuid) -> QueryResult<bool> {
    let found: Option<Uuid> = users::table
        .filter(users::id.eq(id).and(alive()))
        .select(users::id)
        .for_share()
        .first(&mut **tx)
        .await
        .optional()?;
    Ok(found.is_some())
}

pub(super) async fn set_password(tx: &mut Tx, id: Uuid, hash: &str, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(users::table.find(id))
        .set((users::password_hash.eq(hash), users::password_changed_at.eq(now)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn rehash(connection: &mut Connection, id: Uuid, old: &str, new: &str) -> QueryResult<()> {
    diesel::update(users::table.filter(users::id.eq(id).and(users::password_hash.eq(old))))
        .set(users::password_hash.eq(new))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn verify(tx: &mut Tx, id: Uuid, email: &str, now: DateTime<Utc>) -> QueryResult<bool> {
    let updated = diesel::update(users::table)
        .filter(users::id.eq(id).and(users::email.eq(email)).and(users::deleted_at.is_null()))
        .set(
            users::email_verified_at.eq(diesel::dsl::case_when(
                users::email_verified_at.is_null(),
                now.into_sql::<diesel::sql_types::Timestamptz>().nullable(),
            )
            .otherwise(users::email_verified_at)),
        )
        .execute(&mut **tx)
        .await?;
    Ok(updated == 1)
}

/// Gives the account a confirmed address.
pub(super) async fn set_email(tx: &mut Tx, id: Uuid, email: &Email, now: DateTime<Utc>) -> QueryResult<()> {
    diesel::update(users::table.find(id))
        .set((users::email.eq(email.as_str()), users::email_verified_at.eq(now)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Remembers an address that the account had, as a keyed hash.
pub(super) async fn remember_identity(
    tx: &mut Tx,
    id: Uuid,
    identity: &[u8],
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::insert_into(former_identities::table)
        .values((
            former_identities::user_id.eq(id),
            former_identities::email_hash.eq(identity),
            former_identities::since.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Whether the account confirmed an address before the present one.
pub(super) async fn has_former_identities(tx: &mut Tx, id: Uuid) -> QueryResult<bool> {
    let former = former_identities::table.filter(former_identities::user_id.eq(id));
    diesel::select(diesel::dsl::exists(former)).get_result(&mut **tx).await
}

/// Takes the personal data out of a row and remembers its identities, former ones too, as keyed hashes.
pub(super) async fn bury(
    tx: &mut Tx,
    now: DateTime<Utc>,
    id: Uuid,
    tombstone: &str,
    identity: Option<&[u8]>,
) -> QueryResult<()> {
    diesel::update(users::table.find(id))
        .set((
            users::email.eq(tombstone),
            users::password_hash.eq(None::<String>),
            users::blocked_reason.eq(None::<String>),
            users::deleted_at.eq(now),
        ))
        .execute(&mut **tx)
        .await?;
    let mut identities: Vec<Vec<u8>> =
        diesel::delete(former_identities::table.filter(former_identities::user_id.eq(id)))
            .returning(former_identities::email_hash)
            .get_results(&mut **tx)
            .await?;
    identities.extend(identity.map(<[u8]>::to_vec));
    let rows: Vec<_> = identities
        .iter()
        .map(|hash| (deleted_identities::email_hash.eq(hash), deleted_identities::deleted_at.eq(now)))
        .collect();
    diesel::insert_into(deleted_identities::table)
        .values(rows)
        .on_conflict_do_nothing()
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn set_bounced(
    connection: &mut Connection,
    email: &str,
    now: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(users::table.filter(users::email.eq(email).and(users::deleted_at.is_null())))
        .set(users::email_bounced_at.eq(now))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn clear_bounced(connection: &mut Connection, email: &str) -> QueryResult<()> {
    diesel::update(users::table.filter(users::email.eq(email).and(users::email_bounced_at.is_not_null())))
        .set(users::email_bounced_at.eq(None::<DateTime<Utc>>))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn bounced_at(
    connection: &mut Connection,
    email: &str,
) -> QueryResult<Option<DateTime<Utc>>> {
    let found = users::table.filter(users::email.eq(email)).select(users::email_bounced_at).first(connection);
    Ok(found.await.optional()?.flatten())
}

pub(super) async fn promote(connection: &mut Connection, email: &Email) -> QueryResult<Option<Uuid>> {
    diesel::update(users::table.filter(users::email.eq(email.as_str()).and(alive())))
        .set(users::role.eq("admin"))
        .returning(users::id)
        .get_result(connection)
        .await
        .optional()
}
