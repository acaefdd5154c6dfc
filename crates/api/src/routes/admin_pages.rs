//! `/api/admin/pages/` and `/api/admin/links/`: managers take pages and links down, and put them up again.

use actix_web::{HttpResponse, web};
use domain::accounts::Username;
use domain::audit::Actor;
use domain::moderation::{self, Decision};
use utoipa::ToSchema;

use super::admin_referrals::{LONGEST_REASON, parse_id};
use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::Fields;
use crate::problem::{Code, Problem};

/// Why a page or a link is taken down or put up.
#[derive(ToSchema)]
#[schema(as = AdminModeration)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
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
    caller: Caller,
    traced: Traced,
    username: web::Path<String>,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let reason = fields.text("reason", LONGEST_REASON);
    let reason = fields.finish(reason)?;
    let decision = Decision { actor: Actor::Manager(caller.user_id), reason: &reason };
    if moderation::disable_page(&state.pool, state.clock.now(), &name_of(&username)?, decision, &traced.0)
        .await?
    {
        tracing::info!("a manager took a page down");
    }
    Ok(HttpResponse::NoContent().finish())
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
    caller: Caller,
    traced: Traced,
    username: web::Path<String>,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let reason = fields.text("reason", LONGEST_REASON);
    let reason = fields.finish(reason)?;
    let decision = Decision { actor: Actor::Manager(caller.user_id), reason: &reason };
    if moderation::enable_page(&state.pool, state.clock.now(), &name_of(&username)?, decision, &traced.0)
        .await?
    {
        tracing::info!("a manager put a page up again");
    }
    Ok(HttpResponse::NoContent().finish())
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
    caller: Caller,
    traced: Traced,
    id: web::Path<String>,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let reason = fields.text("reason", LONGEST_REASON);
    let reason = fields.finish(reason)?;
    let decision = Decision { actor: Actor::Manager(caller.user_id), reason: &reason };
    let id = parse_id(&id)?;
    if moderation::disable_link(&state.pool, state.clock.now(), id, decision, &traced.0).await? {
        tracing::info!(link_id = %id, "a manager took a link down");
    }
    Ok(HttpResponse::NoContent().finish())
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
    caller: Caller,
    traced: Traced,
    id: web::Path<String>,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let reason = fields.text("reason", LONGEST_REASON);
    let reason = fields.finish(reason)?;
    let decision = Decision { actor: Actor::Manager(caller.user_id), reason: &reason };
    let id = parse_id(&id)?;
    if moderation::enable_link(&state.pool, state.clock.now(), id, decision, &traced.0).await? {
        tracing::info!(link_id = %id, "a manager put a link up again");
    }
    Ok(HttpResponse::NoContent().finish())
}

/// The name in a path. What is none names nobody.
fn name_of(text: &str) -> Result<Username, Problem> {
    Username::parse(text).map_err(|_| Problem::new(Code::NotFound))
}
