//! The small pages that let a person do the whole main job in a browser.
//!
//! Every page is a GET that renders a template and reads nothing but its own URL; what a person does on it goes
//! through the JSON API, called by `assets/app.js`. So nothing here knows accounts, sessions or the database.
//! Each page carries a strict content security policy, and templates hold no inline script or style.
//! Left out on purpose: public profile pages, and anything that needs a signed-in user on the server side.

use std::path::PathBuf;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource};

mod account;
mod assets;
mod html;
mod mailbox;
mod reference;
mod site;
mod start;

/// What the pages need to know about the installation.
#[derive(Debug, Clone)]
pub struct PagesConfig {
    /// The address people reach this installation under, without a trailing slash.
    pub public_url: String,
    /// Whether the pages for developers (the mailbox) exist.
    pub development: bool,
    /// Where development mail is written, one `.eml` file each.
    pub mail_dir: PathBuf,
    /// The fewest characters a password may have, for the hint beside the field.
    pub password_min_length: usize,
    /// Every problem code, for the pages that problem `type` URLs lead to.
    pub problems: Vec<ProblemHelp>,
}

/// One problem code as its page explains it.
#[derive(Debug, Clone, Copy)]
pub struct ProblemHelp {
    /// The stable code, which is also the last part of the page's path.
    pub code: &'static str,
    /// What went wrong, in a few words.
    pub title: &'static str,
    /// The HTTP status the problem is sent with.
    pub status: u16,
    /// What to do about it.
    pub help: &'static str,
}

/// What a page handler answers.
type Page = actix_web::Result<HttpResponse>;

/// Registers every page, and the state they share.
pub fn configure(cfg: &mut ServiceConfig, config: &PagesConfig) {
    cfg.app_data(web::Data::new(site::Site::new(config.clone())));
    for (_, resource) in resources(config.development) {
        cfg.service(resource);
    }
}

/// Every page with its path; each answers GET and HEAD, with and without the closing slash.
///
/// The resources expect the state that [`configure`] registers. The mailbox is not merely refused outside
/// development: its routes do not exist.
pub fn resources(development: bool) -> Vec<(&'static str, Resource)> {
    let mut all = vec![
        page("/", start::start),
        page("/robots.txt", start::robots),
        page("/register", account::register),
        page("/login", account::login),
        page("/forgot-password", account::forgot_password),
        page("/reset-password", account::reset_password),
        page("/verify-email", account::verify_email),
        page("/dashboard", account::dashboard),
        page("/.well-known/change-password", account::change_password),
        page("/problems", reference::index),
        page("/problems/{code}", reference::problem),
        page("/favicon.svg", assets::favicon),
        page("/favicon.ico", assets::favicon),
        page("/assets/{name}", assets::current),
        page("/assets/{version}/{name}", assets::versioned),
    ];
    if development {
        all.extend([
            served("/dev/mail", mailbox::list),
            served("/dev/mail/{file}", mailbox::read),
            served("/dev/mail/{file}/html", mailbox::html_part),
        ]);
    }
    all
}

/// A page that is answered from its request alone.
fn page(path: &'static str, answer: fn(&site::Site, &HttpRequest) -> Page) -> (&'static str, Resource) {
    served(path, move |site: web::Data<site::Site>, request: HttpRequest| {
        std::future::ready(answer(&site, &request))
    })
}

/// A page with a handler of its own.
fn served<F, Args>(path: &'static str, handler: F) -> (&'static str, Resource)
where
    F: actix_web::Handler<Args, Output = Page>,
    Args: actix_web::FromRequest + 'static,
{
    let forms =
        if path.ends_with('/') { vec![path.to_owned()] } else { vec![path.to_owned(), format!("{path}/")] };
    let resource = web::resource(forms).route(web::get().to(handler.clone())).route(web::head().to(handler));
    (path, resource)
}
