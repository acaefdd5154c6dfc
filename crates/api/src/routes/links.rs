//! `/api/links/` and `/api/links/{id}/`: the links and headers of the caller's page.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::pages::{self, LinkEdit, LinkUrl, NewLink, Once, PictureKind, Target, Title};
use domain::rewards;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::{Shared, State};
use crate::auth::Caller;
use crate::body::{Complaint, Fields, OptionalFields};
use crate::idempotency::OptionalKey;
use crate::path;
use crate::problem::{Code, FieldCode, Problem};
use crate::reply::{self, Disabled};

/// Every link and header, in one's own order.
#[derive(Serialize, ToSchema)]
#[schema(as = Links)]
pub(super) struct List {
    items: Vec<Link>,
    /// How many there may be.
    limit: u32,
}

/// A link or header.
#[derive(Serialize, ToSchema)]
pub(super) struct Link {
    id: Uuid,
    /// `link`, or `header`: a title between links.
    #[schema(pattern = "^(link|header)$")]
    kind: String,
    title: String,
    /// Where it leads; `null` of a header.
    url: Option<String>,
    /// What people follow, so that it is counted; `null` of a header.
    follow_url: Option<String>,
    thumbnail_url: Option<String>,
    /// Whether it shows.
    enabled: bool,
    /// From when on it shows.
    visible_from: Option<DateTime<Utc>>,
    /// From when on it shows no more.
    visible_until: Option<DateTime<Utc>>,
    /// Above the others.
    pinned: bool,
    /// Set off from the others.
    highlighted: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Set when a manager took it down.
    disabled: Option<Disabled>,
}

impl Link {
    pub(super) fn new(state: &State, link: pages::Link) -> Self {
        let thumbnail = link.thumbnail.as_ref();
        Self {
            follow_url: (!link.is_header()).then(|| reply::follow_url(state, link.id)),
            thumbnail_url: thumbnail.map(|digest| reply::picture_url(state, PictureKind::Thumbnail, digest)),
            id: link.id,
            kind: link.kind,
            title: link.title,
            url: link.url,
            enabled: link.enabled,
            visible_from: link.visible_from,
            visible_until: link.visible_until,
            pinned: link.pinned,
            highlighted: link.highlighted,
            created_at: link.created_at,
            updated_at: link.updated_at,
            disabled: Disabled::new(link.disabled_reason),
        }
    }
}

/// A link or header to be made.
#[derive(ToSchema)]
#[schema(as = LinkNew)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct New {
    /// `link` unless said otherwise. It cannot be changed later.
    #[schema(pattern = "^(link|header)$")]
    kind: Option<String>,
    #[schema(min_length = 1, max_length = 120, example = "My shop")]
    title: String,
    /// `https:`, `http:`, `mailto:` or `tel:`. Required of a link; a header has none.
    #[schema(min_length = 1, max_length = 2048, example = "https://shop.example/")]
    url: Option<String>,
    /// `true` unless said otherwise.
    #[schema(nullable = false)]
    enabled: Option<bool>,
    visible_from: Option<DateTime<Utc>>,
    /// Later than `visible_from`.
    visible_until: Option<DateTime<Utc>>,
    #[schema(nullable = false)]
    pinned: Option<bool>,
    #[schema(nullable = false)]
    highlighted: Option<bool>,
}

/// What may be changed. What is left out stays; `null` takes a bound of its time away.
#[derive(ToSchema)]
#[schema(as = LinkPatch)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Patch {
    #[schema(min_length = 1, max_length = 120, nullable = false)]
    title: Option<String>,
    /// Of a link only.
    #[schema(min_length = 1, max_length = 2048, nullable = false)]
    url: Option<String>,
    #[schema(nullable = false)]
    enabled: Option<bool>,
    visible_from: Option<DateTime<Utc>>,
    visible_until: Option<DateTime<Utc>>,
    #[schema(nullable = false)]
    pinned: Option<bool>,
    #[schema(nullable = false)]
    highlighted: Option<bool>,
}

/// The answer with a list.
pub(super) async fn list(
    state: &State,
    caller: Caller,
    links: Vec<pages::Link>,
) -> Result<HttpResponse, Problem> {
    let premium = rewards::is_premium(&state.pool, caller.user_id, state.clock.now()).await?;
    let limits = state.config.links;
    let limit = if premium { limits.premium } else { limits.free };
    let items = links.into_iter().map(|link| Link::new(state, link)).collect();
    Ok(HttpResponse::Ok().json(List { items, limit }))
}

/// One's links
#[utoipa::path(
    get, path = "/api/links/", tag = "pages",
    responses((status = 200, description = "All of them, in order", body = List)),
)]
pub(super) async fn get(state: Shared, caller: Caller) -> Result<HttpResponse, Problem> {
    let links = pages::links(&state.pool, caller.user_id).await?;
    list(&state, caller, links).await
}

/// Add a link
///
/// Or a header, at the end of the list. With an `Idempotency-Key` the same request again gives the link that it made.
#[utoipa::path(
    post, path = "/api/links/", tag = "pages", request_body = New,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters", min_length = 1, max_length = 255)),
    responses((status = 201, description = "The link", body = Link),
              (status = 409, description = "`link_limit`: the page is full. Its `limit` is told", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    caller: Caller,
    OptionalKey(key): OptionalKey,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let is_header = fields.choice("kind", &[("link", false), ("header", true)], false);
    let title = fields.words("title", Title::parse);
    let target = match is_header {
        Some(true) => fields.merged("url", (), refuse_url).map(|_| Target::Header),
        _ => fields.words("url", LinkUrl::parse).map(Target::Url),
    };
    let enabled = fields.replaced("enabled", Fields::flag);
    let visible_from = fields.merged("visible_from", None, instant);
    let visible_until = fields.merged("visible_until", None, instant);
    let pinned = fields.replaced("pinned", Fields::flag);
    let highlighted = fields.replaced("highlighted", Fields::flag);
    let (from, until) = (visible_from.flatten().flatten(), visible_until.flatten().flatten());
    if from.zip(until).is_some_and(|(from, until)| from >= until) {
        let detail = "It ends before it begins to show.";
        fields.error("visible_until", Complaint::new(FieldCode::InvalidValue, detail));
    }
    let values = (is_header, title, target, enabled, visible_from, visible_until, pinned, highlighted);
    let (_, title, target, enabled, visible_from, visible_until, pinned, highlighted) =
        fields.finish(values)?;
    let new = NewLink {
        title,
        target,
        enabled: enabled.unwrap_or(true),
        visible_from: visible_from.flatten(),
        visible_until: visible_until.flatten(),
        pinned: pinned.unwrap_or(false),
        highlighted: highlighted.unwrap_or(false),
    };
    let once = key.as_ref().map(|key| Once(&key.0));
    let now = state.clock.now();
    let link = pages::create_link(&state.pool, now, caller.user_id, state.config.links, &new, once).await?;
    Ok(HttpResponse::Created().json(Link::new(&state, link)))
}

/// One link
#[utoipa::path(
    get, path = "/api/links/{id}/", tag = "pages",
    params(("id" = Uuid, Path, description = "The link")),
    responses((status = 200, description = "The link", body = Link)),
)]
pub(super) async fn get_one(
    state: Shared,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let link = pages::find_link(&state.pool, caller.user_id, path::id(&id)?).await?;
    let link = link.ok_or_else(|| Problem::new(Code::NotFound))?;
    Ok(HttpResponse::Ok().json(Link::new(&state, link)))
}

/// Change a link
///
/// A JSON merge patch: what is left out stays.
#[utoipa::path(
    patch, path = "/api/links/{id}/", tag = "pages", request_body = Patch,
    params(("id" = Uuid, Path, description = "The link")),
    responses((status = 200, description = "The link", body = Link)),
)]
pub(super) async fn patch(
    state: Shared,
    caller: Caller,
    id: web::Path<String>,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let title = fields.replaced("title", |fields, name| fields.words(name, Title::parse));
    let url = fields.replaced("url", |fields, name| fields.words(name, LinkUrl::parse));
    let enabled = fields.replaced("enabled", Fields::flag);
    let visible_from = fields.merged("visible_from", None, instant);
    let visible_until = fields.merged("visible_until", None, instant);
    let pinned = fields.replaced("pinned", Fields::flag);
    let highlighted = fields.replaced("highlighted", Fields::flag);
    let values = (title, url, enabled, visible_from, visible_until, pinned, highlighted);
    let (title, url, enabled, visible_from, visible_until, pinned, highlighted) = fields.finish(values)?;
    let edit = LinkEdit { title, url, enabled, visible_from, visible_until, pinned, highlighted };
    let now = state.clock.now();
    let link = pages::edit_link(&state.pool, now, caller.user_id, path::id(&id)?, &edit).await?;
    Ok(HttpResponse::Ok().json(Link::new(&state, link)))
}

/// Delete a link
#[utoipa::path(
    delete, path = "/api/links/{id}/", tag = "pages",
    params(("id" = Uuid, Path, description = "The link")),
    responses((status = 204, description = "It is gone")),
)]
pub(super) async fn delete(
    state: Shared,
    caller: Caller,
    id: web::Path<String>,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    if pages::delete_link(&state.pool, state.clock.now(), caller.user_id, path::id(&id)?).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::new(Code::NotFound))
    }
}

fn refuse_url(fields: &mut Fields, name: &str) -> Option<()> {
    fields.words(name, |_| Err(Complaint::new(FieldCode::InvalidValue, "A header has no address.")))
}

#[allow(clippy::option_option, reason = "the outer one says whether there is an error")]
fn instant(fields: &mut Fields, name: &str) -> Option<Option<DateTime<Utc>>> {
    fields.instant(name).map(Some)
}
