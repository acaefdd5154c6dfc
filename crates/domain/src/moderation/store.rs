//! The SQL of moderation.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{Complaint, State};
use crate::accounts::Username;
use crate::db::{Connection, Tx, beginning_with};
use crate::page::Cursor;
use crate::schema::{blocked_domains, is_blocked_url, links, page_reports as reports, profiles, users};

/// A report, as managers see it.
#[derive(Clone, Debug, Queryable)]
pub struct Report {
    /// The report.
    pub id: Uuid,
    /// The name of the page's owner.
    pub username: String,
    /// What is wrong.
    pub reason: String,
    /// In words.
    pub detail: Option<String>,
    /// When it came.
    pub created_at: DateTime<Utc>,
    /// When it was decided.
    pub settled_at: Option<DateTime<Utc>>,
    /// `disabled` or `dismissed`.
    pub outcome: Option<String>,
    /// When the page was taken down, if it is.
    pub page_disabled_at: Option<DateTime<Utc>>,
    /// How many reports of the page wait.
    pub waiting: i64,
}

/// A domain that no link leads to.
#[derive(Clone, Debug, Queryable)]
pub struct Domain {
    /// The name.
    pub domain: String,
    /// Tells its place in lists.
    pub id: Uuid,
    /// Why.
    pub reason: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// One statement, which finds the page or does not.
pub(super) async fn insert_report(
    connection: &mut Connection,
    now: DateTime<Utc>,
    complaint: Complaint<'_>,
    network: Option<&[u8]>,
) -> QueryResult<()> {
    let page = users::table
        .left_join(profiles::table.on(profiles::user_id.eq(users::id)))
        .filter(users::username.eq(complaint.username.as_str()))
        .filter(users::deleted_at.is_null().and(users::blocked_at.is_null()))
        .filter(users::email_verified_at.is_not_null())
        .filter(profiles::disabled_at.is_null())
        .select((
            Uuid::now_v7().into_sql::<diesel::sql_types::Uuid>(),
            users::id,
            complaint.ground.as_str().into_sql::<Text>(),
            complaint.detail.into_sql::<diesel::sql_types::Nullable<Text>>(),
            network.into_sql::<diesel::sql_types::Nullable<diesel::sql_types::Binary>>(),
            now.into_sql::<Timestamptz>(),
        ));
    diesel::insert_into(reports::table)
        .values(page)
        .into_columns((
            reports::id,
            reports::user_id,
            reports::reason,
            reports::detail,
            reports::network,
            reports::created_at,
        ))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn list_reports(
    connection: &mut Connection,
    state: Option<State>,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<Report>> {
    let mut query = reports::table
        .inner_join(users::table)
        .left_join(profiles::table.on(profiles::user_id.eq(reports::user_id)))
        .order((reports::created_at.desc(), reports::id.desc()))
        .limit(limit)
        .select((
            reports::id,
            users::username,
            reports::reason,
            reports::detail,
            reports::created_at,
            reports::settled_at,
            reports::outcome,
            profiles::disabled_at.nullable(),
            sql::<BigInt>(
                "(SELECT count(*) FROM page_reports others \
                 WHERE others.user_id = page_reports.user_id AND others.settled_at IS NULL)",
            ),
        ))
        .into_boxed();
    query = match state {
        Some(State::Open) => query.filter(reports::settled_at.is_null()),
        Some(State::Settled) => query.filter(reports::settled_at.is_not_null()),
        None => query,
    };
    if let Some(Cursor { at, id }) = after {
        query =
            query.filter(reports::created_at.lt(at).or(reports::created_at.eq(at).and(reports::id.lt(id))));
    }
    query.load(connection).await
}

/// A live account by its name.
pub(super) async fn find_user(tx: &mut Tx, username: &Username) -> QueryResult<Option<Uuid>> {
    users::table
        .filter(users::username.eq(username.as_str()).and(users::deleted_at.is_null()))
        .select(users::id)
        .first(&mut **tx)
        .await
        .optional()
}

pub(super) async fn set_page(
    tx: &mut Tx,
    user_id: Uuid,
    down: Option<(DateTime<Utc>, &str)>,
) -> QueryResult<()> {
    diesel::update(profiles::table.find(user_id))
        .set((
            profiles::disabled_at.eq(down.map(|(at, _)| at)),
            profiles::disabled_reason.eq(down.map(|(_, reason)| reason)),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn settle_reports_of(tx: &mut Tx, now: DateTime<Utc>, user_id: Uuid) -> QueryResult<()> {
    diesel::update(reports::table.filter(reports::user_id.eq(user_id).and(reports::settled_at.is_null())))
        .set((reports::settled_at.eq(now), reports::outcome.eq("disabled")))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Settles one report; whose page it is about. `None` when none waits under the id.
pub(super) async fn dismiss_report(tx: &mut Tx, now: DateTime<Utc>, id: Uuid) -> QueryResult<Option<Uuid>> {
    diesel::update(reports::table.filter(reports::id.eq(id).and(reports::settled_at.is_null())))
        .set((reports::settled_at.eq(now), reports::outcome.eq("dismissed")))
        .returning(reports::user_id)
        .get_result(&mut **tx)
        .await
        .optional()
}

pub(super) async fn has_report(tx: &mut Tx, id: Uuid) -> QueryResult<bool> {
    diesel::select(diesel::dsl::exists(reports::table.find(id))).get_result(&mut **tx).await
}

pub(super) async fn owner_of(tx: &mut Tx, link_id: Uuid) -> QueryResult<Option<Uuid>> {
    links::table.find(link_id).select(links::user_id).first(&mut **tx).await.optional()
}

pub(super) async fn is_link_down(tx: &mut Tx, link_id: Uuid) -> QueryResult<Option<bool>> {
    links::table.find(link_id).select(links::disabled_at.is_not_null()).first(&mut **tx).await.optional()
}

pub(super) async fn set_link(
    tx: &mut Tx,
    link_id: Uuid,
    down: Option<(DateTime<Utc>, &str)>,
) -> QueryResult<()> {
    diesel::update(links::table.find(link_id))
        .set((
            links::disabled_at.eq(down.map(|(at, _)| at)),
            links::disabled_reason.eq(down.map(|(_, reason)| reason)),
        ))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn is_blocked(connection: &mut Connection, url: &str) -> QueryResult<bool> {
    diesel::select(is_blocked_url(Some(url))).get_result(connection).await
}

pub(super) async fn are_blocked(connection: &mut Connection, urls: &[&str]) -> QueryResult<Vec<bool>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        blocked: bool,
    }
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT is_blocked_url(url) AS blocked FROM unnest($1) WITH ORDINALITY AS asked (url, place) ORDER BY place",
    )
    .bind::<diesel::sql_types::Array<Text>, _>(urls)
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(|row| row.blocked).collect())
}

pub(super) async fn insert_domain(
    tx: &mut Tx,
    now: DateTime<Utc>,
    domain: &str,
    reason: &str,
) -> QueryResult<bool> {
    let inserted = diesel::insert_into(blocked_domains::table)
        .values((
            blocked_domains::domain.eq(domain),
            blocked_domains::id.eq(Uuid::now_v7()),
            blocked_domains::reason.eq(reason),
            blocked_domains::created_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(&mut **tx)
        .await?;
    Ok(inserted > 0)
}

pub(super) async fn delete_domain(tx: &mut Tx, domain: &str) -> QueryResult<bool> {
    Ok(diesel::delete(blocked_domains::table.find(domain)).execute(&mut **tx).await? > 0)
}

/// Raises the version of every page with a link to a domain. All locks are taken in one order, so that two managers who
/// name two domains never wait for each other in a ring.
pub(super) async fn touch_pages_with(tx: &mut Tx, now: DateTime<Utc>, domain: &str) -> QueryResult<()> {
    let backwards: String = domain.chars().rev().collect();
    let below = beginning_with(&format!("{backwards}."));
    let of_links = links::table
        .filter(
            sql::<diesel::sql_types::Bool>("(reverse(link_host(url)) = ")
                .bind::<Text, _>(backwards)
                .sql(" OR reverse(link_host(url)) LIKE ")
                .bind::<Text, _>(below)
                .sql(")"),
        )
        .select(links::user_id);
    let pages: Vec<Uuid> = profiles::table
        .filter(profiles::user_id.eq_any(of_links))
        .order(profiles::user_id)
        .select(profiles::user_id)
        .for_update()
        .load(&mut **tx)
        .await?;
    diesel::update(profiles::table.filter(profiles::user_id.eq_any(pages)))
        .set((profiles::version.eq(profiles::version + 1), profiles::updated_at.eq(now)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn list_domains(
    connection: &mut Connection,
    after: Option<Cursor>,
    limit: i64,
) -> QueryResult<Vec<Domain>> {
    let mut query = blocked_domains::table
        .order((blocked_domains::created_at.desc(), blocked_domains::id.desc()))
        .limit(limit)
        .into_boxed();
    if let Some(Cursor { at, id }) = after {
        query = query.filter(
            blocked_domains::created_at
                .lt(at)
                .or(blocked_domains::created_at.eq(at).and(blocked_domains::id.lt(id))),
        );
    }
    query.load(connection).await
}

pub(super) async fn delete_reports_of(tx: &mut Tx, user_id: Uuid) -> QueryResult<()> {
    diesel::delete(reports::table.filter(reports::user_id.eq(user_id))).execute(&mut **tx).await?;
    Ok(())
}

/// Two open reports without a network are two: the index takes NULLs for different.
pub(super) async fn forget_networks_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
) -> QueryResult<()> {
    diesel::update(reports::table.filter(reports::created_at.lt(before).and(reports::network.is_not_null())))
        .set(reports::network.eq(None::<Vec<u8>>))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn delete_settled_before(
    connection: &mut Connection,
    before: DateTime<Utc>,
) -> QueryResult<usize> {
    diesel::delete(reports::table.filter(reports::settled_at.lt(before))).execute(connection).await
}
