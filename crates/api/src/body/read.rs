//! The body's way from the socket: content type, size, time, JSON.
//!
//! The HTTP library bounds neither the size nor the time of a body that a handler reads itself, so both are bounded here.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt as _;

use super::{Fields, LargeFields, OptionalFields};
use crate::app::State;
use crate::config::{BODY_LIMIT, IMPORT_LIMIT};
use crate::problem::{Code, Problem};

impl FromRequest for Fields {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        Box::pin(fields(request, payload, BODY_LIMIT))
    }
}

impl FromRequest for LargeFields {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let fields = fields(request, payload, IMPORT_LIMIT);
        Box::pin(async move { fields.await.map(Self) })
    }
}

/// The fields of a body of `limit` bytes at most.
fn fields(
    request: &HttpRequest,
    payload: &mut Payload,
    limit: u64,
) -> impl Future<Output = Result<Fields, Problem>> + use<> {
    let checked = check_head(request.headers(), limit);
    let time_out = State::of(request).map(|state| state.config.body_timeout);
    let payload = payload.take();
    async move {
        checked?;
        Fields::from_bytes(&read(payload, limit, time_out?).await?)
    }
}

impl FromRequest for OptionalFields {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let has_body = headers.contains_key(header::TRANSFER_ENCODING)
            || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
        if !has_body {
            return Box::pin(async { Ok(Self(Fields::none())) });
        }
        let fields = Fields::from_request(request, payload);
        Box::pin(async move { fields.await.map(Self) })
    }
}

/// What the headers alone tell about a body.
fn check_head(headers: &HeaderMap, limit: u64) -> Result<(), Problem> {
    if !is_json(headers) {
        return Err(Problem::new(Code::UnsupportedMediaType).closing());
    }
    check_length(headers, limit)
}

/// Refuses a body that announces more than `limit` bytes, before any of it is read.
pub(super) fn check_length(headers: &HeaderMap, limit: u64) -> Result<(), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limit) {
        return Err(Problem::new(Code::PayloadTooLarge).closing());
    }
    Ok(())
}

/// `application/json`, in UTF-8 if a charset is given, and not compressed: nobody needs 64 KiB compressed.
fn is_json(headers: &HeaderMap) -> bool {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return false;
    }
    let mut types = headers.get_all(header::CONTENT_TYPE);
    let (Some(Ok(content_type)), None) = (types.next().map(|value| value.to_str()), types.next()) else {
        return false;
    };
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case("application/json")
        && parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

/// A body of `limit` bytes at most that arrives in time.
pub(super) async fn read(payload: Payload, limit: u64, time_out: Duration) -> Result<Bytes, Problem> {
    tokio::time::timeout(time_out, read_all(payload, limit))
        .await
        .unwrap_or_else(|_| Err(Problem::new(Code::RequestTimeout).closing()))
}

async fn read_all(mut payload: Payload, limit: u64) -> Result<Bytes, Problem> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(broken)?;
    let mut body = BytesMut::new();
    let mut chunk = first;
    loop {
        if body.len() + chunk.len() > limit {
            return Err(Problem::new(Code::PayloadTooLarge).closing());
        }
        let next = payload.next().await;
        match next {
            // The usual case: the body came in one piece, and is not copied.
            None if body.is_empty() => return Ok(chunk),
            None => {
                body.extend_from_slice(&chunk);
                return Ok(body.freeze());
            }
            Some(next) => {
                body.extend_from_slice(&chunk);
                chunk = next.map_err(broken)?;
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function from one error to another")]
fn broken(error: PayloadError) -> Problem {
    match error {
        PayloadError::Overflow => Problem::new(Code::PayloadTooLarge),
        _ => Problem::new(Code::BadRequest).detail("The body did not arrive whole."),
    }
    .closing()
}

/// Says where, and nothing of what: the body may hold a password.
pub(super) fn malformed(error: &serde_json::Error) -> Problem {
    let place = format!("The JSON breaks off at line {}, column {}.", error.line(), error.column());
    Problem::new(Code::MalformedJson).detail(place)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_plain_json_in_utf_8_is_read() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert!(is_json(&headers(&[("content-type", good)])), "{good}");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=application/json",
            "application/jsonp",
            "application/json, text/plain",
            "application/json; charset=utf-16",
            "",
        ] {
            assert!(!is_json(&headers(&[("content-type", bad)])), "{bad}");
        }
        assert!(!is_json(&headers(&[])));
        assert!(!is_json(&headers(&[("content-type", "application/json"), ("content-encoding", "gzip")])));
        assert!(!is_json(&headers(&[("content-type", "application/json"), ("content-type", "text/plain")])));
    }

    #[test]
    fn h1_a_length_over_the_limit_is_refused_before_reading() {
        let with_length = |length| {
            let sent = headers(&[("content-type", "application/json"), ("content-length", length)]);
            check_head(&sent, BODY_LIMIT)
        };
        assert!(with_length("65536").is_ok());
        assert_eq!(with_length("65537").unwrap_err().code(), Code::PayloadTooLarge);
    }
}
