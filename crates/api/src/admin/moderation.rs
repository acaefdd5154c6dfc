//! The commands that take pages, links and domains down, and put them up again.
#![allow(clippy::print_stdout, reason = "the answers of the commands")]

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use domain::accounts::Username;
use domain::audit::{Actor, Trace};
use domain::db::Pool;
use domain::moderation::{self, BlockedDomain, Decision, Visibility};
use uuid::Uuid;

/// A command of `api admin` about pages.
#[derive(Subcommand)]
pub(crate) enum Moderation {
    /// Takes the page of an account down: it answers 404, and its owner reads why.
    DisablePage(PageOf),
    /// Puts the page of an account up again.
    EnablePage(PageOf),
    /// Takes a link down: nobody sees or follows it, and its owner reads why.
    DisableLink(Link),
    /// Puts a link up again.
    EnableLink(Link),
    /// Lets no link lead to a domain, or to one below it.
    BlockDomain(DomainName),
    /// Lets links lead to a domain again.
    UnblockDomain(DomainName),
}

/// A page, and why.
#[derive(Args)]
pub(crate) struct PageOf {
    /// Whose page.
    #[arg(value_parser = Username::parse)]
    username: Username,
    /// Why, for the audit record and the owner.
    #[arg(long, value_parser = super::reason)]
    reason: String,
}

/// A link, and why.
#[derive(Args)]
pub(crate) struct Link {
    /// The id of the link.
    link_id: Uuid,
    /// Why, for the audit record and the owner.
    #[arg(long, value_parser = super::reason)]
    reason: String,
}

/// A domain, and why.
#[derive(Args)]
pub(crate) struct DomainName {
    /// The name, or an IP address.
    #[arg(value_parser = BlockedDomain::parse)]
    domain: BlockedDomain,
    /// Why, for the audit record.
    #[arg(long, value_parser = super::reason)]
    reason: String,
}

/// Runs a command.
pub(super) async fn run(pool: &Pool, now: DateTime<Utc>, command: &Moderation) -> anyhow::Result<()> {
    let trace = &Trace::default();
    let set_page = async |page: &PageOf, visibility| {
        moderation::set_page(pool, now, &page.username, visibility, because(&page.reason), trace).await
    };
    let set_link = async |link: &Link, visibility| {
        moderation::set_link(pool, now, link.link_id, visibility, because(&link.reason), trace).await
    };
    let changed = match command {
        Moderation::DisablePage(page) => set_page(page, Visibility::Hidden).await?,
        Moderation::EnablePage(page) => set_page(page, Visibility::Shown).await?,
        Moderation::DisableLink(link) => set_link(link, Visibility::Hidden).await?,
        Moderation::EnableLink(link) => set_link(link, Visibility::Shown).await?,
        Moderation::BlockDomain(name) => {
            moderation::block_domain(pool, now, &name.domain, because(&name.reason), trace).await?
        }
        Moderation::UnblockDomain(name) => {
            moderation::unblock_domain(pool, now, &name.domain, because(&name.reason), trace).await?
        }
    };
    println!("{}", if changed { "done" } else { "it was so before" });
    Ok(())
}

fn because(reason: &str) -> Decision<'_> {
    Decision { actor: Actor::Operator, reason }
}
