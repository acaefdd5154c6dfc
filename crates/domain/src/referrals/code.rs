//! Referral codes: how they are made, and how what people type is read.
//!
//! `code = Crockford-base32(HMAC-SHA-256(key, "referral:v1|" + normalised e-mail + "|" + n))`, the first 10 characters
//! (50 bits), lower case; n counts up until the UNIQUE index accepts it. Keyed, so that knowing an address gives nobody
//! its code; made once, so that neither a new address nor a new key changes it.

use std::fmt;

use crate::accounts::Email;
use crate::token::Key;

/// Crockford's base 32: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters in a code.
const LENGTH: usize = 10;

/// A referral code in its one form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReferralCode(String);

/// A text that can be no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no referral code")]
pub struct MalformedCode;

impl ReferralCode {
    /// The `n`-th candidate for an address.
    pub fn generate(key: &Key, email: &Email, n: u32) -> Self {
        let mac = key.mac_message(format!("referral:v1|{}|{n}", email.as_str()).as_bytes());
        let bits = mac.iter().take(8).fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        let characters = (0..LENGTH).map(|index| {
            let five = (bits >> (64 - 5 * (index + 1))) & 31;
            let byte = usize::try_from(five).ok().and_then(|five| ALPHABET.get(five)).copied();
            char::from(byte.unwrap_or(b'0'))
        });
        Self(characters.collect())
    }

    /// Reads a code as people type it: outer spaces and hyphens dropped, lower-cased, `o` read as 0, `i` and `l` as 1.
    pub fn parse(text: &str) -> Result<Self, MalformedCode> {
        let code: String = text
            .trim()
            .chars()
            .filter(|c| *c != '-')
            .map(|c| match c.to_ascii_lowercase() {
                'o' => '0',
                'i' | 'l' => '1',
                other => other,
            })
            .take(LENGTH + 1)
            .collect();
        let fits = code.len() == LENGTH && code.bytes().all(|byte| ALPHABET.contains(&byte));
        if fits { Ok(Self(code)) } else { Err(MalformedCode) }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReferralCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed apart from this code, with Python's hmac and a Crockford alphabet.
    #[test]
    fn f1_known_answers() {
        let key = Key::new([0x42; 32]);
        let email = Email::parse("ada@example.org").unwrap();
        assert_eq!(ReferralCode::generate(&key, &email, 0).as_str(), "pq2sy66fyk");
        assert_eq!(ReferralCode::generate(&key, &email, 1).as_str(), "ach0nrpn7b");
    }

    #[test]
    fn codes_are_folded() {
        for text in ["0123456789", " Oi2-345-6789 ", "o-i-2-3-4-5-6-7-8-9"] {
            assert_eq!(ReferralCode::parse(text).unwrap().as_str(), "0123456789", "{text}");
        }
        for bad in [
            "",
            "012345678",
            "01234567890",
            "01234u6789",
            "0123456789\0",
            "ａｂｃｄｅｆｇｈｊｋ",
            "'; drop--1",
        ] {
            assert!(ReferralCode::parse(bad).is_err(), "{bad:?}");
        }
    }
}
