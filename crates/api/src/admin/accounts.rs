//! The commands that help the holders of accounts, or remove an account.
#![allow(clippy::print_stdout, reason = "the answers of the commands")]

use std::path::PathBuf;

use anyhow::Context as _;
use api::config::Config;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use domain::accounts::{self, Email, Intervened, Intervention};
use domain::audit::{Actor, Trace};
use domain::db::Pool;
use serde_json::json;
use uuid::Uuid;

/// A command of `api admin` about one account.
#[derive(Subcommand)]
pub(crate) enum Accounts {
    /// Takes the role of programme manager away. Nothing keeps the last manager: `promote` makes another.
    Demote(Account),
    /// Ends all sessions of an account.
    EndSessions(Account),
    /// Deletes an account, as its holder would: its personal data goes, for ever.
    Delete(Account),
    /// Prints everything that is held about an account as JSON, as its holder would get it: for a person who cannot sign in.
    Export(Export),
    /// Confirms the e-mail address of an account. Be sure of the person: unlike a mailed link it proves nothing, so sessions,
    /// second factor and linked providers stay.
    ConfirmEmail(Account),
    /// Gives an account another e-mail address, unconfirmed: it is mailed a link, and the old address a notice. Sessions end.
    SetEmail(SetEmail),
}

/// An account, and why.
#[derive(Args)]
pub(crate) struct Account {
    /// The id of the account.
    user_id: Uuid,
    /// Why, for the audit record.
    #[arg(long, value_parser = super::reason)]
    reason: String,
}

/// Whose data, and where to.
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    account: Account,
    /// A new file to write, in place of standard output.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// An account and its address.
#[derive(Args)]
pub(crate) struct SetEmail {
    #[command(flatten)]
    account: Account,
    /// The address.
    #[arg(long, value_parser = Email::parse)]
    email: Email,
}

impl Account {
    fn intervention(&self) -> Intervention<'_> {
        Intervention { user_id: self.user_id, actor: Actor::Operator, reason: Some(&self.reason) }
    }
}

/// Runs a command.
pub(super) async fn run(
    config: &Config,
    pool: &Pool,
    now: DateTime<Utc>,
    command: &Accounts,
) -> anyhow::Result<()> {
    let (keys, policy, trace) = (&config.common.keys, config.common.referrals, &Trace::default());
    let (done, unchanged) = match command {
        Accounts::Demote(account) => {
            (accounts::demote(pool, now, account.intervention(), trace).await?, "it is not a manager's")
        }
        Accounts::EndSessions(account) => {
            (accounts::end_sessions(pool, now, account.intervention(), trace).await?, "")
        }
        Accounts::Delete(account) => {
            (accounts::delete_as_operator(pool, now, keys, account.intervention(), trace).await?, "")
        }
        Accounts::ConfirmEmail(account) => {
            let done = accounts::confirm_email(pool, now, policy, account.intervention(), trace).await?;
            (done, "the address is confirmed already")
        }
        Accounts::SetEmail(SetEmail { account, email }) => {
            let intervention = account.intervention();
            let lifetime = config.common.lifetimes.confirmation;
            let done = accounts::correct_email(pool, now, keys, lifetime, email, intervention, trace).await?;
            (done, "the account has this address already")
        }
        Accounts::Export(command) => return export(pool, now, command).await,
    };
    let Intervened { changed, ended } = done;
    match (changed, ended.len()) {
        (false, _) => println!("nothing to do: {unchanged}"),
        (true, 0) => println!("done"),
        (true, ended) => println!("done: {ended} {} ended", if ended == 1 { "session" } else { "sessions" }),
    }
    Ok(())
}

async fn export(pool: &Pool, now: DateTime<Utc>, command: &Export) -> anyhow::Result<()> {
    let Export { account, output } = command;
    // Before anything is on record: a file that is there is not overwritten, and its path may be wrong.
    let file = match output {
        Some(path) => Some(create(path).with_context(|| format!("cannot write {}", path.display()))?),
        None => None,
    };
    let data = accounts::export_as_operator(pool, now, account.intervention(), &Trace::default()).await;
    let data = match (data, output) {
        (Err(error), Some(path)) => {
            // Nothing was written to it.
            std::fs::remove_file(path)?;
            return Err(error.into());
        }
        (data, _) => data?,
    };
    let export = json!({ "exported_at": now, "data": data });
    match file {
        Some(file) => {
            serde_json::to_writer_pretty(file, &export)?;
            println!("done");
        }
        None => println!("{}", serde_json::to_string_pretty(&export)?),
    }
    Ok(())
}

/// Personal data: nobody else of the machine reads it.
fn create(path: &PathBuf) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
