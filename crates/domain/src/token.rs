//! Secrets that are handed out once: random tokens, tokens derived from a key, and the digests that are stored of them.
//!
//! A token is 256 bits (OWASP ASVS 5.0, 7.2.3 asks for 128 at least); the database holds only its SHA-256, which needs no
//! salt because a token cannot be guessed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng as _;
use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

/// The length of a key, a token and a digest, in bytes.
pub const LENGTH: usize = 32;

/// A 256-bit key for HMAC-SHA-256. Its `Debug` output is redacted.
#[derive(Clone)]
pub struct Key(std::sync::Arc<SecretBox<[u8; LENGTH]>>);

impl Key {
    /// A key from its bytes.
    pub fn new(bytes: [u8; LENGTH]) -> Self {
        Self(std::sync::Arc::new(SecretBox::new(Box::new(bytes))))
    }

    /// The key bytes, for a library that wants them.
    pub fn expose(&self) -> &[u8; LENGTH] {
        self.0.expose_secret()
    }

    /// HMAC-SHA-256 of the parts, each preceded by its length so that no two lists of parts give one message.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; LENGTH] {
        let mut mac = self.hmac();
        for part in parts {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// HMAC-SHA-256 of one message, as RFC 2104 has it.
    pub fn mac_message(&self, message: &[u8]) -> [u8; LENGTH] {
        let mut mac = self.hmac();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    fn hmac(&self) -> Hmac<Sha256> {
        #[allow(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104)")]
        Hmac::new_from_slice(self.expose()).expect("HMAC takes any key length")
    }

    /// A token that is the same for the same label and message: lets a job that is delivered twice send one link.
    pub fn token(&self, label: &str, message: &[u8]) -> Token {
        Token(SecretBox::new(Box::new(self.mac(&[label.as_bytes(), message]))))
    }

    /// A key derived from this one for one purpose (the single-step form of NIST SP 800-108 with HMAC).
    #[must_use]
    pub fn derive(&self, purpose: &str) -> Self {
        Self::new(self.mac(&[b"trellis:derive:v1", purpose.as_bytes()]))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([redacted])")
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

/// A secret that its owner shows to prove something. Its `Debug` output is redacted.
pub struct Token(SecretBox<[u8; LENGTH]>);

/// Why a string is no token.
#[derive(Debug, thiserror::Error)]
#[error("not a token")]
pub struct MalformedToken;

impl Token {
    /// 256 fresh bits from the operating system.
    ///
    /// # Panics
    /// When the operating system gives no randomness: nothing that goes on without it would be safe.
    pub fn random() -> Self {
        Self(SecretBox::new(Box::new(random())))
    }

    /// Reads a token in the form [`Token::expose`] writes: 43 characters of unpadded URL-safe base64.
    pub fn parse(text: &str) -> Result<Self, MalformedToken> {
        let mut bytes = [0; LENGTH];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(LENGTH) => Ok(Self(SecretBox::new(Box::new(bytes)))),
            _ => Err(MalformedToken),
        }
    }

    /// The token as its owner sees it.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.expose_secret())
    }

    /// The raw bytes, to derive another token from.
    pub fn bytes(&self) -> &[u8; LENGTH] {
        self.0.expose_secret()
    }

    /// What the database stores.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.expose_secret())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

/// Fresh bytes from the operating system.
///
/// # Panics
/// When the operating system gives no randomness: nothing that goes on without it would be safe.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[allow(clippy::expect_used, reason = "without randomness no secret may be made")]
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Bytes in hexadecimal, lower case.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |index: u8| DIGITS.get(usize::from(index)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; LENGTH]);

impl Digest {
    /// The SHA-256 of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// As the driver wants it.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_form_and_nothing_else_parses() {
        let token = Token::random();
        let text = token.expose();
        assert_eq!(text.len(), 43);
        assert_eq!(Token::parse(&text).unwrap().digest(), token.digest());
        for bad in ["", "x", &text[1..], &format!("{text}="), &format!("{text}A"), "é", &"A".repeat(1000)] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let key = Key::new([7; LENGTH]);
        let token = key.token("reset", b"1");
        assert_eq!(format!("{key:?} {token:?}"), "Key([redacted]) Token([redacted])");
    }

    #[test]
    fn derived_tokens_repeat_and_labels_separate_them() {
        let key = Key::new([7; LENGTH]);
        assert_eq!(key.token("a", b"1").expose(), key.token("a", b"1").expose());
        assert_ne!(key.token("a", b"1").expose(), key.token("b", b"1").expose());
        assert_ne!(key.mac(&[b"ab", b"c"]), key.mac(&[b"a", b"bc"]));
        assert_ne!(key.derive("jwt"), key.derive("csrf"));
    }

    /// RFC 4231, test case 1 uses a 20-byte key; ours are 32 bytes, so this is a vector of our own, checked with openssl.
    #[test]
    fn mac_message_is_plain_hmac_sha_256() {
        let mac = Key::new([0x0b; LENGTH]).mac_message(b"Hi There");
        assert_eq!(mac[..4], [0x19, 0x8a, 0x60, 0x7e]);
    }
}
