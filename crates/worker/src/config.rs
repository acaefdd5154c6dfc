//! The settings of the worker.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::TimeDelta;
use domain::config::{Common, ConfigError, HumanDuration, Settings};

use crate::mailer::MailConfig;

/// An account may be confirmed as long as its referral may count, which is 30 days.
const LEAST_KEPT: TimeDelta = TimeDelta::days(31);

/// The settings of a worker process.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it shares with the api.
    pub common: Common,
    /// How mail leaves.
    pub mail: MailConfig,
    /// `WORKER_METRICS_ADDR`: where it answers `/metrics` and `/health/..`.
    pub metrics_addr: SocketAddr,
    /// `WORKER_CONCURRENCY`: how many jobs of a queue run at once.
    pub concurrency: usize,
    /// `UNVERIFIED_ACCOUNTS_KEPT`: how long an account is kept that nobody confirms or uses; `None`: for ever.
    pub unverified_accounts_kept: Option<TimeDelta>,
    /// How long running jobs are waited for at the end; shorter only in tests.
    pub drain: Duration,
    /// Where it dies, in tests.
    #[cfg(feature = "failpoints")]
    pub fail_point: Option<domain::db::failpoint::FailPoint>,
}

impl Config {
    /// Reads the settings, and reports everything that is wrong with them at once.
    pub fn read(mut settings: Settings) -> Result<Self, ConfigError> {
        let config = Self::collect(&mut settings);
        settings.finish(|| config)
    }

    /// What it would read, for `--print-config`: no secret, and not when anything is wrong.
    pub fn list(mut settings: Settings) -> Result<String, ConfigError> {
        let config = Self::collect(&mut settings);
        let list = settings.list();
        settings.finish(|| config.map(|config| format!("{list}\n{}", config.common.limits)))
    }

    fn collect(settings: &mut Settings) -> Option<Self> {
        let common = Common::read(settings);
        let env = common.as_ref().map(|common| common.env);
        let mail = MailConfig::read(settings, env);
        let metrics_addr = settings.or(
            "WORKER_METRICS_ADDR",
            SocketAddr::from(([127, 0, 0, 1], 9190)),
            "an address such as 127.0.0.1:9190",
        );
        let concurrency = settings.or("WORKER_CONCURRENCY", 8_usize, "a number of jobs");
        if concurrency == Some(0) {
            settings.problem("WORKER_CONCURRENCY", "wants 1 at least");
        }
        let kept = settings.or(
            "UNVERIFIED_ACCOUNTS_KEPT",
            HumanDuration(TimeDelta::days(60)),
            "a duration such as `60d`, or `0` for ever",
        );
        let unverified_accounts_kept = kept.map(|kept| Some(kept.0).filter(|kept| !kept.is_zero()));
        if unverified_accounts_kept.flatten().is_some_and(|kept| kept < LEAST_KEPT) {
            settings.problem("UNVERIFIED_ACCOUNTS_KEPT", "wants 31d at least, or `0` for ever");
        }
        let (common, mut mail) = (common?, mail?);
        mail.account_page = common.public_url.join("/dashboard#account");
        mail.support_url = common.support_url.as_ref().map(|url| url.as_str().to_owned());
        Some(Self {
            common,
            mail,
            metrics_addr: metrics_addr?,
            concurrency: concurrency?,
            unverified_accounts_kept: unverified_accounts_kept?,
            drain: crate::consume::ConsumerLimits::DRAIN,
            #[cfg(feature = "failpoints")]
            fail_point: domain::db::failpoint::FailPoint::read(settings),
        })
    }
}
