//! Ed25519 keys (RFC 8032, RFC 8037): read from PEM, named by their thumbprints, published as a key set (RFC 7517).
//!
//! A key that is given whole may sign. One of which only the public half is given verifies, and is published: that is how a
//! new key becomes known everywhere before it signs anywhere, and how an old one stays known after its private half is gone.

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Serialize;
use utoipa::ToSchema;

/// What PKCS#8 (RFC 8410, 7) has before the 32 bytes of a private key, in its form without the public half.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Where those 32 bytes are in both forms, and what announces them.
const SEED: std::ops::Range<usize> = 16..48;
const SEED_TAG: std::ops::Range<usize> = 12..16;

/// Why keys were not read. Says nothing about their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such block, or something else between them.
    #[error("wants Ed25519 keys in PEM form, newest first: `PRIVATE KEY` (PKCS#8) or `PUBLIC KEY` blocks")]
    NotPem,
    /// Another kind of key, or a broken one.
    #[error("has a block that is no Ed25519 key: `openssl genpkey -algorithm ed25519` makes one")]
    NotEd25519,
    /// The same key again.
    #[error("names a key twice")]
    Twice,
}

/// A key, or its public half.
#[derive(Clone)]
pub struct Ed25519Key {
    public: PublicKey,
    encoding: Option<EncodingKey>,
    decoding: DecodingKey,
}

/// A public key as a third party's library wants it (RFC 8037, 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct PublicKey {
    /// What the header of a token calls it by: its thumbprint (RFC 7638).
    pub kid: String,
    /// `OKP`
    kty: &'static str,
    /// `Ed25519`
    crv: &'static str,
    /// The key itself, 32 bytes in base64url.
    pub x: String,
    /// `sig`
    #[serde(rename = "use")]
    usage: &'static str,
    /// `EdDSA`
    alg: &'static str,
}

impl Ed25519Key {
    /// Reads one PEM block after the other. In a setting of one line, `\n` may stand for the line breaks.
    pub fn read_all(pem: &str) -> Result<Vec<Self>, KeyError> {
        let text = pem.replace("\\n", "\n");
        let mut keys: Vec<Self> = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (block, after) = split_block(rest).ok_or(KeyError::NotPem)?;
            let key = Self::read(block)?;
            if keys.iter().any(|known| known.public == key.public) {
                return Err(KeyError::Twice);
            }
            keys.push(key);
            rest = after.trim();
        }
        if keys.is_empty() { Err(KeyError::NotPem) } else { Ok(keys) }
    }

    fn read(block: &str) -> Result<Self, KeyError> {
        if block.starts_with("-----BEGIN PUBLIC KEY-----") {
            let decoding = DecodingKey::from_ed_pem(block.as_bytes()).map_err(|_| KeyError::NotEd25519)?;
            let jwk = Jwk::from_decoding_key(&decoding, Some(Algorithm::EdDSA));
            return Self::new(jwk, None);
        }
        let encoding = EncodingKey::from_ed_pem(block.as_bytes()).map_err(|_| KeyError::NotEd25519)?;
        // The strictest reader there is: it looks at all of the block, and whether both halves belong together.
        jsonwebtoken::crypto::sign(b"", &encoding, Algorithm::EdDSA).map_err(|_| KeyError::NotEd25519)?;
        let der = encoding.as_bytes();
        let seed = der.get(SEED).filter(|_| der.get(SEED_TAG) == PKCS8.get(SEED_TAG));
        let seed = seed.ok_or(KeyError::NotEd25519)?;
        let encoding = EncodingKey::from_ed_der(&[&PKCS8, seed].concat());
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::EdDSA);
        Self::new(jwk, Some(encoding))
    }

    fn new(jwk: jsonwebtoken::errors::Result<Jwk>, encoding: Option<EncodingKey>) -> Result<Self, KeyError> {
        let jwk = jwk.map_err(|_| KeyError::NotEd25519)?;
        let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm else {
            return Err(KeyError::NotEd25519);
        };
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| KeyError::NotEd25519)?;
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| KeyError::NotEd25519)?;
        let x = pair.x.clone();
        let public = PublicKey { kid, kty: "OKP", crv: "Ed25519", x, usage: "sig", alg: "EdDSA" };
        Ok(Self { public, encoding, decoding })
    }

    /// Whether its private half is here.
    pub fn signs(&self) -> bool {
        self.encoding.is_some()
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn encoding(&self) -> Option<&EncodingKey> {
        self.encoding.as_ref()
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

impl std::fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ed25519Key")
            .field("public", &self.public)
            .field("signs", &self.signs())
            .finish_non_exhaustive()
    }
}

/// The block that a text begins with, and what follows it.
fn split_block(text: &str) -> Option<(&str, &str)> {
    const END: &str = "-----END ";
    if !text.starts_with("-----BEGIN PUBLIC KEY-----") && !text.starts_with("-----BEGIN PRIVATE KEY-----") {
        return None;
    }
    let end = text.find(END)? + END.len();
    let end = end + text.get(end..)?.find("-----")? + "-----".len();
    text.split_at_checked(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, 10.3 and 10.1: a private key and its public half.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";
    /// The same private key with its public half inside (RFC 8410, 10.3).
    const WITH_PUBLIC: &str = "-----BEGIN PRIVATE KEY-----\n\
        MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
        Z9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PRIVATE KEY-----\n";
    /// RFC 7748's other curve, which cannot sign.
    const X25519: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VuAyEAhSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn the_halves_of_a_key_and_both_its_forms_have_one_name() {
        let [whole, public, with_public] =
            [PRIVATE, PUBLIC, WITH_PUBLIC].map(|pem| Ed25519Key::read_all(pem).unwrap().remove(0));
        assert_eq!(whole.public(), public.public());
        assert_eq!(whole.public(), with_public.public());
        assert!(whole.signs() && with_public.signs() && !public.signs());
        assert_eq!(whole.public().x, "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
        assert_eq!(Ed25519Key::read_all(&PRIVATE.replace('\n', "\\n")).unwrap().len(), 1);
        assert!(!format!("{whole:?}").contains("EncodingKey"));
    }

    #[test]
    fn t9_what_is_no_ed25519_key_is_refused() {
        let twice = [PRIVATE, PUBLIC].concat();
        for (pem, error) in [
            ("", KeyError::NotPem),
            ("secret", KeyError::NotPem),
            (&PRIVATE.replace("PRIVATE", "RSA PRIVATE"), KeyError::NotPem),
            (&format!("{PRIVATE} and so on"), KeyError::NotPem),
            (&PRIVATE.replace("-----END PRIVATE KEY-----", ""), KeyError::NotPem),
            (&PRIVATE.replace("MC4", "MC5"), KeyError::NotEd25519),
            (&WITH_PUBLIC.replace("INTuct", "INTvct"), KeyError::NotEd25519),
            (X25519, KeyError::NotEd25519),
            (&PUBLIC.replace("PUBLIC", "PRIVATE"), KeyError::NotEd25519),
            (&twice, KeyError::Twice),
        ] {
            assert_eq!(Ed25519Key::read_all(pem).unwrap_err(), error, "{pem}");
        }
    }

    /// RFC 8037, A.3.
    #[test]
    fn a_name_is_the_thumbprint_of_rfc_8037() {
        let pem = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
            -----END PUBLIC KEY-----";
        let key = Ed25519Key::read_all(pem).unwrap().remove(0);
        assert_eq!(key.public().kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
