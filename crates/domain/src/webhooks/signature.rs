//! Signing, as Standard Webhooks 1.0.0 has it: HMAC-SHA-256 over id, time and body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use uuid::Uuid;

use crate::token::{self, Key, LENGTH};

/// What every secret begins with.
const PREFIX: &str = "whsec_";

/// The secret that an endpoint and we share: 256 random bits (the specification asks for 192 to 512). Its `Debug` output is
/// redacted.
#[derive(Clone, Debug, PartialEq)]
pub struct Secret(Key);

impl Secret {
    /// A new one.
    pub(super) fn random() -> Self {
        Self(Key::new(token::random()))
    }

    /// One that was stored; `None` when it has another length.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        <[u8; LENGTH]>::try_from(bytes).ok().map(|bytes| Self(Key::new(bytes)))
    }

    /// Its bytes, to be sealed.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.expose()
    }

    /// As its receiver sees it, once.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(self.0.expose())))
    }

    /// The signature of a message: `timestamp` in seconds.
    pub(super) fn sign(&self, id: Uuid, timestamp: i64, body: &str) -> String {
        let mac = self.0.mac_message(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With openssl: `printf '%s' "$id.1700000000.{}" | openssl dgst -sha256 -mac hmac -macopt hexkey:0707..07 -binary | base64`
    #[test]
    fn w1_a_signature_is_plain_hmac_sha_256_over_id_time_and_body() {
        let secret = Secret::from_bytes(&[7; LENGTH]).unwrap();
        let id = Uuid::from_u128(1);
        assert_eq!(secret.expose().as_str(), "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        assert_eq!(secret.sign(id, 1_700_000_000, "{}"), "v1,IeGonAn68pfxCMfsVHLofe21kWupgFv26hvl/EGLzwU=");
        assert_ne!(secret.sign(id, 1_700_000_001, "{}"), secret.sign(id, 1_700_000_000, "{}"));
    }

    #[test]
    fn nothing_prints_a_secret() {
        assert_eq!(format!("{:?}", Secret::random()), "Secret(Key([redacted]))");
        assert!(Secret::from_bytes(b"short").is_none());
    }
}
