//! Runs the migrations that the binary carries.

use std::time::Duration;

use diesel::migration::{Migration as _, MigrationSource as _};
use diesel::pg::Pg;
use diesel_async::{AsyncMigrationHarness, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use secrecy::SecretString;

use super::session::{self, SharedSessions};
use crate::token::{Digest, hex};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");

/// How long a start waits for the database to say how old its schema is.
const PATIENCE: Duration = Duration::from_secs(5);

/// Any constant will do: it names the lock that keeps two runners apart.
const LOCK: &str = "SELECT pg_advisory_lock(7236115)";

/// Brings the database at `url` to this release's schema, and returns the names of the migrations that were run. Several
/// processes may do so at once: one does the work, the others wait for it.
pub async fn run(url: &SecretString) -> anyhow::Result<Vec<String>> {
    let mut connection = session::open_own(url).await?;
    connection.batch_execute(LOCK).await?;
    // The lock goes with the connection.
    tokio::task::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(connection);
        let run = harness.run_pending_migrations(MIGRATIONS).map_err(anyhow::Error::from_boxed)?;
        Ok(run.iter().map(ToString::to_string).collect())
    })
    .await?
}

/// Fails when the database lacks a migration of this release, or a pooler in front of it shares sessions. For processes that
/// go on for ever: a database that cannot be reached is no failure, because it may come back, and readiness shows it.
pub async fn check(url: &SecretString) -> anyhow::Result<()> {
    match pending_in_time(url).await {
        Ok(missing) => refuse_to_lack(&missing),
        Err(error) if error.is::<SharedSessions>() => Err(error),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "cannot tell yet whether the database is migrated");
            Ok(())
        }
    }
}

/// As [`check`], for commands, which cannot wait for a database to come back.
pub async fn require(url: &SecretString) -> anyhow::Result<()> {
    match pending_in_time(url).await {
        Ok(missing) => refuse_to_lack(&missing),
        Err(error) if error.is::<SharedSessions>() => Err(error),
        Err(error) => Err(error.context("the database cannot be reached")),
    }
}

fn refuse_to_lack(missing: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(
        missing.is_empty(),
        "the database lacks {} migrations: run `api migrate` first",
        missing.len()
    );
    Ok(())
}

async fn pending_in_time(url: &SecretString) -> anyhow::Result<Vec<String>> {
    tokio::time::timeout(PATIENCE, pending(url)).await.unwrap_or_else(|_| anyhow::bail!("it does not answer"))
}

/// The names of this release's migrations that the database at `url` lacks.
async fn pending(url: &SecretString) -> anyhow::Result<Vec<String>> {
    let connection = session::open_own(url).await?;
    tokio::task::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(connection);
        let pending = harness.pending_migrations(MIGRATIONS).map_err(anyhow::Error::from_boxed)?;
        Ok(pending.iter().map(|migration| migration.name().to_string()).collect())
    })
    .await?
}

/// A name for this release's schema: changes with every migration. For caches of migrated databases.
pub fn fingerprint() -> anyhow::Result<String> {
    let migrations: Vec<Box<dyn diesel::migration::Migration<Pg>>> =
        MIGRATIONS.migrations().map_err(anyhow::Error::from_boxed)?;
    let mut text = String::new();
    for migration in &migrations {
        text.push_str(&migration.name().to_string());
    }
    text.push_str(concat!(env!("CARGO_PKG_VERSION"), "\n"));
    Ok(hex(&Digest::of(text.as_bytes()).0).chars().take(12).collect())
}
