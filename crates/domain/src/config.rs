//! Settings: how they are read, and those that the api and the worker share.
//!
//! A setting comes from the environment variable `NAME`, or from the file that `NAME_FILE` names (the convention of
//! container secrets). Everything wrong is reported at once, by name and never by value.

mod keys;
mod lifetimes;
pub mod limits;
mod reader;

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use secrecy::SecretString;

use crate::referrals::{Disposable, Limits};
use crate::webhooks::Targets;
pub use keys::{Keys, SealingKeys, SigningKey};
pub use lifetimes::Lifetimes;
pub use limits::{LimitTable, MailLimits, MailRate};
pub use reader::{ConfigError, HumanDuration, Settings};

/// Where a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppEnv {
    /// On a developer's machine: cookies without `Secure`, mail into files, a secret key made on the spot.
    Development,
    /// Anywhere else.
    Production,
}

impl fmt::Display for AppEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Development => "development",
            Self::Production => "production",
        })
    }
}

impl FromStr for AppEnv {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "development" => Ok(Self::Development),
            "production" => Ok(Self::Production),
            _ => Err(()),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For eyes.
    Pretty,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Pretty => "pretty",
        })
    }
}

impl FromStr for LogFormat {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            _ => Err(()),
        }
    }
}

/// The address people reach the service at: scheme, host and port, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// The origin (RFC 6454), such as `https://trellis.example`, without a trailing slash.
    pub fn origin(&self) -> &str {
        &self.0
    }

    /// The origin with a path, which starts with `/`.
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Whether browsers reach it over TLS, so that `Secure` cookies work.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Whether it names this machine, which browsers trust without TLS.
    pub fn is_loopback(&self) -> bool {
        let authority = self.0.split_once("://").map_or("", |(_, authority)| authority);
        let host = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        matches!(host.map_or(authority, |(host, _)| host), "localhost" | "127.0.0.1" | "[::1]")
    }
}

impl FromStr for PublicUrl {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let origin = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
        let authority =
            origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).ok_or(())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if authority.is_empty() || !authority.chars().all(plain) {
            return Err(());
        }
        Ok(Self(origin))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes a pending referral successful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QualifiesOn {
    /// The referred person confirmed the e-mail address.
    VerifiedEmail,
    /// Registering is enough.
    Registration,
}

impl fmt::Display for QualifiesOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VerifiedEmail => "verified_email",
            Self::Registration => "registration",
        })
    }
}

impl FromStr for QualifiesOn {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "verified_email" => Ok(Self::VerifiedEmail),
            "registration" => Ok(Self::Registration),
            _ => Err(()),
        }
    }
}

/// When a referral counts.
#[derive(Clone, Copy, Debug)]
pub struct ReferralPolicy {
    /// What a referral waits for.
    pub qualifies_on: QualifiesOn,
    /// How long it is held once it has what it waits for.
    pub hold: TimeDelta,
    /// What its score is held against.
    pub limits: Limits,
    /// Domains of disposable addresses. Read once a process, and kept as long.
    pub disposable: &'static Disposable,
}

impl ReferralPolicy {
    fn read(settings: &mut Settings) -> Option<Self> {
        let qualifies_on = settings.or(
            "REFERRAL_QUALIFIES_ON",
            QualifiesOn::VerifiedEmail,
            "`verified_email` or `registration`",
        );
        let hold = settings.or(
            "REFERRAL_HOLD",
            HumanDuration(TimeDelta::zero()),
            "a duration such as `90s`, `15m`, `24h` or `7d`",
        );
        let usual = Limits::default();
        let mut number = |name: &str, default: i64| {
            let number = settings.or(name, default, "a number from 1 on")?;
            if number < 1 {
                settings.problem(name, "wants a number from 1 on");
            }
            Some(number)
        };
        let review = number("REFERRAL_REVIEW_SCORE", usual.review);
        let deny = number("REFERRAL_DENY_SCORE", usual.deny);
        let network_hour = number("REFERRAL_NETWORK_PER_HOUR", usual.network_hour);
        let code_hour = number("REFERRAL_CODE_PER_HOUR", usual.code_hour);
        if review.zip(deny).is_some_and(|(review, deny)| review > deny) {
            settings.problem("REFERRAL_DENY_SCORE", "must not be below REFERRAL_REVIEW_SCORE");
        }
        let path = settings.optional::<std::path::PathBuf>("DISPOSABLE_DOMAINS_PATH", "a file");
        let disposable = Disposable::new(path).map_err(|error| {
            let why = format!("names a file that cannot be read ({})", error.kind());
            settings.problem("DISPOSABLE_DOMAINS_PATH", &why);
        });
        Some(Self {
            qualifies_on: qualifies_on?,
            hold: hold?.0,
            limits: Limits {
                review: review?,
                deny: deny?,
                network_hour: network_hour?,
                code_hour: code_hour?,
            },
            disposable: Box::leak(Box::new(disposable.ok()?)),
        })
    }
}

/// The settings that the api and the worker share.
#[derive(Clone, Debug)]
pub struct Common {
    /// `APP_ENV`
    pub env: AppEnv,
    /// `LOG_FORMAT`
    pub log_format: LogFormat,
    /// `PUBLIC_URL`
    pub public_url: PublicUrl,
    /// `DATABASE_URL`
    pub database_url: SecretString,
    /// `DATABASE_POOL`: connections a process holds at most.
    pub database_pool: usize,
    /// `REDIS_URL`: the queues, and the limits.
    pub redis_url: SecretString,
    /// `CACHE_REDIS_URL`, or `REDIS_URL` when unset: may be an evicting instance.
    pub cache_redis_url: SecretString,
    /// `REDIS_PREFIX`: what every key in Redis starts with.
    pub redis_prefix: String,
    /// The keys.
    pub keys: Keys,
    /// How long links, sessions and tokens live.
    pub lifetimes: Lifetimes,
    /// `SUPPORT_URL`: where people find help, in mails and pages.
    pub support_url: Option<SupportUrl>,
    /// `LIMITS_FILE`: the rate limits.
    pub limits: LimitTable,
    /// Those of `LIMITS_FILE` that mails are sent by.
    pub mail_limits: MailLimits,
    /// `REFERRAL_QUALIFIES_ON`, `REFERRAL_HOLD` and what referrals are judged by.
    pub referrals: ReferralPolicy,
    /// `WEBHOOK_PRIVATE_NETWORKS`: where webhooks may go besides the Internet.
    pub webhook_targets: Targets,
}

impl Common {
    /// Reads the shared settings; what is wrong stays in `settings` and shows at its `finish`.
    pub fn read(settings: &mut Settings) -> Option<Self> {
        let env = settings.or("APP_ENV", AppEnv::Production, "`development` or `production`");
        let default_log = match env {
            Some(AppEnv::Development) => LogFormat::Pretty,
            _ => LogFormat::Json,
        };
        let log_format = settings.or("LOG_FORMAT", default_log, "`json` or `pretty`");
        let public_url = public_url(settings, env);
        let database_url =
            settings.required_secret("DATABASE_URL", "a URL such as postgres://user@host/database");
        let database_pool = settings.or("DATABASE_POOL", 16_usize, "a number of connections");
        if database_pool == Some(0) {
            settings.problem("DATABASE_POOL", "wants 1 connection at least");
        }
        let redis_url = settings.required_secret("REDIS_URL", "a URL such as redis://host:6379/0");
        let cache_redis_url = settings.secret("CACHE_REDIS_URL").or_else(|| redis_url.clone());
        let redis_prefix = settings.or("REDIS_PREFIX", "trellis".to_owned(), "a word");
        let keys = Keys::read(settings, env);
        let lifetimes = Lifetimes::read(settings);
        let support_url =
            settings.optional("SUPPORT_URL", "an address that starts with `https://` or `mailto:`");
        let limits = LimitTable::read(settings);
        let referrals = ReferralPolicy::read(settings);
        let webhook_targets = webhook_targets(settings, env);
        Some(Self {
            env: env?,
            log_format: log_format?,
            public_url: public_url?,
            database_url: database_url?,
            database_pool: database_pool?,
            redis_url: redis_url?,
            cache_redis_url: cache_redis_url?,
            redis_prefix: redis_prefix?,
            keys: keys?,
            lifetimes: lifetimes?,
            support_url,
            mail_limits: limits.as_ref()?.mails(),
            limits: limits?,
            referrals: referrals?,
            webhook_targets: webhook_targets?,
        })
    }

    /// `SUPPORT_URL` as people read it: an e-mail address without its scheme.
    pub fn contact(&self) -> Option<&str> {
        let url = self.support_url.as_ref().map(SupportUrl::as_str)?;
        Some(url.strip_prefix("mailto:").unwrap_or(url))
    }

    /// Whether this is a developer's machine.
    pub fn is_development(&self) -> bool {
        self.env == AppEnv::Development
    }
}

/// Where people find help: a page (`https://..`) or a mailbox (`mailto:..`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportUrl(String);

impl SupportUrl {
    /// The address, as a link has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SupportUrl {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let url = url::Url::parse(text).map_err(|_| ())?;
        let has_target = match url.scheme() {
            "https" => url.host_str().is_some(),
            "mailto" => {
                url.path().split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
            }
            _ => false,
        };
        if has_target { Ok(Self(url.into())) } else { Err(()) }
    }
}

/// In production webhooks go to the Internet only, unless the operator names networks of their own.
fn webhook_targets(settings: &mut Settings, env: Option<AppEnv>) -> Option<Targets> {
    let default = match env {
        Some(AppEnv::Development) => Targets::of_development(),
        _ => Targets::default(),
    };
    settings.or(
        "WEBHOOK_PRIVATE_NETWORKS",
        default,
        "networks such as 10.1.0.0/16, with commas between, or `none`",
    )
}

/// In development the address follows `HTTP_ADDR`; in production it must be said, and be https.
fn public_url(settings: &mut Settings, env: Option<AppEnv>) -> Option<PublicUrl> {
    const WANTS: &str = "the address people use, such as https://trellis.example, without a path";
    if env == Some(AppEnv::Development) {
        let port = settings.peek("HTTP_ADDR").and_then(|addr| addr.rsplit(':').next().map(str::to_owned));
        let local = PublicUrl(format!("http://localhost:{}", port.as_deref().unwrap_or("8080")));
        return settings.or("PUBLIC_URL", local, WANTS);
    }
    let url = settings.required::<PublicUrl>("PUBLIC_URL", WANTS)?;
    if !url.is_https() && !url.is_loopback() {
        settings.problem(
            "PUBLIC_URL",
            "wants https in production (but for localhost): session cookies are `Secure`",
        );
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn support_is_a_page_or_a_mailbox() {
        for good in ["https://trellis.example/help", "mailto:help@trellis.example"] {
            assert_eq!(good.parse::<SupportUrl>().unwrap().as_str(), good);
        }
        for bad in ["", "help", "http://trellis.example", "https://", "mailto:help", "javascript:alert(1)"] {
            assert!(bad.parse::<SupportUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_public_url_is_an_origin() {
        let url: PublicUrl = "https://Trellis.example/".parse().unwrap();
        assert_eq!(url.join("/register"), "https://trellis.example/register");
        for bad in [
            "trellis.example",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "https://a b",
        ] {
            assert!(bad.parse::<PublicUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn everything_wrong_is_reported_at_once_and_no_value_is_shown() {
        let mut settings = Settings::from_map([
            ("APP_ENV", "production"),
            ("PUBLIC_URL", "http://trellis.example"),
            ("REFERRAL_HOLD", "hunter2"),
            ("SECRET_KEY", "hunter2-too-short"),
        ]);
        let common = Common::read(&mut settings);
        let error = settings.finish(|| common).unwrap_err().to_string();
        for name in ["PUBLIC_URL", "DATABASE_URL", "REDIS_URL", "REFERRAL_HOLD", "SECRET_KEY"] {
            assert!(error.contains(name), "{name} is missing in: {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
}
