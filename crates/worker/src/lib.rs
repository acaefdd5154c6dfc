//! Runs jobs: sends mail.

pub mod mailer;
