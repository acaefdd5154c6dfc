//! The development mailbox: what the worker wrote to `MAIL_DIR`, as a list and as messages.
//!
//! Its routes exist in development only. A message is shown as a stranger's would be: its HTML in a sandboxed frame
//! under a policy of its own, which runs no script and loads nothing.

mod folder;
mod message;

use actix_web::web;
use askama::Template;

use super::Page;
use super::html::{self, Keep};
use super::site::Site;
use crate::app::{Shared, State};
use crate::problem::{Code, Problem};
use folder::Entry;
use message::{Message, Piece};

/// What the HTML part of a message may do: look as it was written, and lead to links in the whole window.
const MESSAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'self'; \
    sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation";

#[derive(Template)]
#[template(path = "mailbox.html")]
struct Mailbox<'a> {
    site: Site<'a>,
    entries: &'a [Entry],
}

#[derive(Template)]
#[template(path = "mail.html")]
struct Mail<'a> {
    site: Site<'a>,
    entry: &'a Entry,
    from: &'a str,
    html: bool,
    text: &'a [Piece],
}

/// `/dev/mail`
pub(super) async fn list(state: Shared) -> Page {
    let folder = state.config.mail_dir.clone();
    let entries = web::block(move || folder::list(&folder))
        .await
        .map_err(Problem::internal)?
        .map_err(Problem::internal)?;
    html::render(&Mailbox { site: Site::of(&state), entries: &entries }, Keep::Never)
}

/// `/dev/mail/{file}`
pub(super) async fn read(state: Shared, file: web::Path<String>) -> Page {
    let (entry, message) = open(&state, file.into_inner()).await?;
    let page = Mail {
        site: Site::of(&state),
        entry: &entry,
        from: &message.from,
        html: message.html.is_some(),
        text: &message.text,
    };
    html::render_framing(&page, Keep::Never)
}

/// `/dev/mail/{file}/html`
pub(super) async fn html_part(state: Shared, file: web::Path<String>) -> Page {
    let (_, message) = open(&state, file.into_inner()).await?;
    let html = message.html.ok_or_else(|| Problem::new(Code::NotFound))?;
    // Links leave the frame. The parser takes this tag into the document's head, whatever follows.
    let body = format!("<!doctype html><base target=\"_top\">{html}");
    Ok(html::document(body, Keep::Never, MESSAGE_POLICY))
}

async fn open(state: &State, file: String) -> Result<(Entry, Message), Problem> {
    let folder = state.config.mail_dir.clone();
    let found = web::block(move || folder::open(&folder, &file))
        .await
        .map_err(Problem::internal)?
        .map_err(Problem::internal)?;
    found.ok_or_else(|| Problem::new(Code::NotFound))
}
