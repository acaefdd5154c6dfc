//! Keys for tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PKCS_ED25519};

/// A new Ed25519 key, in PEM form.
pub struct Ed25519Pair {
    /// The private half, in PKCS#8 with the public half inside.
    pub private: String,
    /// The public half.
    pub public: String,
}

impl Ed25519Pair {
    /// Makes one.
    #[allow(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        Self { private: pair.serialize_pem(), public: pair.public_key_pem() }
    }

    /// The private half alone, the way openssl writes it.
    pub fn v1(&self) -> String {
        let body: String = self.private.split(['\r', '\n']).filter(|line| !line.starts_with('-')).collect();
        let seed = &STANDARD.decode(body).unwrap()[16..48];
        let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let der = STANDARD.encode([&prefix[..], seed].concat());
        format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
    }
}
