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

/// What uses a limit up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Every request that asks and is let through.
    Requests,
    /// Accounts at which a password was wrong, each once in a window. Asking costs nothing.
    FailedAccounts,
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
    /// What uses it up.
    pub counts: Counts,
}

impl Policy {
    const fn new(name: &'static str, by: By, quota: u32, window: Duration) -> Self {
        Self { name, quota, window, by, counts: Counts::Requests }
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

/// Wrong passwords at many accounts from one network: somebody tries a list of stolen ones. Whoever mistypes does so at one
/// account, so an office stays below this, while a list meets it after a few seconds and then goes on at one account in
/// thirty seconds.
pub const STUFFING: Policy =
    Policy { counts: Counts::FailedAccounts, ..Policy::new("login-stuffing", By::Address, 30, minutes(15)) };

/// Signing in. Many people share an address, so there is more room by address than by account.
pub const LOGIN: &[Policy] = &[
    Policy::new("login-account", By::Subject, 10, minutes(15)),
    Policy::new("login-address", By::Address, 100, minutes(5)),
    STUFFING,
];

/// Codes of the second factor, wherever they are sent. Five at once are enough for people; with twenty a day, three of a
/// million codes being good at a time, somebody who has the password guesses for thirty years before it is likelier than not
/// that one was right.
pub const FACTOR: &[Policy] = &[
    Policy::new("factor-account", By::Subject, 5, minutes(5)),
    Policy::new("factor-account-day", By::Subject, 20, minutes(24 * 60)),
];

/// Signing in from a browser in which the owner of the account signed in before, in place of [`LOGIN`]: by account and
/// browser. What strangers do elsewhere does not touch it.
pub const LOGIN_FROM_KNOWN_BROWSER: &[Policy] = &[Policy::new("login-browser", By::Subject, 10, minutes(15))];

/// Typing the password again while signed in, for whatever wants it: one count an account, so that a stolen session is no
/// way to guess the password.
pub const PASSWORD_CHECK: &[Policy] = &[Policy::new("password-account", By::Subject, 10, minutes(15))];

/// Making an account.
pub const REGISTER: &[Policy] = &[
    Policy::new("register-account", By::Subject, 5, minutes(60)),
    Policy::new("register-address", By::Address, 120, minutes(60)),
];

/// Asking for a new password. Going over it is never told: the answer is the same, only no mail is sent. The mails themselves
/// are limited by the worker, to three within an hour and so that the holder always has a link that works: a limit by address
/// as low as that here would let strangers use it up. This one only bounds the rows that are written.
pub const FORGOT_PASSWORD: &[Policy] = &[
    Policy::new("forgot-password-account", By::Subject, 30, minutes(60)),
    Policy::new("forgot-password-address", By::Address, 10, minutes(60)),
];

/// Looking up a referral code: codes must not be guessed.
pub const REFERRAL_CODE: &[Policy] = &[Policy::new("referral-code-address", By::Address, 60, minutes(1))];

/// Asking for another e-mail address: each request writes to two mailboxes.
pub const EMAIL_CHANGE: &[Policy] = &[Policy::new("email-change-account", By::Subject, 5, minutes(60))];

/// Exporting one's data, which reads every table.
pub const EXPORT: &[Policy] = &[Policy::new("export-account", By::Subject, 5, minutes(60))];

/// Being sent to an identity provider.
pub const OAUTH_START: &[Policy] = &[Policy::new("oauth-start-address", By::Address, 60, minutes(5))];

/// Coming back from an identity provider, which costs requests to it.
pub const OAUTH_CALLBACK: &[Policy] = &[Policy::new("oauth-callback-address", By::Address, 60, minutes(5))];

/// Reporting pages: each report is read by somebody.
pub const PAGE_REPORT: &[Policy] = &[Policy::new("page-report-address", By::Address, 10, minutes(60))];
/// Sending pictures, each of which costs a core for a while.
pub const PICTURE: &[Policy] = &[Policy::new("picture-account", By::Subject, 60, minutes(60))];

/// Reading link lists of elsewhere, each of which may be long.
pub const IMPORT: &[Policy] = &[Policy::new("import-account", By::Subject, 60, minutes(60))];

/// The lists that one route has for itself.
pub const OF_ONE_ROUTE: &[&[Policy]] = &[
    LOGIN,
    REGISTER,
    FORGOT_PASSWORD,
    REFERRAL_CODE,
    EMAIL_CHANGE,
    EXPORT,
    OAUTH_START,
    OAUTH_CALLBACK,
    PAGE_REPORT,
    IMPORT,
];

/// The lists that several routes share, and one count with them.
pub const SHARED: &[&[Policy]] = &[PASSWORD_CHECK, FACTOR, PICTURE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_fit_a_header() {
        let all = [&OF_ONE_ROUTE.concat()[..], &SHARED.concat(), LOGIN_FROM_KNOWN_BROWSER].concat();
        let names: Vec<_> = all.iter().map(|policy| policy.name).collect();
        let unique: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    fn a12_what_holds_up_a_sign_in_is_over_in_a_quarter_of_an_hour() {
        let policies = [LOGIN, LOGIN_FROM_KNOWN_BROWSER, PASSWORD_CHECK].concat();
        assert!(policies.iter().all(|policy| policy.window <= minutes(15)));
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
