//! The SQL of link pages: profiles here, links and pictures below.

pub(super) mod links;
pub(super) mod pictures;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::ProfileEdit;
use super::social::Social;
use crate::accounts::Username;
use crate::db::{Connection, Tx};
use crate::schema::{avatars, links as link_rows, profiles, users};
pub use links::Link;
pub(super) use links::{
    Changes, count_links, delete_link, edit_link, find_by_request, find_link, insert_links, link_ids, links,
    public_links, reorder,
};

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

/// What of an account shows on its page.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(diesel::pg::Pg))]
pub(super) struct Owner {
    pub(super) id: Uuid,
    pub(super) username: String,
    pub(super) referral_code: String,
    pub(super) created_at: DateTime<Utc>,
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

/// The profile of a live account, with when the account was made.
pub(super) async fn profile(
    connection: &mut Connection,
    user_id: Uuid,
) -> QueryResult<Option<(DateTime<Utc>, Option<Profile>)>> {
    users::table
        .left_join(profiles::table.on(profiles::user_id.eq(users::id)))
        .filter(users::id.eq(user_id).and(users::deleted_at.is_null()))
        .select((users::created_at, Option::<Profile>::as_select()))
        .first(connection)
        .await
        .optional()
}

#[derive(AsChangeset)]
#[diesel(table_name = profiles)]
struct ProfileChanges<'a> {
    display_name: Option<&'a str>,
    bio: Option<&'a str>,
    theme: Option<&'a str>,
    listed: Option<bool>,
    social: Option<serde_json::Value>,
    updated_at: DateTime<Utc>,
}

pub(super) async fn edit_profile(
    tx: &mut Tx,
    user_id: Uuid,
    now: DateTime<Utc>,
    edit: &ProfileEdit,
) -> QueryResult<Profile> {
    let changes = ProfileChanges {
        display_name: edit.display_name.as_ref().map(super::DisplayName::as_str),
        bio: edit.bio.as_ref().map(super::Bio::as_str),
        theme: edit.theme.map(super::Theme::as_str),
        listed: edit.listed,
        social: edit.social.as_deref().map(Social::to_json),
        updated_at: now,
    };
    diesel::update(profiles::table.find(user_id))
        .set(changes)
        .returning(Profile::as_returning())
        .get_result(&mut **tx)
        .await
}

/// The owner and the profile of a page that anybody may see.
pub(super) async fn public_profile(
    connection: &mut Connection,
    username: &Username,
) -> QueryResult<Option<(Owner, Option<Profile>)>> {
    users::table
        .left_join(profiles::table.on(profiles::user_id.eq(users::id)))
        .filter(
            users::username
                .eq(username.as_str())
                .and(users::deleted_at.is_null())
                .and(users::blocked_at.is_null())
                .and(users::email_verified_at.is_not_null())
                .and(profiles::disabled_at.nullable().is_null()),
        )
        .select((Owner::as_select(), Option::<Profile>::as_select()))
        .first(connection)
        .await
        .optional()
}

/// Thumbnails go with their links.
pub(super) async fn forget(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    diesel::delete(link_rows::table.filter(link_rows::user_id.eq(user_id))).execute(&mut **tx).await?;
    diesel::delete(avatars::table.find(user_id)).execute(&mut **tx).await?;
    diesel::delete(profiles::table.find(user_id)).execute(&mut **tx).await?;
    Ok(())
}
