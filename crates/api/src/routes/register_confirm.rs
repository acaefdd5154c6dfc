//! `POST /api/register/confirm/`: makes the account that `POST /api/register/` promised a mail for, with
//! `REGISTRATION=verified`.

use actix_web::{HttpRequest, HttpResponse};
use domain::accounts::{self, Confirmation, Password, Username};
use utoipa::ToSchema;

use super::register::{Reply, known_as, made};
use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::MaybeCaller;
use crate::body::{Complaint, Fields};
use crate::passwords;
use crate::problem::Problem;

/// The token of the mail, and what its reader chooses.
#[derive(ToSchema)]
#[schema(as = RegisterConfirmBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    #[schema(min_length = 1, max_length = 128)]
    token: String,
    /// Guessable ones are refused.
    #[schema(min_length = 8, max_length = 128, format = Password, example = "Vq7-tangerine-kiln")]
    password: String,
    /// Another username than the one that was registered.
    #[schema(
        min_length = 3,
        max_length = 30,
        pattern = "^[A-Za-z0-9]([_.-]?[A-Za-z0-9]){2,14}$",
        example = "ada"
    )]
    username: Option<String>,
}

/// Confirm a registration
///
/// With `REGISTRATION=verified`: makes the account, its address confirmed, and does not sign in. Only a password that is
/// chosen here ever opens the account. A token is good for one account; every bad one is answered alike.
#[utoipa::path(
    post, path = "/api/register/confirm/", tag = "accounts", request_body = Body,
    responses((status = 201, description = "The account was made", body = Reply),
              (status = 400, description = "`invalid_token`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 409, description = "`username_taken`: the token is good for another one", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    Traced(trace): Traced,
    request: HttpRequest,
    caller: MaybeCaller,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let shortest = state.config.password_min_length;
    let token = fields.text("token", 128);
    let password = fields.parse("password", |text| {
        Password::choose(text, shortest, &[]).map(|_| text.to_owned()).map_err(Complaint::from)
    });
    let username =
        fields.parse_optional("username", |text| Username::choose(text, &state.config.reserved_usernames));
    let (token, password, username) = fields.finish((token, password, username))?;

    // Nothing is hashed for a token that is no good, and a password made of the account's own names spends none.
    let pending = accounts::inspect_registration(&state.pool, state.clock.now(), &token).await?;
    let own = [pending.email.as_str(), username.as_ref().unwrap_or(&pending.username).as_str()];
    let chosen =
        Password::choose(&password, shortest, &own).map_err(|error| Problem::of_field("/password", error))?;
    let password_hash = passwords::hash_chosen(&state, chosen).await?;
    let known_as = known_as(&state, &request, caller);
    let confirmation = Confirmation { password_hash, username, known_as, trace };
    let (now, policy) = (state.clock.now(), state.config.common.referrals);
    let registered =
        accounts::confirm_registration(&state.pool, now, state.keys(), policy, &token, confirmation).await?;
    Ok(made(&state, registered).await)
}
