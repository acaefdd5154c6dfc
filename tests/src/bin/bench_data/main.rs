//! `make bench-data`: a database of any size whose books balance, and how long the audit of them takes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a benchmark prints figures, and ends when it cannot go on"
)]

mod watch;

use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use testkit::config::{TestSettings, binaries};
use testkit::database::TestDatabase;
use watch::Watch;

/// Users whose rows one statement makes.
const CHUNK: u64 = 10_000;

const PREPARE: &str = include_str!("prepare.sql");
const FILL: &str = include_str!("fill.sql");

/// Builds a database of users, referrals and a ledger that balances, and runs `worker check-ledger` and
/// `worker recount --dry-run` on it.
#[derive(Parser)]
struct Arguments {
    /// Accounts. Each brings ten others, as long as there are any left.
    #[arg(long, default_value_t = 1_000_000)]
    users: u64,
    /// Entries of the ledger: what the referrals do not give is adjustments. At least two and a half for each user.
    #[arg(long, default_value_t = 5_000_000)]
    entries: u64,
}

#[tokio::main]
async fn main() {
    let Arguments { users, entries } = Arguments::parse();
    let database = TestDatabase::create().await;
    let began = Instant::now();
    fill(&database, users, entries).await;
    let size: String = database.value("SELECT pg_size_pretty(pg_database_size(current_database()))").await;
    let rows: i64 = database.value("SELECT count(*) FROM ledger_entries").await;
    println!("{users} users, {rows} ledger entries, {size}, made in {:.0} s", began.elapsed().as_secs_f64());

    let mut settings = TestSettings::new(&database.url());
    settings.set("SMTP_URL", "smtp://127.0.0.1:1");
    for command in [&["check-ledger"][..], &["recount", "--dry-run"]] {
        run(&database, &settings, command).await;
    }
}

/// Runs a command of the worker, and says what it took.
async fn run(database: &TestDatabase, settings: &TestSettings, command: &[&str]) {
    let began = Instant::now();
    let mut worker = tokio::process::Command::new(binaries().join("worker"))
        .args(command)
        .env_clear()
        .envs(settings.environment())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let watch = Watch::start(worker.id().unwrap(), database).await;
    let status = worker.wait().await.unwrap();
    let (took, peak) = (began.elapsed().as_secs_f64(), watch.stop().await);
    assert!(status.success(), "worker {command:?}: {status}");
    println!(
        "worker {}: {took:.1} s, at most {:.0} MB in the worker and {:.0} MB in PostgreSQL's processes for it",
        command.join(" "),
        peak.process as f64 / 1e6,
        peak.server as f64 / 1e6,
    );
}

/// Makes the rows, a chunk of users at a time.
async fn fill(database: &TestDatabase, users: u64, entries: u64) {
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} users, {elapsed}, {eta} to go");
    let progress = ProgressBar::new(users).with_style(style.unwrap());
    let prepare = PREPARE.replace("{users}", &users.to_string()).replace("{entries}", &entries.to_string());
    database.batch_execute(&prepare).await.unwrap();
    let mut from = 0;
    while from < users {
        let to = (from + CHUNK).min(users);
        let fill = FILL.replace("{from}", &from.to_string()).replace("{to}", &to.to_string());
        database.batch_execute(&fill).await.unwrap();
        progress.set_position(to);
        from = to;
    }
    progress.finish_and_clear();
    database.batch_execute("SET session_replication_role = origin").await.unwrap();
    // As it is in a database that has lived: the planner knows it, and index-only scans can be had.
    database.batch_execute("VACUUM ANALYZE").await.unwrap();
}
