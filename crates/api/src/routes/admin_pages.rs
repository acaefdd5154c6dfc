//! `/api/admin/pages/` and `/api/admin/links/`: managers take pages and links down, and put them up again.

use actix_web::{HttpResponse, web};
use domain::moderation::{self, Visibility};
use utoipa::ToSchema;

use super::managers::Because;
use crate::app::{Shared, State};
use crate::path;
use crate::problem::Problem;

/// Why a page or a link is taken down or put up.
#[derive(ToSchema)]
#[schema(as = AdminModeration)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Because` reads it")]
pub(super) struct Body {
    /// For the record, and for the owner to read.
    #[schema(min_length = 1, max_length = 500, example = "the second link asks for passwords of a bank")]
    reason: String,
}

/// Take a page down
///
/// It answers 404 to everybody within a second; its owner keeps everything and reads the reason. Its open reports are
/// settled. The same again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/pages/{username}/disable/", tag = "managers", request_body = Body,
    params(("username" = String, Path, description = "Whose page", example = "ada")),
    responses((status = 204, description = "It is down")),
)]
pub(super) async fn disable(
    state: Shared,
    username: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    set_page(&state, &username, Visibility::Hidden, &because).await
}

/// Put a page up again
///
/// The same again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/pages/{username}/enable/", tag = "managers", request_body = Body,
    params(("username" = String, Path, description = "Whose page", example = "ada")),
    responses((status = 204, description = "It is up")),
)]
pub(super) async fn enable(
    state: Shared,
    username: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    set_page(&state, &username, Visibility::Shown, &because).await
}

/// Take a link down
///
/// Nobody sees or follows it within a second; its owner reads the reason. The same again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/links/{id}/disable/", tag = "managers", request_body = Body,
    params(("id" = uuid::Uuid, Path, description = "The link")),
    responses((status = 204, description = "It is down")),
)]
pub(super) async fn disable_link(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    set_link(&state, &id, Visibility::Hidden, &because).await
}

/// Put a link up again
///
/// The same again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/links/{id}/enable/", tag = "managers", request_body = Body,
    params(("id" = uuid::Uuid, Path, description = "The link")),
    responses((status = 204, description = "It is up")),
)]
pub(super) async fn enable_link(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    set_link(&state, &id, Visibility::Shown, &because).await
}

async fn set_page(
    state: &State,
    username: &str,
    visibility: Visibility,
    because: &Because,
) -> Result<HttpResponse, Problem> {
    let username = path::username(username)?;
    let now = state.clock.now();
    let set =
        moderation::set_page(&state.pool, now, &username, visibility, because.decision(), &because.trace);
    if set.await? {
        tracing::info!(?visibility, "a manager decided about a page");
    }
    Ok(HttpResponse::NoContent().finish())
}

async fn set_link(
    state: &State,
    id: &str,
    visibility: Visibility,
    because: &Because,
) -> Result<HttpResponse, Problem> {
    let id = path::id(id)?;
    let now = state.clock.now();
    if moderation::set_link(&state.pool, now, id, visibility, because.decision(), &because.trace).await? {
        tracing::info!(link_id = %id, ?visibility, "a manager decided about a link");
    }
    Ok(HttpResponse::NoContent().finish())
}
