//! `POST /api/login/`: starts a session.
//!
//! An unknown account, a wrong password and a deleted account are answered alike, in words and in work done (OWASP
//! Authentication Cheat Sheet). So is a blocked account, unless the whole proof is right.

use actix_web::{HttpRequest, HttpResponse};
use domain::accounts::{self, Credentials, Password};
use domain::audit;
use utoipa::ToSchema;

use crate::app::{Shared, State};
use crate::audit::Traced;
use crate::auth::attempt::Attempt;
use crate::auth::{Transport, sign_in};
use crate::body::Fields;
use crate::limits::Throttle;
use crate::passwords;
use crate::problem::{Code, Problem};

/// Who signs in. `email` or `username` may stand in place of `identifier`.
#[derive(ToSchema)]
#[schema(as = LoginBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// The e-mail address or the username.
    #[schema(min_length = 1, max_length = 254, example = "ada")]
    identifier: String,
    #[schema(min_length = 1, max_length = 128, format = Password, example = "Vq7-tangerine-kiln")]
    password: String,
    /// Where the tokens go: `cookie` (the default) or `bearer`.
    #[schema(pattern = "^(cookie|bearer)$", example = "cookie")]
    transport: Option<String>,
}

/// The words for both transports.
pub(super) const TRANSPORTS: [(&str, Transport); 2] =
    [("cookie", Transport::Cookie), ("bearer", Transport::Bearer)];

/// Sign in
///
/// With the cookie transport the tokens are in cookies only; with the bearer transport in the body only. An account with a
/// second factor is answered `second_factor_required`, and the sign-in goes on at `/api/login/factor/`.
#[utoipa::path(
    post, path = "/api/login/", tag = "accounts", request_body = Body,
    responses((status = 200, description = "Signed in", body = sign_in::Reply),
              (status = 401, description = "`invalid_credentials`, or `second_factor_required` with a `challenge`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 403, description = "`account_blocked`, with `reason` and `contact`; only after the right password and, where \
               the account has one, the second factor", body = crate::problem::Schema, content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    request: HttpRequest,
    Traced(trace): Traced,
    throttle: Throttle,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let identifier = fields.text_of(&["identifier", "email", "username"], 254);
    let password = fields.parse("password", Password::typed);
    let transport = fields.choice("transport", &TRANSPORTS, Transport::Cookie);
    let (identifier, password, transport) = fields.finish((identifier, password, transport))?;

    let attempt = Attempt::to_sign_in(&state, &request, throttle, &identifier).await?;
    let found = accounts::credentials(&state.pool, &identifier).await?;
    let known = found.as_ref().map(|found| found.user_id);
    let Some(checked) = check(&state, found, password).await? else {
        attempt.failed().await;
        tracing::info!(user_id = known.map(tracing::field::display), "a sign-in failed");
        audit::sign_in_failed(&state.pool, state.clock.now(), known, &trace).await?;
        return Err(Problem::new(Code::InvalidCredentials));
    };
    attempt.succeeded().await;
    sign_in::enter(&state, &request, &trace, transport, &checked).await
}

/// The credentials, if the password is theirs. Nobody's password is checked too.
async fn check(
    state: &State,
    found: Option<Credentials>,
    password: Password,
) -> Result<Option<Credentials>, Problem> {
    let Some((credentials, hash)) = found.and_then(|found| Some((found.clone(), found.password_hash?)))
    else {
        state.hasher.verify_nobody(password.into_secret()).await?;
        return Ok(None);
    };
    let (user_id, secret) = (credentials.user_id, password.clone().into_secret());
    let verdict = passwords::verify(state, user_id, secret, &hash).await?;
    if !verdict.ok {
        return Ok(None);
    }
    if verdict.needs_rehash {
        let new = state.hasher.hash(password.into_secret()).await?;
        accounts::rehash(&state.pool, user_id, &hash, &new).await?;
    }
    Ok(Some(credentials))
}
