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
mod admin_accounts;
mod admin_referrals;
mod admin_users;
mod bad_input;
mod blocked_accounts;
mod breached_passwords;
mod browsers;
mod cache;
mod cached_answers;
mod clicks;
mod cookies;
mod crowd;
mod csrf;
mod discounts;
mod edge;
mod foreign_hashes;
mod forgot_password;
mod jwks;
mod known_browsers;
mod links;
mod links_import;
mod links_order;
mod login;
mod login_limits;
mod login_timing;
mod logout;
mod mailbox_proof;
mod main_job;
mod me;
mod me_email;
mod me_export;
mod me_identities;
mod me_password;
mod moderation;
mod notices;
mod oauth;
mod overload;
mod page_cache;
mod page_cards;
mod page_pictures;
mod pages;
mod password_checks;
mod profile;
mod public_answers;
mod public_page;
mod referral_codes;
mod referral_series;
mod referral_stats;
mod referrals;
mod register;
mod register_again;
mod register_verified;
mod reset_password;
mod reward_rules;
mod rewards;
mod rewards_redeem;
mod route_coverage;
mod second_factor;
mod security_events;
mod sessions;
mod support;
mod timing;
mod token_refresh;
mod usernames;
mod verify_email;
mod webhooks;
