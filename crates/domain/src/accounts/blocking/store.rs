//! The SQL of blocking, and of what managers see of accounts.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::super::Email;
use super::BlockNotice;

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
    /// What its holder is answered at sign-in.
    pub blocked_reason: Option<String>,
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

pub(super) async fn notice(connection: &mut Connection, id: Uuid) -> QueryResult<Option<BlockNotice>> {
    let row: Option<(String, String, Option<String>, DateTime<Utc>)> = users::table
        .filter(users::id.eq(id).and(users::deleted_at.is_null()).and(users::blocked_at.is_not_null()))
        .select((users::email, users::username, users::blocked_reason, users::blocked_at.assume_not_null()))
        .first(connection)
        .await
        .optional()?;
    let notice = |(email, username, reason, at)| BlockNotice {
        address: Email::from_stored(email),
        username,
        reason,
        at,
    };
    Ok(row.map(notice))
}

pub(super) async fn set_blocked(
    tx: &mut Tx,
    id: Uuid,
    block: Option<(DateTime<Utc>, &str)>,
) -> QueryResult<()> {
    let (at, reason) = block.unzip();
    diesel::update(users::table.find(id))
        .set((users::blocked_at.eq(at), users::blocked_reason.eq(reason)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn find_views(
    connection: &mut Connection,
    wanted: Option<Wanted<'_>>,
    email: Option<&Email>,
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
            users::blocked_reason,
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
    if let Some(email) = email {
        query = query.filter(users::email.eq(email.as_str().to_owned()));
    }
    if let Some(Cursor { at, id }) = after {
        query = query.filter(users::created_at.lt(at).or(users::created_at.eq(at).and(users::id.lt(id))));
    }
    query.load(connection).await
}
