//! Runs the queries of the invariants.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use crate::db::Tx;

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = Array<Text>)]
    examples: Vec<String>,
}

/// Lifts the usual time-out, and lets sums of millions of rows stay in memory: the books may be long.
pub(super) async fn take_time(tx: &mut Tx) -> QueryResult<()> {
    tx.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL work_mem = '128MB'; SET LOCAL jit = off")
        .await
}

/// How many rows a query finds, and the first ten.
pub(super) async fn find(tx: &mut Tx, query: &str) -> QueryResult<(i64, Vec<String>)> {
    let wrapped = format!(
        "WITH found (line) AS ({query})
         SELECT (SELECT count(*) FROM found) AS count, ARRAY(SELECT line FROM found LIMIT 10) AS examples"
    );
    let found: Found = sql_query(wrapped).get_result(&mut **tx).await?;
    Ok((found.count, found.examples))
}
