//! The worker against real counterparts, one module a subject.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it measured"
)]

mod abuse;
mod consume;
mod desk;
mod history;
mod ledger;
mod locks;
mod mail_jobs;
mod mailer;
mod maintenance;
mod outbox;
mod relay;
mod review;
mod schema;
mod settle_referral;
