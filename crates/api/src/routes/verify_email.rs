//! `POST /api/verify-email/` and `POST /api/verify-email/resend/`: confirming the address.

use actix_web::HttpResponse;
use domain::accounts::{self, Resend, VerifyError};
use utoipa::ToSchema;

use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::{Caller, MaybeCaller};
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
///
/// The first confirmation of an account proves its mailbox, and removes what was added before by a person who may not own it:
/// identities, second factors, recovery codes, changes of address that wait, and all sessions but the one that this request
/// carries. Send its cookie or bearer token to stay signed in. The password stays.
#[utoipa::path(
    post, path = "/api/verify-email/", tag = "accounts", request_body = Body,
    responses((status = 204, description = "The address is confirmed"),
              (status = 400, description = "`invalid_token`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    Traced(trace): Traced,
    caller: MaybeCaller,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let presented = caller.0.map(|caller| caller.session_id);
    let token = fields.text("token", 128);
    let token = fields.finish(token)?;
    let (now, policy) = (state.clock.now(), state.config.common.referrals);
    let (pool, keys) = (&state.pool, state.keys());
    let ended = match accounts::verify_email(pool, now, policy, &token, presented, &trace).await {
        // A token of an account's first address, or of one that it changes to.
        Err(VerifyError::InvalidToken) => {
            accounts::confirm_email_change(pool, now, keys, policy, &token, presented, &trace).await?
        }
        confirmed => confirmed?,
    };
    state.sessions.forget(&ended).await;
    state.wake.wake();
    Ok(HttpResponse::NoContent().finish())
}

/// Send the confirmation mail again
///
/// A link that is still good is sent again. Nothing is sent when the address is confirmed already; 429 says that it was mailed
/// to five times within an hour. An address that mail bounces from is to be changed first (`POST /api/me/email/`).
#[utoipa::path(
    post, path = "/api/verify-email/resend/", tag = "accounts",
    responses((status = 202, description = "A mail is on its way, or the address is confirmed"),
              (status = 409, description = "`email_undeliverable`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 429, description = "`rate_limited`: nothing was sent", body = crate::problem::Schema,
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
    let (now, lifetime) = (state.clock.now(), state.config.common.lifetimes.confirmation);
    let limit = state.config.common.mail_limits.confirmation;
    let request_id = Some(id.to_string());
    match accounts::request_verification(&state.pool, now, lifetime, limit, caller.user_id, request_id)
        .await?
    {
        Resend::Promised => state.wake.wake(),
        Resend::Confirmed => {}
        Resend::Limited(wait) => {
            let wait = wait.to_std().unwrap_or_default();
            return Err(Problem::new(Code::RateLimited).retry_after(wait).detail(
                "Nothing was sent: this address was mailed to often enough. Look for the earlier mails, also in the spam folder.",
            ));
        }
    }
    Ok(HttpResponse::Accepted().finish())
}
