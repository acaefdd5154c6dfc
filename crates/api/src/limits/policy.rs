//! The limits themselves: how many, in how long, counted by what.

use std::time::Duration;

/// What a limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The network of the client's address.
    Address,
    /// What the request is about: an account, known or not.
    Subject,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The name in headers, keys and metrics.
    pub name: &'static str,
    /// How many requests,
    pub quota: u32,
    /// in how long. They come back evenly over it.
    pub window: Duration,
    /// What it counts by.
    pub by: By,
}

impl Policy {
    const fn new(name: &'static str, by: By, quota: u32, window: Duration) -> Self {
        Self { name, quota, window, by }
    }

    /// After how many milliseconds one request comes back, when the quota is divided among `replicas`.
    pub(super) fn interval_ms(&self, replicas: u32) -> u64 {
        let quota = (self.quota / replicas.max(1)).max(1);
        u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX) / u64::from(quota)
    }
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// Signing in. Many people share an address, so there is more room by address than by account.
pub const LOGIN: &[Policy] = &[
    Policy::new("login-account", By::Subject, 10, minutes(15)),
    Policy::new("login-address", By::Address, 100, minutes(5)),
];

/// Making an account.
pub const REGISTER: &[Policy] = &[
    Policy::new("register-account", By::Subject, 5, minutes(60)),
    Policy::new("register-address", By::Address, 120, minutes(60)),
];

/// Asking for a new password. Going over it is never told: the answer is the same, only no mail is sent.
pub const FORGOT_PASSWORD: &[Policy] = &[
    Policy::new("forgot-password-account", By::Subject, 3, minutes(60)),
    Policy::new("forgot-password-address", By::Address, 10, minutes(60)),
];

/// Looking up a referral code: codes must not be guessed.
pub const REFERRAL_CODE: &[Policy] = &[Policy::new("referral-code-address", By::Address, 60, minutes(1))];

/// Being sent to an identity provider.
pub const OAUTH_START: &[Policy] = &[Policy::new("oauth-start-address", By::Address, 60, minutes(5))];

/// Coming back from an identity provider, which costs requests to it.
pub const OAUTH_CALLBACK: &[Policy] = &[Policy::new("oauth-callback-address", By::Address, 60, minutes(5))];

/// Every list above.
pub const ALL: [&[Policy]; 6] =
    [LOGIN, REGISTER, FORGOT_PASSWORD, REFERRAL_CODE, OAUTH_START, OAUTH_CALLBACK];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_a_header() {
        let names: Vec<_> = ALL.concat().iter().map(|policy| policy.name).collect();
        let unique: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    fn h6_replicas_share_a_quota_and_each_keeps_something() {
        let [account, address] = [LOGIN[0], LOGIN[1]];
        assert_eq!(account.interval_ms(1), 90_000);
        assert_eq!(account.interval_ms(3), 300_000);
        assert_eq!(account.interval_ms(1_000), 900_000);
        assert_eq!(address.interval_ms(0), 3_000);
    }
}
