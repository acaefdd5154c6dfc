//! What came of asking, and how it is told.

use std::fmt::Write as _;
use std::time::Duration;

use actix_web::http::header::HeaderValue;
use domain::config::limits::Rate;

use super::Ask;
use crate::problem::{Code, Problem};

/// How one limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// How long until one request more is allowed; zero unless it refused.
    pub(super) wait: Duration,
    /// How long until the quota is whole.
    pub(super) whole_in: Duration,
}

/// What came of asking.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    pub(super) allowed: bool,
    /// Each limit that was asked, and how it stands.
    pub(super) levels: Vec<(Ask, Level)>,
    /// Whether this process counted by itself.
    pub(super) local: bool,
}

impl Decision {
    pub(super) fn new(allowed: bool, asks: &[Ask], levels: Vec<Level>, local: bool) -> Self {
        Self { allowed, levels: asks.iter().copied().zip(levels).collect(), local }
    }

    /// Whether the request may go on.
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// The refusal.
    pub(super) fn refusal(&self) -> Problem {
        let refused = self.levels.iter().filter(|(_, level)| !level.wait.is_zero());
        let names: Vec<_> = refused.clone().map(|(ask, _)| ask.policy.name()).collect();
        let wait = refused.map(|(_, level)| level.wait).max().unwrap_or_default();
        Problem::new(Code::RateLimited).retry_after(wait).member("violated-policies", names.into())
    }

    /// The fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).
    pub(crate) fn headers(&self) -> Option<(HeaderValue, HeaderValue)> {
        let (mut policies, mut limits) = (String::new(), String::new());
        for (ask, level) in &self.levels {
            let (name, rate) = (ask.policy.name(), ask.rate);
            let separator = if policies.is_empty() { "" } else { ", " };
            let window = rate.window.as_secs();
            let (left, seconds) = (left(rate, *level), seconds(level.whole_in));
            // Writing into a string does not fail.
            let _ = write!(policies, "{separator}\"{name}\";q={};w={window}", rate.quota);
            let _ = write!(limits, "{separator}\"{name}\";r={left};t={seconds}");
        }
        if policies.is_empty() {
            return None;
        }
        Some((HeaderValue::from_str(&policies).ok()?, HeaderValue::from_str(&limits).ok()?))
    }
}

/// How many requests are left now.
fn left(rate: Rate, level: Level) -> u64 {
    let interval = rate.interval_ms(1).max(1);
    let window = interval * u64::from(rate.quota);
    let owed = u64::try_from(level.whole_in.as_millis()).unwrap_or(u64::MAX);
    window.saturating_sub(owed) / interval
}

/// Rounded up: whoever comes back then is not refused for a fraction.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::policy::LOGIN;

    #[test]
    fn headers_tell_each_policy_and_what_is_left() {
        let asks = [0, 1].map(|index| Ask::of_default(LOGIN[index], 0));
        let levels = vec![
            Level { wait: Duration::ZERO, whole_in: Duration::from_millis(89_001) },
            Level { wait: Duration::ZERO, whole_in: Duration::from_secs(3) },
        ];
        let (policies, limits) = Decision::new(true, &asks, levels, false).headers().unwrap();
        assert_eq!(policies, "\"login-account\";q=10;w=900, \"login-address\";q=100;w=300");
        assert_eq!(limits, "\"login-account\";r=9;t=90, \"login-address\";r=99;t=3");
    }

    #[test]
    fn a_refusal_names_the_limit_and_the_wait() {
        let asks = [0, 1].map(|index| Ask::of_default(LOGIN[index], 0));
        let levels = vec![
            Level { wait: Duration::from_millis(1_001), whole_in: Duration::from_secs(900) },
            Level { wait: Duration::ZERO, whole_in: Duration::ZERO },
        ];
        let decision = Decision::new(false, &asks, levels, false);
        let response = decision.refusal().render("", "");
        assert_eq!(response.headers().get("retry-after").unwrap(), "2");
        let (_, limits) = decision.headers().unwrap();
        assert_eq!(limits, "\"login-account\";r=0;t=900, \"login-address\";r=100;t=0");
    }
}
