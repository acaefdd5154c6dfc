//! Access tokens: JWT (RFC 7519), HS256, from a ring of keys.
//!
//! The first key of the ring signs, all of them verify. A token's header must be, byte for byte, one that we write for a
//! key of the ring: so there is nothing for `alg`, `kid`, `jwk`, `jku` or `x5u` of somebody else to choose. All claims are
//! required and checked (RFC 8725, 3). Keys and headers are prepared once: verifying is on the way of every request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use domain::config::SigningKey;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How long an access token lives.
pub const ACCESS_LIFETIME: TimeDelta = TimeDelta::seconds(900);

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
    ring: Vec<RingKey>,
}

struct RingKey {
    /// What the token starts with, up to its first dot.
    encoded_header: String,
    header: Header,
    encoding: EncodingKey,
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
    /// A ring for an issuer, which is our public origin. Newest key first.
    pub fn new(keys: &[SigningKey], issuer: &str) -> Result<Self, SignError> {
        let ring = keys.iter().map(RingKey::new).collect::<Result<_, _>>()?;
        Ok(Self { issuer: issuer.to_owned(), ring })
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
            exp: (now + ACCESS_LIFETIME).timestamp(),
        };
        let no_key = || jsonwebtoken::errors::Error::from(jsonwebtoken::errors::ErrorKind::InvalidAlgorithm);
        let newest = self.ring.first().ok_or_else(no_key)?;
        Ok(jsonwebtoken::encode(&newest.header, &claims, &newest.encoding)?)
    }

    /// Who a token speaks for, or `None`: why not is nobody's business.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Access> {
        if token.len() > LONGEST {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let key = self.ring.iter().find(|key| key.encoded_header == header)?;
        let signed =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.decoding, Algorithm::HS256);
        if !signed.unwrap_or(false) {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Claims<'_> = serde_json::from_slice(&payload).ok()?;
        let (now, leeway) = (now.timestamp(), LEEWAY.num_seconds());
        let timely = claims.exp.checked_add(leeway)? > now
            && claims.iat <= now + leeway
            && claims.exp.checked_sub(claims.iat)? <= ACCESS_LIFETIME.num_seconds();
        let ours = claims.iss == self.issuer && claims.aud == AUDIENCE && claims.typ == PURPOSE;
        (timely && ours).then_some(Access { user_id: claims.sub, session_id: claims.sid })
    }
}

impl RingKey {
    fn new(key: &SigningKey) -> Result<Self, SignError> {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(HEADER_TYPE.to_owned());
        header.kid = Some(key.kid.clone());
        let secret = key.key.expose();
        let encoding = EncodingKey::from_secret(secret);
        let sample = jsonwebtoken::encode(&header, &(), &encoding)?;
        let encoded_header = sample.split('.').next().unwrap_or_default().to_owned();
        Ok(Self { encoded_header, header, encoding, decoding: DecodingKey::from_secret(secret) })
    }
}

#[cfg(test)]
mod tests {
    use domain::token::Key;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://trellis.example";

    fn key(kid: &str, byte: u8) -> SigningKey {
        SigningKey { kid: kid.to_owned(), key: Key::new([byte; 32]) }
    }

    fn jwt(keys: &[SigningKey]) -> Jwt {
        Jwt::new(keys, ISSUER).unwrap()
    }

    fn access() -> Access {
        Access { user_id: Uuid::from_u128(1), session_id: Uuid::from_u128(2) }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn header() -> Value {
        json!({"typ": "at+jwt", "alg": "HS256", "kid": "a"})
    }

    fn claims() -> Value {
        let now = now().timestamp();
        json!({"iss": ISSUER, "aud": "trellis", "sub": access().user_id, "sid": access().session_id,
               "typ": "access", "iat": now, "exp": now + 900})
    }

    /// A token with any header and claims, truly signed with HMAC-SHA-256.
    fn forge(header: &str, claims: &str, key: &[u8]) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(key), Algorithm::HS256)
                .unwrap();
        format!("{message}.{signature}")
    }

    /// The header in the order we write it.
    fn our_header() -> String {
        r#"{"typ":"at+jwt","alg":"HS256","kid":"a"}"#.to_owned()
    }

    #[test]
    fn a_token_speaks_for_its_session() {
        let jwt = jwt(&[key("a", 1)]);
        let token = jwt.sign(access(), now()).unwrap();
        assert_eq!(jwt.verify(&token, now()), Some(access()));
        assert_eq!(jwt.verify(&forge(&our_header(), &claims().to_string(), &[1; 32]), now()), Some(access()));
    }

    #[test]
    fn t1_only_our_header_and_our_key_are_taken() {
        let jwt = jwt(&[key("a", 1)]);
        let claims = claims().to_string();
        let with = |name: &str, value: Value| {
            let mut header = header();
            header[name] = value;
            header.to_string()
        };
        for header in [
            with("alg", json!("none")),
            with("alg", json!("None")),
            with("alg", json!("RS256")),
            with("alg", json!("HS384")),
            with("kid", json!("../../x")),
            with("kid", json!("' OR 1=1")),
            with("kid", json!("b")),
            with("kid", Value::Null),
            with("typ", json!("JWT")),
            with("typ", json!("refresh")),
            with("jwk", json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([1; 32])})),
            with("jku", json!("https://evil.example/jwks.json")),
            with("x5u", json!("https://evil.example/cert.pem")),
            with("crit", json!(["exp"])),
            "{}".to_owned(),
            String::new(),
        ] {
            assert_eq!(jwt.verify(&forge(&header, &claims, &[1; 32]), now()), None, "{header}");
        }
        // Another key, no signature, and a signature over something else.
        assert_eq!(jwt.verify(&forge(&our_header(), &claims, &[2; 32]), now()), None);
        assert_eq!(jwt.verify(&forge(&our_header(), &claims, b""), now()), None);
        let good = forge(&our_header(), &claims, &[1; 32]);
        let (message, signature) = good.rsplit_once('.').unwrap();
        for bad in [
            format!("{message}."),
            message.to_owned(),
            format!("{message}.{signature}A"),
            format!("{good}.x"),
        ] {
            assert_eq!(jwt.verify(&bad, now()), None, "{bad}");
        }
        let none =
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(&claims));
        assert_eq!(jwt.verify(&none, now()), None);
    }

    #[test]
    fn t2_every_claim_is_required_and_checked() {
        let jwt = jwt(&[key("a", 1)]);
        let verify = |claims: &Value| jwt.verify(&forge(&our_header(), &claims.to_string(), &[1; 32]), now());
        for name in ["iss", "aud", "sub", "sid", "typ", "iat", "exp"] {
            let mut dropped = claims();
            dropped.as_object_mut().unwrap().remove(name);
            assert_eq!(verify(&dropped), None, "{name} dropped");
            for altered in
                [json!(null), json!("x"), json!(""), json!(1.5), json!(-1), json!([ISSUER]), json!(true)]
            {
                let mut claims = claims();
                claims[name] = altered.clone();
                assert_eq!(verify(&claims), None, "{name} = {altered}");
            }
        }
        for (name, value) in [
            ("iss", json!("https://trellis.example/")),
            ("typ", json!("refresh")),
            ("aud", json!(["trellis"])),
            ("exp", json!(now().timestamp() + 901)),
            ("exp", json!(i64::MAX)),
            ("iat", json!(i64::MIN)),
            ("iat", json!(now().timestamp() + 6)),
        ] {
            let mut claims = claims();
            claims[name] = value.clone();
            assert_eq!(verify(&claims), None, "{name} = {value}");
        }
    }

    #[test]
    fn t2_a_token_expires_with_five_seconds_of_leeway() {
        let jwt = jwt(&[key("a", 1)]);
        let token = jwt.sign(access(), now()).unwrap();
        let at = |seconds| jwt.verify(&token, now() + TimeDelta::seconds(seconds));
        assert_eq!(at(-5), Some(access()));
        assert_eq!(at(-6), None);
        assert_eq!(at(904), Some(access()));
        assert_eq!(at(905), None);
        assert_eq!(at(910), None);
    }

    #[test]
    fn t3_all_keys_of_the_ring_verify_and_a_retired_one_does_not() {
        let (old, new) = (key("old", 1), key("new", 2));
        let token = jwt(std::slice::from_ref(&old)).sign(access(), now()).unwrap();
        assert_eq!(jwt(&[new.clone(), old.clone()]).verify(&token, now()), Some(access()));
        assert_eq!(jwt(std::slice::from_ref(&new)).verify(&token, now()), None);
        let token = jwt(&[new, old.clone()]).sign(access(), now()).unwrap();
        assert_eq!(jwt(&[old]).verify(&token, now()), None);
    }

    proptest! {
        #[test]
        fn t10_any_text_is_refused_without_a_panic(text in ".*") {
            prop_assert_eq!(jwt(&[key("a", 1)]).verify(&text, now()), None);
        }

        #[test]
        fn t10_any_payload_is_refused_without_a_panic(payload: Vec<u8>) {
            let jwt = jwt(&[key("a", 1)]);
            let message = format!("{}.{}", jwt.ring[0].encoded_header, URL_SAFE_NO_PAD.encode(payload));
            let key = EncodingKey::from_secret(&[1; 32]);
            let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
            prop_assert_eq!(jwt.verify(&format!("{message}.{signature}"), now()), None);
        }
    }
}
