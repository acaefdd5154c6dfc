//! The development mailbox: what the worker wrote to `MAIL_DIR`, as a list and as messages.
//!
//! Its routes exist in development only. A message is shown as a stranger's would be: its HTML in a sandboxed frame
//! under a policy of its own, which runs no script and loads nothing.

use actix_web::error::{ErrorInternalServerError, ErrorNotFound};
use actix_web::web;
use askama::Template;

use self::folder::Entry;
use self::message::{Message, Piece};
use super::Page;
use super::html::{self, Keep};
use super::site::Site;

mod folder;
mod message;

/// What the HTML part of a message may do: look as it was written, and lead to links in the whole window.
const MESSAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'self'; \
    sandbox allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation";

#[derive(Template)]
#[template(path = "mailbox.html")]
struct Mailbox<'a> {
    site: &'a Site,
    entries: &'a [Entry],
}

#[derive(Template)]
#[template(path = "mail.html")]
struct Mail<'a> {
    site: &'a Site,
    entry: &'a Entry,
    from: &'a str,
    html: bool,
    text: &'a [Piece],
}

/// `/dev/mail`
pub(super) async fn list(site: web::Data<Site>) -> Page {
    let folder = site.config.mail_dir.clone();
    let entries = web::block(move || folder::list(&folder)).await?.map_err(ErrorInternalServerError)?;
    html::render(&Mailbox { site: &site, entries: &entries }, Keep::Never)
}

/// `/dev/mail/{file}`
pub(super) async fn read(site: web::Data<Site>, file: web::Path<String>) -> Page {
    let (entry, message) = open(&site, file.into_inner()).await?;
    let page = Mail {
        site: &site,
        entry: &entry,
        from: &message.from,
        html: message.html.is_some(),
        text: &message.text,
    };
    html::render_framing(&page, Keep::Never)
}

/// `/dev/mail/{file}/html`
pub(super) async fn html_part(site: web::Data<Site>, file: web::Path<String>) -> Page {
    let (_, message) = open(&site, file.into_inner()).await?;
    let html = message.html.ok_or_else(|| ErrorNotFound("no HTML part"))?;
    // Links leave the frame. The parser takes this tag into the document's head, whatever follows.
    let body = format!("<!doctype html><base target=\"_top\">{html}");
    Ok(html::document(body, Keep::Never, MESSAGE_POLICY))
}

async fn open(site: &Site, file: String) -> actix_web::Result<(Entry, Message)> {
    let folder = site.config.mail_dir.clone();
    let found = web::block(move || folder::open(&folder, &file)).await?.map_err(ErrorInternalServerError)?;
    found.ok_or_else(|| ErrorNotFound("no such message"))
}
