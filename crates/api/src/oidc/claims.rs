//! The claims of an ID token and of the UserInfo endpoint.
//!
//! `iss`, `sub`, `aud`, `exp`, `iat` and `nonce` are required and checked (OpenID Connect Core 1.0, 3.1.3.7), `azp` and
//! `at_hash` when they are there. Everything else is optional and read as providers write it: Apple and Cognito send
//! `email_verified` as text, Auth0 sends `updated_at` as RFC 3339, `LinkedIn` sends `locale` as an object. A claim that Trellis
//! does not use is never parsed, so its type cannot refuse a sign-in.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::ProviderError;
use super::provider::Claims;

/// Allowed difference between the provider's clock and ours.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);

/// The part of a multi-tenant issuer that stands for the tenant (Microsoft's discovery document).
pub(super) const TENANT: &str = "{tenantid}";

/// The members of a claims object.
pub(super) type Members = Map<String, Value>;

/// What an ID token must say.
pub(super) struct Expected<'a> {
    /// The issuer of the discovery document; may contain [`TENANT`].
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: DateTime<Utc>,
    /// Whether `xms_edov` vouches for the address.
    pub(super) is_microsoft: bool,
}

fn refused(claim: &'static str, why: &'static str) -> ProviderError {
    ProviderError::Claim { claim, why }
}

/// Checks the required claims and reads the optional ones.
pub(super) fn read(members: &Members, expected: &Expected<'_>) -> Result<Claims, ProviderError> {
    let issuer = issuer(members, expected.issuer)?;
    let subject = required_text(members, "sub")?.to_owned();
    check_audience(members, expected.client_id)?;
    let expires = required_time(members, "exp")?;
    if expires <= expected.now - LEEWAY {
        return Err(refused("exp", "the token has expired"));
    }
    if required_time(members, "iat")? > expected.now + LEEWAY {
        return Err(refused("iat", "the token is from the future"));
    }
    let nonce = required_text(members, "nonce")?;
    if !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(refused("nonce", "it belongs to another sign-in"));
    }
    if optional_text(members, "azp")?.is_some_and(|party| party != expected.client_id) {
        return Err(refused("azp", "the token was issued to another client"));
    }
    // Microsoft writes whatever address the tenant's administrator enters, so `email` proves nothing there ("nOAuth").
    // `xms_edov` says that the owner of the domain was verified:
    // https://learn.microsoft.com/entra/identity-platform/migrate-off-email-claim-authorization
    let is_domain_verified = expected.is_microsoft && is_true(members.get("xms_edov"));
    Ok(Claims {
        issuer: Some(issuer),
        subject,
        email: email(members),
        email_verified: is_true(members.get("email_verified")) || is_domain_verified,
        names: names(members),
    })
}

/// The hash of the access token (3.1.3.6), if the token has one.
pub(super) fn access_token_hash(members: &Members) -> Result<Option<&str>, ProviderError> {
    optional_text(members, "at_hash")
}

/// Adds what the UserInfo endpoint says. Its answer is not signed: it counts only for the subject of the ID token (5.3.2).
pub(super) fn add_user_info(claims: &mut Claims, info: &Members) -> Result<(), ProviderError> {
    if info.get("sub").and_then(Value::as_str) != Some(claims.subject.as_str()) {
        return Err(refused("sub", "the user info has another subject than the ID token"));
    }
    claims.email = email(info);
    claims.email_verified = is_true(info.get("email_verified"));
    claims.names.extend(names(info));
    Ok(())
}

/// The issuer, which for a multi-tenant provider contains the token's own tenant.
fn issuer(members: &Members, expected: &str) -> Result<String, ProviderError> {
    let given = required_text(members, "iss")?;
    let is_expected = if expected.contains(TENANT) {
        let tenant = required_text(members, "tid")?;
        if !is_tenant(tenant) {
            return Err(refused("tid", "it is not a GUID"));
        }
        given == expected.replace(TENANT, tenant)
    } else {
        given == expected
    };
    if is_expected { Ok(given.to_owned()) } else { Err(refused("iss", "the token is from another issuer")) }
}

/// Whether this is a tenant's id: a GUID as Microsoft writes it.
pub(super) fn is_tenant(text: &str) -> bool {
    Uuid::try_parse(text).is_ok_and(|id| id.hyphenated().to_string() == text)
}

/// The client must be the only audience: another one could use a copy of the token here.
fn check_audience(members: &Members, client_id: &str) -> Result<(), ProviderError> {
    let is_client = |audience: &Value| audience.as_str() == Some(client_id);
    match present(members, "aud") {
        None => Err(refused("aud", "it is missing")),
        Some(Value::Array(all)) if !all.is_empty() && all.iter().all(is_client) => Ok(()),
        Some(one) if is_client(one) => Ok(()),
        Some(_) => Err(refused("aud", "the token is for another audience")),
    }
}

/// A claim that is there; `null` counts as missing.
fn present<'a>(members: &'a Members, name: &str) -> Option<&'a Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn optional_text<'a>(members: &'a Members, name: &'static str) -> Result<Option<&'a str>, ProviderError> {
    let Some(value) = present(members, name) else { return Ok(None) };
    value.as_str().map(Some).ok_or_else(|| refused(name, "it is not a text"))
}

fn required_text<'a>(members: &'a Members, name: &'static str) -> Result<&'a str, ProviderError> {
    optional_text(members, name)?.ok_or_else(|| refused(name, "it is missing"))
}

/// A `NumericDate` (RFC 7519, 2), which may have a fraction. Some providers write it as text.
fn required_time(members: &Members, name: &'static str) -> Result<DateTime<Utc>, ProviderError> {
    let value = present(members, name).ok_or_else(|| refused(name, "it is missing"))?;
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    let moment = seconds.and_then(whole_seconds).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    moment.ok_or_else(|| refused(name, "it is not a time"))
}

fn whole_seconds(seconds: f64) -> Option<i64> {
    if !seconds.is_finite() {
        return None;
    }
    // No conversion from a float can fail, so the digits are parsed: what does not fit is no time.
    format!("{:.0}", seconds.floor()).parse().ok()
}

fn email(members: &Members) -> Option<String> {
    let email = members.get("email")?.as_str()?.trim();
    (!email.is_empty()).then(|| email.to_owned())
}

fn names(members: &Members) -> Vec<String> {
    let name = |name| members.get(name).and_then(Value::as_str).map(str::to_owned);
    ["preferred_username", "nickname"].into_iter().filter_map(name).collect()
}

/// Whether a provider says yes. Apple and Cognito write "true", others 1 or "True"; everything else is a no.
fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(yes)) => *yes,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true") || text == "1",
        Some(Value::Number(number)) => number.as_i64() == Some(1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn read_with(changes: &Value, issuer: &str, is_microsoft: bool) -> Result<Claims, String> {
        let mut token = json!({
            "iss": "https://id.example", "sub": "s", "aud": "trellis", "exp": NOW + 300, "iat": NOW,
            "nonce": "n", "email": "ada@example.org",
        });
        for (name, change) in changes.as_object().unwrap() {
            token[name] = change.clone();
        }
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        let expected = Expected { issuer, client_id: "trellis", nonce: "n", now, is_microsoft };
        read(token.as_object().unwrap(), &expected).map_err(|error| error.to_string())
    }

    fn with(changes: &Value) -> Result<Claims, String> {
        read_with(changes, "https://id.example", false)
    }

    /// cases/accounts 9
    #[test]
    fn optional_claims_are_read_as_providers_write_them() {
        for (given, verified) in [
            (json!(true), true),
            (json!("true"), true),
            (json!("True"), true),
            (json!(1), true),
            (json!("1"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!(0), false),
            (json!(null), false),
            (json!("yes"), false),
            (json!([true]), false),
        ] {
            assert_eq!(
                with(&json!({ "email_verified": given })).unwrap().email_verified,
                verified,
                "{given}"
            );
        }
        for absent in [json!(null), json!(""), json!("  "), json!(7), json!(["ada@example.org"])] {
            assert_eq!(with(&json!({ "email": absent })).unwrap().email, None, "{absent}");
        }
        for name in [
            "updated_at",
            "auth_time",
            "address",
            "phone_number",
            "phone_number_verified",
            "birthdate",
            "name",
            "given_name",
            "locale",
            "zoneinfo",
            "picture",
            "profile",
            "website",
            "gender",
            "amr",
            "acr",
            "c_hash",
            "nickname",
            "preferred_username",
            "nbf",
        ] {
            for odd in
                [json!("x"), json!(1.5), json!(true), json!([1]), json!({ "country": "US" }), json!(null)]
            {
                with(&json!({ name: odd })).unwrap_or_else(|error| panic!("{name}: {odd}: {error}"));
            }
        }
    }

    /// cases/accounts 9
    #[test]
    fn times_may_have_a_fraction_or_be_text() {
        for exp in [
            json!(NOW + 300),
            json!(1.800_000_3e9),
            json!("1800000300"),
            json!("1.8000003e9"),
            json!(NOW - 29),
        ] {
            with(&json!({ "exp": exp })).unwrap_or_else(|error| panic!("{exp}: {error}"));
        }
        for iat in [json!(NOW + 30), json!("1800000030.0")] {
            with(&json!({ "iat": iat })).unwrap_or_else(|error| panic!("{iat}: {error}"));
        }
        for exp in [
            json!("soon"),
            json!("NaN"),
            json!("inf"),
            json!(1e300),
            json!([NOW]),
            json!(null),
            json!(NOW - 30),
        ] {
            assert!(with(&json!({ "exp": exp })).err().is_some_and(|error| error.contains("`exp`")), "{exp}");
        }
    }

    /// cases/accounts 9
    #[test]
    fn a_refusal_names_the_claim_and_never_its_value() {
        for (claim, value) in [
            ("iss", json!("canary")),
            ("iss", json!(["https://id.example"])),
            ("sub", json!(null)),
            ("sub", json!(7)),
            ("aud", json!("canary")),
            ("aud", json!(["trellis", "canary"])),
            ("aud", json!([])),
            ("aud", json!(null)),
            ("iat", json!(NOW + 31)),
            ("nonce", json!("canary")),
            ("nonce", json!(null)),
            ("azp", json!("canary")),
        ] {
            let error = with(&json!({ claim: value })).err().unwrap_or_default();
            assert!(error.contains(&format!("`{claim}`")) && !error.contains("canary"), "{claim}: {error}");
        }
        with(&json!({ "aud": ["trellis"], "azp": "trellis" })).unwrap();
    }

    /// cases/accounts 10
    #[test]
    fn the_issuer_of_a_tenant_contains_the_tenant_of_the_token() {
        let issuer = "https://login.example/{tenantid}/v2.0";
        let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        let of = |iss: &str, tid: Value| {
            read_with(&json!({ "iss": iss, "tid": tid }), issuer, true).map(|claims| claims.issuer)
        };
        let good = format!("https://login.example/{tenant}/v2.0");
        assert_eq!(of(&good, json!(tenant)).unwrap().as_ref(), Some(&good));
        for (iss, tid) in [
            (good.as_str(), json!("9188040d-6c67-4c5b-b112-36a304b66dad")),
            (good.as_str(), json!(null)),
            (issuer, json!("{tenantid}")),
            ("https://login.example/evil/v2.0", json!("evil")),
            ("https://login.example//v2.0", json!("")),
            ("https://login.example/common/v2.0", json!(tenant)),
            (&good.to_uppercase(), json!(tenant.to_uppercase())),
        ] {
            assert!(of(iss, tid.clone()).is_err(), "{iss} {tid}");
        }
    }

    /// cases/accounts 10
    #[test]
    fn microsoft_vouches_for_an_address_by_xms_edov() {
        let verified = |changes: Value, is_microsoft| {
            read_with(&changes, "https://id.example", is_microsoft).unwrap().email_verified
        };
        assert!(!verified(json!({}), true));
        assert!(verified(json!({ "xms_edov": true }), true));
        assert!(verified(json!({ "xms_edov": "1" }), true));
        assert!(!verified(json!({ "xms_edov": false }), true));
        assert!(!verified(json!({ "xms_edov": true }), false), "of Microsoft only");
    }
}
