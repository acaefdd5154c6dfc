//! The front door: the start page, and what it tells robots.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::Page;
use super::html::{self, Keep};
use super::site::Site;

#[derive(Template)]
#[template(path = "start.html")]
struct Start<'a> {
    site: Site<'a>,
}

/// `/`
pub(super) fn start(site: Site<'_>, _: &HttpRequest) -> Page {
    html::render(&Start { site }, Keep::Checked)
}

/// `/robots.txt`: pages for people are open; the API is not for crawling, and a crawler's visit to an invitation
/// or a link would be counted as a person's.
pub(super) fn robots() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header(Keep::Hour.header())
        .body("User-agent: *\nDisallow: /api/\nDisallow: /r/\nDisallow: /l/\nDisallow: /dev/\n")
}
