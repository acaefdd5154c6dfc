//! `worker dead-jobs`: lists the jobs that nobody tries any more.
#![allow(clippy::print_stdout, reason = "the answer of the command")]

use std::process::ExitCode;

use clap::Args;
use domain::outbox;

use crate::Config;

/// `worker dead-jobs`
#[derive(Args, Debug)]
pub struct Arguments {
    /// How many to list, newest first.
    #[arg(long, default_value_t = 50)]
    limit: u16,
}

/// Prints one line a job: id, kind, attempts, when, and the last error.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let pool = domain::db::connect(&config.common.database_url, 1)?;
    let jobs = outbox::dead(&pool, arguments.limit).await?;
    for job in &jobs {
        let dead_at = job.dead_at.map(|at| at.to_rfc3339()).unwrap_or_default();
        let error = job.last_error.as_deref().unwrap_or("-");
        println!("{}  {:<28} {:>3} attempts  {dead_at}  {error}", job.id, job.kind, job.attempts);
    }
    if jobs.is_empty() {
        println!("no dead jobs");
    }
    Ok(ExitCode::SUCCESS)
}
