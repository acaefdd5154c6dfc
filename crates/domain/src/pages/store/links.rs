//! The SQL of links.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::pages::{LinkEdit, NewLink, PublicLink, Target};
use crate::schema::{is_blocked_url, links};

const LINK: &str = "link";
const HEADER: &str = "header";

/// A link or header, as its owner sees it.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = links, check_for_backend(diesel::pg::Pg))]
pub struct Link {
    /// The id.
    pub id: Uuid,
    /// `link` or `header`.
    pub kind: String,
    /// What it says.
    pub title: String,
    /// Where it leads; a header nowhere.
    pub url: Option<String>,
    /// SHA-256 of the picture.
    pub thumbnail: Option<Vec<u8>>,
    /// Whether it shows.
    pub enabled: bool,
    /// From when on it shows.
    pub visible_from: Option<DateTime<Utc>>,
    /// From when on it shows no more.
    pub visible_until: Option<DateTime<Utc>>,
    /// Above the others.
    pub pinned: bool,
    /// Set off from the others.
    pub highlighted: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When a manager took it down.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Why, for the owner.
    pub disabled_reason: Option<String>,
}

impl Link {
    /// Whether it is a title that leads nowhere.
    pub fn is_header(&self) -> bool {
        self.kind == HEADER
    }
}

/// What of a row changes.
#[derive(AsChangeset)]
#[diesel(table_name = links)]
#[allow(clippy::option_option, reason = "the outer one says whether it changes, the inner one to what")]
pub(in crate::pages) struct Changes<'a> {
    title: Option<&'a str>,
    url: Option<&'a str>,
    enabled: Option<bool>,
    visible_from: Option<Option<DateTime<Utc>>>,
    visible_until: Option<Option<DateTime<Utc>>>,
    pinned: Option<bool>,
    highlighted: Option<bool>,
    updated_at: DateTime<Utc>,
}

impl<'a> Changes<'a> {
    pub(in crate::pages) fn of(edit: &'a LinkEdit, now: DateTime<Utc>) -> Self {
        Self {
            title: edit.title.as_ref().map(crate::pages::Title::as_str),
            url: edit.url.as_ref().map(crate::pages::LinkUrl::as_str),
            enabled: edit.enabled,
            visible_from: edit.visible_from,
            visible_until: edit.visible_until,
            pinned: edit.pinned,
            highlighted: edit.highlighted,
            updated_at: now,
        }
    }
}

pub(in crate::pages) async fn links(connection: &mut Connection, user_id: Uuid) -> QueryResult<Vec<Link>> {
    links::table
        .filter(links::user_id.eq(user_id))
        .order(links::position)
        .select(Link::as_select())
        .load(connection)
        .await
}

pub(in crate::pages) async fn find_link(
    connection: &mut Connection,
    user_id: Uuid,
    id: Uuid,
) -> QueryResult<Option<Link>> {
    links::table
        .filter(links::id.eq(id).and(links::user_id.eq(user_id)))
        .select(Link::as_select())
        .first(connection)
        .await
        .optional()
}

/// The link that a request made, with the digest of what was asked for.
pub(in crate::pages) async fn find_by_request(
    tx: &mut Tx,
    user_id: Uuid,
    key: &str,
) -> QueryResult<Option<(Link, Vec<u8>)>> {
    links::table
        .filter(links::user_id.eq(user_id).and(links::request_key.eq(key)))
        .select((Link::as_select(), links::request_hash.assume_not_null()))
        .first(&mut **tx)
        .await
        .optional()
}

/// How many there are, and the last place taken.
pub(in crate::pages) async fn count_links(tx: &mut Tx, user_id: Uuid) -> QueryResult<(i64, Option<i32>)> {
    links::table
        .filter(links::user_id.eq(user_id))
        .select((diesel::dsl::count_star(), diesel::dsl::max(links::position)))
        .first(&mut **tx)
        .await
}

pub(in crate::pages) async fn insert_links(
    tx: &mut Tx,
    now: DateTime<Utc>,
    user_id: Uuid,
    first: i32,
    new: &[NewLink],
    request: Option<(&str, &[u8])>,
) -> QueryResult<Vec<Link>> {
    let rows: Vec<_> = (first..)
        .zip(new)
        .map(|(position, new)| {
            let (kind, url) = match &new.target {
                Target::Url(url) => (LINK, Some(url.as_str())),
                Target::Header => (HEADER, None),
            };
            (
                links::id.eq(Uuid::now_v7()),
                links::user_id.eq(user_id),
                links::kind.eq(kind),
                links::title.eq(new.title.as_str()),
                links::url.eq(url),
                links::enabled.eq(new.enabled),
                links::visible_from.eq(new.visible_from),
                links::visible_until.eq(new.visible_until),
                links::pinned.eq(new.pinned),
                links::highlighted.eq(new.highlighted),
                links::position.eq(position),
                links::created_at.eq(now),
                links::updated_at.eq(now),
                links::request_key.eq(request.map(|(key, _)| key)),
                links::request_hash.eq(request.map(|(_, hash)| hash)),
            )
        })
        .collect();
    diesel::insert_into(links::table)
        .values(rows)
        .returning(Link::as_returning())
        .get_results(&mut **tx)
        .await
}

pub(in crate::pages) async fn edit_link(tx: &mut Tx, id: Uuid, changes: &Changes<'_>) -> QueryResult<Link> {
    diesel::update(links::table.find(id))
        .set(changes)
        .returning(Link::as_returning())
        .get_result(&mut **tx)
        .await
}

pub(in crate::pages) async fn delete_link(tx: &mut Tx, user_id: Uuid, id: Uuid) -> QueryResult<bool> {
    let rows = links::table.filter(links::id.eq(id).and(links::user_id.eq(user_id)));
    Ok(diesel::delete(rows).execute(&mut **tx).await? > 0)
}

pub(in crate::pages) async fn link_ids(tx: &mut Tx, user_id: Uuid) -> QueryResult<Vec<Uuid>> {
    links::table.filter(links::user_id.eq(user_id)).select(links::id).load(&mut **tx).await
}

/// Writes the whole order in one statement; that no place is taken twice is checked when it commits.
pub(in crate::pages) async fn reorder(tx: &mut Tx, user_id: Uuid, ids: &[Uuid]) -> QueryResult<()> {
    diesel::sql_query(
        "UPDATE links SET position = wanted.place - 1
         FROM unnest($1) WITH ORDINALITY AS wanted (id, place) WHERE links.id = wanted.id AND links.user_id = $2",
    )
    .bind::<Array<SqlUuid>, _>(ids)
    .bind::<SqlUuid, _>(user_id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What shows at an instant: pinned ones first.
pub(in crate::pages) async fn public_links(
    connection: &mut Connection,
    user_id: Uuid,
    now: DateTime<Utc>,
) -> QueryResult<Vec<PublicLink>> {
    type Row = (Uuid, String, String, Option<Vec<u8>>, bool, bool);
    let rows: Vec<Row> = links::table
        .filter(
            links::user_id
                .eq(user_id)
                .and(links::enabled)
                .and(links::disabled_at.is_null())
                .and(diesel::dsl::not(is_blocked_url(links::url)))
                .and(links::visible_from.is_null().or(links::visible_from.le(now).assume_not_null()))
                .and(links::visible_until.is_null().or(links::visible_until.gt(now).assume_not_null())),
        )
        .order((links::pinned.desc(), links::position))
        .select((links::id, links::kind, links::title, links::thumbnail, links::pinned, links::highlighted))
        .load(connection)
        .await?;
    let public = |(id, kind, title, thumbnail, pinned, highlighted): Row| PublicLink {
        id,
        is_header: kind == HEADER,
        title,
        thumbnail,
        pinned,
        highlighted,
    };
    Ok(rows.into_iter().map(public).collect())
}
