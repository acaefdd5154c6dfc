//! `POST /api/forgot-password/`: asks for a mail that sets a new password.
//!
//! The same answer in the same time for every address: nobody is looked up here.

use actix_web::HttpResponse;
use domain::accounts::Email;
use domain::recovery;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::body::Fields;
use crate::limits::Throttle;
use crate::limits::policy::FORGOT_PASSWORD_SUBJECT;
use crate::middleware::RequestId;
use crate::problem::Problem;

/// Whose password.
#[derive(ToSchema)]
#[schema(as = ForgotPasswordBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    #[schema(
        max_length = 254,
        pattern = "^[A-Za-z0-9]{1,32}@[a-z]{1,16}[.](com|org|net)$",
        example = "ada@example.org"
    )]
    email: String,
}

/// Ask for a new password
///
/// Mails a link, good for an hour (`RESET_LINK_LIFETIME`), if the address has an account. The answer does not tell. A request
/// that comes while a link is good sends the same link again. At most three mails are sent within an hour. A network with too
/// many requests gets 429.
#[utoipa::path(
    post, path = "/api/forgot-password/", tag = "accounts", request_body = Body,
    responses((status = 202, description = "Noted")),
)]
pub(super) async fn post(
    state: Shared,
    id: RequestId,
    throttle: Throttle,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let email = fields.parse("email", Email::parse);
    let email = fields.finish(email)?;
    // The network's limit says nothing about an address, so its refusal is an open one.
    throttle.admit("").await?;
    if throttle.check_by(FORGOT_PASSWORD_SUBJECT, email.as_str()).await.is_allowed() {
        let lifetime = state.config.common.lifetimes.reset_link;
        recovery::request(&state.pool, state.clock.now(), lifetime, &email, Some(id.to_string())).await?;
        state.wake.wake();
    }
    Ok(HttpResponse::Accepted().finish())
}
