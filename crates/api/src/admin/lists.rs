//! The commands that show referrals, accounts and the record, a line each, newest first.
#![allow(clippy::print_stdout, reason = "the answers of the commands")]

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use domain::accounts::{self, AccountView, Email, Find};
use domain::audit::{self, Event, Filter, SecurityEvent};
use domain::db::Pool;
use domain::referrals::{self, ReferralStatus, Reviewed, Search, Side};
use serde_json::Value;
use uuid::Uuid;

/// A command of `api admin` that changes nothing.
#[derive(Subcommand)]
pub(crate) enum Lists {
    /// Shows referrals, such as those that wait for review, with the signals against each and their points.
    Referrals(Referrals),
    /// Shows accounts and how many each has brought.
    Users(Users),
    /// Shows what is on record.
    Audit(Audit),
}

/// Which referrals.
#[derive(Args)]
pub(crate) struct Referrals {
    /// Only those of this status, such as review.
    #[arg(long, value_parser = status)]
    status: Option<ReferralStatus>,
    /// The id of a referral or of either side, a referral code, or the beginning of a username.
    #[arg(long)]
    search: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

/// Which accounts.
#[derive(Args)]
pub(crate) struct Users {
    /// An id, a referral code, or the beginning of a username.
    #[arg(long)]
    search: Option<String>,
    /// The whole e-mail address of an account; a part of one finds nothing.
    #[arg(long, value_parser = Email::parse)]
    email: Option<Email>,
    #[command(flatten)]
    limit: Limit,
}

/// Which events.
#[derive(Args)]
pub(crate) struct Audit {
    /// Only what happened to this account.
    #[arg(long)]
    user: Option<Uuid>,
    /// Only what is about this: a referral, an entry of the ledger, a coupon.
    #[arg(long)]
    subject: Option<Uuid>,
    /// Only this event, such as `referral_reversed`.
    #[arg(long, value_parser = event)]
    event: Option<Event>,
    #[command(flatten)]
    limit: Limit,
}

/// How many lines.
#[derive(Args)]
struct Limit {
    /// How many at most.
    #[arg(long = "limit", default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    lines: i64,
}

fn status(word: &str) -> Result<ReferralStatus, String> {
    ReferralStatus::parse(word)
        .ok_or_else(|| format!("one of {}", ReferralStatus::ALL.map(ReferralStatus::as_str).join(", ")))
}

fn event(word: &str) -> Result<Event, &'static str> {
    Event::ALL.iter().copied().find(|event| event.as_str() == word).ok_or("there is no such event")
}

/// Runs a command.
pub(super) async fn run(pool: &Pool, command: &Lists) -> anyhow::Result<()> {
    match command {
        Lists::Referrals(Referrals { status, search, limit }) => {
            let search = Search { status: *status, text: search.clone() };
            for row in referrals::search(pool, &search, None, limit.lines).await? {
                println!("{}", referral(&row));
            }
        }
        Lists::Users(Users { search, email, limit }) => {
            let find = Find { text: search.as_deref(), email: email.as_ref() };
            for row in accounts::find_views(pool, find, None, limit.lines).await? {
                println!("{}", account(&row));
            }
        }
        Lists::Audit(Audit { user, subject, event, limit }) => {
            let filter = Filter { user_id: *user, event: *event, subject_id: *subject };
            for row in audit::list(pool, filter, None, limit.lines).await? {
                println!("{}", entry(&row));
            }
        }
    }
    Ok(())
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn name(side: &Side) -> &str {
    if side.deleted_at.is_some() { "deleted" } else { &side.username }
}

fn referral(row: &Reviewed) -> String {
    let Reviewed { id, status, reason, .. } = row;
    let signals = row.assessment.as_ref().and_then(|assessment| assessment.get("signals")?.as_array());
    let shown = |signal: &Value| {
        Some(format!("  {}={}", signal.get("signal")?.as_str()?, signal.get("points")?.as_i64()?))
    };
    let signals = signals.into_iter().flatten().filter_map(shown).collect::<Vec<_>>().concat();
    let (referrer, referred) = (name(&row.referrer), name(&row.referred));
    format!("{id}  {}  {status}  {reason}  {referrer} -> {referred}{signals}", time(row.date_referred))
}

fn account(row: &AccountView) -> String {
    let AccountView { id, username, role, referral_code, .. } = row;
    let (pending, review, successful, rejected, expired, reversed) = row.referrals;
    let state = match (row.deleted_at, row.blocked_at) {
        (Some(_), _) => "  deleted",
        (None, Some(_)) => "  blocked",
        (None, None) => "",
    };
    format!(
        "{id}  {}  {username}  {role}  {referral_code}  pending={pending} review={review} successful={successful} \
         rejected={rejected} expired={expired} reversed={reversed}{state}",
        time(row.created_at)
    )
}

fn entry(row: &SecurityEvent) -> String {
    let SecurityEvent { event, actor, .. } = row;
    let by = row.actor_id.map(|id| format!(" {id}")).unwrap_or_default();
    let whose = row.user_id.map(|id| format!("  account {id}")).unwrap_or_default();
    let about = row.subject_id.map(|id| format!("  about {id}")).unwrap_or_default();
    let reason = row.reason.as_ref().map(|reason| format!("  {reason}")).unwrap_or_default();
    format!("{}  {event}  by {actor}{by}{whose}{about}{reason}", time(row.created_at))
}
