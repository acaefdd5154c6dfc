//! The worker against real counterparts, one module a subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and says what it measured"
)]

mod abuse;
mod clicks;
mod consume;
mod desk;
mod history;
mod ledger;
mod locks;
mod mail_jobs;
mod mailer;
mod maintenance;
mod outbox;
mod recount;
mod relay;
mod reversal;
mod review;
mod rules;
mod schema;
mod settle_referral;
mod webhooks;
