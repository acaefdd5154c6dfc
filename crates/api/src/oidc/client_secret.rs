//! Apple's client secret: a JWT that the client signs with its own key.
//!
//! <https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret> allows six months.
//! One is signed for each code instead, so no secret has to be renewed by hand and none is worth stealing for long.

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::config::AppleKey;

/// How long a client secret is valid.
const LIFETIME: TimeDelta = TimeDelta::minutes(5);

/// Signs a client secret. Fails when the key is not a P-256 key in PEM.
pub(crate) fn sign(
    key: &AppleKey,
    client_id: &str,
    audience: &str,
    now: DateTime<Utc>,
) -> Result<SecretString, jsonwebtoken::errors::Error> {
    let header = Header { kid: Some(key.key_id.clone()), ..Header::new(Algorithm::ES256) };
    let claims = json!({
        "iss": key.team_id, "sub": client_id, "aud": audience,
        "iat": now.timestamp(), "exp": (now + LIFETIME).timestamp(),
    });
    let private_key = EncodingKey::from_ec_pem(key.private_key.expose_secret().as_bytes())?;
    jsonwebtoken::encode(&header, &claims, &private_key).map(SecretString::from)
}
