//! Names that may not be chosen: they look like the service speaking, like a path of it, or like a mailbox that every domain
//! has (RFC 2142).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Username, fold};

/// Reserved in every installation.
const NAMES: [&str; 126] = [
    "about",
    "abuse",
    "account",
    "accounts",
    "admin",
    "administrator",
    "admins",
    "api",
    "app",
    "apps",
    "assets",
    "auth",
    "billing",
    "blog",
    "bot",
    "card",
    "careers",
    "cdn",
    "contact",
    "dashboard",
    "dev",
    "dmarc-reports",
    "dns",
    "do-not-reply",
    "docs",
    "documentation",
    "donotreply",
    "email",
    "everyone",
    "faq",
    "feedback",
    "forgot-password",
    "forum",
    "ftp",
    "guest",
    "health",
    "help",
    "helpdesk",
    "home",
    "hostmaster",
    "imap",
    "info",
    "invoice",
    "invoices",
    "jobs",
    "legal",
    "links",
    "localhost",
    "login",
    "logout",
    "mail",
    "mailer-daemon",
    "me",
    "media",
    "metrics",
    "mod",
    "moderation",
    "moderator",
    "moderators",
    "news",
    "newsletter",
    "no-reply",
    "nobody",
    "noc",
    "noreply",
    "notifications",
    "null",
    "oauth",
    "official",
    "openapi",
    "owner",
    "payment",
    "payments",
    "pop3",
    "postmaster",
    "premium",
    "press",
    "pricing",
    "privacy",
    "problems",
    "profile",
    "public",
    "referral",
    "referrals",
    "register",
    "report",
    "reports",
    "reset-password",
    "rewards",
    "root",
    "rss",
    "sales",
    "search",
    "secure",
    "security",
    "service",
    "services",
    "settings",
    "shop",
    "signin",
    "signout",
    "signup",
    "smtp",
    "ssl-admin",
    "staff",
    "static",
    "status",
    "store",
    "support",
    "sysadmin",
    "system",
    "team",
    "terms",
    "test",
    "tos",
    "undefined",
    "user",
    "users",
    "verify",
    "verify-email",
    "webmail",
    "webmaster",
    "website",
    "well-known",
    "wiki",
    "www",
];

/// The product's own word, alone and before a separator.
const BRAND: [&str; 4] = ["trellis", "trellis-*", "trellis.*", "trellis_*"];

/// How many patterns an operator may add.
const MAX_PATTERNS: usize = 500;

/// Names that may not be chosen: those of every installation, and the operator's patterns (`RESERVED_USERNAMES`). What an
/// account has already stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// As the operator wrote them, in lower case.
    patterns: Arc<[String]>,
}

impl Reserved {
    /// Whether a name may not be chosen. Names that read alike are reserved together.
    pub fn covers(&self, name: &Username) -> bool {
        let key = name.key();
        let own = self.patterns.iter().map(String::as_str);
        NAMES.iter().any(|word| fold(word) == key)
            || BRAND.into_iter().chain(own).any(|pattern| matches(&fold(pattern), &key))
    }
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.patterns.join(","))
    }
}

impl FromStr for Reserved {
    type Err = ();
    /// Patterns with commas between: characters of names, and `*` for any number of them. Two characters at least are no
    /// wildcard, or nearly every name would be reserved.
    fn from_str(text: &str) -> Result<Self, ()> {
        let patterns: Vec<String> = text
            .split(',')
            .map(|pattern| pattern.trim().to_ascii_lowercase())
            .filter(|pattern| !pattern.is_empty())
            .collect();
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-*".contains(&byte);
        let is_good = |pattern: &String| {
            pattern.bytes().all(is_known) && pattern.bytes().filter(|byte| *byte != b'*').count() >= 2
        };
        if patterns.len() > MAX_PATTERNS || !patterns.iter().all(is_good) {
            return Err(());
        }
        Ok(Self { patterns: patterns.into() })
    }
}

/// Whether a name fits a pattern with `*` in it.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The earliest place leaves the most for what follows.
        let Some(at) = name.find(part) else { return false };
        name = name.get(at + part.len()..).unwrap_or_default();
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cases/accounts 22
    #[test]
    fn operators_reserve_names_by_patterns() {
        let reserved: Reserved = " acme* , *-Support, a*b*c,,shop".parse().unwrap();
        let covers = |name: &str| reserved.covers(&Username::parse(name).unwrap());
        for name in [
            "acme",
            "acme-shop",
            "acmes",
            "ACME",
            "ada-support",
            "abc",
            "axxbyyc",
            "shop",
            "sh0p",
            "trellis-x",
            "tre11is",
        ] {
            assert!(covers(name), "{name}");
        }
        for name in ["my-acme", "support-ada", "abcd", "acb", "shops", "trellises", "mytrellis"] {
            assert!(!covers(name), "{name}");
        }
        assert_eq!(reserved.to_string(), "acme*,*-support,a*b*c,shop");
        assert_eq!("".parse(), Ok(Reserved::default()));
    }

    /// cases/accounts 22
    #[test]
    fn a_pattern_that_reserves_everything_is_refused() {
        for bad in ["*", "**", "a*", "*a*", "acme?", "a b", "ac/me", "acme;shop", "\u{e4}cme"] {
            assert_eq!(bad.parse::<Reserved>(), Err(()), "{bad}");
        }
    }
}
