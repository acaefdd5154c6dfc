//! Several real processes on one database and one Redis: killed, frozen, cut off.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and its figures show with the failure"
)]

mod at_once;
mod backup;
mod clicks;
mod configuration;
mod encrypted_services;
mod ended_sessions;
mod guarantees;
mod key_rotation;
mod killed_apis;
mod killed_settlements;
mod killed_workers;
mod limits;
mod logs;
mod main_job;
mod measurements;
mod model;
mod operators;
mod pooler;
mod privacy;
mod readiness;
mod redis_outages;
mod second_factor;
mod sessions;
mod shipped_proxy;
mod under_load;
mod webhooks;
