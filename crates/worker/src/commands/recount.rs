//! `worker recount`: counts referrals and grants again, and mends counters that are off.
#![allow(clippy::print_stdout, reason = "the answer of the command")]

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;
use domain::recount;
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use crate::Config;

/// `worker recount`
#[derive(Args, Debug)]
pub struct Arguments {
    /// Change nothing; exit code 1 when a counter is off.
    #[arg(long)]
    dry_run: bool,
}

/// Prints each user whose counters are off, and how many there were.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let pool = domain::db::connect(&config.common.database_url, 1)?;
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} users, {elapsed}, {eta} to go")?;
    let users = u64::try_from(recount::population(&pool).await?)?;
    let progress = ProgressBar::new(users).with_style(style);
    let (mut seen, mut off, mut after) = (0_u64, BTreeSet::new(), Uuid::nil());
    while let Some(batch) = recount::look(&pool, after).await? {
        for (user_id, line) in &batch.off {
            progress.suspend(|| println!("{user_id}  {line}"));
            if off.insert(*user_id) && !arguments.dry_run {
                recount::mend(&pool, *user_id).await?;
            }
        }
        seen += u64::try_from(batch.users)?;
        progress.set_position(seen);
        after = batch.last;
    }
    progress.finish_and_clear();
    let done = match (off.is_empty(), arguments.dry_run) {
        (true, _) => "",
        (false, true) => ", and are left so",
        (false, false) => ", and are mended",
    };
    println!("{seen} users looked at: the counters of {} were off{done}", off.len());
    Ok(if arguments.dry_run && !off.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
