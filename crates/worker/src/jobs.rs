//! One job, from its id to its end: claim, run, then complete, retry or fail.
//!
//! The attempt is counted before the work, so that a job that kills its process is not tried for ever. Whatever is not
//! completed runs again: every job may be cancelled at any point, and may run twice.

mod mail;
mod maintenance;
mod settle_referral;
pub(crate) mod webhooks;

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use domain::db::DbError;
use domain::outbox::{self, Claim, Job, Lease, Limits, OutboxError};
use domain::webhooks::Announced;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::context::Context;

/// How a job failed: its author must choose.
#[derive(Debug)]
enum JobError {
    /// Worth another try. The text is for operators and holds no address, token or link.
    Retry(String),
    /// Worth another try until this time, when the link of the mail ends.
    RetryUntil(DateTime<Utc>, String),
    /// The mail server refuses the recipient for good, which is on the account by now.
    Bounced(String),
    /// Another try would fail too.
    Fail(String),
    /// Somebody else holds the job by now.
    LeaseLost,
}

impl From<OutboxError> for JobError {
    fn from(error: OutboxError) -> Self {
        match error {
            OutboxError::LeaseLost => Self::LeaseLost,
            OutboxError::Db(error) => error.into(),
        }
    }
}

impl From<DbError> for JobError {
    fn from(error: DbError) -> Self {
        // A failing statement may be a bug, but a deploy may mend it: the attempts are bounded.
        Self::Retry(format!("{:#}", anyhow::Error::from(error)))
    }
}

/// Runs the job with this id to its end, if it is there to be run. Never fails: what happened is in PostgreSQL, and what
/// could not even be written there is tried again when the lease ends.
pub async fn handle(context: Context, id: String) {
    let Ok(id) = Uuid::parse_str(&id) else {
        tracing::warn!("dropped a queue entry that is no job");
        metrics::counter!("trellis_jobs_total", "kind" => "unknown", "outcome" => "poison").increment(1);
        return;
    };
    match outbox::claim(&context.pool, id).await {
        Ok(Claim::Job { lease, job, request_id }) => {
            let span =
                tracing::info_span!("job", id = %id, kind = job.kind(), attempt = lease.attempt, request_id);
            let run = run(&context, &lease, &job, request_id.as_deref()).instrument(span);
            #[cfg(feature = "failpoints")]
            let run = domain::db::failpoint::within(job.kind(), Box::pin(run));
            run.await;
        }
        Ok(Claim::Nothing) => {}
        Ok(Claim::Unknown { kind }) => {
            tracing::warn!(%id, kind, "put off a job of an unknown kind: a newer release may know it");
            metrics::counter!("trellis_jobs_total", "kind" => "unknown", "outcome" => "put_off").increment(1);
        }
        Ok(Claim::Exhausted { job }) => {
            let kind = job.kind();
            tracing::error!(%id, kind, "gave up a job whose workers kept dying");
            metrics::counter!("trellis_jobs_total", "kind" => kind, "outcome" => "dead").increment(1);
            abandon(&context, &job, "its workers died").await;
        }
        Err(error) => {
            tracing::warn!(%id, error = format!("{:#}", anyhow::Error::from(error)), "could not claim a job");
        }
    }
}

async fn run(context: &Context, lease: &Lease, job: &Job, request_id: Option<&str>) {
    let limits = job.limits();
    let started = Instant::now();
    let result = match tokio::time::timeout(limits.time, dispatch(context, lease, job, request_id)).await {
        Ok(result) => result,
        Err(_) => Err(JobError::Retry(format!("took longer than {} s", limits.time.as_secs()))),
    };
    let outcome = settle(context, lease, limits, job, result).await;
    metrics::counter!("trellis_jobs_total", "kind" => job.kind(), "outcome" => outcome).increment(1);
    metrics::histogram!("trellis_job_duration_seconds", "kind" => job.kind())
        .record(started.elapsed().as_secs_f64());
}

/// Each job completes itself: in the transaction of its effect where there is one.
async fn dispatch(
    context: &Context,
    lease: &Lease,
    job: &Job,
    request_id: Option<&str>,
) -> Result<(), JobError> {
    match job {
        Job::SettleReferral { referral_id } => {
            settle_referral::run(context, lease, *referral_id, request_id).await
        }
        Job::SendVerification { verification_id } => {
            mail::verification(context, lease, *verification_id).await
        }
        Job::SendRegistration { registration_id } => {
            mail::registration(context, lease, *registration_id).await
        }
        Job::SendEmailChange { change_id } => mail::email_change(context, lease, *change_id).await,
        Job::SendEmailChangeRequested { change_id } => {
            mail::email_change_requested(context, lease, *change_id).await
        }
        Job::SendEmailChanged { change_id } => mail::email_changed(context, lease, *change_id).await,
        Job::SendPasswordReset { reset_id } => mail::password_reset(context, lease, *reset_id).await,
        Job::SendPasswordChanged { user_id } => mail::password_changed(context, lease, *user_id).await,
        Job::SendTrustReset { user_id, removed } => {
            mail::trust_reset(context, lease, *user_id, removed).await
        }
        Job::SendUsernameChanged { rename_id } => mail::username_changed(context, lease, *rename_id).await,
        Job::SendRefreshReused { session_id } => mail::refresh_reused(context, lease, *session_id).await,
        Job::SendFactorAdded { user_id } => mail::factor_added(context, lease, *user_id).await,
        Job::SendFactorRemoved { user_id } => mail::factor_removed(context, lease, *user_id).await,
        Job::SendRecoveryCodeUsed { user_id } => mail::recovery_code_used(context, lease, *user_id).await,
        Job::SendIdentityLinked { identity_id } => mail::identity_linked(context, lease, *identity_id).await,
        Job::SendSecurityNotice { notice, user_id, session_id, subject_id } => {
            mail::security_notice(context, lease, *notice, *user_id, *session_id, *subject_id).await
        }
        Job::SendAccountBlocked { user_id } => mail::account_blocked(context, lease, *user_id).await,
        Job::SendAccountUnblocked { user_id } => mail::account_unblocked(context, lease, *user_id).await,
        Job::Announce { event, subject_id, reason } => {
            let announced = Announced { event: *event, subject_id: *subject_id, reason: reason.as_deref() };
            webhooks::announce(context, lease, announced, request_id).await
        }
        Job::DeliverWebhook { delivery_id } => {
            let is_last = lease.attempt >= job.limits().attempts;
            webhooks::deliver(context, lease, *delivery_id, is_last).await
        }
        Job::ExpireReferrals {} => maintenance::expire_referrals(context, lease).await,
        Job::ExpireAccounts {} => maintenance::expire_accounts(context, lease).await,
        Job::RecheckReferrals {} => maintenance::recheck_referrals(context, lease).await,
        Job::Purge {} => maintenance::purge(context, lease).await,
    }
}

/// Writes down how it ended; returns the word for it.
async fn settle(
    context: &Context,
    lease: &Lease,
    limits: Limits,
    job: &Job,
    result: Result<(), JobError>,
) -> &'static str {
    let result = match result {
        Err(JobError::RetryUntil(ends_at, error)) => {
            let next = TimeDelta::from_std(link_backoff(lease.attempt)).unwrap_or(TimeDelta::MAX);
            if context.clock.now() + next < ends_at {
                Err(JobError::Retry(error))
            } else {
                // Nothing is left to do and nothing to alert an operator of: the link would not work any more.
                tracing::warn!(error, "the link ends before the next attempt: the mail was not sent");
                return match outbox::complete_alone(&context.pool, lease).await {
                    Ok(()) => "expired",
                    Err(_) => "lease_lost",
                };
            }
        }
        Err(JobError::Bounced(error)) => {
            tracing::warn!(error, "the mail bounced");
            return match outbox::complete_alone(&context.pool, lease).await {
                Ok(()) => "bounced",
                Err(_) => "lease_lost",
            };
        }
        result => result,
    };
    let (outcome, written) = match result {
        Ok(()) => {
            // With the id of the request in its span: whoever looks for one finds what became of it.
            tracing::info!("did a job");
            return "done";
        }
        Err(JobError::LeaseLost) => {
            tracing::warn!("rolled back: the lease had ended");
            return "lease_lost";
        }
        Err(JobError::Retry(error)) if lease.attempt < limits.attempts => {
            let delay =
                if job.carries_link() { link_backoff(lease.attempt) } else { backoff(limits, lease.attempt) };
            tracing::warn!(
                error,
                delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                "will try again"
            );
            ("retry", outbox::retry(&context.pool, lease, delay, &error).await)
        }
        Err(
            JobError::Retry(error)
            | JobError::Fail(error)
            | JobError::RetryUntil(_, error)
            | JobError::Bounced(error),
        ) => {
            tracing::error!(error, "gave up");
            abandon(context, job, "its job was given up").await;
            ("dead", outbox::fail(&context.pool, lease, &error).await)
        }
    };
    if let Err(error) = written {
        tracing::warn!(
            error = format!("{:#}", anyhow::Error::from(error)),
            "could not write the outcome: the lease will end"
        );
    }
    outcome
}

/// What a job was for may have to know that nobody works on it any more. `why` is for people who do not see what went wrong
/// in here.
async fn abandon(context: &Context, job: &Job, why: &'static str) {
    if let Job::DeliverWebhook { delivery_id } = job {
        webhooks::abandon(context, *delivery_id, why).await;
    }
}

/// Doubles with each attempt up to the longest, and spreads by a quarter: jobs that failed together do not come back
/// together ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
fn backoff(limits: Limits, attempt: u16) -> Duration {
    let doubled = limits
        .backoff
        .saturating_mul(1_u32.checked_shl(u32::from(attempt.saturating_sub(1))).unwrap_or(u32::MAX));
    doubled.min(limits.longest_backoff).mul_f64(rand::random_range(0.75..=1.25))
}

/// The waits of mails with a link: a server that greylists takes the second or third try after 5 to 10 minutes (RFC 6647,
/// 2.1 and 4), and the link shall arrive with most of its life left. After two hours they double to one hour.
fn link_backoff(attempt: u16) -> Duration {
    const FIRST_SECONDS: [u64; 6] = [5, 30, 60, 120, 180, 240];
    const FREQUENT_ATTEMPTS: u16 = 30;
    let first = FIRST_SECONDS.get(usize::from(attempt.saturating_sub(1))).copied();
    let doublings = u32::from(attempt.saturating_sub(FREQUENT_ATTEMPTS)).min(4);
    let seconds = first.unwrap_or_else(|| 300_u64.saturating_mul(1 << doublings).min(3_600));
    Duration::from_secs(seconds).mul_f64(rand::random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q10_waits_grow_up_to_the_longest() {
        let limits = Job::SendPasswordChanged { user_id: Uuid::nil() }.limits();
        let seconds = |attempt| backoff(limits, attempt).as_secs_f64();
        assert!((3.75..=6.25).contains(&seconds(1)));
        assert!((15.0..=25.0).contains(&seconds(3)));
        for attempt in [20, 40, u16::MAX] {
            assert!((2_700.0..=4_500.0).contains(&seconds(attempt)), "{attempt}");
        }
    }

    /// cases/accounts 19
    #[test]
    fn links_survive_ten_minutes_of_greylisting() {
        let longest = |attempts: u16| (1..=attempts).map(|n| link_backoff(n).as_secs_f64()).sum::<f64>();
        assert!((570.0..=700.0).contains(&longest(6)), "ten minutes after the first attempt");
        assert!(longest(7) < 1_100.0, "and within twenty");
        let two_days = 48.0 * 3_600.0;
        let attempts = Job::SendVerification { verification_id: Uuid::nil() }.limits().attempts;
        assert!(longest(attempts) > two_days, "as long as the link lives");
        assert!(link_backoff(u16::MAX).as_secs() <= 3_960);
    }
}
