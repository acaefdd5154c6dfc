//! The front door: the start page.

use actix_web::HttpRequest;
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
