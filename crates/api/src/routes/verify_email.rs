//! `POST /api/verify-email/` and `POST /api/verify-email/resend/`: confirming the address.

use actix_web::HttpResponse;
use domain::accounts::{self, VerifyError};
use utoipa::ToSchema;

use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::{Fields, OptionalFields};
use crate::middleware::RequestId;
use crate::problem::{Code, Problem};

/// The token of the mail.
#[derive(ToSchema)]
#[schema(as = VerifyEmailBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    #[schema(min_length = 1, max_length = 128)]
    token: String,
}

/// Confirm the e-mail address
///
/// The address that the account was made with, or a new one (`POST /api/me/email/`), which takes effect with this and ends
/// all sessions but the one that asked. Good for one use; every bad token is answered alike. A referral that waited for it
/// is settled next.
#[utoipa::path(
    post, path = "/api/verify-email/", tag = "accounts", request_body = Body,
    responses((status = 204, description = "The address is confirmed"),
              (status = 400, description = "`invalid_token`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    Traced(trace): Traced,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let token = fields.text("token", 128);
    let token = fields.finish(token)?;
    let (now, policy) = (state.clock.now(), state.config.common.referrals);
    match accounts::verify_email(&state.pool, now, policy, &token, &trace).await {
        // A token of an account's first address, or of one that it changes to.
        Err(VerifyError::InvalidToken) => {
            let ended =
                accounts::confirm_email_change(&state.pool, now, state.keys(), policy, &token, &trace)
                    .await?;
            state.sessions.forget(&ended).await;
        }
        confirmed => confirmed?,
    }
    state.wake.wake();
    Ok(HttpResponse::NoContent().finish())
}

/// Send the confirmation mail again
///
/// Nothing is sent when the address is confirmed already, or got five in the last hour. An address that mail bounces from is
/// to be changed first (`POST /api/me/email/`).
#[utoipa::path(
    post, path = "/api/verify-email/resend/", tag = "accounts",
    responses((status = 202, description = "Noted"),
              (status = 409, description = "`email_undeliverable`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn resend(
    state: Shared,
    id: RequestId,
    caller: Caller,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    let account = accounts::find(&state.pool, caller.user_id).await?.ok_or_else(Problem::unauthenticated)?;
    if account.email_verified_at.is_none() && account.email_bounced_at.is_some() {
        return Err(Problem::new(Code::EmailUndeliverable));
    }
    accounts::request_verification(&state.pool, state.clock.now(), caller.user_id, Some(id.to_string()))
        .await?;
    state.wake.wake();
    Ok(HttpResponse::Accepted().finish())
}
