//! The api over a socket, with a database and a Redis prefix of each test's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod access_tokens;
mod account_deletion;
mod bad_input;
mod cache;
mod cached_answers;
mod cookies;
mod crowd;
mod csrf;
mod edge;
mod forgot_password;
mod login;
mod login_limits;
mod login_timing;
mod logout;
mod main_job;
mod me;
mod me_identities;
mod me_password;
mod oauth;
mod overload;
mod pages;
mod referral_codes;
mod referral_stats;
mod referrals;
mod register;
mod reset_password;
mod rewards;
mod route_coverage;
mod security_events;
mod support;
mod timing;
mod token_refresh;
mod verify_email;
