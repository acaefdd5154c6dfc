//! The worker: takes jobs off the queues, settles referrals, sends mail and webhooks, keeps the house clean.
//!
//! It knows SMTP and no route of the API. PostgreSQL decides what is to be done; see `domain::outbox`.

mod clicks;
pub mod commands;
pub mod config;
pub mod consume;
mod context;
pub mod courier;
mod health;
mod jobs;
pub mod mailer;
mod run;
mod schedule;

pub use config::Config;

pub use context::Context;
pub use jobs::handle;
pub use run::{Worker, build};
