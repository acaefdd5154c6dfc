//! The `worker` binary.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use domain::clock::Clock;
use domain::config::Settings;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use worker::{Config, commands};

/// Settles referrals, sends mail, and answers questions about the books.
///
/// Settings come from the environment; see README.md.
#[derive(Parser)]
#[command(name = "worker", version, arg_required_else_help = true)]
struct Cli {
    /// Prints the settings as they are read, secrets left out, and does nothing else.
    #[arg(long, global = true)]
    print_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run jobs until SIGTERM or SIGINT; running jobs then have 25 s to end.
    Run,
    /// Ask the worker that runs with these settings whether it is alive; exit 1 when it does not say so.
    Healthcheck,
    /// Check the invariants of the ledger; exit 1 when one is broken.
    CheckLedger(commands::check_ledger::Arguments),
    /// Count referrals and grants again and mend the counters that are off; safe while workers run.
    Recount(commands::recount::Arguments),
    /// List the jobs that nobody tries any more.
    DeadJobs(commands::dead_jobs::Arguments),
    /// Let dead jobs run again.
    Redrive(commands::redrive::Arguments),
}

fn main() -> ExitCode {
    let arguments = Cli::parse();
    if arguments.print_config {
        return print_config();
    }
    // Without any word clap has shown the help.
    let Some(command) = arguments.command else { return ExitCode::SUCCESS };
    let config = match Config::read(Settings::from_env()) {
        Ok(config) => config,
        Err(error) => return refuse(&error.into()),
    };
    domain::telemetry::init(config.common.log_format);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error.into()),
    };
    let result = runtime.block_on(async {
        let database = &config.common.database_url;
        match command {
            Command::Run => domain::db::migrate::check(database).await?,
            Command::Healthcheck => {}
            _ => domain::db::migrate::require(database).await?,
        }
        match command {
            Command::Run => run(config).await,
            Command::Healthcheck => Ok(healthcheck(&config)),
            Command::CheckLedger(arguments) => commands::check_ledger::run(&config, arguments).await,
            Command::Recount(arguments) => commands::recount::run(&config, arguments).await,
            Command::DeadJobs(arguments) => commands::dead_jobs::run(&config, arguments).await,
            Command::Redrive(arguments) => commands::redrive::run(&config, arguments).await,
        }
    });
    result.unwrap_or_else(|error| refuse(&error))
}

#[allow(clippy::print_stdout, reason = "the answer of the command")]
fn print_config() -> ExitCode {
    match Config::list(Settings::from_env()) {
        Ok(list) => {
            print!("{list}");
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error.into()),
    }
}

async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let worker = worker::build(config, Clock::system())?;
    tracing::info!(metrics = %worker.metrics_addr(), "the worker runs");
    let (stop, shutdown) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut work = tokio::spawn(worker.run(shutdown));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut work => {
            ended?;
            anyhow::bail!("the worker ended by itself");
        }
    }
    tracing::info!("stopping: running jobs may end");
    stop.send_replace(true);
    tokio::select! {
        ended = work => ended?,
        _ = terminate.recv() => tracing::warn!("stopped at once by a second signal"),
        _ = interrupt.recv() => tracing::warn!("stopped at once by a second signal"),
    }
    Ok(ExitCode::SUCCESS)
}

fn healthcheck(config: &Config) -> ExitCode {
    match domain::liveness::ask(config.metrics_addr) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            refuse(&error);
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, for whoever typed the command.
#[allow(clippy::print_stderr, reason = "logging may not have started, and a terminal waits for it")]
fn refuse(error: &anyhow::Error) -> ExitCode {
    eprintln!("worker: {error:#}");
    ExitCode::from(2)
}
