//! The settings of the api.

pub(crate) mod oidc;
mod origins;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use domain::accounts::{NameChanges, Reserved};
use domain::clicks::Countries;
use domain::config::{AppEnv, Common, ConfigError, Settings};
use domain::pages::LinkLimits;
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};

use crate::auth::jwt::Ed25519Key;

pub use oidc::{AppleKey, ClientAuthentication, Issuer, Prompt, Protocol, ProviderConfig, ResponseMode};

/// The largest body, in bytes. Nothing here needs more than a few hundred.
pub const BODY_LIMIT: u64 = 64 * 1024;

/// The largest picture that is taken, in bytes: a photo of a telephone.
pub const PICTURE_LIMIT: u64 = 5 * 1024 * 1024;

/// The largest link list of elsewhere, in bytes as it is sent: an export with a picture in it may be larger, its links alone
/// never are.
pub const IMPORT_LIMIT: u64 = 1024 * 1024;

/// The most links that a page could be allowed: an order of them all has to fit a body.
pub const MOST_LINKS: u32 = 1_000;

/// The parameters OWASP's password storage cheat sheet gives as the least for Argon2id with 19 MiB.
const LEAST_ARGON2: Argon2Params = Argon2Params { memory_kib: 19_456, iterations: 2, parallelism: 1 };

/// What an address setting takes.
const ADDRESS: &str = "an address and a port such as 127.0.0.1:8080";

/// What a hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Params {
    /// `ARGON2_MEMORY_KIB`
    pub memory_kib: u32,
    /// `ARGON2_ITERATIONS`
    pub iterations: u32,
    /// `ARGON2_PARALLELISM`
    pub parallelism: u32,
}

/// When an account exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// At once: a person may sign in before the address is confirmed, and hears when an address is taken.
    Open,
    /// Once the address is confirmed; until then nobody learns whether it has an account.
    Verified,
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Verified => "verified",
        })
    }
}

impl FromStr for Registration {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "open" => Ok(Self::Open),
            "verified" => Ok(Self::Verified),
            _ => Err(()),
        }
    }
}

/// The settings of the api.
#[derive(Clone, Debug)]
pub struct Config {
    /// Those shared with the worker.
    pub common: Common,
    /// `HTTP_ADDR`
    pub http_addr: SocketAddr,
    /// `METRICS_ADDR`
    pub metrics_addr: SocketAddr,
    /// `HTTP_WORKERS`: threads that serve requests.
    pub http_workers: usize,
    /// `TRUSTED_PROXIES`: whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `ALLOWED_ORIGINS`: whose pages may call the API with cookies, besides our own.
    pub allowed_origins: Vec<String>,
    /// `RATE_LIMITS`
    pub rate_limits: bool,
    /// `API_REPLICAS`: by how much the limits are divided while Redis is down.
    pub api_replicas: u32,
    /// `REGISTRATION`
    pub registration: Registration,
    /// `USERNAME_CHANGES`: how often a username may change.
    pub username_changes: NameChanges,
    /// `RESERVED_USERNAMES`: usernames that may not be chosen, besides those of every installation.
    pub reserved_usernames: Reserved,
    /// `JWT_ED25519_KEYS`: newest first. The first that is whole signs, all verify and are published.
    pub ed25519: Vec<Ed25519Key>,
    /// `ARGON2_*`
    pub argon2: Argon2Params,
    /// `HASH_THREADS`: passwords hashed at once.
    pub hash_threads: usize,
    /// `HASH_QUEUE`: passwords that wait for a thread.
    pub hash_queue: usize,
    /// `PASSWORD_MIN_LENGTH`, in characters.
    pub password_min_length: usize,
    /// `PASSWORD_BREACH_URL`: who is asked whether a password is known from a breach.
    pub password_breach_url: Option<url::Url>,
    /// `DRAIN_SECONDS`: how long it goes on serving after SIGTERM while `/health/ready` says no.
    pub drain: Duration,
    /// `MAIL_DIR`: where the worker writes mail in development, for the page that shows it.
    pub mail_dir: PathBuf,
    /// `SECURITY_CONTACT`: where people report what they found, for `/.well-known/security.txt`. Best first.
    pub security_contact: Vec<String>,
    /// `OIDC_*`: the identity providers that people may sign in with.
    pub providers: Vec<ProviderConfig>,
    /// `LINKS_PER_PAGE` and `LINKS_PER_PAGE_PREMIUM`: how many links and headers a page may have.
    pub links: LinkLimits,
    /// `SHOP_API_KEY`: by which the operator's shop uses coupons. Without it only managers do.
    pub shop_api_key: Option<SecretString>,
    /// `GEOIP_DATABASE`: which addresses are in which country.
    pub countries: Arc<Countries>,
    /// `CLICK_BUFFER`: how many clicks wait in a process while Redis does not take them.
    pub click_buffer: usize,
    /// `CLICK_STREAM_MB`: how much memory clicks may take in Redis, here in bytes.
    pub click_stream_bytes: u64,
    /// How long a body may take to arrive. Not a setting: tests shorten it.
    pub body_timeout: Duration,
    /// Whether a password is hashed for an account that does not exist too. Not a setting: the test that compares the
    /// times of both turns it off to see that it would notice.
    pub hash_for_nobody: bool,
}

impl Config {
    /// Reads every setting; an error names all that are wrong.
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
        let production = common.as_ref().is_none_or(|common| common.env == AppEnv::Production);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let http_addr = settings.or("HTTP_ADDR", SocketAddr::from(([127, 0, 0, 1], 8080)), ADDRESS);
        let metrics_addr = settings.or("METRICS_ADDR", SocketAddr::from(([127, 0, 0, 1], 9090)), ADDRESS);
        let http_workers = number(settings, "HTTP_WORKERS", cores, 1..=1_024);
        let trusted_proxies =
            list(settings, "TRUSTED_PROXIES", "networks such as 10.0.0.0/8, with commas between", |s| {
                s.parse::<IpNet>().ok().or_else(|| s.parse::<std::net::IpAddr>().ok().map(IpNet::from))
            });
        let mut allowed_origins = list(
            settings,
            "ALLOWED_ORIGINS",
            "origins such as https://app.example, with commas between",
            origin,
        )?;
        if !production {
            allowed_origins.extend(development_origins(http_addr));
        }
        let rate_limits = settings.or("RATE_LIMITS", Switch(true), "`on` or `off`");
        if production && rate_limits == Some(Switch(false)) {
            settings.problem("RATE_LIMITS", "is refused as `off` in production");
        }
        let api_replicas = number(settings, "API_REPLICAS", 1_u32, 1..=10_000);
        let registration = settings.or("REGISTRATION", Registration::Open, "`open` or `verified`");
        let username_changes = settings.or(
            "USERNAME_CHANGES",
            NameChanges::default(),
            "a number from 1 to 1000 and a duration from 1h to 366d, such as `2/30d`",
        );
        let reserved_usernames = settings.or(
            "RESERVED_USERNAMES",
            Reserved::default(),
            "names with commas between, `*` for any characters and 2 others at least, such as `acme*,*-support`",
        );
        let ed25519 = ed25519(settings, common.as_ref());
        let argon2 = argon2(settings, production);
        let hash_threads = number(settings, "HASH_THREADS", cores, 1..=1_024);
        let hash_queue = number(settings, "HASH_QUEUE", 128, 1..=100_000);
        let password_min_length = number(settings, "PASSWORD_MIN_LENGTH", 8, 8..=64);
        let password_breach_url = breach_url(settings, production);
        let drain = number(settings, "DRAIN_SECONDS", if production { 5 } else { 0 }, 0..=3_600);
        let mail_dir = settings.or("MAIL_DIR", ".dev/mail".to_owned(), "a directory").map(PathBuf::from);
        let providers = oidc::read(settings, production);
        let security_contact = list(
            settings,
            "SECURITY_CONTACT",
            "addresses such as mailto:security@trellis.example or https://.., with commas between",
            contact,
        );
        let shop_api_key = settings.secret("SHOP_API_KEY");
        if shop_api_key.as_ref().is_some_and(|key| key.expose_secret().len() < 32) {
            settings.problem("SHOP_API_KEY", "wants 32 characters at least");
        }
        let links = links(settings);
        let countries = countries(settings);
        let click_buffer = number(settings, "CLICK_BUFFER", 50_000, 1..=10_000_000);
        let click_stream_mb = number(settings, "CLICK_STREAM_MB", 128_u64, 1..=1_000_000);
        Some(Self {
            common: common?,
            http_addr: http_addr?,
            metrics_addr: metrics_addr?,
            http_workers: http_workers?,
            trusted_proxies: trusted_proxies?,
            allowed_origins,
            rate_limits: rate_limits?.0,
            api_replicas: api_replicas?,
            registration: registration?,
            username_changes: username_changes?,
            reserved_usernames: reserved_usernames?,
            ed25519: ed25519?,
            argon2: argon2?,
            hash_threads: hash_threads?,
            hash_queue: hash_queue?,
            password_min_length: password_min_length?,
            password_breach_url,
            drain: Duration::from_secs(drain?),
            mail_dir: mail_dir?,
            security_contact: security_contact?,
            providers: providers?,
            links: links?,
            shop_api_key,
            countries: Arc::new(countries?),
            click_buffer: click_buffer?,
            click_stream_bytes: click_stream_mb? * 1_000_000,
            body_timeout: Duration::from_secs(10),
            hash_for_nobody: true,
        })
    }

    /// Whether pages of `origin` may call us with cookies: our own, and those that are allowed by name.
    pub fn is_allowed_origin(&self, origin: &str) -> bool {
        origin == self.common.public_url.origin() || self.allowed_origins.iter().any(|known| known == origin)
    }

    /// The allowed origins that are of another site than `PUBLIC_URL`: browsers send their pages no cookies of ours, so only
    /// the bearer transport works there. In development the other names of this machine are allowed anyway.
    pub fn cross_site_origins(&self) -> impl Iterator<Item = &str> {
        let public = self.common.public_url.origin();
        let development = self.common.is_development().then(|| development_origins(Some(self.http_addr)));
        let is_usual = move |origin: &str| {
            development.as_ref().is_some_and(|usual| usual.iter().any(|known| known == origin))
        };
        let origins = self.allowed_origins.iter().map(String::as_str);
        origins.filter(move |origin| !origins::are_same_site(origin, public) && !is_usual(origin))
    }

    /// Whether a page that is opened under this `Host` could not call us: its origin is neither our own nor allowed. An
    /// address of a private network and a name without a dot are what load balancers and containers use among themselves;
    /// they are not taken for a mistake of a person.
    pub fn is_foreign_host(&self, authority: &str) -> bool {
        let name = origins::name(authority).trim_end_matches('.');
        if let Some(ip) = origins::address(name) {
            if !crate::client_ip::is_public(ip) {
                return false;
            }
        } else if !name.contains('.') {
            return false;
        }
        let known = self.allowed_origins.iter().map(String::as_str).chain([self.common.public_url.origin()]);
        !known.map(origins::host).any(|host| host.eq_ignore_ascii_case(name))
    }
}

fn countries(settings: &mut Settings) -> Option<Countries> {
    const NAME: &str = "GEOIP_DATABASE";
    let path = settings.optional::<PathBuf>(NAME, "a file");
    let countries = Countries::open(path);
    countries.map_err(|error| settings.problem(NAME, &format!("names a file of no use: {error}"))).ok()
}

/// `None` when it is unset: nobody is asked.
fn breach_url(settings: &mut Settings, production: bool) -> Option<url::Url> {
    const NAME: &str = "PASSWORD_BREACH_URL";
    let url = settings.optional::<url::Url>(NAME, "a URL such as https://api.pwnedpasswords.com/range")?;
    if !cfg!(feature = "breach-check") {
        settings.problem(NAME, "is of no use to this build, which lacks the feature `breach-check`");
    }
    let encrypted = url.scheme() == "https";
    if !encrypted && (production || url.scheme() != "http")
        || url.query().is_some()
        || url.fragment().is_some()
    {
        settings.problem(NAME, "wants an https URL without a query");
    }
    Some(url)
}

/// The Ed25519 keys; without HS256 keys, one of them has to sign.
fn ed25519(settings: &mut Settings, common: Option<&Common>) -> Option<Vec<Ed25519Key>> {
    let keys = match settings.secret("JWT_ED25519_KEYS") {
        None => Vec::new(),
        Some(pem) => match Ed25519Key::read_all(pem.expose_secret()) {
            Ok(keys) => keys,
            Err(error) => {
                settings.problem("JWT_ED25519_KEYS", &error.to_string());
                return None;
            }
        },
    };
    if common.is_some_and(|common| common.keys.jwt.is_empty()) && !keys.iter().any(Ed25519Key::signs) {
        settings.problem("JWT_KEYS", "is `off` and JWT_ED25519_KEYS has no private key: nothing could sign");
    }
    Some(keys)
}

/// Premium takes nothing away.
fn links(settings: &mut Settings) -> Option<LinkLimits> {
    let free = number(settings, "LINKS_PER_PAGE", 50, 1..=MOST_LINKS)?;
    let premium = number(settings, "LINKS_PER_PAGE_PREMIUM", free.max(200), 1..=MOST_LINKS)?;
    if premium < free {
        settings.problem("LINKS_PER_PAGE_PREMIUM", "wants LINKS_PER_PAGE at least");
    }
    Some(LinkLimits { free, premium })
}

fn argon2(settings: &mut Settings, production: bool) -> Option<Argon2Params> {
    let memory = number(settings, "ARGON2_MEMORY_KIB", LEAST_ARGON2.memory_kib, 8..=1_048_576);
    let iterations = number(settings, "ARGON2_ITERATIONS", LEAST_ARGON2.iterations, 1..=100);
    let parallelism = number(settings, "ARGON2_PARALLELISM", LEAST_ARGON2.parallelism, 1..=64);
    let params = Argon2Params { memory_kib: memory?, iterations: iterations?, parallelism: parallelism? };
    if production && params.memory_kib < LEAST_ARGON2.memory_kib {
        settings.problem("ARGON2_MEMORY_KIB", "wants 19456 at least in production");
    }
    if production && params.iterations < LEAST_ARGON2.iterations {
        settings.problem("ARGON2_ITERATIONS", "wants 2 at least in production");
    }
    if params.memory_kib < 8 * params.parallelism {
        settings.problem("ARGON2_MEMORY_KIB", "wants 8 times ARGON2_PARALLELISM at least");
    }
    Some(params)
}

/// A number within a range.
fn number<T>(settings: &mut Settings, name: &str, default: T, range: std::ops::RangeInclusive<T>) -> Option<T>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    let wants = format!("a number from {} to {}", range.start(), range.end());
    let number = settings.or(name, default, &wants)?;
    if !range.contains(&number) {
        settings.problem(name, &format!("wants {wants}"));
        return None;
    }
    Some(number)
}

/// A list with commas between; empty when unset.
fn list<T>(
    settings: &mut Settings,
    name: &str,
    wants: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    let text = settings.or(name, String::new(), wants)?;
    let items: Option<Vec<T>> =
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(parse).collect();
    if items.is_none() {
        settings.problem(name, &format!("wants {wants}"));
    }
    items
}

/// An origin exactly as browsers send it (RFC 6454, 6.2).
fn origin(text: &str) -> Option<String> {
    let origin = url::Url::parse(text).ok()?.origin();
    (origin.is_tuple() && text.starts_with("http") && origin.ascii_serialization() == text)
        .then(|| text.to_owned())
}

/// A way to reach somebody (RFC 9116, 2.5.3): a URI, on one line.
fn contact(text: &str) -> Option<String> {
    let scheme = url::Url::parse(text).ok()?.scheme().to_owned();
    let known = ["mailto", "https", "tel"].contains(&scheme.as_str());
    (known && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
}

/// Where front ends run on a developer's machine, and the other names of our own address there.
fn development_origins(http_addr: Option<SocketAddr>) -> Vec<String> {
    let ports = [Some(3000), Some(5173), http_addr.map(|addr| addr.port())];
    let origins = ports
        .into_iter()
        .flatten()
        .flat_map(|port| ["localhost", "127.0.0.1"].map(|host| format!("http://{host}:{port}")));
    origins.collect()
}

/// `on` or `off`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Switch(bool);

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "on" } else { "off" })
    }
}

impl FromStr for Switch {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "on" => Ok(Self(true)),
            "off" => Ok(Self(false)),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration for tests, with some settings changed.
    pub(crate) fn config(changes: &[(&str, &str)]) -> Result<Config, String> {
        let mut values = std::collections::BTreeMap::from([
            ("APP_ENV", "development"),
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
            ("REDIS_URL", "redis://127.0.0.1:1/"),
            ("SECRET_KEY", "k3Zq8vYw0pLm5Rt7Xc2Nb9Hs4Jd6Gf1A"),
        ]);
        values.extend(changes.iter().copied());
        Config::read(Settings::from_map(values)).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_usable() {
        let config = config(&[]).unwrap();
        assert_eq!(config.http_addr.to_string(), "127.0.0.1:8080");
        assert_eq!(config.argon2, LEAST_ARGON2);
        assert!(config.rate_limits && config.trusted_proxies.is_empty());
        for origin in ["http://localhost:3000", "http://localhost:5173", "http://127.0.0.1:8080"] {
            assert!(config.is_allowed_origin(origin), "{origin}");
        }
        assert!(!config.is_allowed_origin("http://localhost:3001"));
        assert!(!config.is_allowed_origin("null"));
        assert_eq!(config.cross_site_origins().count(), 0);
    }

    /// cases/accounts 11
    #[test]
    fn allowed_origins_of_another_site_are_named() {
        let config = config(&[
            ("APP_ENV", "production"),
            ("PUBLIC_URL", "https://api.trellis.example"),
            ("ALLOWED_ORIGINS", "https://app.trellis.example,https://app.example,http://trellis.example"),
        ]);
        let config = config.unwrap();
        let named: Vec<_> = config.cross_site_origins().collect();
        assert_eq!(named, ["https://app.example", "http://trellis.example"]);
    }

    #[test]
    fn production_refuses_what_is_weak_and_allows_only_named_origins() {
        let production = [("APP_ENV", "production"), ("PUBLIC_URL", "https://trellis.example")];
        let with = |changes: &[(&str, &str)]| config(&[&production[..], changes].concat());
        let good = with(&[("ALLOWED_ORIGINS", "https://app.example, https://b.example:8443")]).unwrap();
        assert!(good.is_allowed_origin("https://b.example:8443"));
        assert!(good.is_allowed_origin("https://trellis.example"));
        assert!(!good.is_allowed_origin("http://localhost:3000"));
        assert_eq!(good.drain, Duration::from_secs(5));
        for (name, value) in [
            ("RATE_LIMITS", "off"),
            ("ARGON2_MEMORY_KIB", "8192"),
            ("ARGON2_ITERATIONS", "1"),
            ("PASSWORD_MIN_LENGTH", "7"),
            ("REGISTRATION", "closed"),
            ("USERNAME_CHANGES", "2"),
            ("USERNAME_CHANGES", "0/30d"),
            ("RESERVED_USERNAMES", "*"),
            ("RESERVED_USERNAMES", "acme?"),
            ("PASSWORD_BREACH_URL", "http://api.pwnedpasswords.com/range"),
            ("PASSWORD_BREACH_URL", "https://breaches.example/?range="),
            ("ALLOWED_ORIGINS", "*"),
            ("ALLOWED_ORIGINS", "https://app.example/"),
            ("ALLOWED_ORIGINS", "https://App.example"),
            ("ALLOWED_ORIGINS", "null"),
            ("SECURITY_CONTACT", "security@trellis.example"),
            ("SECURITY_CONTACT", "http://trellis.example/report"),
            ("SECURITY_CONTACT", "mailto:a@trellis.example\r\nPolicy: x"),
            ("SECURITY_CONTACT", "javascript:alert(1)"),
            ("TRUSTED_PROXIES", "10.0.0.0/33"),
            ("JWT_KEYS", "off"),
            ("JWT_ED25519_KEYS", "not PEM"),
            ("HTTP_ADDR", "8080"),
            ("HASH_THREADS", "0"),
            ("SHOP_API_KEY", "a-key-that-is-short"),
            ("LINKS_PER_PAGE", "0"),
            ("LINKS_PER_PAGE", "1001"),
            ("LINKS_PER_PAGE_PREMIUM", "49"),
        ] {
            let error = with(&[(name, value)]).unwrap_err();
            assert!(error.contains(name), "{name}={value}: {error}");
        }
    }

    #[test]
    fn proxies_are_networks_or_addresses() {
        let config = config(&[("TRUSTED_PROXIES", "10.0.0.0/8, ::1,192.0.2.7")]).unwrap();
        let texts: Vec<_> = config.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.0/8", "::1/128", "192.0.2.7/32"]);
    }
}
