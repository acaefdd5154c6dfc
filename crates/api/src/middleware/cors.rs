//! Cross-origin requests: an exact list of origins, with credentials, and never `*`.

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use crate::config::Config;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, x-csrf-token, x-request-id, x-trellis-user",
);
const RESPONSE_HEADERS: HeaderValue =
    HeaderValue::from_static("etag, link, ratelimit, ratelimit-policy, retry-after, x-request-id");
const TEN_MINUTES: HeaderValue = HeaderValue::from_static("600");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const ORIGIN: HeaderValue = HeaderValue::from_static("origin");

/// The origin of a request, if its pages may read our answers.
pub(super) fn allowed_origin(headers: &HeaderMap, config: &Config) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    config.is_allowed_origin(origin.to_str().ok()?).then(|| origin.clone())
}

/// The answer to a preflight request of an allowed origin. Any other preflight is an ordinary request, and fails.
pub(super) fn preflight(method: &Method, headers: &HeaderMap) -> Option<HttpResponse> {
    if method != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let response = HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, TEN_MINUTES))
        .finish();
    Some(response)
}

/// Lets the pages of an allowed origin read an answer, and keeps shared caches from mixing origins up.
pub(super) fn decorate(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.append(header::VARY, ORIGIN);
    let Some(origin) = origin else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
}
