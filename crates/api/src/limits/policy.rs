//! The limits themselves: counted by what, and used up by what. How many fit in how long is in one table of the settings
//! ([`LimitTable`](domain::config::LimitTable), `LIMITS_FILE`).
//!
//! A limit that counts by account alone can be used up by a stranger. For each it is decided what the owner has then:
//!
//! | limit | who can use it up | what the owner has |
//! |---|---|---|
//! | `login-account` | anyone | known browsers count by themselves, and it ends within 15 minutes |
//! | `factor-account`, `-day` | who has the password | known browsers and sessions count by themselves; recovery codes |
//! | `password-account` | who has a session | it ends within 15 minutes; a reset by mail does not ask for it |
//! | `forgot-password-account` | anyone | the mails go to the owner: one comes back while the link of the last is valid |
//! | `email-change-account` | who has the password | ending the other sessions, a new password |
//!
//! Registrations and recovery codes count by account and network, so that requests from elsewhere do not touch them. A
//! token of a mail has no limit by account: it has 256 bits.

use domain::config::limits::Limit;

/// What a limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The network of the client's address.
    Address,
    /// What the request is about: an account, known or not.
    Subject,
    /// Both: what the request is about, separately for each network.
    SubjectAndAddress,
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
    /// Whose rate it has.
    pub limit: Limit,
    /// What it counts by.
    pub by: By,
    /// What uses it up.
    pub counts: Counts,
}

impl Policy {
    const fn new(limit: Limit, by: By) -> Self {
        Self { limit, by, counts: Counts::Requests }
    }

    /// The name in headers, keys and metrics.
    pub fn name(self) -> &'static str {
        self.limit.name()
    }
}

/// Wrong passwords at many accounts from one network: somebody tries a list of stolen ones. Whoever mistypes does so at one
/// account, so an office stays below this, while a list meets it after a few seconds and then goes on at one account in
/// thirty seconds.
pub const STUFFING: Policy =
    Policy { counts: Counts::FailedAccounts, ..Policy::new(Limit::LoginStuffing, By::Address) };

/// Signing in. Many people share an address, so there is more room by address than by account.
pub const LOGIN: &[Policy] =
    &[Policy::new(Limit::LoginAccount, By::Subject), Policy::new(Limit::LoginAddress, By::Address), STUFFING];

/// Codes of the app from a browser that is not known. Three of a million codes are valid at a time: with 20 tries a day the
/// odds of one right guess are even after ln 2 / (20 * 3e-6) = 11,550 days, 31 years.
pub const FACTOR: &[Policy] =
    &[Policy::new(Limit::FactorAccount, By::Subject), Policy::new(Limit::FactorAccountDay, By::Subject)];

/// Codes of the app from a known browser, or within a session. Both exist only where a code was right before, so someone
/// who has just the password cannot use this up, and a stolen one adds no more guesses than [`FACTOR`] has.
pub const FACTOR_FROM_KNOWN: &[Policy] =
    &[Policy::new(Limit::FactorBrowser, By::Subject), Policy::new(Limit::FactorBrowserDay, By::Subject)];

/// Recovery codes. They have 120 bits: no number of tries finds one, so this spares the database and nothing else, and needs
/// no count over all networks, which a stranger could use up.
pub const RECOVERY: &[Policy] = &[Policy::new(Limit::RecoveryAccount, By::SubjectAndAddress)];

/// Signing in from a browser in which the owner of the account signed in before, in place of [`LOGIN`]: by account and
/// browser. What strangers do elsewhere does not touch it.
pub const LOGIN_FROM_KNOWN_BROWSER: &[Policy] = &[Policy::new(Limit::LoginBrowser, By::Subject)];

/// Typing the password again while signed in, for whatever wants it: one count an account, so that a stolen session is no
/// way to guess the password.
pub const PASSWORD_CHECK: &[Policy] = &[Policy::new(Limit::PasswordAccount, By::Subject)];

/// Making an account. By address and network: a stranger who registers an address again and again does not keep its owner
/// from it. Mails to the address have a limit of their own, over all networks (`mail-given-address`).
pub const REGISTER: &[Policy] = &[
    Policy::new(Limit::RegisterAccount, By::SubjectAndAddress),
    Policy::new(Limit::RegisterAddress, By::Address),
];

/// Asking for a new password, by network. The refusal is an open one: it says nothing about any address. Thousands of people
/// share an address at a carrier (RFC 6888), so it is wide: 100 at once, then one in 36 s. Each address is protected by
/// [`FORGOT_PASSWORD_SUBJECT`], so this only bounds the work that one network causes.
pub const FORGOT_PASSWORD: &[Policy] = &[Policy::new(Limit::ForgotPasswordAddress, By::Address)];

/// Asking for a new password, by the address that was typed, with an account or without. Beyond it no mail is sent, and the
/// answer is the same (R1): a refusal would tell someone at the keyboard that others asked for this address. The worker
/// limits the mails, so that the holder always has a link that works (`mail-reset`); as low a limit here would let strangers
/// use it up. This one only bounds the rows that are written.
pub const FORGOT_PASSWORD_SUBJECT: &[Policy] = &[Policy::new(Limit::ForgotPasswordAccount, By::Subject)];

/// Looking up a referral code: codes must not be guessed.
pub const REFERRAL_CODE: &[Policy] = &[Policy::new(Limit::ReferralCodeAddress, By::Address)];

/// Asking for another e-mail address: each request writes to two mailboxes.
pub const EMAIL_CHANGE: &[Policy] = &[Policy::new(Limit::EmailChangeAccount, By::Subject)];

/// Exporting one's data, which reads every table.
pub const EXPORT: &[Policy] = &[Policy::new(Limit::ExportAccount, By::Subject)];

/// Being sent to an identity provider.
pub const OAUTH_START: &[Policy] = &[Policy::new(Limit::OauthStartAddress, By::Address)];

/// Coming back from an identity provider, which costs requests to it.
pub const OAUTH_CALLBACK: &[Policy] = &[Policy::new(Limit::OauthCallbackAddress, By::Address)];

/// Reporting pages: each report is read by somebody.
pub const PAGE_REPORT: &[Policy] = &[Policy::new(Limit::PageReportAddress, By::Address)];

/// Sending pictures, each of which costs a core for a while.
pub const PICTURE: &[Policy] = &[Policy::new(Limit::PictureAccount, By::Subject)];

/// Reading link lists of elsewhere, each of which may be long.
pub const IMPORT: &[Policy] = &[Policy::new(Limit::ImportAccount, By::Subject)];

/// The lists that one route has for itself.
pub const OF_ONE_ROUTE: &[&[Policy]] = &[
    LOGIN,
    REGISTER,
    FORGOT_PASSWORD,
    REFERRAL_CODE,
    EMAIL_CHANGE,
    OAUTH_START,
    OAUTH_CALLBACK,
    PAGE_REPORT,
    IMPORT,
];

/// The lists that several routes share, and one count with them.
pub const SHARED: &[&[Policy]] = &[PASSWORD_CHECK, FACTOR, FACTOR_FROM_KNOWN, PICTURE, EXPORT];
