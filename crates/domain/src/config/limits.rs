//! `LIMITS_FILE`: the rate limits, one table.
//!
//! A line is a name, a quota and a window; `#` starts a comment. A limit that the file does not name keeps its default.
//!
//! ```text
//! login-account 10/15m   # sign-ins by account
//! ```
//!
//! The quota is the burst, too: requests come back evenly over the window (GCRA).

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;

use super::{HumanDuration, Settings};

/// The setting.
const SETTING: &str = "LIMITS_FILE";

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Highest quota of any limit. Beyond it a limit stops nothing, and most likely a zero too many was typed.
const MAX_QUOTA: u32 = 1_000_000;

/// Windows of limits that no security property depends on, in seconds.
const ANY_WINDOW: RangeInclusive<u64> = 1..=30 * DAY;

/// Windows of what holds up a sign-in: it must be over within a quarter of an hour (A12).
const SIGN_IN_WINDOW: RangeInclusive<u64> = 1..=15 * MINUTE;

/// Highest quota per day of guesses at a second factor: 100 a day are even odds after six years (see `factor-account-day`).
const MAX_GUESSES: u32 = 100;

/// How many requests fit a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests allowed per window.
    pub quota: u32,
    /// The time over which a used quota comes back.
    pub window: Duration,
}

impl Rate {
    const fn new(quota: u32, seconds: u64) -> Self {
        Self { quota, window: Duration::from_secs(seconds) }
    }

    /// The time after which one request comes back when `replicas` divide the quota.
    pub fn interval_ms(self, replicas: u32) -> u64 {
        let quota = (self.quota / replicas.max(1)).max(1);
        u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX) / u64::from(quota)
    }

    fn parse(text: &str) -> Option<Self> {
        let (quota, window) = text.split_once('/')?;
        let window: HumanDuration = window.parse().ok()?;
        Some(Self { quota: quota.parse().ok()?, window: window.0.to_std().ok()? })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.window.as_secs();
        let units = [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm'), (1, 's')];
        let (unit, letter) =
            units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, 's'));
        write!(f, "{}/{}{letter}", self.quota, seconds / unit)
    }
}

/// What the table says of one limit.
struct Definition {
    limit: Limit,
    name: &'static str,
    default: Rate,
    max_quota: u32,
    windows: RangeInclusive<u64>,
    about: &'static str,
}

/// Declares the closed set of limits.
macro_rules! limits {
    ($($limit:ident $name:literal $quota:literal / $window:expr, $max_quota:expr, $windows:expr, $about:literal;)+) => {
        /// A rate limit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Limit {
            $(#[doc = $about] $limit,)+
        }

        impl Limit {
            /// Its name in `LIMITS_FILE`, in headers, keys and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$limit => $name,)+ }
            }
        }

        const DEFINITIONS: &[Definition] = &[
            $(Definition {
                limit: Limit::$limit,
                name: $name,
                default: Rate::new($quota, $window),
                max_quota: $max_quota,
                windows: $windows,
                about: $about,
            },)+
        ];
    };
}

// Guessing a second factor: three codes of a million are valid at a time, so with 20 tries a day the odds are even after
// ln 2 / (20 * 3e-6) = 11,550 days, 31 years. The limits of a day bound that, so their window is fixed.
limits! {
    LoginAccount "login-account" 10 / 15 * MINUTE, MAX_QUOTA, SIGN_IN_WINDOW, "sign-ins by the name that was typed";
    LoginAddress "login-address" 100 / 5 * MINUTE, MAX_QUOTA, SIGN_IN_WINDOW, "sign-ins by network";
    LoginStuffing "login-stuffing" 30 / 15 * MINUTE, MAX_QUOTA, SIGN_IN_WINDOW, "accounts with a wrong password by network";
    LoginBrowser "login-browser" 10 / 15 * MINUTE, MAX_QUOTA, SIGN_IN_WINDOW, "sign-ins by known browser";
    PasswordAccount "password-account" 10 / 15 * MINUTE, MAX_QUOTA, SIGN_IN_WINDOW, "passwords typed again, by account";
    FactorAccount "factor-account" 5 / 5 * MINUTE, MAX_GUESSES, SIGN_IN_WINDOW, "codes of the app from unknown browsers, by account";
    FactorAccountDay "factor-account-day" 20 / DAY, MAX_GUESSES, DAY..=DAY, "the same, over a day";
    FactorBrowser "factor-browser" 5 / 5 * MINUTE, MAX_GUESSES, SIGN_IN_WINDOW, "codes of the app by known browser or session";
    FactorBrowserDay "factor-browser-day" 20 / DAY, MAX_GUESSES, DAY..=DAY, "the same, over a day";
    RecoveryAccount "recovery-account" 10 / 15 * MINUTE, MAX_QUOTA, SIGN_IN_WINDOW, "recovery codes by account and network";
    RegisterAccount "register-account" 5 / HOUR, MAX_QUOTA, ANY_WINDOW, "registrations by e-mail address and network";
    RegisterAddress "register-address" 120 / HOUR, MAX_QUOTA, ANY_WINDOW, "registrations by network";
    ForgotPasswordAccount "forgot-password-account" 30 / HOUR, MAX_QUOTA, ANY_WINDOW, "reset requests by e-mail address, refused silently";
    ForgotPasswordAddress "forgot-password-address" 100 / HOUR, MAX_QUOTA, ANY_WINDOW, "reset requests by network";
    ReferralCodeAddress "referral-code-address" 60 / MINUTE, MAX_QUOTA, ANY_WINDOW, "look-ups of referral codes by network";
    EmailChangeAccount "email-change-account" 5 / HOUR, MAX_QUOTA, ANY_WINDOW, "changes of the e-mail address by account";
    ExportAccount "export-account" 5 / HOUR, MAX_QUOTA, ANY_WINDOW, "data exports by account";
    OauthStartAddress "oauth-start-address" 60 / 5 * MINUTE, MAX_QUOTA, SIGN_IN_WINDOW, "redirects to identity providers by network";
    OauthCallbackAddress "oauth-callback-address" 60 / 5 * MINUTE, MAX_QUOTA, SIGN_IN_WINDOW, "returns from identity providers by network";
    PageReportAddress "page-report-address" 10 / HOUR, MAX_QUOTA, ANY_WINDOW, "reports of pages by network";
    PictureAccount "picture-account" 60 / HOUR, MAX_QUOTA, ANY_WINDOW, "uploads of pictures by account";
    ImportAccount "import-account" 60 / HOUR, MAX_QUOTA, ANY_WINDOW, "imports of links by account";
    MailReset "mail-reset" 3 / HOUR, MAX_QUOTA, ANY_WINDOW, "reset mails by account";
    MailConfirmation "mail-confirmation" 5 / HOUR, MAX_QUOTA, ANY_WINDOW, "confirmation mails by account";
    MailGivenAddress "mail-given-address" 3 / HOUR, MAX_QUOTA, ANY_WINDOW, "mails by address that a registration or change named";
}

/// How many mails of a kind are sent to one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailRate {
    /// Mails per window.
    pub quota: i64,
    /// The time that is looked back on.
    pub window: TimeDelta,
}

impl From<Rate> for MailRate {
    fn from(rate: Rate) -> Self {
        // A window is 30 days at most.
        Self {
            quota: i64::from(rate.quota),
            window: TimeDelta::from_std(rate.window).unwrap_or(TimeDelta::MAX),
        }
    }
}

/// The limits of mails that others than the recipient can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailLimits {
    /// `mail-reset`
    pub reset: MailRate,
    /// `mail-confirmation`
    pub confirmation: MailRate,
    /// `mail-given-address`
    pub given_address: MailRate,
}

/// The rate of each limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitTable(Vec<Rate>);

impl Default for LimitTable {
    fn default() -> Self {
        Self(DEFINITIONS.iter().map(|definition| definition.default).collect())
    }
}

impl LimitTable {
    /// The rate of a limit.
    pub fn rate(&self, limit: Limit) -> Rate {
        let position = DEFINITIONS.iter().position(|definition| definition.limit == limit);
        // Every limit has a definition, and every definition a rate: the macro writes both.
        position.and_then(|position| self.0.get(position)).copied().unwrap_or(Rate::new(1, DAY))
    }

    /// The limits of mails.
    pub fn mails(&self) -> MailLimits {
        MailLimits {
            reset: self.rate(Limit::MailReset).into(),
            confirmation: self.rate(Limit::MailConfirmation).into(),
            given_address: self.rate(Limit::MailGivenAddress).into(),
        }
    }

    /// Reads `LIMITS_FILE`; what is wrong stays in `settings`, by line.
    pub(super) fn read(settings: &mut Settings) -> Option<Self> {
        let Some(path) = settings.optional::<PathBuf>(SETTING, "a file") else {
            return Some(Self::default());
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                settings.problem(SETTING, &format!("names a file that cannot be read ({})", error.kind()));
                return None;
            }
        };
        match Self::parse(&text) {
            Ok(table) => Some(table),
            Err(problems) => {
                for (line, problem) in problems {
                    settings.problem(&format!("{SETTING}, line {line}:"), &problem);
                }
                None
            }
        }
    }

    /// Reads the lines, or says what is wrong with each that is.
    fn parse(text: &str) -> Result<Self, Vec<(usize, String)>> {
        let mut table = Self::default();
        let mut lines = vec![None; DEFINITIONS.len()];
        let mut problems = Vec::new();
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            match parse_line(&words) {
                Ok((position, rate)) => {
                    if let Some(first) = lines.get_mut(position).and_then(|first| first.replace(number)) {
                        let name = words.first().copied().unwrap_or_default();
                        problems.push((number, format!("`{name}` is set in line {first} already")));
                    } else if let Some(slot) = table.0.get_mut(position) {
                        *slot = rate;
                    }
                }
                Err(problem) => problems.push((number, problem)),
            }
        }
        if problems.is_empty() { Ok(table) } else { Err(problems) }
    }
}

/// Every limit, one a line as the file takes it.
impl fmt::Display for LimitTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Rate limits, one per line as {SETTING} takes them: name, quota/window.")?;
        for (definition, rate) in DEFINITIONS.iter().zip(&self.0) {
            let mark = if *rate == definition.default { " (default)" } else { "" };
            writeln!(f, "{:<24} {:<9} # {}{mark}", definition.name, rate.to_string(), definition.about)?;
        }
        Ok(())
    }
}

fn parse_line(words: &[&str]) -> Result<(usize, Rate), String> {
    const WANTS: &str = "a name, a quota and a window such as `login-account 10/15m`";
    let [name, rate] = words else { return Err(format!("wants {WANTS}")) };
    let found = DEFINITIONS.iter().enumerate().find(|(_, definition)| definition.name == *name);
    let Some((position, definition)) = found else {
        // A line may hold anything that was pasted by mistake: only what looks like a name is repeated.
        let is_plain = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let shown = if is_plain { format!(" `{name}`") } else { String::new() };
        let mut problem = format!("there is no limit{shown}");
        if let Some(nearest) = nearest(name).filter(|_| is_plain) {
            // Writing into a string does not fail.
            let _ = write!(problem, "; did you mean `{nearest}`?");
        }
        return Err(problem);
    };
    let rate = Rate::parse(rate)
        .ok_or_else(|| format!("`{name}` wants a quota and a window such as `{}`", definition.default))?;
    let seconds = rate.window.as_secs();
    if !(1..=definition.max_quota).contains(&rate.quota) {
        return Err(format!("`{name}` wants a quota from 1 to {}", definition.max_quota));
    }
    if !definition.windows.contains(&seconds) {
        let [least, most] = [definition.windows.start(), definition.windows.end()].map(|s| window(*s));
        return Err(if least == most {
            format!("`{name}` wants a window of {least}")
        } else {
            format!("`{name}` wants a window from {least} to {most}")
        });
    }
    Ok((position, rate))
}

fn window(seconds: u64) -> String {
    Rate::new(1, seconds).to_string().trim_start_matches("1/").to_owned()
}

/// The name that differs least, if it is like the one that was typed.
fn nearest(typed: &str) -> Option<&'static str> {
    let distances = DEFINITIONS.iter().map(|definition| (distance(typed, definition.name), definition.name));
    distances.min().filter(|(distance, name)| distance * 3 <= name.len()).map(|(_, name)| name)
}

/// Levenshtein's distance, in bytes.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, a) in from.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (b, cell) in to.bytes().zip(row.iter_mut().skip(1)) {
            let changed = diagonal + usize::from(a != b);
            diagonal = *cell;
            left = changed.min(*cell + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let problems = LimitTable::parse(text).unwrap_err();
        problems.into_iter().map(|(line, problem)| format!("{line}: {problem}")).collect()
    }

    #[test]
    fn lines_set_rates_and_the_rest_is_default() {
        let text = "# ours\n\n login-account  20/10m # more\r\nfactor-account-day 10/24h\n";
        let table = LimitTable::parse(text).unwrap();
        assert_eq!(table.rate(Limit::LoginAccount), Rate::new(20, 600));
        assert_eq!(table.rate(Limit::FactorAccountDay), Rate::new(10, DAY));
        assert_eq!(table.rate(Limit::LoginAddress), Rate::new(100, 300));
        assert_eq!(LimitTable::parse("").unwrap(), LimitTable::default());
        let mails = LimitTable::parse("mail-reset 7/2h").unwrap().mails();
        assert_eq!((mails.reset.quota, mails.reset.window), (7, TimeDelta::hours(2)));
    }

    #[test]
    fn what_is_printed_is_a_file_with_the_same_rates() {
        let changed = LimitTable::parse("export-account 7/90s\nimport-account 1000000/30d").unwrap();
        for table in [LimitTable::default(), changed] {
            assert_eq!(LimitTable::parse(&table.to_string()).unwrap(), table);
        }
        let printed = LimitTable::default().to_string();
        assert!(
            printed.contains(
                "login-account            10/15m    # sign-ins by the name that was typed (default)"
            )
        );
        assert_eq!(printed.lines().count(), DEFINITIONS.len() + 1);
        assert!(printed.lines().skip(1).all(|line| line.ends_with("(default)")), "{printed}");
    }

    #[test]
    fn every_mistake_is_named_by_its_line() {
        let text = "login-acount 10/15m\nlogin-account\nlogin-account 10/15m\nlogin-account 11/15m\n\
            login-address 0/5m\nlogin-address 10/16m\nexport-account 1000001/1h\nexport-account 5/31d\n\
            export-account 5/0s\nfactor-account-day 101/1d\nfactor-account-day 20/1h\nzzz 1/1h\n\
            postgres://user:secret@host 1/1h\nexport-account 5/1w\nexport-account five/1h\nexport-account 5/1h 3\n\
            export-account 5 / 1h\n";
        let expected = [
            "1: there is no limit `login-acount`; did you mean `login-account`?",
            "2: wants a name, a quota and a window such as `login-account 10/15m`",
            "4: `login-account` is set in line 3 already",
            "5: `login-address` wants a quota from 1 to 1000000",
            "6: `login-address` wants a window from 1s to 15m",
            "7: `export-account` wants a quota from 1 to 1000000",
            "8: `export-account` wants a window from 1s to 30d",
            "9: `export-account` wants a window from 1s to 30d",
            "10: `factor-account-day` wants a quota from 1 to 100",
            "11: `factor-account-day` wants a window of 1d",
            "12: there is no limit `zzz`",
            "13: there is no limit",
            "14: `export-account` wants a quota and a window such as `5/1h`",
            "15: `export-account` wants a quota and a window such as `5/1h`",
            "16: wants a name, a quota and a window such as `login-account 10/15m`",
            "17: wants a name, a quota and a window such as `login-account 10/15m`",
        ];
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn a12_what_holds_up_a_sign_in_is_over_in_a_quarter_of_an_hour() {
        let holds_up = |name: &str| name.starts_with("login-") || name.starts_with("oauth-");
        let others = ["password-account", "factor-account", "factor-browser", "recovery-account"];
        for definition in DEFINITIONS {
            if holds_up(definition.name) || others.contains(&definition.name) {
                assert!(*definition.windows.end() <= 15 * MINUTE, "{}", definition.name);
            }
        }
    }

    #[test]
    fn names_are_unique_fit_a_header_and_defaults_are_within_bounds() {
        let names: std::collections::HashSet<_> = DEFINITIONS.iter().map(|d| d.name).collect();
        assert_eq!(names.len(), DEFINITIONS.len());
        for d in DEFINITIONS {
            assert!(d.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", d.name);
            assert_eq!(d.limit.name(), d.name);
            assert!(parse_line(&[d.name, &d.default.to_string()]).is_ok(), "{}", d.name);
        }
    }

    #[test]
    fn h6_replicas_share_a_quota_and_each_keeps_something() {
        let rate = Rate::new(10, 15 * MINUTE);
        assert_eq!(rate.interval_ms(1), 90_000);
        assert_eq!(rate.interval_ms(3), 300_000);
        assert_eq!(rate.interval_ms(1_000), 900_000);
        assert_eq!(Rate::new(100, 5 * MINUTE).interval_ms(0), 3_000);
    }
}
