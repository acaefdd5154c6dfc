//! `POST /api/links/import/`: links of elsewhere, tried first and then taken.

use actix_web::HttpResponse;
use chrono::{DateTime, Datelike as _, Utc};
use domain::pages::{self, Imported, LinkUrl, NewLink, NotTaken, Scheme, Target, Title};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::auth::Caller;
use crate::body::{Complaint, Fields, LargeFields, pick};
use crate::import::{self, Format, Item, Refusal};
use crate::limits::Throttle;
use crate::problem::{FieldCode, Problem};

/// The years that an instant may be in.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=9999;

/// Characters of a title or address that are said again when it is refused.
const SAID_AGAIN: usize = 200;

/// A list of links from elsewhere.
#[derive(ToSchema)]
#[schema(as = LinkImport)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// What the content is.
    #[schema(pattern = "^(json|csv|linkstack|littlelink|html)$", example = "csv")]
    format: String,
    /// What `/api/links/export/` gave as JSON or CSV, rows of `title,url`, the export of LinkStack (JSON), the `index.html` of
    /// LittleLink, or any page as HTML.
    #[schema(min_length = 1, example = "title,url\nMy shop,https://shop.example/")]
    content: String,
    /// Whether the links are made. Otherwise it is only told what would come of it.
    #[schema(nullable = false)]
    apply: Option<bool>,
}

/// What came of it, or would.
#[derive(Serialize, ToSchema)]
#[schema(as = LinkImported)]
pub(super) struct Reply {
    /// Whether the links were made.
    applied: bool,
    /// Whether there is a place for all of them.
    fits: bool,
    /// How many links the page may have.
    limit: u32,
    /// How many it had before.
    before: u32,
    /// What is made, in order.
    links: Vec<Taken>,
    /// What is not.
    refused: Vec<Refused>,
}

/// A link or header that is made.
#[derive(Serialize, ToSchema)]
#[schema(as = LinkImportTaken)]
struct Taken {
    /// The line or entry that it comes from.
    line: usize,
    /// `link` or `header`.
    #[schema(pattern = "^(link|header)$")]
    kind: &'static str,
    title: String,
    url: Option<String>,
    enabled: bool,
    visible_from: Option<DateTime<Utc>>,
    visible_until: Option<DateTime<Utc>>,
    pinned: bool,
    highlighted: bool,
}

/// What is not made, and why.
#[derive(Serialize, ToSchema)]
#[schema(as = LinkImportRefused)]
struct Refused {
    /// The line or entry that it comes from.
    line: usize,
    title: String,
    url: Option<String>,
    /// Why, as the errors of fields have it, or `unsupported`, `placeholder`, `malformed`, `duplicate`.
    code: &'static str,
    /// Why, for people.
    detail: String,
}

/// Import links
///
/// A dry run unless `apply` is `true`: it tells what would be made, and what not and why. Applied, all that can be taken is
/// made at once at the end of the list, or nothing when there is no place for all of it. What is there already is not made
/// again.
#[utoipa::path(
    post, path = "/api/links/import/", tag = "pages", request_body = Body,
    responses((status = 200, description = "What came of it, or would", body = Reply),
              (status = 409, description = "`link_limit`: there is no place for all of them. The `limit` is told", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    caller: Caller,
    throttle: Throttle,
    LargeFields(mut fields): LargeFields,
) -> Result<HttpResponse, Problem> {
    let format = fields.parse("format", |word| pick(&Format::ALL, word));
    let content = fields.words("content", |text| match text {
        "" => Err(FieldCode::Empty),
        text if text.contains('\0') => Err(FieldCode::InvalidCharacter),
        text => Ok(text.to_owned()),
    });
    let apply = fields.replaced("apply", Fields::flag);
    let (format, content, apply) = fields.finish((format, content, apply))?;
    throttle.admit(&caller.user_id.to_string()).await?;
    let apply = apply.unwrap_or(false);
    let items = import::read(format, &content).map_err(|error| Problem::of_field("/content", error))?;
    let (mut refused, mut offered) = (Vec::new(), Vec::new());
    for item in items {
        match new_link(&item) {
            Ok(new) => offered.push((item, new)),
            Err((code, detail)) => refused.push(refusal(&item, code, detail)),
        }
    }
    let links: Vec<NewLink> = offered.iter().map(|(_, new)| new.clone()).collect();
    let (now, limits) = (state.clock.now(), state.config.links);
    let imported = pages::import_links(&state.pool, now, caller.user_id, limits, &links, apply).await?;
    Ok(HttpResponse::Ok().json(reply(apply, &imported, &offered, refused)))
}

fn reply(
    applied: bool,
    imported: &Imported,
    offered: &[(Item, NewLink)],
    mut refused: Vec<Refused>,
) -> Reply {
    let mut links = Vec::new();
    for ((item, new), fate) in offered.iter().zip(&imported.fates) {
        match fate {
            None => links.push(Taken::new(item.line, new)),
            Some(NotTaken::Duplicate) => {
                refused.push(refusal(
                    item,
                    "duplicate",
                    "This is on the page already, or comes twice.".into(),
                ));
            }
            Some(NotTaken::BlockedDomain) => {
                let code = FieldCode::BlockedDomain;
                refused.push(refusal(item, code.slug(), code.detail().into()));
            }
        }
    }
    refused.sort_by_key(|refused| refused.line);
    Reply { applied, fits: imported.fits(), limit: imported.limit, before: imported.before, links, refused }
}

/// The link that an item is, or why it is none.
fn new_link(item: &Item) -> Result<NewLink, (&'static str, String)> {
    if let Some(refused) = item.refused {
        return Err(match refused {
            Refusal::Unsupported => ("unsupported", "Pages here have no such block.".to_owned()),
            Refusal::Placeholder => ("placeholder", "This leads nowhere yet.".to_owned()),
            Refusal::Malformed => ("malformed", "This row is not as its columns say.".to_owned()),
        });
    }
    let refuse = |complaint: Complaint| {
        let error = complaint.at(String::new());
        (error.code.slug(), error.detail.into_owned())
    };
    let target = match &item.url {
        Some(url) => Target::Url(LinkUrl::parse(url).map_err(|error| refuse(error.into()))?),
        None => Target::Header,
    };
    let named = match (&target, item.title.is_empty()) {
        (Target::Url(url), true) => name_of(url),
        _ => item.title.clone(),
    };
    let title = Title::parse(&named).map_err(|error| refuse(error.into()))?;
    let window = [item.visible_from, item.visible_until];
    let is_window = item.visible_from.zip(item.visible_until).is_none_or(|(from, until)| from < until);
    if !is_window || window.iter().flatten().any(|instant| !YEARS.contains(&instant.year())) {
        return Err(("malformed", "It would show at no time.".to_owned()));
    }
    Ok(NewLink {
        title,
        target,
        enabled: !item.hidden,
        visible_from: item.visible_from,
        visible_until: item.visible_until,
        pinned: item.pinned,
        highlighted: item.highlighted,
    })
}

/// What a link is called that has no title: where it leads, without what is technical about it.
fn name_of(url: &LinkUrl) -> String {
    let name = match url.scheme() {
        Scheme::Http | Scheme::Https => url.host().unwrap_or_default(),
        Scheme::Mail | Scheme::Telephone => url.as_str().split_once(':').unwrap_or_default().1,
    };
    name.chars().take(Title::LONGEST).collect()
}

fn refusal(item: &Item, code: &'static str, detail: String) -> Refused {
    let said = |text: &str| text.chars().take(SAID_AGAIN).collect::<String>();
    Refused { line: item.line, title: said(&item.title), url: item.url.as_deref().map(said), code, detail }
}

impl Taken {
    fn new(line: usize, new: &NewLink) -> Self {
        let (kind, url) = match &new.target {
            Target::Url(url) => ("link", Some(url.to_string())),
            Target::Header => ("header", None),
        };
        Self {
            line,
            kind,
            title: new.title.as_str().to_owned(),
            url,
            enabled: new.enabled,
            visible_from: new.visible_from,
            visible_until: new.visible_until,
            pinned: new.pinned,
            highlighted: new.highlighted,
        }
    }
}
