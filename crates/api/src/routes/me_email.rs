//! `POST /api/me/email/`: asks for another e-mail address.

use actix_web::HttpResponse;
use domain::accounts::{self, Email, NewAddress};
use utoipa::ToSchema;

use super::proof;
use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::{Complaint, Fields};
use crate::limits::Throttle;
use crate::problem::{FieldCode, Problem};

/// The new address, and the proof that its owner asks.
#[derive(ToSchema)]
#[schema(as = MeEmail)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    #[schema(
        max_length = 254,
        pattern = "^[A-Za-z0-9]{1,32}@[a-z]{1,16}[.](com|org|net)$",
        example = "ada@example.org"
    )]
    email: String,
    #[schema(min_length = 1, max_length = 128, format = Password)]
    password: String,
}

/// Change the e-mail address
///
/// Takes effect when the new address confirms it with the mailed link (`POST /api/verify-email/`), within
/// `CONFIRMATION_LIFETIME` (48 hours); the old one works until then, and is told now and then. The answer does not tell whether the new address has an account. With
/// the change every other session ends and mailed links are void; the referral code stays. A new password, or a newer
/// request, stops a change that waits.
#[utoipa::path(
    post, path = "/api/me/email/", tag = "accounts", request_body = Body,
    responses((status = 202, description = "Noted"),
              (status = 401, description = "`invalid_credentials`: the password is wrong", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    Traced(trace): Traced,
    caller: Caller,
    throttle: Throttle,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let email = fields.parse("email", Email::parse);
    let credentials = proof::credentials(&state, caller).await?;
    let password = proof::field(&mut fields, "password", &credentials);
    let (email, password) = fields.finish((email, password))?;

    throttle.admit(&caller.user_id.to_string()).await?;
    let checked = proof::check(&state, &throttle, caller, credentials, password).await?;
    let account = accounts::find(&state.pool, caller.user_id).await?.ok_or_else(Problem::unauthenticated)?;
    if account.email == email.as_str() {
        let complaint = Complaint::new(FieldCode::InvalidValue, "This is your address already.");
        return Err(Problem::of_field("/email", complaint));
    }
    let (now, session) = (state.clock.now(), caller.session_id);
    let new = NewAddress { email: &email, lifetime: state.config.common.lifetimes.confirmation };
    accounts::request_email_change(&state.pool, now, state.keys(), &checked, session, new, &trace).await?;
    state.wake.wake();
    tracing::info!(user_id = %caller.user_id, "another e-mail address was asked for");
    Ok(HttpResponse::Accepted().finish())
}
