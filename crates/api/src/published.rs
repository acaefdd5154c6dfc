//! Public pages as they are sent: rendered once, and kept as bytes beside their tags.
//!
//! [`find`] is the whole way of a request for a page: a hit touches neither PostgreSQL nor Redis and copies nothing. What a
//! page shows depends on its owner's edits and on the time alone, never on who asks, so everybody gets the same bytes.

use std::sync::Arc;

use actix_web::http::header::{self, EntityTag, Header as _, HeaderValue, IfNoneMatch};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use domain::accounts::{self, Username};
use domain::pages::{self, PictureKind, PublicLink, PublicPage};
use domain::token::hex;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::{Shared, State};
use crate::card::{Card, Palette};
use crate::nearby::Nearby;
use crate::pages as html;
use crate::problem::{Code, Problem};
use crate::reply;

/// What copies of pages may weigh together, in bytes.
const ROOM: u64 = 64 << 20;

/// Anybody may keep a page for as long as it takes to ask whether it is still right; while that is asked, and for a moment
/// while we cannot be reached, the old one will do.
const KEEP: HeaderValue = HeaderValue::from_static("public, max-age=0, stale-while-revalidate=30");

/// What there is under each username.
pub type Pages = Nearby<String, Found>;

/// What there is under a username.
#[derive(Clone, Debug)]
pub enum Found {
    /// A page.
    Page(Arc<Published>),
    /// Nothing any more: the owner of the page has this name now.
    Moved(Arc<str>),
    /// No page for the public, whatever the reason.
    Nothing,
}

impl Found {
    /// The page, or the answer that there is none here. `target` is where it is under another name.
    pub fn page(self, target: impl FnOnce(&str) -> String) -> Result<Arc<Published>, Absent> {
        match self {
            Self::Page(page) => Ok(page),
            Self::Moved(name) => Err(Absent::Moved(target(&name))),
            Self::Nothing => Err(Absent::Nothing),
        }
    }
}

/// Why there is no page under a username.
#[derive(Debug)]
pub enum Absent {
    /// It is at this path.
    Moved(String),
    /// There is none.
    Nothing,
}

impl Absent {
    /// The answer for programs.
    pub fn answer(self, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        match self {
            Self::Moved(path) => Ok(moved(request, &path)),
            Self::Nothing => Err(Problem::new(Code::NotFound)),
        }
    }
}

/// Leads to where something is now, with the query of the request. To be asked again each time: an owner who takes the former
/// name back must not be led away from it by what a browser remembers.
pub fn moved(request: &HttpRequest, path: &str) -> HttpResponse {
    let location = match request.query_string() {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    };
    HttpResponse::MovedPermanently()
        .insert_header((header::LOCATION, location))
        .insert_header((header::CACHE_CONTROL, KEEP))
        .finish()
}

/// A page, ready to be sent.
#[derive(Debug)]
pub struct Published {
    /// Whose.
    pub owner: Uuid,
    /// For people.
    pub html: Document,
    /// For programs.
    pub json: Document,
    /// What other sites show of it.
    pub card: Card,
}

/// One form of a page.
#[derive(Debug)]
pub struct Document {
    content_type: HeaderValue,
    policy: Option<HeaderValue>,
    body: Bytes,
    tag: HeaderValue,
}

impl Document {
    fn new(content_type: &'static str, policy: Option<&'static str>, body: Vec<u8>) -> Self {
        let tag = tag_of(&Sha256::digest(&body));
        Self {
            content_type: HeaderValue::from_static(content_type),
            policy: policy.map(HeaderValue::from_static),
            body: body.into(),
            tag,
        }
    }

    /// The answer: the page, or 304 for whoever has it.
    pub fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let known = is_known(&self.tag, request);
        let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer.insert_header((header::ETAG, self.tag.clone())).insert_header((header::CACHE_CONTROL, KEEP));
        if let Some(policy) = &self.policy {
            answer.insert_header((header::CONTENT_SECURITY_POLICY, policy.clone()));
        }
        if known {
            return answer.finish();
        }
        answer.insert_header((header::CONTENT_TYPE, self.content_type.clone())).body(self.body.clone())
    }
}

/// The answer with a picture of a page, which `draw` makes for whoever has no such picture yet. `tag` is as different as the
/// pictures are.
pub async fn answer_picture<F>(
    request: &HttpRequest,
    content_type: &'static str,
    tag: &[u8],
    draw: impl FnOnce() -> F,
) -> Result<HttpResponse, Problem>
where
    F: Future<Output = Result<Bytes, Problem>>,
{
    let tag = tag_of(tag);
    let known = is_known(&tag, request);
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, KEEP))
        // Anybody's page may show it.
        .insert_header(("cross-origin-resource-policy", "cross-origin"));
    if known {
        return Ok(answer.finish());
    }
    let body = draw().await?;
    Ok(answer.insert_header((header::CONTENT_TYPE, content_type)).body(body))
}

fn tag_of(digest: &[u8]) -> HeaderValue {
    // Hexadecimal digits in quotes are always a header value.
    let tag = format!("\"{}\"", hex(digest.get(..12).unwrap_or_default()));
    HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn is_known(tag: &HeaderValue, request: &HttpRequest) -> bool {
    let Some(sent) = request.headers().get(header::IF_NONE_MATCH) else { return false };
    // What browsers send: the tag as it was.
    if sent == tag {
        return true;
    }
    let tag = tag.to_str().ok().and_then(|tag| tag.parse::<EntityTag>().ok());
    match (IfNoneMatch::parse(request), tag) {
        (Ok(IfNoneMatch::Any), _) => true,
        (Ok(IfNoneMatch::Items(tags)), Some(tag)) => tags.iter().any(|known| known.weak_eq(&tag)),
        _ => false,
    }
}

/// Room for pages.
pub fn room() -> Pages {
    Nearby::new("page", ROOM, |name, page| {
        let found = match page {
            Found::Page(page) => page.html.body.len() + page.json.body.len(),
            Found::Moved(name) => name.len(),
            Found::Nothing => 0,
        };
        name.len() + found
    })
}

/// What there is under a username.
pub async fn find(state: &Shared, username: &str) -> Result<Found, Problem> {
    // Keys are names as they are stored: no other text finds one.
    if let Some(found) = state.published.get(username) {
        return Ok(found);
    }
    let Ok(username) = Username::parse(username) else { return Ok(Found::Nothing) };
    let shared = state.clone();
    state.published.get_or_load(username.to_string(), move |_| load(shared, username)).await
}

async fn load(state: Shared, username: Username) -> Result<Found, Problem> {
    if let Some(page) = pages::public_page(&state.pool, state.clock.now(), &username).await? {
        return Ok(Found::Page(Arc::new(publish(&state, &page)?)));
    }
    let moved = accounts::moved_to(&state.pool, &username).await?;
    Ok(moved.map_or(Found::Nothing, |name| Found::Moved(name.into())))
}

fn publish(state: &State, page: &PublicPage) -> Result<Published, Problem> {
    let json = serde_json::to_vec(&PageJson::new(state, page)).map_err(Problem::internal)?;
    let (html, policy) = html::public_page(state, page)?;
    Ok(Published {
        owner: page.owner,
        html: Document::new("text/html; charset=utf-8", Some(policy), html.into_bytes()),
        json: Document::new("application/json", None, json),
        card: Card {
            name: page.display_name.clone(),
            username: page.username.clone(),
            host: state.origin().split_once("://").map_or_else(String::new, |(_, host)| host.to_owned()),
            palette: Palette::of(page.theme),
            avatar: page.avatar.clone(),
        },
    })
}

/// A page as anybody sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = PublicPage)]
pub struct PageJson {
    username: String,
    /// Empty for the username.
    display_name: String,
    bio: String,
    avatar_url: Option<String>,
    /// How it looks.
    theme: &'static str,
    /// Places elsewhere.
    social: Vec<PublicPlace>,
    /// What shows now: pinned ones first.
    links: Vec<LinkJson>,
    /// Where somebody makes a page of their own, with the owner's invitation.
    referral_url: String,
    updated_at: DateTime<Utc>,
}

/// A place elsewhere.
#[derive(Serialize, ToSchema)]
pub struct PublicPlace {
    /// The network, such as `mastodon`.
    network: &'static str,
    /// The address there.
    url: String,
}

/// A link or header as anybody sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = PublicLink)]
pub struct LinkJson {
    id: Uuid,
    /// `link`, or `header`: a title between links.
    #[schema(pattern = "^(link|header)$")]
    kind: &'static str,
    title: String,
    /// Leads on to where the link leads; `null` of a header.
    url: Option<String>,
    thumbnail_url: Option<String>,
    pinned: bool,
    highlighted: bool,
}

impl PageJson {
    fn new(state: &State, page: &PublicPage) -> Self {
        let avatar = page.avatar.as_ref();
        let place = |social: &pages::Social| PublicPlace {
            network: social.network.as_str(),
            url: social.url.to_string(),
        };
        Self {
            username: page.username.clone(),
            display_name: page.display_name.clone(),
            bio: page.bio.clone(),
            avatar_url: avatar.map(|digest| reply::picture_url(state, PictureKind::Avatar, digest)),
            theme: page.theme.as_str(),
            social: page.social.iter().map(place).collect(),
            links: page.links.iter().map(|link| LinkJson::new(state, link)).collect(),
            referral_url: reply::referral_url(state, &page.referral_code),
            updated_at: page.updated_at,
        }
    }
}

impl LinkJson {
    fn new(state: &State, link: &PublicLink) -> Self {
        let thumbnail = link.thumbnail.as_ref();
        Self {
            id: link.id,
            kind: if link.is_header { "header" } else { "link" },
            title: link.title.clone(),
            url: (!link.is_header).then(|| reply::follow_url(state, link.id)),
            thumbnail_url: thumbnail.map(|digest| reply::picture_url(state, PictureKind::Thumbnail, digest)),
            pinned: link.pinned,
            highlighted: link.highlighted,
        }
    }
}
