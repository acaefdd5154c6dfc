//! `/@{username}`: a page of links for anybody, which needs no script to be read.
//!
//! What its owner wrote reaches the page escaped, and addresses only through [`LinkUrl`](domain::pages::LinkUrl). The policy
//! lets it load our style sheet and pictures and nothing else; JSON-LD is data, which a browser never runs.

mod icons;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use domain::pages::{PictureKind, PublicLink, PublicPage, Social};
use serde_json::json;
use uuid::Uuid;

use super::Page;
use super::site::Site;
use crate::app::{Shared, State};
use crate::problem::{Code, Problem};
use crate::published::{self, Absent};
use crate::reply;

/// What a public page may do: show itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; base-uri 'none'; \
    frame-ancestors 'none'";

/// Characters of a description that search engines and chat programs show.
const DESCRIPTION: usize = 200;

#[derive(Template)]
#[template(path = "public.html")]
struct View<'a> {
    site: Site<'a>,
    page: &'a PublicPage,
    url: String,
    avatar_path: Option<String>,
    initial: char,
    description: String,
    json_ld: String,
    groups: Vec<Group<'a>>,
    social: Vec<Icon<'a>>,
}

/// A header, and the links up to the next.
#[derive(Default)]
struct Group<'a> {
    heading: Option<&'a str>,
    links: Vec<Item<'a>>,
}

struct Item<'a> {
    id: Uuid,
    title: &'a str,
    thumbnail_path: Option<String>,
    pinned: bool,
    highlighted: bool,
}

struct Icon<'a> {
    title: &'static str,
    url: &'a str,
    path: &'static str,
}

#[derive(Template)]
#[template(path = "nobody.html")]
struct Nobody<'a> {
    site: Site<'a>,
}

/// `/@{username}`
pub(super) async fn page(state: Shared, request: HttpRequest) -> Page {
    let username = request.match_info().get("username").unwrap_or_default();
    match published::find(&state, username).await?.page(|name| format!("/@{name}")) {
        Ok(page) => {
            state.clicks.view(&state, &request, page.owner);
            Ok(page.html.answer(&request))
        }
        Err(Absent::Moved(path)) => Ok(published::moved(&request, &path)),
        Err(Absent::Nothing) => nobody(&state, &request),
    }
}

/// The one answer for every name that has no page: words for people, a problem for programs.
fn nobody(state: &State, request: &HttpRequest) -> Page {
    let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if !accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        let varies = header::HeaderValue::from_static("accept");
        return Err(Problem::new(Code::NotFound).header(header::VARY, varies));
    }
    let body = Nobody { site: Site::of(state) }.render().map_err(Problem::internal)?;
    Ok(HttpResponse::NotFound()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::VARY, "accept"))
        .body(body))
}

/// The document of a page, and the policy to send it with.
pub(crate) fn render(state: &State, page: &PublicPage) -> Result<(String, &'static str), Problem> {
    let url = reply::page_url(state, &page.username);
    let avatar = page.avatar.as_deref();
    let avatar_url = avatar.map(|digest| reply::picture_url(state, PictureKind::Avatar, digest));
    let description = describe(page);
    let view = View {
        site: Site::of(state),
        json_ld: json_ld(page, &url, avatar_url.as_deref()),
        initial: initial(page),
        groups: groups(&page.links),
        social: page.social.iter().map(Icon::from).collect(),
        url,
        avatar_path: avatar.map(|digest| reply::picture_path(PictureKind::Avatar, digest)),
        description,
        page,
    };
    Ok((view.render().map_err(Problem::internal)?, POLICY))
}

impl<'a> From<&'a Social> for Icon<'a> {
    fn from(social: &'a Social) -> Self {
        Self { title: social.network.title(), url: social.url.as_str(), path: icons::path(social.network) }
    }
}

fn groups(links: &[PublicLink]) -> Vec<Group<'_>> {
    let mut groups = vec![Group::default()];
    for link in links {
        if link.is_header {
            groups.push(Group { heading: Some(&link.title), links: Vec::new() });
        } else if let Some(group) = groups.last_mut() {
            let thumbnail = link.thumbnail.as_ref();
            group.links.push(Item {
                id: link.id,
                title: &link.title,
                thumbnail_path: thumbnail.map(|digest| reply::picture_path(PictureKind::Thumbnail, digest)),
                pinned: link.pinned,
                highlighted: link.highlighted,
            });
        }
    }
    groups.retain(|group| group.heading.is_some() || !group.links.is_empty());
    groups
}

/// The first letter of the name, in place of a picture.
fn initial(page: &PublicPage) -> char {
    let first = page.name().chars().next().filter(|letter| letter.is_alphanumeric());
    let letter = first.or_else(|| page.username.chars().next()).unwrap_or('?');
    letter.to_uppercase().next().unwrap_or(letter)
}

/// One line about the page.
fn describe(page: &PublicPage) -> String {
    if page.bio.is_empty() {
        return format!("All links of {} in one place.", page.name());
    }
    let line = page.bio.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(DESCRIPTION) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
        None => line,
    }
}

/// The page as schema.org has it.
fn json_ld(page: &PublicPage, url: &str, avatar_url: Option<&str>) -> String {
    let mut person = json!({
        "@type": "Person",
        "name": page.name(),
        "alternateName": page.username,
        "url": url,
    });
    if let Some(members) = person.as_object_mut() {
        if !page.bio.is_empty() {
            members.insert("description".to_owned(), page.bio.as_str().into());
        }
        if let Some(avatar_url) = avatar_url {
            members.insert("image".to_owned(), avatar_url.into());
        }
        let places: Vec<&str> = page.social.iter().map(|social| social.url.as_str()).collect();
        if !places.is_empty() {
            members.insert("sameAs".to_owned(), places.into());
        }
    }
    let document = json!({
        "@context": "https://schema.org",
        "@type": "ProfilePage",
        "dateModified": page.updated_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "mainEntity": person,
    });
    in_script(&document.to_string())
}

/// JSON inside a `script` element: no `<`, so that nothing in it ends the element or begins a comment.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests;
