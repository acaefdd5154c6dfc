//! Access tokens: JWT (RFC 7519), HS256 or `EdDSA`, from a ring of keys.
//!
//! Ed25519 keys come before HS256 keys; the first that can sign does, all of them verify. A token's header must be, byte for
//! byte, one that we write for a key of the ring, and then that key's own algorithm is used: so there is nothing for `alg`,
//! `kid`, `jwk`, `jku` or `x5u` of somebody else to choose. All claims are required and checked (RFC 8725, 3). Keys and
//! headers are prepared once: verifying is on the way of every request.

mod ed25519;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use domain::config::SigningKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use ed25519::{Ed25519Key, KeyError, PublicKey};

/// By how much the clocks of two replicas may differ.
const LEEWAY: TimeDelta = TimeDelta::seconds(5);

/// `typ` in the header (RFC 9068, 2.1).
const HEADER_TYPE: &str = "at+jwt";

/// Whom tokens are meant for.
const AUDIENCE: &str = "trellis";

/// What the token is for: nothing else that we sign is taken for it.
const PURPOSE: &str = "access";

/// The longest token that is looked at: ours have about 400 bytes.
const LONGEST: usize = 2_048;

/// The ring of keys, ready for use.
pub struct Jwt {
    issuer: String,
    lifetime: TimeDelta,
    ring: Vec<RingKey>,
    public_keys: Vec<PublicKey>,
}

struct RingKey {
    /// What the token starts with, up to its first dot.
    encoded_header: String,
    header: Header,
    /// Absent when only its public half is known.
    encoding: Option<EncodingKey>,
    decoding: DecodingKey,
}

/// Who a valid token speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// `sub`
    pub user_id: Uuid,
    /// `sid`
    pub session_id: Uuid,
}

#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: Uuid,
    sid: Uuid,
    typ: &'a str,
    iat: i64,
    exp: i64,
}

/// A token that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign an access token")]
pub struct SignError(#[from] jsonwebtoken::errors::Error);

impl Jwt {
    /// A ring for an issuer, which is our public origin. Newest keys first. Tokens live for `lifetime`; one that claims to
    /// live longer is refused, so a shorter setting takes effect at once.
    pub fn new(
        hs256: &[SigningKey],
        ed25519: &[Ed25519Key],
        issuer: &str,
        lifetime: TimeDelta,
    ) -> Result<Self, SignError> {
        let ring = ed25519.iter().map(RingKey::of_pair).chain(hs256.iter().map(RingKey::of_secret));
        let public_keys = ed25519.iter().map(|key| key.public().clone()).collect();
        Ok(Self { issuer: issuer.to_owned(), lifetime, ring: ring.collect::<Result<_, _>>()?, public_keys })
    }

    /// The public keys of the ring, for whoever verifies tokens elsewhere. None while tokens are signed with HS256: whoever
    /// could verify those could also make them.
    pub fn public_keys(&self) -> &[PublicKey] {
        &self.public_keys
    }

    /// A token for a session.
    pub fn sign(&self, access: Access, now: DateTime<Utc>) -> Result<String, SignError> {
        let claims = Claims {
            iss: &self.issuer,
            aud: AUDIENCE,
            sub: access.user_id,
            sid: access.session_id,
            typ: PURPOSE,
            iat: now.timestamp(),
            exp: (now + self.lifetime).timestamp(),
        };
        let no_key = || jsonwebtoken::errors::Error::from(jsonwebtoken::errors::ErrorKind::InvalidAlgorithm);
        let mut signers = self.ring.iter().filter_map(|key| Some((&key.header, key.encoding.as_ref()?)));
        let (header, encoding) = signers.next().ok_or_else(no_key)?;
        Ok(jsonwebtoken::encode(header, &claims, encoding)?)
    }

    /// Who a token speaks for, or `None`: why not is nobody's business.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Access> {
        self.read(token, |claims| {
            let (now, leeway) = (now.timestamp(), LEEWAY.num_seconds());
            Some(
                claims.exp.checked_add(leeway)? > now
                    && claims.iat <= now + leeway
                    && claims.exp.checked_sub(claims.iat)? <= self.lifetime.num_seconds(),
            )
        })
    }

    /// The session that a token was signed for, whether or not the token has expired. It grants nothing: it only tells which
    /// session a browser has, so that signing out or in can end it.
    pub fn session_of(&self, token: &str) -> Option<Uuid> {
        self.read(token, |_| Some(true)).map(|access| access.session_id)
    }

    fn read(&self, token: &str, timely: impl Fn(&Claims<'_>) -> Option<bool>) -> Option<Access> {
        if token.len() > LONGEST {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let key = self.ring.iter().find(|key| key.encoded_header == header)?;
        let signed =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.decoding, key.header.alg);
        if !signed.unwrap_or(false) {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Claims<'_> = serde_json::from_slice(&payload).ok()?;
        let ours = claims.iss == self.issuer && claims.aud == AUDIENCE && claims.typ == PURPOSE;
        (ours && timely(&claims)?).then_some(Access { user_id: claims.sub, session_id: claims.sid })
    }
}

impl RingKey {
    fn of_secret(key: &SigningKey) -> Result<Self, SignError> {
        let secret = key.key.expose();
        let (encoding, decoding) = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self::new(Algorithm::HS256, &key.kid, Some(encoding), decoding)
    }

    fn of_pair(key: &Ed25519Key) -> Result<Self, SignError> {
        Self::new(Algorithm::EdDSA, &key.public().kid, key.encoding().cloned(), key.decoding().clone())
    }

    fn new(
        algorithm: Algorithm,
        kid: &str,
        encoding: Option<EncodingKey>,
        decoding: DecodingKey,
    ) -> Result<Self, SignError> {
        let mut header = Header::new(algorithm);
        header.typ = Some(HEADER_TYPE.to_owned());
        header.kid = Some(kid.to_owned());
        // As the library writes it: a token of ours begins with these very bytes.
        let json = serde_json::to_vec(&header).map_err(jsonwebtoken::errors::Error::from)?;
        Ok(Self { encoded_header: URL_SAFE_NO_PAD.encode(json), header, encoding, decoding })
    }
}

#[cfg(test)]
mod tests;
