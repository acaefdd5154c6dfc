//! `worker check-ledger`: proves the books right, or names what is wrong with them.
#![allow(clippy::print_stdout, reason = "the answer of the command")]

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use domain::rewards::{self, Violations};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::Config;

/// How often the elapsed time moves.
const TICK: Duration = Duration::from_millis(200);

/// `worker check-ledger`
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// Checks every invariant. Exit code 1 when one is broken.
pub async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let pool = domain::db::connect(&config.common.database_url, 1)?;
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} invariants checked, {elapsed}")?;
    let progress = ProgressBar::new(u64::try_from(rewards::INVARIANTS.len())?).with_style(style);
    progress.enable_steady_tick(TICK);
    let mut report = Vec::new();
    let broken = rewards::check_ledger(&pool, |invariant, violations| {
        progress.inc(1);
        let count = violations.map_or(0, |violations| violations.count);
        let examples = violations.map_or(&[][..], |violations| &violations.examples);
        if !arguments.json {
            progress.suspend(|| print_line(invariant.id, invariant.rule, count, examples));
        }
        report.push(
            json!({ "id": invariant.id, "rule": invariant.rule, "violations": count, "examples": examples }),
        );
    })
    .await?;
    progress.finish_and_clear();
    let violations: i64 = broken.iter().map(|violations: &Violations| violations.count).sum();
    if arguments.json {
        println!("{}", json!({ "ok": broken.is_empty(), "violations": violations, "invariants": report }));
    } else {
        println!("{violations} violation{}", if violations == 1 { "" } else { "s" });
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_line(id: &str, rule: &str, count: i64, examples: &[String]) {
    let verdict = if count == 0 { "ok".to_owned() } else { format!("BROKEN by {count}") };
    println!("{id:<3} {verdict:<14} {rule}");
    for example in examples {
        println!("      {example}");
    }
}
