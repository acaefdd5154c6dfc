//! `GET /api/links/export/`: one's links to take elsewhere.

use actix_web::HttpResponse;
use actix_web::http::header;
use chrono::{DateTime, Utc};
use domain::pages::{self, Link};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::auth::Caller;
use crate::import::{self, Item};
use crate::problem::Problem;
use crate::query::Query;

/// One's links, in order.
#[derive(Serialize, ToSchema)]
#[schema(as = LinkExport)]
pub(super) struct Reply {
    links: Vec<Exported>,
}

/// A link or header.
#[derive(Serialize, ToSchema)]
#[schema(as = LinkExported)]
struct Exported {
    /// `link` or `header`.
    #[schema(pattern = "^(link|header)$")]
    kind: String,
    title: String,
    url: Option<String>,
    enabled: bool,
    visible_from: Option<DateTime<Utc>>,
    visible_until: Option<DateTime<Utc>>,
    pinned: bool,
    highlighted: bool,
}

#[derive(Clone, Copy)]
enum Format {
    Csv,
    Json,
}

/// Export links
///
/// As JSON or as CSV; `/api/links/import/` takes both. A cell that a spreadsheet would run as a formula has an apostrophe
/// before it.
#[utoipa::path(
    get, path = "/api/links/export/", tag = "pages",
    params(("format" = Option<String>, Query, description = "`json` unless said otherwise", pattern = "^(csv|json)$")),
    responses((status = 200, description = "All of them, in order", content(
        (Reply = "application/json"), (String = "text/csv")))),
)]
pub(super) async fn get(state: Shared, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let format = query.choice("format", &[("csv", Format::Csv), ("json", Format::Json)]);
    let format = query.finish(format)?.unwrap_or(Format::Json);
    let links = pages::links(&state.pool, caller.user_id).await?;
    let mut answer = HttpResponse::Ok();
    Ok(match format {
        Format::Json => {
            answer.insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"links.json\""));
            answer.json(Reply { links: links.into_iter().map(Exported::from).collect() })
        }
        Format::Csv => {
            let items: Vec<Item> = links.into_iter().map(item).collect();
            let table = import::csv(&items).map_err(Problem::internal)?;
            answer.insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"links.csv\""));
            answer.insert_header((header::CONTENT_TYPE, "text/csv; charset=utf-8")).body(table)
        }
    })
}

impl From<Link> for Exported {
    fn from(link: Link) -> Self {
        Self {
            kind: link.kind,
            title: link.title,
            url: link.url,
            enabled: link.enabled,
            visible_from: link.visible_from,
            visible_until: link.visible_until,
            pinned: link.pinned,
            highlighted: link.highlighted,
        }
    }
}

fn item(link: Link) -> Item {
    Item {
        title: link.title,
        url: link.url,
        hidden: !link.enabled,
        pinned: link.pinned,
        highlighted: link.highlighted,
        visible_from: link.visible_from,
        visible_until: link.visible_until,
        ..Item::default()
    }
}
