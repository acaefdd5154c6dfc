//! Its keys, and the ID tokens that it signs with them, well or badly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::CLIENT_SECRET;

/// How an ID token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// With the published key.
    Good,
    /// Not at all: `alg` is `none`.
    None,
    /// With the client's secret.
    ClientSecret,
    /// With the public key, as if it were a secret.
    PublicKey,
    /// With another key, under the name of the published one.
    OtherKey,
    /// With another key, under a name that is not published.
    UnpublishedKey,
    /// Well, and then changed.
    Broken,
}

/// The key it signs with.
pub(super) struct Keys {
    pair: KeyPair,
    generation: u32,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { pair: KeyPair::generate().unwrap(), generation: 1 }
    }

    pub(super) fn rotate(&mut self) {
        *self = Self { generation: self.generation + 1, ..Self::new() };
    }

    fn id(&self) -> String {
        format!("key-{}", self.generation)
    }

    /// The public key as a JWK set.
    pub(super) fn published(&self) -> Value {
        // An uncompressed point of P-256: 4, x, y.
        let point = self.pair.public_key_raw();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id(), "x": x, "y": y }] })
    }

    pub(super) fn sign(&self, claims: &Value, signature: Signature) -> String {
        let ours = |pair: &KeyPair| EncodingKey::from_ec_der(&pair.serialize_der());
        let es256 = |kid: String, pair: &KeyPair| {
            let header = Header { kid: Some(kid), ..Header::new(Algorithm::ES256) };
            jsonwebtoken::encode(&header, claims, &ours(pair)).unwrap()
        };
        let hs256 = |secret: &[u8]| {
            let header = Header { kid: Some(self.id()), ..Header::new(Algorithm::HS256) };
            jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret)).unwrap()
        };
        match signature {
            Signature::Good => es256(self.id(), &self.pair),
            Signature::None => {
                let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
                format!("{}.{}.", encode(&json!({ "alg": "none", "typ": "JWT" })), encode(claims))
            }
            Signature::ClientSecret => hs256(CLIENT_SECRET.as_bytes()),
            Signature::PublicKey => hs256(self.pair.public_key_raw()),
            Signature::OtherKey => es256(self.id(), &KeyPair::generate().unwrap()),
            Signature::UnpublishedKey => es256("unpublished".to_owned(), &KeyPair::generate().unwrap()),
            Signature::Broken => {
                let good = es256(self.id(), &self.pair);
                let (message, signature) = good.rsplit_once('.').unwrap();
                let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
                bytes[10] ^= 1;
                format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes))
            }
        }
    }
}
