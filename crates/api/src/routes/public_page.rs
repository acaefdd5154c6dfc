//! `GET /api/u/{username}/`: a page as anybody sees it, as JSON.

use actix_web::{HttpRequest, HttpResponse};

use crate::app::Shared;
use crate::problem::Problem;
use crate::published::{self, PageJson};

/// A public page
///
/// The same as `/@{username}`. Whoever has none for the public has none at all: 404. Send `If-None-Match` with the `ETag`
/// of the answer before: 304 says that it stays.
#[utoipa::path(
    get, path = "/api/u/{username}/", tag = "pages",
    params(("username" = String, Path, description = "The name, in any case", example = "ada"),
           ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer before")),
    responses((status = 200, description = "The page", body = PageJson),
              (status = 301, description = "The owner has another username now: the page is at `Location`"),
              (status = 304, description = "It is as it was")),
)]
pub(super) async fn get(state: Shared, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let username = request.match_info().get("username").unwrap_or_default();
    match published::find(&state, username).await?.page(|name| format!("/api/u/{name}/")) {
        Ok(page) => Ok(page.json.answer(&request)),
        Err(absent) => absent.answer(&request),
    }
}
