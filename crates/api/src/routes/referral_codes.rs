//! `GET /api/referral-codes/{code}/` and `GET /r/{code}`: a referral code, looked at by a form and followed by a friend.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use domain::referrals::{self, ReferralCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::limits::Throttle;
use crate::problem::Problem;

/// Whether somebody can be brought with the code; nothing about its owner.
#[derive(Serialize, ToSchema)]
#[schema(as = ReferralCodeReply)]
pub(super) struct Reply {
    valid: bool,
}

/// Look at a referral code
#[utoipa::path(
    get, path = "/api/referral-codes/{code}/", tag = "referrals",
    params(("code" = String, Path, description = "The code, as typed", example = "0123456789")),
    responses((status = 200, description = "Whether it is one", body = Reply)),
)]
pub(super) async fn get(
    state: Shared,
    throttle: Throttle,
    code: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    throttle.admit("").await?;
    let valid = match ReferralCode::parse(&code) {
        Ok(code) => referrals::is_valid(&state.pool, &code).await?,
        Err(_) => false,
    };
    Ok(HttpResponse::Ok().json(Reply { valid }))
}

/// Follow a referral link
///
/// Leads to the registration page and remembers the code for 30 days. The visit is counted.
#[utoipa::path(
    get, path = "/r/{code}", tag = "referrals",
    params(("code" = String, Path, description = "The code", example = "0123456789")),
    responses((status = 302, description = "To the registration page")),
)]
pub(super) async fn follow(state: Shared, request: HttpRequest, code: web::Path<String>) -> HttpResponse {
    let mut response = HttpResponse::Found();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    let Ok(code) = ReferralCode::parse(&code) else {
        return response.insert_header((header::LOCATION, "/register")).finish();
    };
    // Whatever is wrong with counting, the friend goes on.
    if request.method() == actix_web::http::Method::GET {
        match referrals::visit(&state.pool, state.clock.now(), &code).await {
            Ok(true) => {
                response.cookie(state.browser.referral_cookie(&code));
            }
            Ok(false) => {}
            Err(error) => {
                metrics::counter!("trellis_referral_visits_lost_total").increment(1);
                tracing::warn!(
                    error = format!("{:#}", anyhow::Error::from(error)),
                    "a visit was not counted"
                );
            }
        }
    }
    response.insert_header((header::LOCATION, format!("/register?referral={code}"))).finish()
}
