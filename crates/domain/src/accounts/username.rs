//! Usernames: what is one, which may be chosen, and which two read alike.

mod reserved;

use std::fmt;

pub use reserved::Reserved;

/// A username: 3 to 30 of `a-z 0-9 _ . -`, starting with a letter or digit; lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Username(String);

/// Why a text is not a username, or may not be chosen as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// Fewer than 3 characters.
    #[error("must be at least 3 characters")]
    TooShort,
    /// More than 30 characters.
    #[error("must be at most 30 characters")]
    TooLong,
    /// A character that is not allowed.
    #[error("use letters a-z, digits, dots, dashes and underscores only")]
    Malformed,
    /// A separator at the start.
    #[error("must start with a letter or digit")]
    BadStart,
    /// A separator at the end: programs that find addresses in a text leave it out of the link.
    #[error("must end with a letter or digit")]
    BadEnd,
    /// Two separators in a row.
    #[error("must not have two dots, dashes or underscores in a row")]
    DoubleSeparator,
    /// A name that speaks for the service.
    #[error("this username is reserved, choose another one")]
    Reserved,
}

/// What a person types as a name to sign in with, or as a username, in the form that is looked at: without blanks around it
/// and without the `@` that other sites put before names.
pub fn login_name(text: &str) -> &str {
    let name = text.trim();
    name.strip_prefix('@').unwrap_or(name)
}

impl Username {
    /// Reads a name that an account may have. Rules for new names are not applied: accounts keep the names that they have.
    pub fn parse(text: &str) -> Result<Self, UsernameError> {
        let name = text.to_ascii_lowercase();
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_separator(byte)) {
            return Err(UsernameError::Malformed);
        }
        if name.bytes().next().is_some_and(is_separator) {
            return Err(UsernameError::BadStart);
        }
        match name.len() {
            0..3 => Err(UsernameError::TooShort),
            3..=30 => Ok(Self(name)),
            _ => Err(UsernameError::TooLong),
        }
    }

    /// Reads a name that a person types to choose it.
    pub fn choose(text: &str, reserved: &Reserved) -> Result<Self, UsernameError> {
        let name = Self::parse(login_name(text))?;
        let bytes = name.0.as_bytes();
        if bytes.last().copied().is_some_and(is_separator) {
            return Err(UsernameError::BadEnd);
        }
        if bytes.windows(2).any(|pair| pair.iter().copied().all(is_separator)) {
            return Err(UsernameError::DoubleSeparator);
        }
        if reserved.covers(&name) { Err(UsernameError::Reserved) } else { Ok(name) }
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

fn is_separator(byte: u8) -> bool {
    b"_.-".contains(&byte)
}

fn fold(name: &str) -> String {
    name.replace('0', "o").replace(['1', 'i'], "l").replace("rn", "m")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(text: &str) -> Result<Username, UsernameError> {
        Username::choose(text, &Reserved::default())
    }

    /// cases/accounts 22
    #[test]
    fn a_new_name_makes_a_good_link() {
        for good in ["ada", "Ada", "a.b-c_d", "007", "a".repeat(30).as_str()] {
            assert!(choose(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", UsernameError::TooShort),
            ("ab", UsernameError::TooShort),
            ("a".repeat(31).as_str(), UsernameError::TooLong),
            ("-ab", UsernameError::BadStart),
            (".ab", UsernameError::BadStart),
            ("dot.", UsernameError::BadEnd),
            ("dash-", UsernameError::BadEnd),
            ("a..b", UsernameError::DoubleSeparator),
            ("a-.b", UsernameError::DoubleSeparator),
            ("a b", UsernameError::Malformed),
            ("\u{430}da", UsernameError::Malformed),
            ("ada\r\nBcc: x", UsernameError::Malformed),
            ("ada@b", UsernameError::Malformed),
            ("@@ada", UsernameError::Malformed),
            ("a\0da", UsernameError::Malformed),
            ("Admin", UsernameError::Reserved),
            ("adm1n", UsernameError::Reserved),
            ("www", UsernameError::Reserved),
            ("noreply", UsernameError::Reserved),
            ("trellis-support", UsernameError::Reserved),
        ] {
            assert_eq!(choose(bad), Err(why), "{bad:?}");
        }
    }

    /// cases/accounts 23
    #[test]
    fn blanks_and_a_leading_at_sign_are_dropped() {
        for text in ["ada", " ada", "ada \t", "@ada", " @Ada\u{a0}"] {
            assert_eq!(choose(text).map(|name| name.as_str().to_owned()), Ok("ada".to_owned()), "{text:?}");
        }
        assert_eq!(login_name(" @ada "), "ada");
    }

    /// cases/accounts 22
    #[test]
    fn names_of_before_are_still_names() {
        for old in ["dot.", "a..b", "trellis-support", "www", "noreply", "admin"] {
            assert!(Username::parse(old).is_ok(), "{old}");
        }
        assert!(
            Username::parse(" ada").is_err() && Username::parse("@ada").is_err(),
            "no other address of a page"
        );
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
