//! What is known about a request while it is served, in one place that costs one allocation.

use std::cell::Cell;
use std::fmt;
use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderValue};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use uuid::Uuid;

use crate::auth::Caller;
use crate::cache::Prefetched;
use crate::limits::Decision;
use crate::limits::policy::Policy;
use crate::problem::Problem;

/// The header that carries a request's id, in and out.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// The longest id that is taken from a client.
const LONGEST_ID: usize = 128;

/// The id of a request: in the log, in the answer, and carried into jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's, if it is a sane one, else a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(REQUEST_ID) {
            Some(id) if is_sane(id.as_bytes()) => Self(id.clone()),
            _ => Self::new(),
        }
    }

    fn new() -> Self {
        let mut buffer = Uuid::encode_buffer();
        let text = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
        // Hexadecimal digits and hyphens are always a header value.
        Self(HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("-")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }

    pub(super) fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Short, and of characters that mean nothing to a log, a shell or a terminal.
fn is_sane(id: &[u8]) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// What is known about a request so far.
pub(crate) struct Context {
    pub(crate) request_id: RequestId,
    /// The path pattern of the route, once routed.
    pub(crate) route: Cell<Option<&'static str>>,
    /// Who calls, once the guard knows.
    pub(crate) caller: Cell<Option<Caller>>,
    /// The cached copy that came with the caller's session.
    pub(crate) prefetched: Cell<Prefetched>,
    /// The limits of the route.
    pub(crate) policies: Cell<&'static [Policy]>,
    /// How the limits stand that this request was counted by.
    pub(crate) limits: Cell<Option<Decision>>,
}

impl Context {
    pub(super) fn new(request_id: RequestId) -> Self {
        Self {
            request_id,
            route: Cell::new(None),
            caller: Cell::new(None),
            prefetched: Cell::default(),
            policies: Cell::new(&[]),
            limits: Cell::new(None),
        }
    }
}

/// The context that the edge put there.
pub(crate) fn context(request: &HttpRequest) -> Result<Rc<Context>, Problem> {
    let context = request.extensions().get::<Rc<Context>>().cloned();
    context.ok_or_else(|| Problem::internal(anyhow::anyhow!("the request did not come through the edge")))
}

impl FromRequest for RequestId {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(context(request).map(|context| context.request_id.clone()))
    }
}

impl FromRequest for Prefetched {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(context(request).map(|context| context.prefetched.take()))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    #[test]
    fn only_sane_ids_are_taken_over() {
        let of = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(REQUEST_ID), HeaderValue::from_bytes(id).unwrap());
            RequestId::of(&headers).to_string()
        };
        let longest = "x".repeat(128);
        for good in ["a", "0192f0c1-7a2b-7000-8000-000000000000", "A_b.c-9", longest.as_str()] {
            assert_eq!(of(good.as_bytes()), good);
        }
        let too_long = "x".repeat(129);
        for bad in [&b""[..], b"a b", b"a/b", "é".as_bytes(), b"a\"b", b"$(id)", b"\xff", too_long.as_bytes()]
        {
            assert_eq!(of(bad).parse::<Uuid>().unwrap().get_version_num(), 7, "{bad:?}");
        }
    }
}
