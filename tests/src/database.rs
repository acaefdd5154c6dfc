//! A database for each test, copied from a template that is migrated once a run.

use std::ops::Deref;
use std::str::FromStr as _;

use secrecy::SecretString;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::config::admin_database_url;

/// Keeps test processes that start at once from making the template twice.
const LOCK: i64 = 83_414_001;

/// A database of its own, with a connection to look into it. Dropped with this value.
pub struct TestDatabase {
    name: String,
    client: Client,
}

impl TestDatabase {
    /// An empty database of this release's schema.
    pub async fn create() -> Self {
        let admin = connect(&admin_database_url()).await;
        let template = template(&admin).await;
        let name = format!("test_{}", Uuid::new_v4().simple());
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        let client = connect(&url_of(&name)).await;
        Self { name, client }
    }

    /// A database with nothing in it.
    pub async fn create_bare() -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let admin = connect(&admin_database_url()).await;
        admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).await.unwrap();
        let client = connect(&url_of(&name)).await;
        Self { name, client }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        url_of(&self.name)
    }

    /// A pool on it.
    pub fn pool(&self, size: usize) -> domain::db::Pool {
        domain::db::connect(&SecretString::from(self.url()), size).unwrap()
    }

    /// The single value that a query gives.
    pub async fn value<T>(&self, sql: &str) -> T
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// A new connection, for statements that run beside others.
    pub async fn connect(&self) -> Client {
        connect(&self.url()).await
    }
}

impl Deref for TestDatabase {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A runtime of its own: the test's may be ending, and must not be blocked on.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                connect(&admin_database_url())
                    .await
                    .batch_execute(&statement)
                    .await
                    .map_err(std::io::Error::other)
            })
        });
        if let Ok(Err(error)) = dropped.join() {
            tracing::warn!(%error, "a test database stays behind");
        }
    }
}

/// Connects to a database, and speaks to it in the background.
pub async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("PostgreSQL for tests answers");
    tokio::spawn(connection);
    client
}

fn url_of(name: &str) -> String {
    let admin = admin_database_url();
    assert!(tokio_postgres::Config::from_str(&admin).is_ok(), "TEST_DATABASE_URL is a URL");
    let (base, query) = admin.split_once('?').map_or((admin.as_str(), ""), |(base, query)| (base, query));
    let (server, _) = base.rsplit_once('/').expect("TEST_DATABASE_URL names a database");
    if query.is_empty() { format!("{server}/{name}") } else { format!("{server}/{name}?{query}") }
}

/// The name of the migrated template, which is made if need be.
async fn template(admin: &Client) -> String {
    let name = format!("template_{}", domain::db::migrate::fingerprint().unwrap());
    admin.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.unwrap();
    let exists =
        admin.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name]).await.unwrap().is_some();
    if !exists {
        // Under another name until it is whole: a run that is interrupted leaves no half template.
        let draft = format!("draft_{}", Uuid::new_v4().simple());
        admin.batch_execute(&format!("CREATE DATABASE {draft}")).await.unwrap();
        domain::db::migrate::run(&SecretString::from(url_of(&draft))).await.unwrap();
        admin.batch_execute(&format!("ALTER DATABASE {draft} RENAME TO {name}")).await.unwrap();
    }
    admin.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await.unwrap();
    name
}
