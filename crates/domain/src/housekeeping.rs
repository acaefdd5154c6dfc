//! Removes what is no longer needed. Run by the worker's schedule.

use chrono::{DateTime, TimeDelta, Utc};

use crate::db::{DbError, Pool};
use crate::{
    accounts, audit, clicks, factors, identities, moderation, notices, outbox, recovery, referrals, sessions,
    webhooks,
};

/// How long what has run out is kept, for questions that come late.
const KEPT: TimeDelta = TimeDelta::days(7);

/// How long finished jobs are kept.
const JOBS_KEPT: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3_600);

/// How long the network of a registration is kept.
const NETWORKS_KEPT: TimeDelta = TimeDelta::days(90);

/// How long it is kept what endpoints of webhooks were told.
const DELIVERIES_KEPT: TimeDelta = TimeDelta::days(30);

/// What was removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Purged {
    /// Sessions that ended.
    pub sessions: usize,
    /// Mail tokens that ran out.
    pub tokens: usize,
    /// Second factors that were never confirmed.
    pub factors: usize,
    /// Registrations that nobody confirmed in time, and keys of those of more than a day ago.
    pub registrations: usize,
    /// Jobs that were done.
    pub jobs: usize,
    /// Security events of more than a year ago.
    pub events: usize,
    /// Reports of pages that were decided a year ago.
    pub reports: usize,
    /// What endpoints of webhooks were told a month ago.
    pub deliveries: usize,
    /// Addresses of deleted accounts that were kept for a day to notify them.
    pub addresses: usize,
    /// Hashes of visitors whose salt went with them.
    pub visitors: usize,
}

/// Removes ended sessions, tokens that ran out, and finished jobs, each a week later; registrations and second factors that
/// nobody confirmed as soon as they run out. Forgets the networks of security events, of registrations and of reports after
/// 90 days, the events and the reports that were decided after a year, and what endpoints of webhooks were told after 30
/// days. Who visited a page is forgotten after 48 hours, for good.
pub async fn purge(pool: &Pool, now: DateTime<Utc>) -> Result<Purged, DbError> {
    let before = now - KEPT;
    // First: nothing that fails below may keep it from being so.
    let visitors = clicks::purge(pool, now).await?;
    referrals::forget_networks(pool, now - NETWORKS_KEPT).await?;
    Ok(Purged {
        visitors,
        addresses: notices::purge(pool, now).await?,
        sessions: sessions::purge(pool, before).await?,
        tokens: accounts::purge_verifications(pool, before).await?
            + accounts::purge_email_changes(pool, before).await?
            + recovery::purge(pool, before).await?
            + identities::purge(pool, before).await?,
        factors: factors::purge(pool, now - factors::PENDING_LIFETIME).await?,
        registrations: accounts::purge_pending(pool, now).await?
            + accounts::purge_attempts(pool, now).await?,
        jobs: outbox::purge_done(pool, JOBS_KEPT).await?,
        events: audit::purge(pool, now).await?,
        reports: moderation::purge(pool, now).await?,
        deliveries: webhooks::purge(pool, now - DELIVERIES_KEPT).await?,
    })
}
