//! The benchmark behind `make bench`: figures as ratios taken side by side in one run, because machines are noisy.
//!
//! It is no test: it asserts nothing about speed. wrk makes the load where many requests per second are needed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a benchmark prints figures, and ends when it cannot go on"
)]

mod clicks;
mod crowd;
mod drain;
mod idle;
mod login;
mod memory;
mod page;
mod register;
mod stats;

use std::time::Duration;

use clap::Parser;

/// Measures Trellis against its own limits, side by side in one run.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything when nothing is named.
    #[arg(value_parser = ["stats", "page", "follow", "login", "register", "drain", "crowd", "clicks", "idle", "memory"])]
    only: Vec<String>,
    /// Rounds of each comparison; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of load in each round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Referral jobs to drain.
    #[arg(long, default_value_t = 20_000)]
    jobs: usize,
    /// Referrals of whoever brought very many.
    #[arg(long, default_value_t = 1_000_000)]
    referrals: usize,
    /// Clicks to roll up.
    #[arg(long, default_value_t = 1_000_000)]
    clicks: usize,
    /// Connections that say nothing.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let wanted = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let (rounds, round) = (arguments.rounds, Duration::from_secs(arguments.seconds));
    if wanted("stats") {
        stats::run(rounds, round).await;
    }
    if wanted("page") {
        page::run(rounds, round).await;
    }
    if wanted("follow") {
        clicks::follow(rounds, round).await;
    }
    if wanted("login") {
        login::run(rounds, round).await;
    }
    if wanted("register") {
        register::run(60).await;
    }
    if wanted("drain") {
        drain::run(arguments.jobs).await;
    }
    if wanted("crowd") {
        crowd::run(arguments.referrals).await;
    }
    if wanted("clicks") {
        clicks::roll_up(arguments.clicks).await;
    }
    if wanted("idle") {
        idle::run(arguments.idle, rounds, round).await;
    }
    if wanted("memory") {
        memory::run().await;
    }
}

/// The middle value.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Which processors there are.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
