//! The HTTP API: parse, authenticate, limit, call domain, render.
//!
//! [`build`] is the one entry, for the binary and for tests.

pub mod app;
pub mod audit;
pub mod auth;
pub mod body;
pub mod cache;
pub mod card;
pub mod clicks;
pub mod client_ip;
pub mod config;
pub mod cursor;
pub mod hashing;
pub mod idempotency;
pub mod import;
pub mod limits;
pub mod list;
pub mod middleware;
pub mod nearby;
pub mod oidc;
pub mod own_path;
pub mod pages;
pub mod passwords;
pub mod path;
pub mod pictures;
pub mod problem;
pub mod published;
pub mod qr;
pub mod query;
pub mod reply;
pub mod routes;
pub mod server;
pub mod streams;

pub use config::Config;
pub use server::{Handle, Server, build};
