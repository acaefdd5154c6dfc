//! Turning a template into an answer: the one place that sets the headers of every page.
//!
//! No page leaves without its content security policy, and none lets its URL leak: mail links carry tokens, so the
//! referrer is withheld everywhere.

use actix_web::HttpResponse;
use actix_web::http::header;
use askama::Template;

use super::Page;
use crate::problem::Problem;

/// What a page may load and where it may send: our own origin, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// How long a page may be kept.
#[derive(Clone, Copy)]
pub(super) enum Keep {
    /// Never: the URL carries a token, or the page shows an account.
    Never,
    /// Only after asking again.
    Checked,
    /// For an hour, by anybody: the same for everyone.
    Hour,
    /// Until the address changes.
    ForGood,
}

impl Keep {
    pub(super) fn header(self) -> (header::HeaderName, &'static str) {
        let value = match self {
            Self::Never => "no-store",
            Self::Checked => "no-cache",
            Self::Hour => "public, max-age=3600",
            Self::ForGood => "public, max-age=31536000, immutable",
        };
        (header::CACHE_CONTROL, value)
    }
}

/// A page under the common policy.
pub(super) fn render(template: &impl Template, keep: Keep) -> Page {
    respond(template, keep, POLICY)
}

/// A page that also frames another page of ours.
pub(super) fn render_framing(template: &impl Template, keep: Keep) -> Page {
    respond(template, keep, &format!("{POLICY}; frame-src 'self'"))
}

fn respond(template: &impl Template, keep: Keep, policy: &str) -> Page {
    let body = template.render().map_err(Problem::internal)?;
    let mut page = document(body, keep, policy);
    // What `frame-ancestors` says, for browsers that are too old to know it.
    page.headers_mut().insert(header::X_FRAME_OPTIONS, header::HeaderValue::from_static("DENY"));
    Ok(page)
}

/// An HTML document with the headers that every one of ours has.
pub(super) fn document(body: String, keep: Keep, policy: &str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header(("cross-origin-opener-policy", "same-origin"))
        .insert_header(keep.header())
        .body(body)
}
