//! The SQL of following a link.

use chrono::{DateTime, Utc};
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::Connection;
use crate::schema::{is_blocked_url, links, profiles, users};

#[derive(Queryable)]
pub(super) struct Row {
    pub(super) owner: Uuid,
    pub(super) url: String,
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) until: Option<DateTime<Utc>>,
}

/// A link by its title.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct LinkName {
    /// The link.
    pub id: Uuid,
    /// Its title.
    pub title: String,
}

pub(super) async fn destination(connection: &mut Connection, link_id: Uuid) -> QueryResult<Option<Row>> {
    let owned = profiles::table.on(profiles::user_id.eq(links::user_id));
    let held = users::table.on(users::id.eq(links::user_id));
    let public = users::deleted_at
        .is_null()
        .and(users::blocked_at.is_null())
        .and(users::email_verified_at.is_not_null())
        .and(profiles::disabled_at.is_null());
    links::table
        .inner_join(owned)
        .inner_join(held)
        .filter(links::id.eq(link_id).and(links::enabled).and(links::disabled_at.is_null()).and(public))
        .filter(links::url.is_not_null().and(not(is_blocked_url(links::url))))
        .select((links::user_id, links::url.assume_not_null(), links::visible_from, links::visible_until))
        .first(connection)
        .await
        .optional()
}

pub(super) async fn has_link(connection: &mut Connection, user_id: Uuid, link_id: Uuid) -> QueryResult<bool> {
    let link = links::table.filter(links::id.eq(link_id).and(links::user_id.eq(user_id)));
    diesel::select(exists(link)).get_result(connection).await
}

pub(super) async fn link_names(connection: &mut Connection, user_id: Uuid) -> QueryResult<Vec<LinkName>> {
    links::table
        .filter(links::user_id.eq(user_id).and(links::kind.eq("link")))
        .order(links::position)
        .select((links::id, links::title))
        .load(connection)
        .await
}
