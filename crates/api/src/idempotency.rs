//! The `Idempotency-Key` of a request that must have one effect however often it is sent.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::problem::{Code, Problem};

/// The name of the header.
pub const HEADER: &str = "idempotency-key";

/// The longest key.
const LONGEST: usize = 255;

/// A key that the client chose: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(pub String);

impl IdempotencyKey {
    fn of(request: &HttpRequest) -> Option<Self> {
        let mut values = request.headers().get_all(HEADER);
        let (value, None) = (values.next()?, values.next()) else { return None };
        let key = value.to_str().ok()?.trim();
        let is_key = (1..=LONGEST).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        is_key.then(|| Self(key.to_owned()))
    }
}

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let missing = || {
            Problem::new(Code::BadRequest)
                .detail("Send one Idempotency-Key header of 1 to 255 visible ASCII characters.")
        };
        ready(Self::of(request).ok_or_else(missing))
    }
}

/// A key that may be left out; a header that is no key is refused all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalKey(pub Option<IdempotencyKey>);

impl FromRequest for OptionalKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if !request.headers().contains_key(HEADER) {
            return ready(Ok(Self(None)));
        }
        ready(IdempotencyKey::from_request(request, payload).into_inner().map(|key| Self(Some(key))))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_key_is_one_header_of_visible_characters() {
        let of = |values: &[&str]| {
            let mut request = TestRequest::default();
            for value in values {
                request = request.append_header((HEADER, *value));
            }
            IdempotencyKey::of(&request.to_http_request()).map(|key| key.0)
        };
        let longest = "k".repeat(255);
        for key in ["a", "\"quoted-1\"", "018f-{}", &longest] {
            assert_eq!(of(&[key]).as_deref(), Some(key));
        }
        for keys in [&[][..], &[""], &[" "], &["a b"], &["a", "a"], &[&"k".repeat(256)], &["a\tb"]] {
            assert_eq!(of(keys), None, "{keys:?}");
        }
    }
}
