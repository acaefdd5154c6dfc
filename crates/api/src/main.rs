//! The `api` binary: serves, migrates the database, gives rights, and says whether it lives.

mod admin;

use std::process::ExitCode;

use api::config::Config;
use clap::{Parser, Subcommand};
use domain::clock::Clock;
use domain::config::{ConfigError, Settings};
use domain::{db, liveness, telemetry};

/// The Trellis HTTP API. Settings come from the environment; see the README for all of them.
#[derive(Parser)]
#[command(version)]
#[command(arg_required_else_help = true)]
struct Arguments {
    /// Prints the settings as they are read, secrets left out, and does nothing else.
    #[arg(long, global = true)]
    print_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the API until SIGTERM or SIGINT.
    Serve,
    /// Brings the database to this version's schema. Safe to run by several at once.
    Migrate,
    /// Asks the api that serves with these settings whether it is alive; exit 1 when it does not say so.
    Healthcheck,
    /// Manages accounts from the command line.
    #[command(subcommand)]
    Admin(admin::Admin),
}

/// Exit status for a wrong configuration.
const WRONG_CONFIGURATION: u8 = 2;

#[actix_web::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        _ if arguments.print_config => print_config(),
        Some(Command::Serve) => serve().await,
        Some(Command::Migrate) => migrate().await,
        Some(Command::Healthcheck) => healthcheck(),
        Some(Command::Admin(command)) => admin::run(command).await,
        // Without any word clap has shown the help.
        None => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            let wrong = error.is::<ConfigError>();
            if wrong { ExitCode::from(WRONG_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

#[allow(clippy::print_stdout, reason = "the answer of the command")]
fn print_config() -> anyhow::Result<()> {
    print!("{}", Config::list(Settings::from_env())?);
    Ok(())
}

async fn serve() -> anyhow::Result<()> {
    let config = Config::read(Settings::from_env())?;
    telemetry::init(config.common.log_format);
    for origin in config.cross_site_origins() {
        tracing::warn!(
            origin,
            "ALLOWED_ORIGINS names an origin of another site than PUBLIC_URL: browsers send it no cookies, so its pages can \
             use the bearer transport only; serve them on PUBLIC_URL or a subdomain of the same registrable domain"
        );
    }
    db::migrate::check(&config.common.database_url).await?;
    let server = api::build(config, Clock::system()).await?;
    server.handle().heed_signals()?;
    server.run().await
}

async fn migrate() -> anyhow::Result<()> {
    let config = Config::read(Settings::from_env())?;
    telemetry::init(config.common.log_format);
    for name in db::migrate::run(&config.common.database_url).await? {
        tracing::info!(name, "ran a migration");
    }
    Ok(())
}

fn healthcheck() -> anyhow::Result<()> {
    liveness::ask(Config::read(Settings::from_env())?.http_addr)
}

#[allow(
    clippy::print_stderr,
    reason = "the log may not be set up yet, and this is for whoever typed the command"
)]
fn complain(error: &anyhow::Error) {
    eprintln!("api: {error:#}");
}
