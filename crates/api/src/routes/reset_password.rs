//! `POST /api/reset-password/`: sets a new password with the token of a mail.

use actix_web::HttpResponse;
use domain::accounts::Password;
use domain::recovery;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::audit::Traced;
use crate::body::{Complaint, Fields};
use crate::passwords;
use crate::problem::Problem;

/// The token of the mail, and the new password.
#[derive(ToSchema)]
#[schema(as = ResetPasswordBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    #[schema(min_length = 1, max_length = 128)]
    token: String,
    #[schema(min_length = 8, max_length = 128, format = Password, example = "Vq7-tangerine-kiln")]
    password: String,
}

/// Set a new password
///
/// Ends all sessions, mails a notice, and does not sign in. A token is good for one use; every bad one is answered alike. The
/// link also confirms an address that was never confirmed: identities, second factors, recovery codes and changes of address
/// that were added before are removed then.
#[utoipa::path(
    post, path = "/api/reset-password/", tag = "accounts", request_body = Body,
    responses((status = 204, description = "The password is set"),
              (status = 400, description = "`invalid_token`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    Traced(trace): Traced,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let shortest = state.config.password_min_length;
    let token = fields.text("token", 128);
    let password = fields.parse("password", |text| {
        Password::choose(text, shortest, &[]).map(|_| text.to_owned()).map_err(Complaint::from)
    });
    let (token, password) = fields.finish((token, password))?;

    // Nothing is hashed for a token that is no good, and a password made of the account's own names spends none.
    let target = recovery::inspect(&state.pool, state.clock.now(), &token).await?;
    let own = [target.email.as_str(), target.username.as_str()];
    let chosen =
        Password::choose(&password, shortest, &own).map_err(|error| Problem::of_field("/password", error))?;
    let hash = passwords::hash_chosen(&state, chosen).await?;
    let now = state.clock.now();
    let policy = state.config.common.referrals;
    let ended = recovery::redeem(&state.pool, now, policy, &token, &target, &hash, &trace).await?;
    state.sessions.forget(&ended).await;
    state.wake.wake();
    tracing::info!(user_id = %target.user_id, "a password was reset");
    Ok(HttpResponse::NoContent().finish())
}
