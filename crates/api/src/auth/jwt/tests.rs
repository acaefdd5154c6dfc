//! What is taken for an access token, and what is not.

use domain::token::Key;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const LIFETIME: TimeDelta = TimeDelta::minutes(15);
const ISSUER: &str = "https://trellis.example";

fn key(kid: &str, byte: u8) -> SigningKey {
    SigningKey { kid: kid.to_owned(), key: Key::new([byte; 32]) }
}

fn jwt(keys: &[SigningKey]) -> Jwt {
    Jwt::new(keys, &[], ISSUER, LIFETIME).unwrap()
}

/// RFC 8410, 10.3.
const ED25519: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
const ED25519_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";

fn pair(pem: &str) -> Ed25519Key {
    Ed25519Key::read_all(pem).unwrap().remove(0)
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
    for bad in
        [format!("{message}."), message.to_owned(), format!("{message}.{signature}A"), format!("{good}.x")]
    {
        assert_eq!(jwt.verify(&bad, now()), None, "{bad}");
    }
    let none =
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(&claims));
    assert_eq!(jwt.verify(&none, now()), None);
}

/// A ring of both kinds: each key is good for its own algorithm only, whatever a header says.
#[test]
fn t1_a_public_key_is_no_secret_and_a_secret_no_private_key() {
    let (secret, pair) = (key("a", 1), pair(ED25519));
    let jwt = Jwt::new(std::slice::from_ref(&secret), std::slice::from_ref(&pair), ISSUER, LIFETIME).unwrap();
    let token = jwt.sign(access(), now()).unwrap();
    let kid = &pair.public().kid;
    let ours = format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}"}}"#);
    assert!(token.starts_with(&format!("{}.", URL_SAFE_NO_PAD.encode(&ours))));
    assert_eq!(jwt.verify(&token, now()), Some(access()));

    let claims = claims().to_string();
    let raw = URL_SAFE_NO_PAD.decode(&pair.public().x).unwrap();
    let spki = base64::engine::general_purpose::STANDARD
        .decode("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=")
        .unwrap();
    let jwk = serde_json::to_vec(pair.public()).unwrap();
    let as_secrets: [&[u8]; 6] = [
        &raw,
        &spki,
        ED25519_PUBLIC.as_bytes(),
        ED25519_PUBLIC.trim_end().as_bytes(),
        pair.public().x.as_bytes(),
        &jwk,
    ];
    let jwk = serde_json::to_value(pair.public()).unwrap();
    let header = |alg: &str| json!({"typ": "at+jwt", "alg": alg, "kid": kid});
    let mut with = vec![ours.clone()];
    for alg in ["HS256", "HS384", "HS512", "none", "None", "RS256", "PS256", "ES256", "Ed25519", ""] {
        with.push(header(alg).to_string());
        with.push(format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{kid}"}}"#));
        with.push(json!({"typ": "at+jwt", "alg": alg, "kid": "a"}).to_string());
    }
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("kid", json!("../../x")),
        ("kid", json!("' OR 1=1")),
        ("kid", json!("a")),
        ("b64", json!(false)),
    ] {
        let mut header = header("EdDSA");
        header[name] = value;
        with.push(header.to_string());
    }
    for header in &with {
        for secret in as_secrets {
            assert_eq!(jwt.verify(&forge(header, &claims, secret), now()), None, "{header}");
        }
        // Not even the private key makes another header good.
        if *header != ours {
            let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
            let encoding = pair.encoding().unwrap();
            let signature =
                jsonwebtoken::crypto::sign(message.as_bytes(), encoding, Algorithm::EdDSA).unwrap();
            assert_eq!(jwt.verify(&format!("{message}.{signature}"), now()), None, "{header}");
        }
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
        assert_eq!(jwt.verify(&unsigned, now()), None, "{header}");
    }
    // And the secret's own header is good with the secret's own algorithm only.
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(our_header()), URL_SAFE_NO_PAD.encode(&claims));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), pair.encoding().unwrap(), Algorithm::EdDSA).unwrap();
    assert_eq!(jwt.verify(&format!("{message}.{signature}"), now()), None);
    assert_eq!(jwt.verify(&forge(&our_header(), &claims, &[1; 32]), now()), Some(access()));
}

#[test]
fn t3_a_public_half_verifies_and_leaves_the_signing_to_the_next() {
    let (secret, whole, public) = (key("a", 1), pair(ED25519), pair(ED25519_PUBLIC));
    let ring = |ed25519: &Ed25519Key, hs256: &[SigningKey]| {
        Jwt::new(hs256, std::slice::from_ref(ed25519), ISSUER, LIFETIME).unwrap()
    };
    let secrets = std::slice::from_ref(&secret);
    let (known, signing, alone) = (ring(&public, secrets), ring(&whole, secrets), ring(&whole, &[]));
    let before = known.sign(access(), now()).unwrap();
    let after = signing.sign(access(), now()).unwrap();
    assert_eq!(jsonwebtoken::decode_header(&before).unwrap().alg, Algorithm::HS256);
    assert_eq!(jsonwebtoken::decode_header(&after).unwrap().alg, Algorithm::EdDSA);
    for ring in [&known, &signing] {
        assert_eq!(ring.verify(&before, now()), Some(access()));
        assert_eq!(ring.verify(&after, now()), Some(access()));
        assert_eq!(ring.public_keys(), [whole.public().clone()]);
    }
    assert_eq!((alone.verify(&before, now()), alone.verify(&after, now())), (None, Some(access())));
    assert!(ring(&public, &[]).sign(access(), now()).is_err());
    assert!(jwt(secrets).public_keys().is_empty());
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
