//! The SQL of blocking, and of what managers see of accounts.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx, beginning_with};
use crate::page::Cursor;
use crate::referrals::ReferralCode;
use crate::schema::{referral_counters as counters, users};

/// An account, as managers see it: no address.
#[derive(Clone, Debug, Queryable)]
pub struct AccountView {
    /// The id.
    pub id: Uuid,
    /// The name.
    pub username: String,
    /// `user` or `admin`.
    pub role: String,
    /// The code that brings others.
    pub referral_code: String,
    /// Who brought it.
    pub referred_by: Option<Uuid>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When the address was confirmed.
    pub email_verified_at: Option<DateTime<Utc>>,
    /// When it was blocked.
    pub blocked_at: Option<DateTime<Utc>>,
    /// When it was deleted.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Its referrals: pending, in review, successful, rejected, expired, reversed.
    pub referrals: (i64, i64, i64, i64, i64, i64),
}

/// What is looked for. An id or a code names one account.
pub(super) struct Wanted<'a> {
    pub(super) id: Option<Uuid>,
    pub(super) code: Option<ReferralCode>,
    pub(super) beginning: &'a str,
}

/// Locks a live account; since when it is blocked.
#[allow(clippy::option_option, reason = "whether there is such an account, and whether it is blocked")]
pub(super) async fn lock(tx: &mut Tx, id: Uuid) -> QueryResult<Option<Option<DateTime<Utc>>>> {
    users::table
        .filter(users::id.eq(id).and(users::deleted_at.is_null()))
        .select(users::blocked_at)
        .for_update()
        .first(&mut **tx)
        .await
        .optional()
}

pub(super) async fn set_blocked(tx: &mut Tx, id: Uuid, at: Option<DateTime<Utc>>) -> QueryResult<()> {
    diesel::update(users::table.find(id)).set(users::blocked_at.eq(at)).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn find_views(
    connection: &mut Connection,
    wanted: Option<Wanted<'_>>,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<AccountView>> {
    let mut query = users::table
        .inner_join(counters::table)
        .order((users::created_at.desc(), users::id.desc()))
        .limit(limit)
        .select((
            users::id,
            users::username,
            users::role,
            users::referral_code,
            users::referred_by,
            users::created_at,
            users::email_verified_at,
            users::blocked_at,
            users::deleted_at,
            (
                counters::pending,
                counters::review,
                counters::successful,
                counters::rejected,
                counters::expired,
                counters::reversed,
            ),
        ))
        .into_boxed();
    if let Some(Wanted { id, code, beginning }) = wanted {
        let named = users::username.like(beginning_with(beginning));
        query = match (id, code) {
            (Some(id), _) => query.filter(users::id.eq(id)),
            (None, Some(code)) => query.filter(named.or(users::referral_code.eq(code.as_str().to_owned()))),
            (None, None) => query.filter(named),
        };
    }
    if let Some(Cursor { at, id }) = after {
        query = query.filter(users::created_at.lt(at).or(users::created_at.eq(at).and(users::id.lt(id))));
    }
    query.load(connection).await
}
