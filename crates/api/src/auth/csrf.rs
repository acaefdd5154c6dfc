//! Cross-site request forgery: two independent questions for every unsafe request.
//!
//! 1. Where does it come from? `Sec-Fetch-Site` and `Origin`, when a browser sends them, must name us or an allowed origin.
//!    This also covers login and registration, where there is no session yet.
//! 2. Does it know the session's token? Asked of requests that are authenticated by cookie. The token is bound to the
//!    session by HMAC, so a token that an attacker plants with a cookie of their own is of no use (OWASP's signed double
//!    submit).
//!
//! A bearer token is never sent by a browser on its own, so such requests need no token.

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::token::Key;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::config::Config;
use crate::problem::{Code, Problem};

/// The header that carries the token.
pub const HEADER: &str = "X-CSRF-Token";

/// The token of a session.
pub fn token(key: &Key, session_id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(mac(key, session_id))
}

fn mac(key: &Key, session_id: Uuid) -> [u8; 32] {
    key.mac(&[b"csrf", session_id.as_bytes()])
}

/// Refuses what a browser says comes from somebody else's page.
pub fn check_origin(headers: &HeaderMap, config: &Config) -> Result<(), Problem> {
    let origin = match headers.get(header::ORIGIN) {
        None => None,
        Some(origin) if origin.to_str().is_ok_and(|origin| config.is_allowed_origin(origin)) => Some(()),
        Some(_) => {
            return Err(refused(
                "The `Origin` of this request is not allowed: pages of other sites may not call this.",
            ));
        }
    };
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) if origin.is_some() => Ok(()),
        Some(_) => Err(refused("`Sec-Fetch-Site` says that this request comes from another site.")),
    }
}

/// Refuses a request that does not carry the token of the session it uses.
pub fn check_token(headers: &HeaderMap, key: &Key, session_id: Uuid) -> Result<(), Problem> {
    let Some(given) = headers.get(HEADER) else {
        return Err(refused(
            "Send the header `X-CSRF-Token` with the value of the `csrf_token` cookie: this request is authenticated by \
             cookie.",
        ));
    };
    let mut bytes = [0; 32];
    let decoded = URL_SAFE_NO_PAD.decode_slice(given.as_bytes(), &mut bytes);
    if decoded == Ok(32) && bool::from(bytes.ct_eq(&mac(key, session_id))) {
        return Ok(());
    }
    Err(refused(
        "The `X-CSRF-Token` is not the one of this session: send the present value of the `csrf_token` cookie.",
    ))
}

fn refused(detail: &'static str) -> Problem {
    Problem::new(Code::CsrfFailed).detail(detail)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a15_only_our_own_and_allowed_origins_pass() {
        let config = crate::config::tests::config(&[
            ("PUBLIC_URL", "https://trellis.example"),
            ("ALLOWED_ORIGINS", "https://app.example"),
        ])
        .unwrap();
        let (ours, app) = ("https://trellis.example", "https://app.example");
        for (list, allowed) in [
            (vec![], true),
            (vec![("origin", ours)], true),
            (vec![("origin", app)], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "none")], true),
            (vec![("sec-fetch-site", "same-origin"), ("origin", ours)], true),
            (vec![("sec-fetch-site", "cross-site"), ("origin", app)], true),
            (vec![("sec-fetch-site", "same-site"), ("origin", app)], true),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "")], false),
            (vec![("origin", "null")], false),
            (vec![("origin", "")], false),
            (vec![("origin", "https://evil.example")], false),
            (vec![("origin", "https://trellis.example.evil.example")], false),
            (vec![("origin", "http://trellis.example")], false),
            (vec![("origin", "https://trellis.example:8443")], false),
            (vec![("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], false),
        ] {
            assert_eq!(check_origin(&headers(&list), &config).is_ok(), allowed, "{list:?}");
        }
    }

    #[test]
    fn a15_a_token_is_good_for_its_session_only() {
        let (key, session) = (Key::new([1; 32]), Uuid::from_u128(1));
        let good = token(&key, session);
        let check = |token: &str| check_token(&headers(&[("x-csrf-token", token)]), &key, session).is_ok();
        assert!(check(&good));
        assert!(check_token(&headers(&[]), &key, session).is_err());
        let others =
            [token(&key, Uuid::from_u128(2)), token(&Key::new([2; 32]), session), format!("{good}A")];
        for bad in others.iter().map(String::as_str).chain(["", "x", &good[1..]]) {
            assert!(!check(bad), "{bad}");
        }
    }
}
