//! What tests share: the machinery around the system under test. No rule of the product lives here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on fails"
)]

pub mod app;
pub mod authenticator;
pub mod balancer;
pub mod breaches;
pub mod cable;
pub mod client;
pub mod config;
pub mod countries;
pub mod database;
pub mod dump;
pub mod guard;
pub mod keys;
pub mod pooler;
pub mod process;
pub mod provider;
pub mod receiver;
pub mod redis;
pub mod smtp;
pub mod stack;
pub mod tls;
