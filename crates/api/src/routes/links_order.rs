//! `PUT /api/links/order/`: the links in another order, all at once.

use actix_web::HttpResponse;
use domain::pages;
use utoipa::ToSchema;
use uuid::Uuid;

use super::links::{List, list};
use crate::app::Shared;
use crate::auth::Caller;
use crate::body::Fields;
use crate::config::MOST_LINKS;
use crate::problem::{FieldCode, Problem};

/// The order.
#[derive(ToSchema)]
#[schema(as = LinksOrder)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// Every id of the list, once.
    #[schema(max_items = 1000)]
    ids: Vec<Uuid>,
}

/// Put the links in order
///
/// All or nothing: `ids` names every link and header once. If one was added or deleted meanwhile, read the list again.
#[utoipa::path(
    put, path = "/api/links/order/", tag = "pages", request_body = Body,
    responses((status = 200, description = "All of them, in their new order", body = List)),
)]
pub(super) async fn put(state: Shared, caller: Caller, mut fields: Fields) -> Result<HttpResponse, Problem> {
    let most = usize::try_from(MOST_LINKS).unwrap_or(usize::MAX);
    let ids = fields.texts("ids", most, |text| Uuid::try_parse(text).map_err(|_| FieldCode::InvalidValue));
    let ids = fields.finish(ids)?;
    let links = pages::reorder_links(&state.pool, state.clock.now(), caller.user_id, &ids).await?;
    list(&state, caller, links).await
}
