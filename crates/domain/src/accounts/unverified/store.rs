//! The SQL of abandoned accounts.

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, not, select};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::audit::Event;
use crate::db::{Connection, Tx};
use crate::schema::{
    former_identities, identities, ledger_entries, referrals, rewards, security_events as events, sessions,
    users,
};

/// Accounts that nothing speaks for.
macro_rules! abandoned {
    ($before:expr) => {
        users::table
            .filter(users::email_verified_at.is_null().and(users::created_at.lt($before)))
            .filter(users::deleted_at.is_null().and(users::blocked_at.is_null()).and(users::role.eq("user")))
            .filter(not(exists(sessions::table.filter(sessions::user_id.eq(users::id)))))
            .filter(not(exists(
                identities::table
                    .filter(identities::user_id.eq(users::id).and(identities::last_used_at.ge($before))),
            )))
            .filter(not(exists(
                events::table
                    .filter(events::user_id.eq(users::id.nullable()))
                    .filter(events::event.eq_any([Event::SignedIn.as_str(), Event::EmailChanged.as_str()]))
                    .filter(events::created_at.ge($before)),
            )))
            // It had a confirmed address before an operator gave it another.
            .filter(not(exists(former_identities::table.filter(former_identities::user_id.eq(users::id)))))
            .filter(not(exists(rewards::table.filter(rewards::user_id.eq(users::id)))))
            .filter(not(exists(ledger_entries::table.filter(ledger_entries::user_id.eq(users::id)))))
            .filter(not(exists(referrals::table.filter(referrals::referrer_id.eq(users::id)))))
    };
}

pub(super) async fn abandoned(
    connection: &mut Connection,
    before: DateTime<Utc>,
    after: Uuid,
    limit: i64,
) -> QueryResult<Vec<Uuid>> {
    abandoned!(before)
        .filter(users::id.gt(after))
        .order(users::id)
        .limit(limit)
        .select(users::id)
        .load(connection)
        .await
}

pub(super) async fn is_abandoned(tx: &mut Tx, before: DateTime<Utc>, id: Uuid) -> QueryResult<bool> {
    select(exists(abandoned!(before).filter(users::id.eq(id)))).get_result(&mut **tx).await
}
