//! The SQL of forgetting.

use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use crate::db::{Connection, Tx};
use crate::schema::{
    click_batches as batches, click_hours as hours, click_rollup as rollup, click_salts as salts,
    click_visitors as visitors, links,
};

/// The dimension of a page whose values are its links.
const BY_LINK: i16 = super::Dimension::Link.code();

/// Waits for the roll-up that runs, and keeps the next one waiting: no figure comes back that is forgotten here.
pub(super) async fn lock(tx: &mut Tx) -> QueryResult<()> {
    rollup::table.select(rollup::single).for_update().first::<bool>(&mut **tx).await?;
    Ok(())
}

pub(super) async fn forget_link(tx: &mut Tx, owner: Uuid, link_id: Uuid) -> QueryResult<()> {
    let of_link = hours::subject_id.eq(link_id);
    let on_page = hours::subject_id
        .eq(owner)
        .and(hours::dimension.eq(BY_LINK))
        .and(hours::value.eq(link_id.to_string()));
    diesel::delete(hours::table.filter(of_link.or(on_page))).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn links(tx: &mut Tx, user_id: Uuid) -> QueryResult<Vec<Uuid>> {
    links::table.filter(links::user_id.eq(user_id)).select(links::id).load(&mut **tx).await
}

pub(super) async fn forget(tx: &mut Tx, subjects: &[Uuid]) -> QueryResult<()> {
    diesel::delete(hours::table.filter(hours::subject_id.eq_any(subjects))).execute(&mut **tx).await?;
    Ok(())
}

pub(super) async fn purge_visitors(connection: &mut Connection, oldest: NaiveDate) -> QueryResult<usize> {
    diesel::delete(salts::table.filter(salts::day.lt(oldest))).execute(connection).await?;
    diesel::delete(visitors::table.filter(visitors::day.lt(oldest))).execute(connection).await
}

pub(super) async fn purge_batches(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(batches::table.filter(batches::counted_at.lt(before))).execute(connection).await
}

pub(super) async fn purge_figures(connection: &mut Connection, before: DateTime<Utc>) -> QueryResult<usize> {
    diesel::delete(hours::table.filter(hours::hour.lt(before))).execute(connection).await
}
