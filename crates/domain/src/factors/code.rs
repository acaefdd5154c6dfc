//! The codes that people type: six digits of an app, or a recovery code.

use std::fmt;

use crate::token;

/// Digits of an app's code.
const DIGITS: usize = 6;

/// Crockford's base 32: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters of a recovery code, 120 bits: enough to store its plain digest (OWASP ASVS 5.0, 6.5.2 asks for 112).
const LENGTH: usize = 24;

/// How many of them are written together.
const GROUP: usize = 6;

/// A text that can be no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code has six digits, and a recovery code four groups of six characters")]
pub struct MalformedCode;

/// Six digits. Its `Debug` output is redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpCode(String);

impl TotpCode {
    /// Reads a code as people type it, `123 456` too.
    pub fn parse(text: &str) -> Result<Self, MalformedCode> {
        let digits = bare(text, DIGITS);
        let fits = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        if fits { Ok(Self(digits)) } else { Err(MalformedCode) }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TotpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpCode([redacted])")
    }
}

/// A recovery code in its one form. Its `Debug` output is redacted.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RecoveryCode(String);

impl RecoveryCode {
    /// A new one.
    pub(super) fn random() -> Self {
        // A byte has three bits more than a character needs: cutting them off favours none.
        let five_bits = |byte: u8| ALPHABET.get(usize::from(byte & 31)).copied().map_or('0', char::from);
        Self(token::random::<LENGTH>().into_iter().map(five_bits).collect())
    }

    /// Reads a code as people type it: spaces and hyphens dropped, lower-cased, `o` read as 0, `i` and `l` as 1.
    pub fn parse(text: &str) -> Result<Self, MalformedCode> {
        let fold = |c: char| match c.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        };
        let code: String = bare(text, LENGTH).chars().map(fold).collect();
        let fits = code.len() == LENGTH && code.bytes().all(|byte| ALPHABET.contains(&byte));
        if fits { Ok(Self(code)) } else { Err(MalformedCode) }
    }

    /// As it is shown to its owner: `k7x2mq-9dhr4t-0bz3wv-g5n8cf`.
    pub fn expose(&self) -> String {
        let mut shown = String::with_capacity(LENGTH + LENGTH / GROUP);
        for (index, character) in self.0.chars().enumerate() {
            if index > 0 && index % GROUP == 0 {
                shown.push('-');
            }
            shown.push(character);
        }
        shown
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode([redacted])")
    }
}

/// Either. The two differ in length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// Of the app.
    Totp(TotpCode),
    /// In place of the app.
    Recovery(RecoveryCode),
}

impl Code {
    /// Reads what somebody typed into the one field for both.
    pub fn parse(text: &str) -> Result<Self, MalformedCode> {
        TotpCode::parse(text).map(Self::Totp).or_else(|_| RecoveryCode::parse(text).map(Self::Recovery))
    }
}

/// The text without what only separates, no longer than one character too many.
fn bare(text: &str, length: usize) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(length + 1).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn both_codes_are_read_as_people_type_them() {
        let digits = Code::Totp(TotpCode("012345".to_owned()));
        for text in ["012345", "012 345", " 012-345 ", "0 1 2 3 4 5"] {
            assert_eq!(Code::parse(text), Ok(digits.clone()), "{text}");
        }
        let code = Code::Recovery(RecoveryCode("k7x2mq9dhr4t0bz3wvg5n8c1".to_owned()));
        for text in ["k7x2mq-9dhr4t-0bz3wv-g5n8c1", "K7X2MQ 9DHR4T OBZ3WV G5N8CL", "k7x2mq9dhr4tobz3wvg5n8ci"]
        {
            assert_eq!(Code::parse(text), Ok(code.clone()), "{text}");
        }
        let endless = "1".repeat(100_000);
        for bad in [
            "",
            "12345",
            "1234567",
            "+12345",
            "12345a",
            "\u{ff11}23456",
            "\u{661}\u{662}\u{663}\u{664}\u{665}\u{666}",
            "k7x2mq-9dhr4t-0bz3wv-g5n8c",
            "k7x2mq-9dhr4t-0bz3wv-g5n8cu",
            "123456\0",
            &endless,
        ] {
            assert_eq!(Code::parse(bad), Err(MalformedCode), "{bad:.30}");
        }
    }

    #[test]
    fn recovery_codes_differ_are_read_back_and_use_every_character() {
        let codes: HashSet<RecoveryCode> = (0..200).map(|_| RecoveryCode::random()).collect();
        assert_eq!(codes.len(), 200);
        for code in &codes {
            let shown = code.expose();
            assert_eq!((shown.len(), shown.matches('-').count()), (27, 3), "{shown}");
            assert_eq!(RecoveryCode::parse(&shown).as_ref(), Ok(code));
        }
        let used: HashSet<char> = codes.iter().flat_map(|code| code.0.chars()).collect();
        assert_eq!(used.len(), ALPHABET.len());
    }

    #[test]
    fn s7_nothing_prints_a_code() {
        let (digits, code) = (Code::parse("123456").unwrap(), Code::Recovery(RecoveryCode::random()));
        assert_eq!(
            format!("{digits:?} {code:?}"),
            "Totp(TotpCode([redacted])) Recovery(RecoveryCode([redacted]))"
        );
    }
}
