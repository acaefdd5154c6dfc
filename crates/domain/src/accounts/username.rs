//! Usernames: what is one, which are taken for the service itself, and which two read alike.

use std::fmt;

/// A username: 3 to 30 of `a-z 0-9 _ . -`, starting with a letter or digit; lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Username(String);

/// Why a text is no username.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// Fewer than 3 characters.
    #[error("a username has 3 characters at least")]
    TooShort,
    /// More than 30 characters.
    #[error("a username has 30 characters at most")]
    TooLong,
    /// A character that is not allowed, or not at the start.
    #[error("a username is made of a-z, 0-9, `_`, `.` and `-`, and starts with a letter or digit")]
    Malformed,
    /// A name of the service.
    #[error("this username is reserved")]
    Reserved,
}

/// Names that look like the service speaking, or like a path of it.
const RESERVED: [&str; 58] = [
    "about",
    "abuse",
    "account",
    "accounts",
    "admin",
    "administrator",
    "api",
    "assets",
    "auth",
    "billing",
    "blog",
    "card",
    "contact",
    "dashboard",
    "dev",
    "docs",
    "forgot-password",
    "health",
    "help",
    "home",
    "hostmaster",
    "info",
    "jobs",
    "legal",
    "links",
    "login",
    "logout",
    "mail",
    "me",
    "metrics",
    "moderator",
    "news",
    "null",
    "oauth",
    "openapi",
    "owner",
    "postmaster",
    "premium",
    "press",
    "pricing",
    "privacy",
    "problems",
    "profile",
    "referral",
    "referrals",
    "register",
    "reset-password",
    "root",
    "security",
    "settings",
    "signin",
    "signup",
    "staff",
    "support",
    "system",
    "terms",
    "trellis",
    "webmaster",
];

impl Username {
    /// Reads a username; upper case is taken as lower case.
    pub fn parse(text: &str) -> Result<Self, UsernameError> {
        let name = text.to_ascii_lowercase();
        let first_fits = name.bytes().next().is_none_or(|byte| byte.is_ascii_alphanumeric());
        if !first_fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            return Err(UsernameError::Malformed);
        }
        match name.len() {
            0..3 => return Err(UsernameError::TooShort),
            3..=30 => {}
            _ => return Err(UsernameError::TooLong),
        }
        let name = Self(name);
        let key = name.key();
        if RESERVED.iter().any(|reserved| fold(reserved) == key) {
            return Err(UsernameError::Reserved);
        }
        Ok(name)
    }

    /// A name that was stored as it was parsed.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two names share that read alike: the ASCII part of the confusables of Unicode TS 39.
    pub fn key(&self) -> String {
        fold(&self.0)
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fold(name: &str) -> String {
    name.replace('0', "o").replace(['1', 'i'], "l").replace("rn", "m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["ada", "Ada", "a.b-c_d", "007", "a".repeat(30).as_str()] {
            assert!(Username::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", UsernameError::TooShort),
            ("ab", UsernameError::TooShort),
            ("a".repeat(31).as_str(), UsernameError::TooLong),
            ("-ab", UsernameError::Malformed),
            (".ab", UsernameError::Malformed),
            ("a b", UsernameError::Malformed),
            ("аda", UsernameError::Malformed),
            ("ada\r\nBcc: x", UsernameError::Malformed),
            ("ada@b", UsernameError::Malformed),
            ("a\0da", UsernameError::Malformed),
            ("Admin", UsernameError::Reserved),
            ("adm1n", UsernameError::Reserved),
        ] {
            assert_eq!(Username::parse(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn names_that_read_alike_have_one_key() {
        let key = |name: &str| Username::parse(name).unwrap().key();
        assert_eq!(key("bill"), key("B1LL"));
        assert_eq!(key("modern"), key("modem"));
        assert_eq!(key("bob"), key("b0b"));
        assert_ne!(key("a-b-c"), key("abc"));
    }
}
