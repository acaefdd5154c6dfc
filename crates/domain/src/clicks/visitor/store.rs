//! The SQL of salts.

use chrono::NaiveDate;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::db::Connection;
use crate::schema::click_salts as salts;

/// The salt of a day, which is `fresh` if nobody needed one before.
pub(super) async fn salt(connection: &mut Connection, day: NaiveDate, fresh: &[u8]) -> QueryResult<Vec<u8>> {
    diesel::insert_into(salts::table)
        .values((salts::day.eq(day), salts::salt.eq(fresh)))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    salts::table.find(day).select(salts::salt).first(connection).await
}
