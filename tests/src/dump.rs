//! Everything that a database or a Redis holds, as text: to look for what must not be there, or for what has changed.

use std::collections::BTreeMap;
use std::process::Stdio;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{self, Value};
use tokio::io::AsyncWriteExt as _;
use tokio_postgres::Client;

use crate::config::{pg_dump, psql};

/// The rows of every table, each as JSON text, bytes as hexadecimal digits, without the named columns.
pub async fn tables(database: &Client, without: &[&str]) -> BTreeMap<String, Vec<String>> {
    let names = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
    let mut tables = BTreeMap::new();
    for row in database.query(names, &[]).await.unwrap() {
        let name: String = row.get(0);
        let rows = format!("SELECT (to_jsonb(t) - $1::text[])::text FROM \"{name}\" t ORDER BY 1");
        let rows = database.query(&rows, &[&without]).await.unwrap();
        tables.insert(name, rows.iter().map(|row| row.get(0)).collect());
    }
    tables
}

/// The tables that hold a text, whatever its case, each with the row that does.
pub async fn holding(database: &Client, text: &str) -> Vec<String> {
    let wanted = text.to_lowercase();
    let rows = tables(database, &[]).await.into_iter().flat_map(|(name, rows)| {
        rows.into_iter().map(move |row| format!("{name}: {row}")).collect::<Vec<_>>()
    });
    rows.filter(|row| row.to_lowercase().contains(&wanted)).collect()
}

/// The whole database as `pg_dump` writes it: what a backup would hold.
pub async fn backup(url: &str) -> String {
    let dumped = tokio::process::Command::new(pg_dump()).arg("--dbname").arg(url).output().await.unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    String::from_utf8(dumped.stdout).unwrap()
}

/// Fills an empty database with what [`backup`] wrote.
pub async fn restore(url: &str, backup: &str) {
    let mut command = tokio::process::Command::new(psql());
    command.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url]);
    let mut psql = command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    // Dropped when it is written, which ends the input.
    psql.stdin.take().unwrap().write_all(backup.as_bytes()).await.unwrap();
    let ended = psql.wait().await.unwrap();
    assert!(ended.success(), "psql ended with {ended}: what it says is above");
}

/// Every key of a Redis with what lies under it.
pub async fn redis(connection: &mut MultiplexedConnection) -> Vec<String> {
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(connection).await.unwrap();
    let mut all = Vec::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(connection).await.unwrap();
        let mut read = match kind.as_str() {
            "string" => redis::cmd("GET"),
            "hash" => redis::cmd("HGETALL"),
            "list" => redis::cmd("LRANGE"),
            "set" => redis::cmd("SMEMBERS"),
            "zset" => redis::cmd("ZRANGE"),
            "stream" => redis::cmd("XRANGE"),
            // It went away meanwhile.
            "none" => continue,
            other => panic!("{key} is a {other}: how is that read?"),
        };
        read.arg(&key);
        if matches!(kind.as_str(), "list" | "zset") {
            read.arg(0).arg(-1);
        }
        if kind == "stream" {
            read.arg("-").arg("+");
        }
        let value: Value = read.query_async(connection).await.unwrap();
        all.push(format!("{key} {}", text(&value)));
    }
    all
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Array(values) | Value::Set(values) => values.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Map(pairs) => {
            let pairs = pairs.iter().map(|(name, value)| format!("{} {}", text(name), text(value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
        other => format!("{other:?}"),
    }
}
