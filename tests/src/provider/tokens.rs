//! Its keys, and the ID tokens that it signs with them, well or badly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{CLIENT_ID, CLIENT_SECRET};

/// How an ID token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// With the published key.
    Good,
    /// With the published key, which the header does not name.
    WithoutKeyId,
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

/// The id of the team that a [`ClientKey`] belongs to.
pub const TEAM_ID: &str = "TEAM000001";

/// The id of a [`ClientKey`].
pub const KEY_ID: &str = "KEY0000001";

/// A client's own key.
#[derive(Clone, Debug)]
pub struct ClientKey(std::sync::Arc<KeyPair>);

impl Default for ClientKey {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientKey {
    /// A new one, for ES256.
    pub fn new() -> Self {
        Self(std::sync::Arc::new(KeyPair::generate().unwrap()))
    }

    /// PKCS #8 in PEM, as Apple gives it.
    pub fn private_key(&self) -> String {
        self.0.serialize_pem()
    }

    /// What is wrong with a client secret that this key should have signed.
    pub(super) fn check(&self, secret: &str, audience: &str) -> Result<(), String> {
        let header = jsonwebtoken::decode_header(secret).map_err(|error| error.to_string())?;
        if header.kid.as_deref() != Some(KEY_ID) {
            return Err("kid".to_owned());
        }
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_audience(&[audience]);
        rules.set_issuer(&[TEAM_ID]);
        rules.sub = Some(CLIENT_ID.to_owned());
        rules.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
        let key = DecodingKey::from_ec_der(self.0.public_key_raw());
        let claims: Value =
            jsonwebtoken::decode(secret, &key, &rules).map_err(|error| error.to_string())?.claims;
        // Six months is what Apple allows.
        let life = claims["exp"].as_i64().unwrap_or_default() - claims["iat"].as_i64().unwrap_or_default();
        if (1..=15_777_000).contains(&life) { Ok(()) } else { Err("exp".to_owned()) }
    }
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
            Signature::WithoutKeyId => {
                jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &ours(&self.pair)).unwrap()
            }
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
