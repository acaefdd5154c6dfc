//! Every answer that is not a success: RFC 9457 problems.
//!
//! A handler returns a [`Problem`]; what the domain refuses becomes one by `From`. The source of a problem is logged once,
//! at the edge of the request, and never sent: `detail` is for clients and carries no SQL, path, token or address.

mod code;
mod from_domain;
mod schema;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

pub use code::{Code, FieldCode};
pub use schema::Schema;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Fields reported at most: a body of nothing but unknown fields must not grow in the reply.
const REPORTED_FIELDS: usize = 50;

/// One field that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) into the body, or `?name` for a query parameter.
    pub pointer: String,
    /// Why.
    pub code: FieldCode,
    /// Why, for people.
    pub detail: Cow<'static, str>,
}

/// Why a request is not served.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
    members: Vec<(&'static str, serde_json::Value)>,
    closes: bool,
    source: Option<anyhow::Error>,
}

impl Problem {
    /// A problem that says no more than its code does.
    pub fn new(code: Code) -> Self {
        Self {
            code,
            detail: None,
            errors: Vec::new(),
            headers: Vec::new(),
            members: Vec::new(),
            closes: false,
            source: None,
        }
    }

    /// Fields that are not valid.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        Self { errors, ..Self::new(Code::Validation) }
    }

    /// One field of the body is not valid, for a reason of the domain.
    pub fn of_field(pointer: &str, complaint: impl Into<crate::body::Complaint>) -> Self {
        Self::validation(vec![complaint.into().at(pointer.to_owned())])
    }

    /// One field that is not valid.
    pub fn field(pointer: impl Into<String>, code: FieldCode) -> Self {
        let detail = Cow::Borrowed(code.detail());
        Self::validation(vec![FieldError { pointer: pointer.into(), code, detail }])
    }

    /// Nobody is signed in, or not any more.
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"trellis\""))
    }

    /// Something broke on our side.
    pub fn internal(source: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Internal).because(source)
    }

    /// Something that we need does not answer.
    pub fn unavailable(source: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Unavailable).retry_after(Duration::from_secs(2)).because(source)
    }

    /// The same problem that somebody else met and logged.
    pub fn like(code: Code) -> Self {
        match code {
            Code::Unauthenticated => Self::unauthenticated(),
            Code::Unavailable | Code::Overloaded => Self::new(code).retry_after(Duration::from_secs(2)),
            code => Self::new(code),
        }
    }

    /// Says what happened this time. Sent to the client.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// When to come back, in whole seconds, one at least.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Sends a header along.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a member of its own to the body (RFC 9457, 3.2).
    #[must_use]
    pub fn member(mut self, name: &'static str, value: serde_json::Value) -> Self {
        self.members.push((name, value));
        self
    }

    /// Closes the connection after the answer: more of the request may be on its way.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Keeps the error behind it, for the log only.
    #[must_use]
    pub fn because(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A member of its own.
    pub fn member_of(&self, name: &str) -> Option<&serde_json::Value> {
        self.members.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// What happened this time, for people.
    pub fn words(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.code.title())
    }

    /// Its code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The fields that are not valid.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// The error behind it, for the log.
    pub fn source(&self) -> Option<&anyhow::Error> {
        self.source.as_ref()
    }

    /// The answer as it is sent. `origin` is our own, so that `type` leads to the page about the code.
    pub fn render(&self, origin: &str, request_id: &str) -> HttpResponse {
        let slug = self.code.slug();
        let body = Body {
            r#type: format!("{origin}/problems/{slug}"),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: self.words(),
            code: slug,
            request_id,
            errors: self.errors.iter().take(REPORTED_FIELDS).map(FieldBody::from).collect(),
            members: self.members.iter().map(|(name, value)| (*name, value)).collect(),
        };
        let mut response = HttpResponse::build(self.code.status());
        for header in &self.headers {
            response.append_header(header.clone());
        }
        if self.closes {
            response.force_close();
        }
        // A body of texts and numbers has nothing that could not be written.
        response.content_type(MEDIA_TYPE).body(serde_json::to_vec(&body).unwrap_or_default())
    }
}

/// A problem as it is sent.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldBody<'a>>,
    #[serde(flatten)]
    members: BTreeMap<&'a str, &'a serde_json::Value>,
}

#[derive(Serialize)]
struct FieldBody<'a> {
    pointer: &'a str,
    code: &'a str,
    detail: &'a str,
}

impl<'a> From<&'a FieldError> for FieldBody<'a> {
    fn from(error: &'a FieldError) -> Self {
        Self { pointer: &error.pointer, code: error.code.slug(), detail: &error.detail }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.slug())
    }
}

/// The edge middleware renders the answer, because only there the request id is at hand; what is made here is replaced.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.code.status())
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::MessageBody as _;
    use serde_json::json;

    use super::*;

    fn body(response: HttpResponse) -> serde_json::Value {
        serde_json::from_slice(&response.into_body().try_into_bytes().unwrap()).unwrap()
    }

    #[test]
    fn a_problem_has_the_members_of_rfc_9457_and_ours_and_never_its_source() {
        let problem = Problem::internal(anyhow::anyhow!("SELECT password FROM users"));
        let response = problem.render("https://trellis.example", "r-1");
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers().get("content-type").unwrap(), MEDIA_TYPE);
        assert_eq!(
            body(response),
            json!({
                "type": "https://trellis.example/problems/internal",
                "title": "Something went wrong on our side",
                "status": 500,
                "detail": "Something went wrong on our side",
                "code": "internal",
                "request_id": "r-1",
            })
        );
    }

    #[test]
    fn every_field_is_listed_but_not_without_end() {
        let error = |n: usize| FieldError {
            pointer: format!("/{n}"),
            code: FieldCode::UnknownField,
            detail: "x".into(),
        };
        let response = Problem::validation((0..500).map(error).collect()).render("", "");
        let body = body(response);
        assert_eq!(body["errors"].as_array().unwrap().len(), REPORTED_FIELDS);
        assert_eq!(body["errors"][1], json!({"pointer": "/1", "code": "unknown_field", "detail": "x"}));
    }

    #[test]
    fn waits_are_rounded_up_to_a_second() {
        for (wait, header) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2")] {
            let response =
                Problem::new(Code::Overloaded).retry_after(Duration::from_millis(wait)).render("", "");
            assert_eq!(response.headers().get("retry-after").unwrap(), header);
        }
    }
}
