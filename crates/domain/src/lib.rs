//! Rules, use-cases, PostgreSQL and the queue contract: everything the api and the worker share.
//!
//! No HTTP, no SMTP and no JWT live here. A feature is one module (`accounts`, `referrals`, ..) with its SQL in its own
//! private `store`; other features call its functions, never its store.

pub mod accounts;
pub mod audit;
pub mod cache;
pub mod clicks;
pub mod clock;
pub mod config;
pub mod db;
pub mod export;
pub mod factors;
pub mod housekeeping;
pub mod identities;
pub mod liveness;
pub mod moderation;
pub mod notices;
pub mod outbox;
pub mod page;
pub mod pages;
pub mod queue;
pub mod recount;
pub mod recovery;
pub mod redis;
pub mod referrals;
pub mod rewards;
mod schema;
mod seal;
pub mod sessions;
pub mod telemetry;
pub mod token;
pub mod webhooks;
