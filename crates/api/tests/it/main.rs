//! The api over a socket, with a database and a Redis prefix of each test's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod cache;
mod edge;
mod main_job;
mod pages;
