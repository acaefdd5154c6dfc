//! `worker redrive`: lets dead jobs run again, from their first attempt.
#![allow(clippy::print_stdout, reason = "the answer of the command")]

use std::process::ExitCode;

use clap::Args;
use domain::outbox;
use uuid::Uuid;

use crate::Config;

/// `worker redrive`
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Arguments {
    /// The job to run again.
    #[arg(long)]
    id: Option<Uuid>,
    /// Run all dead jobs again.
    #[arg(long)]
    all: bool,
}

/// Prints how many jobs will run again; exit code 1 when there was none.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let pool = domain::db::connect(&config.common.database_url, 1)?;
    let redriven = outbox::redrive(&pool, arguments.id).await?;
    println!("{redriven} jobs will run again");
    Ok(if redriven == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
