//! Public pages of links, and the small pages that let a person do the whole main job in a browser.
//!
//! Every page but the public ones is a GET that renders a template and reads nothing but its own URL; what a person does
//! on it goes through the JSON API, called by `assets/app.js`. So nothing there knows accounts, sessions or the database.
//! A public page comes from [`crate::published`]. Each page carries a strict content security policy, and templates hold
//! no inline script or style. Left out on purpose: anything that needs a signed-in user on the server side.

mod account;
mod assets;
mod html;
mod mailbox;
mod notices;
mod pictures;
mod public;
mod reference;
mod site;
mod start;

use std::future::ready;

use actix_web::{HttpRequest, HttpResponse};
use domain::pages::PublicPage;

use crate::app::{Shared, State};
use crate::auth::{cookies, sign_in};
use crate::oidc::Provider;
use crate::problem::Problem;
use crate::routes::Row;
pub(crate) use pictures::{Pictures, room as pictures_room};
use site::Site;

/// What a page handler answers.
pub(crate) type Page = Result<HttpResponse, Problem>;

/// The rows of what strangers ask for: a path is compared with one row after the other, so they come first.
pub(crate) fn public_rows() -> Vec<Row> {
    vec![
        Row::page("/@{username}", public::page).on_public_host(),
        Row::page("/avatars/{digest}", pictures::avatar),
        Row::page("/thumbnails/{digest}", pictures::thumbnail),
    ]
}

/// The rows of the other pages in the route table.
pub(crate) fn rows() -> Vec<Row> {
    vec![
        page("/", start::start),
        Row::page("/robots.txt", || ready(notices::robots())),
        Row::page("/llms.txt", |state: Shared| ready(notices::llms(&state))),
        Row::page("/.well-known/security.txt", |state: Shared| ready(notices::security(&state))),
        Row::page("/.well-known/change-password", || ready(notices::change_password())).on_public_host(),
        page("/register", account::register),
        page("/register/confirm", account::register_confirm),
        page("/login", account::login),
        page("/forgot-password", account::forgot_password),
        page("/reset-password", account::reset_password),
        page("/verify-email", account::verify_email),
        page("/report", account::report),
        Row::page("/dashboard", |state: Shared, request: HttpRequest| ready(dashboard(&state, &request)))
            .on_public_host(),
        page("/problems", reference::index),
        page("/problems/{code}", reference::problem),
        Row::page("/favicon.svg", |request: HttpRequest| ready(assets::favicon(&request))),
        Row::page("/favicon.ico", |request: HttpRequest| ready(assets::favicon(&request))),
        file("/assets/{name}", assets::current),
        file("/assets/{version}/{name}", assets::versioned),
        Row::page("/dev/mail", mailbox::list).in_development(),
        Row::page("/dev/mail/{file}", mailbox::read).in_development(),
        Row::page("/dev/mail/{file}/html", mailbox::html_part).in_development(),
    ]
}

/// Somebody's public page as HTML, and the policy to send it with.
pub(crate) fn public_page(state: &State, page: &PublicPage) -> Result<(String, &'static str), Problem> {
    public::render(state, page)
}

/// The page about a sign-in with an identity provider that failed; its status is the caller's to set.
pub(crate) fn sign_in_failed(state: &State, provider: Option<&Provider>, problem: &Problem) -> Page {
    account::sign_in_failed(Site::of(state), provider, problem)
}

/// A page that is rendered from its request alone.
fn page(path: &'static str, answer: fn(Site<'_>, &HttpRequest) -> Page) -> Row {
    let answer = move |state: Shared, request: HttpRequest| ready(answer(Site::of(&state), &request));
    Row::page(path, answer).on_public_host()
}

/// The dashboard. A browser with a session gets its CSRF cookie again, which it may have lost: without it the page could
/// neither go on nor sign out. The session's own cookie tells which, also when the token in it has expired.
fn dashboard(state: &State, request: &HttpRequest) -> Page {
    let mut page = account::dashboard(Site::of(state), request)?;
    let access = state.cookies.read(request.headers(), &cookies::ACCESS);
    if let Some(session_id) = access.and_then(|token| state.jwt.session_of(token)) {
        let cookie = state.cookies.csrf(sign_in::csrf_token(state, session_id));
        page.add_cookie(&cookie).map_err(Problem::internal)?;
    }
    Ok(page)
}

/// A file that is compiled in.
fn file(path: &'static str, answer: fn(&HttpRequest) -> Page) -> Row {
    Row::page(path, move |request: HttpRequest| ready(answer(&request)))
}
