//! `POST /api/login/factor/`: the second half of a sign-in, whichever way the first half went.

use actix_web::{HttpRequest, HttpResponse};
use domain::accounts;
use domain::factors::{self, Code as FactorCode, FactorError};
use utoipa::ToSchema;

use super::login::TRANSPORTS;
use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::second_factor::{self, Challenge};
use crate::auth::{Transport, sign_in};
use crate::body::Fields;
use crate::limits::Throttle;
use crate::problem::{Code, Problem};

/// The challenge of the first half, and a code.
#[derive(ToSchema)]
#[schema(as = LoginFactorBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// `challenge` of the problem `second_factor_required`.
    #[schema(min_length = 1, max_length = 256)]
    challenge: String,
    /// Six digits of the app, or a recovery code.
    #[schema(min_length = 6, max_length = 64, example = "492039")]
    code: String,
    /// Where the tokens go: `cookie` (the default) or `bearer`.
    #[schema(pattern = "^(cookie|bearer)$", example = "cookie")]
    transport: Option<String>,
}

/// Finish signing in with a second factor
///
/// Wanted when a sign-in answers with `second_factor_required`. Answers as that sign-in would have.
#[utoipa::path(
    post, path = "/api/login/factor/", tag = "accounts", request_body = Body,
    responses((status = 200, description = "Signed in", body = sign_in::Reply),
              (status = 401, description = "`invalid_code`, or `invalid_challenge`: sign in from the start",
               body = crate::problem::Schema, content_type = "application/problem+json"),
              (status = 403, description = "`account_blocked`, with `reason` and `contact`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    request: HttpRequest,
    Traced(trace): Traced,
    throttle: Throttle,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let challenge = fields.text("challenge", 256);
    let code = fields.parse("code", FactorCode::parse);
    let transport = fields.choice("transport", &TRANSPORTS, Transport::Cookie);
    let (challenge, code, transport) = fields.finish((challenge, code, transport))?;

    let over = || Problem::new(Code::InvalidChallenge);
    let challenge = Challenge::read(&state, &challenge).ok_or_else(over)?;
    let checked = accounts::credentials_of(&state.pool, challenge.user_id).await?;
    let checked = checked.filter(|found| found.session_epoch == challenge.session_epoch).ok_or_else(over)?;

    let pass = second_factor::admit(&state, &request, &throttle, &checked, &code).await?;
    let now = state.clock.now();
    let proved = factors::prove(&state.pool, now, &state.keys().factor, &checked, &code, &trace).await;
    match proved {
        Ok(()) => {}
        Err(FactorError::NotEnrolled | FactorError::Overtaken) => return Err(over()),
        Err(error) => return Err(error.into()),
    }
    throttle.give_back(pass).await;
    // A recovery code is told of by mail.
    state.wake.wake();
    sign_in::start(&state, &request, &trace, transport, &checked).await
}
