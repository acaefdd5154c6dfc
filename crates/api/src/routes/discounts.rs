//! `POST /api/discounts/{code}/redeem/`: the operator's shop uses a coupon.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::audit::Actor;
use domain::cache::{Entry, Kind};
use domain::rewards::{self, Till};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::audit::Traced;
use crate::body::Fields;
use crate::middleware::context;
use crate::problem::Problem;

/// The longest name of an order.
const LONGEST_ORDER: usize = 255;

/// For what.
#[derive(ToSchema)]
#[schema(as = DiscountBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// The shop's own name for the order. The same order may ask again; another one may not.
    #[schema(min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9-]{1,255}$", example = "order-1001")]
    order: String,
}

/// A coupon that is used now.
#[derive(Serialize, ToSchema)]
#[schema(as = DiscountReply)]
pub(super) struct Reply {
    code: String,
    /// Percent off.
    #[schema(example = "20.00")]
    percent: String,
    order: String,
    redeemed_at: DateTime<Utc>,
}

/// Use a coupon
///
/// For the operator's shop, with its key in `X-Shop-Key`; or for a manager. Of all that try, one order gets it, and is
/// answered the same when it asks again. Case, spaces and hyphens of the code do not matter.
#[utoipa::path(
    post, path = "/api/discounts/{code}/redeem/", tag = "rewards", request_body = Body,
    params(("code" = String, Path, description = "The coupon")),
    responses((status = 200, description = "It is used for this order", body = Reply),
              (status = 404, description = "`not_found`: there is no such coupon", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 409, description = "`discount_unavailable`: used for another order, or void",
               body = crate::problem::Schema, content_type = "application/problem+json")),
)]
pub(super) async fn redeem(
    state: Shared,
    Traced(trace): Traced,
    request: HttpRequest,
    code: web::Path<String>,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let order = fields.text("order", LONGEST_ORDER);
    let order = fields.finish(order)?;

    // Nobody is signed in: it was the shop's key that opened.
    let actor =
        context(&request)?.caller.get().map_or(Actor::System, |caller| Actor::Manager(caller.user_id));
    let till = Till { code: &code, order: &order, actor };
    let (coupon, owner, version) = rewards::use_coupon(&state.pool, state.clock.now(), till, &trace).await?;
    state.cache.invalidate(Entry { kind: Kind::ReferralStats, id: owner }, version).await;
    let reply = Reply {
        code: coupon.code,
        percent: coupon.percent.to_string(),
        order,
        redeemed_at: coupon.redeemed_at,
    };
    Ok(HttpResponse::Ok().json(reply))
}
