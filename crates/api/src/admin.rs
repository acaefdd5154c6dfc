//! `api admin`: what a programme manager does, from the command line. The record names the operator.
#![allow(clippy::print_stdout, reason = "the answers of the commands")]

mod accounts;
mod lists;
mod moderation;

use api::config::Config;
use clap::Subcommand;
use domain::accounts::{Blocking, Email};
use domain::audit::{Actor, Trace};
use domain::clock::Clock;
use domain::config::Settings;
use domain::db::{self, Pool};
use domain::factors::{self, Reset};
use domain::referrals::{self, Ruling, Verdict};
use domain::rewards::{self, Adjustment, Amount};
use uuid::Uuid;

use accounts::Accounts;
use lists::Lists;
use moderation::Moderation;

/// A command of `api admin`.
#[derive(Subcommand)]
pub(crate) enum Admin {
    /// Makes the account with this e-mail address a programme manager.
    Promote {
        /// The address.
        email: String,
    },
    /// Takes the second factor away from the account with this e-mail address, for somebody who lost the app and the
    /// recovery codes. Be sure of who asks: signing in takes the password alone then. It is recorded, and the owner is told.
    ResetFactor {
        /// The address.
        email: String,
    },
    /// Lets a referral pass that waits for review: the worker settles it.
    Approve(Decision),
    /// Refuses a referral that waits.
    Reject(Decision),
    /// Takes a successful referral back, with what it earned as far as it was not spent.
    Reverse(Decision),
    /// Keeps an account out: its sessions end, its code brings nobody, its referrals wait. Its holder is mailed the reason, and
    /// reads it at sign-in.
    Block(Account),
    /// Lets an account in again.
    Unblock(Account),
    #[command(flatten)]
    Accounts(Accounts),
    #[command(flatten)]
    Lists(Lists),
    #[command(flatten)]
    Moderation(Moderation),
    /// Gives credits to an account, or takes some.
    Adjust(AdjustCommand),
}

/// A referral, and why.
#[derive(clap::Args)]
pub(crate) struct Decision {
    /// The id of the referral.
    referral_id: Uuid,
    /// Why, for the audit record.
    #[arg(long, value_parser = reason)]
    reason: String,
}

/// An account, and why.
#[derive(clap::Args)]
pub(crate) struct Account {
    /// The id of the account.
    user_id: Uuid,
    /// Why, for the audit record.
    #[arg(long, value_parser = reason)]
    reason: String,
}

/// Credits to give or take, and why.
#[derive(clap::Args)]
pub(crate) struct AdjustCommand {
    /// The id of the account.
    user_id: Uuid,
    /// How many, such as 25.00; below zero to take.
    #[arg(allow_negative_numbers = true)]
    amount: Amount,
    /// Why, for the entry in the ledger and the audit record.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Names this adjustment, such as the number of a ticket: the same again changes nothing.
    #[arg(long)]
    key: String,
}

/// Runs a command.
pub(crate) async fn run(command: Admin) -> anyhow::Result<()> {
    let config = Config::read(Settings::from_env())?;
    db::migrate::require(&config.common.database_url).await?;
    let pool = db::connect(&config.common.database_url, 1)?;
    match command {
        Admin::Promote { email } => promote(&pool, &email).await,
        Admin::ResetFactor { email } => reset_factor(&pool, &email).await,
        Admin::Approve(decision) => decide(&config, &pool, &decision, Verdict::Approve).await,
        Admin::Reject(decision) => decide(&config, &pool, &decision, Verdict::Reject).await,
        Admin::Reverse(decision) => decide(&config, &pool, &decision, Verdict::Reverse).await,
        Admin::Block(account) => {
            let blocked =
                domain::accounts::block(&pool, now(), account.blocking(), &Trace::default()).await?;
            println!("{}", if blocked.changed { "done" } else { "it was blocked before" });
            Ok(())
        }
        Admin::Unblock(account) => {
            let unblocked =
                domain::accounts::unblock(&pool, now(), account.blocking(), &Trace::default()).await?;
            println!("{}", if unblocked.changed { "done" } else { "it was not blocked" });
            Ok(())
        }
        Admin::Accounts(command) => accounts::run(&config, &pool, now(), &command).await,
        Admin::Lists(command) => lists::run(&pool, &command).await,
        Admin::Moderation(command) => moderation::run(&pool, now(), &command).await,
        Admin::Adjust(command) => adjust(&pool, &command).await,
    }
}

/// Blanks are no reason.
fn reason(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("say why") } else { Ok(text.to_owned()) }
}

fn now() -> chrono::DateTime<chrono::Utc> {
    Clock::system().now()
}

impl Account {
    fn blocking(&self) -> Blocking<'_> {
        Blocking { user_id: self.user_id, actor: Actor::Operator, reason: &self.reason }
    }
}

async fn promote(pool: &Pool, email: &str) -> anyhow::Result<()> {
    let email = Email::parse(email)?;
    anyhow::ensure!(
        domain::accounts::promote(pool, now(), &email).await?,
        "no live account has this address"
    );
    println!("done: from the next request on");
    Ok(())
}

async fn reset_factor(pool: &Pool, email: &str) -> anyhow::Result<()> {
    match factors::reset(pool, now(), &Email::parse(email)?).await? {
        Reset::Done => println!("done: the owner is told by mail"),
        Reset::NoFactor => println!("nothing to do: the account has no second factor"),
        Reset::NoAccount => anyhow::bail!("no live account has this address"),
    }
    Ok(())
}

async fn decide(config: &Config, pool: &Pool, decision: &Decision, verdict: Verdict) -> anyhow::Result<()> {
    let ruling = Ruling {
        referral_id: decision.referral_id,
        verdict,
        actor: Actor::Operator,
        reason: &decision.reason,
    };
    let ruled = referrals::rule(pool, now(), config.common.referrals, ruling, &Trace::default()).await?;
    let before = if ruled.changed.is_empty() { ", as before" } else { "" };
    println!("the referral is {}{before}", ruled.status);
    Ok(())
}

async fn adjust(pool: &Pool, command: &AdjustCommand) -> anyhow::Result<()> {
    let adjustment = Adjustment {
        user_id: command.user_id,
        amount: command.amount,
        reason: &command.reason,
        actor: Actor::Operator,
        idempotency_key: &command.key,
    };
    let adjusted = rewards::adjust_and_record(pool, now(), adjustment, &Trace::default()).await?;
    let before = if adjusted.repeated { ", as before" } else { "" };
    println!("the account has {} credits{before}", adjusted.balance);
    Ok(())
}
