//! The SQL of link pages.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::Tx;
use crate::schema::profiles;

/// A profile, as its owner sees it.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = profiles, check_for_backend(diesel::pg::Pg))]
pub struct Profile {
    /// Whose.
    pub user_id: Uuid,
    /// The name on the page; empty for the username.
    pub display_name: String,
    /// A few lines about its owner.
    pub bio: String,
    /// The name of the chosen theme.
    pub theme: String,
    /// Whether search engines may list the page.
    pub listed: bool,
    /// Places elsewhere: `[{"network": .., "url": ..}]`.
    pub social: serde_json::Value,
    /// SHA-256 of the picture.
    pub avatar: Option<Vec<u8>>,
    /// Raised by every change.
    pub version: i64,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When a manager took it down.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Why, for the owner.
    pub disabled_reason: Option<String>,
}

pub(super) async fn touch(tx: &mut Tx, user_id: Uuid, now: DateTime<Utc>) -> QueryResult<Profile> {
    diesel::insert_into(profiles::table)
        .values((profiles::user_id.eq(user_id), profiles::updated_at.eq(now)))
        .on_conflict(profiles::user_id)
        .do_update()
        .set((profiles::version.eq(profiles::version + 1), profiles::updated_at.eq(now)))
        .returning(Profile::as_returning())
        .get_result(&mut **tx)
        .await
}
