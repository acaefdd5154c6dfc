//! An ID token as it is written: a JWS in compact form (RFC 7515), and its signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm as Alg};
use openidconnect::{
    AccessToken, AccessTokenHash, JsonWebKey as _, JsonWebKeyAlgorithm, JwsSigningAlgorithm as _,
};
use serde::Deserialize;
use serde_json::Value;

use super::ProviderError;
use super::claims::{self, Members};

/// Accepted signatures: not `none`, and no MAC, whose key would be our client secret.
const ALGORITHMS: [Alg; 9] = [
    Alg::RsaSsaPkcs1V15Sha256,
    Alg::RsaSsaPkcs1V15Sha384,
    Alg::RsaSsaPkcs1V15Sha512,
    Alg::RsaSsaPssSha256,
    Alg::RsaSsaPssSha384,
    Alg::RsaSsaPssSha512,
    Alg::EcdsaP256Sha256,
    Alg::EcdsaP384Sha384,
    Alg::EdDsa,
];

/// Values of `typ` that an ID token may have: it is not an access token (`at+jwt`, RFC 9068) or a logout token.
const TYPES: [&str; 4] = ["jwt", "jose", "application/jwt", "application/jose"];

#[derive(Deserialize)]
struct Header {
    alg: Value,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    cty: Option<Value>,
    #[serde(default)]
    crit: Option<Value>,
}

/// Why a signature does not count.
pub(super) enum Unverified {
    /// No published key fits: the provider may have new ones.
    UnknownKey,
    /// It is not valid.
    Refused(ProviderError),
}

impl From<ProviderError> for Unverified {
    fn from(error: ProviderError) -> Self {
        Self::Refused(error)
    }
}

/// The claims of a token that one of these keys has signed, and that belongs to this access token.
pub(super) fn verify(
    token: &str,
    keys: &CoreJsonWebKeySet,
    access_token: &str,
) -> Result<Members, Unverified> {
    let refused = ProviderError::Refused;
    let malformed = || refused("the ID token is not a signed JWT");
    let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (header, payload) = message.split_once('.').ok_or_else(malformed)?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed());
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
    let is_known_type = |typ: &String| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ));
    // `crit` lists extensions that must be understood (RFC 7515, 4.1.11), and none is; `cty` announces a nested token.
    if header.crit.is_some() || header.cty.is_some() || !header.typ.as_ref().is_none_or(is_known_type) {
        return Err(refused("the ID token has a header that is not supported").into());
    }
    let alg: Alg = serde_json::from_value(header.alg)
        .map_err(|_| refused("the ID token has no supported signature algorithm"))?;
    if !ALGORITHMS.contains(&alg) {
        return Err(refused("the ID token has no supported signature algorithm").into());
    }
    let signature = decode(signature)?;
    let fitting: Vec<_> = keys.keys().iter().filter(|key| fits(key, header.kid.as_deref(), &alg)).collect();
    if fitting.is_empty() {
        return Err(Unverified::UnknownKey);
    }
    // Without `kid` several keys may fit.
    let is_signer =
        |key: &&&CoreJsonWebKey| key.verify_signature(&alg, message.as_bytes(), &signature).is_ok();
    let Some(key) = fitting.iter().find(is_signer) else {
        return Err(refused("the signature of the ID token is wrong").into());
    };
    let members: Members = serde_json::from_slice(&decode(payload)?).map_err(|_| malformed())?;
    if let Some(hash) = claims::access_token_hash(&members)? {
        // OpenID Connect Core 1.0, 3.1.3.8: otherwise the access token may be another person's.
        let actual = AccessTokenHash::from_token(&AccessToken::new(access_token.to_owned()), &alg, *key);
        if !actual.is_ok_and(|actual| actual.as_str() == hash) {
            let why = "it is not the hash of the access token";
            return Err(ProviderError::Claim { claim: "at_hash", why }.into());
        }
    }
    Ok(members)
}

/// Whether a key may have made a signature with this key id and algorithm.
fn fits(key: &CoreJsonWebKey, kid: Option<&str>, alg: &Alg) -> bool {
    let is_named = kid.is_none_or(|kid| key.key_id().is_some_and(|id| id.as_str() == kid));
    let is_of_type = alg.key_type().as_ref() == Some(key.key_type());
    let is_for_alg = match key.signing_alg() {
        JsonWebKeyAlgorithm::Unspecified => true,
        JsonWebKeyAlgorithm::Algorithm(of_key) => of_key == alg,
        JsonWebKeyAlgorithm::Unsupported => false,
    };
    is_named
        && is_of_type
        && is_for_alg
        && key.key_use().is_none_or(openidconnect::JsonWebKeyUse::allows_signature)
}
