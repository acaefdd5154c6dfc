//! What every job may use.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::cache::Cache;
use domain::clock::Clock;
use domain::config::{Keys, MailLimits, PublicUrl, ReferralPolicy};
use domain::db::Pool;
use domain::outbox::relay::Wake;

use crate::courier::Courier;
use crate::mailer::Mailer;

/// The worker's connections, keys and rules; cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// PostgreSQL.
    pub pool: Pool,
    /// The caches that a job makes stale.
    pub cache: Cache,
    /// The time.
    pub clock: Clock,
    /// The keys; mail tokens are minted here.
    pub keys: Keys,
    /// Where links lead.
    pub public_url: PublicUrl,
    /// How many mails of a kind are sent to one recipient.
    pub mail_limits: MailLimits,
    /// When a referral counts.
    pub referrals: ReferralPolicy,
    /// How long an account is kept that nobody confirms or uses; `None`: for ever.
    pub unverified_accounts_kept: Option<TimeDelta>,
    /// Sends mail.
    pub mailer: Arc<Mailer>,
    /// Sends webhooks.
    pub courier: Arc<Courier>,
    /// Says that a job promised another one.
    pub wake: Wake,
}
