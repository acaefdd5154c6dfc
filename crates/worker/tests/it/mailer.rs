//! Mail against a real SMTP conversation, and into a folder.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod conversation;
mod faults;
mod folder;
mod secrecy;
mod tls;

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::config::{AppEnv, Settings};
use testkit::smtp::SmtpSink;
use uuid::Uuid;
use worker::mailer::{LinkLife, Mail, MailConfig, Mailer, Message, SendError, Timeouts};

const ADDRESS: &str = "ada.canary@example.com";
const TOKEN: &str = "ZrYm0Vh3bT4q6eFf8nX1oKuP9sD2wLc7GjAiRtEyQxU";

/// Long enough for a step on a loaded machine, and far from the ten seconds of the default.
const TIMEOUTS: Timeouts = Timeouts {
    step: Duration::from_secs(1),
    whole: Duration::from_millis(1500),
    idle: Duration::from_millis(300),
};

fn config(settings: &[(&str, &str)]) -> MailConfig {
    let mut settings = Settings::from_map(settings.iter().copied());
    let config = MailConfig::read(&mut settings, Some(AppEnv::Development));
    settings.finish(|| config).unwrap()
}

/// Patient, so that a slow machine fails no test that is not about time.
fn mailer(url: &str) -> Mailer {
    Mailer::new(&config(&[("SMTP_URL", url)])).unwrap()
}

fn hurried_mailer(url: &str) -> Mailer {
    Mailer::new(&MailConfig { timeouts: TIMEOUTS, ..config(&[("SMTP_URL", url)]) }).unwrap()
}

fn link(path: &str) -> String {
    format!("https://trellis.example/{path}?token={TOKEN}")
}

fn reset() -> Mail {
    Mail::PasswordReset { username: "ada".to_owned(), link: link("reset-password"), life: life() }
}

fn life() -> LinkLife {
    LinkLife { ends_at: at() + chrono::TimeDelta::minutes(15), written_at: at() }
}

fn at() -> DateTime<Utc> {
    "2026-11-02T09:05:00Z".parse().unwrap()
}

fn message(to: &str) -> Message<'_> {
    Message { to, kind: reset(), message_id: Uuid::now_v7() }
}

async fn send(mailer: &Mailer) -> Result<(), SendError> {
    mailer.send(message(ADDRESS)).await
}

#[track_caller]
fn assert_temporary(result: Result<(), SendError>, context: &str) -> SendError {
    let error = result.unwrap_err();
    assert!(matches!(error, SendError::Temporary { .. }), "{context}: {error}");
    assert_silent(&error);
    error
}

#[track_caller]
fn assert_permanent(result: Result<(), SendError>, context: &str) -> SendError {
    let error = result.unwrap_err();
    assert!(matches!(error, SendError::Permanent { .. }), "{context}: {error}");
    assert_silent(&error);
    error
}

/// V1: an error names no address, no link, no token and no login.
#[track_caller]
fn assert_silent(error: &SendError) {
    let shown = format!("{error} {error:?}");
    for secret in [ADDRESS, "canary", TOKEN, "reset-password?", "hunter2"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// The lines that crossed the network in clear.
fn in_clear(sink: &SmtpSink) -> Vec<String> {
    sink.lines().into_iter().filter(|line| !line.encrypted).map(|line| line.text).collect()
}
