//! `POST /api/token/refresh/`: continues a session.

use actix_web::{HttpRequest, HttpResponse};
use domain::accounts;
use domain::audit::Trace;
use domain::sessions::{self, RefreshError, Started};
use domain::token::Token;
use utoipa::ToSchema;

use crate::app::{Shared, State};
use crate::audit::Traced;
use crate::auth::{Transport, cookies, csrf, sign_in};
use crate::body::{Complaint, OptionalFields};
use crate::problem::Problem;

/// The refresh token of the bearer transport. With the cookie transport there is no body.
#[derive(ToSchema)]
#[schema(as = RefreshBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    #[schema(min_length = 1, max_length = 128)]
    refresh_token: Option<String>,
}

/// Refresh the tokens
///
/// The refresh token comes in its cookie (then `X-CSRF-Token` is needed) or in the body; the answer uses the same
/// transport. Each use gives a new refresh token. When the answer is lost, send the same token again: it gives the same new
/// token until that one is used. A token whose successor was used more than ten seconds ago (`REFRESH_GRACE`) is taken for
/// stolen, and its session ends.
#[utoipa::path(
    post, path = "/api/token/refresh/", tag = "accounts", request_body(content = Option<Body>),
    responses((status = 200, description = "The session goes on", body = sign_in::Reply),
              (status = 401, description = "`unauthenticated`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    request: HttpRequest,
    OptionalFields(mut fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    let given = fields.parse_optional("refresh_token", |text| Ok::<_, Complaint>(text.to_owned()));
    let given = fields.finish(given)?;
    let transport = if given.is_some() { Transport::Bearer } else { Transport::Cookie };
    let cookie = || state.cookies.read(request.headers(), &cookies::REFRESH).map(str::to_owned);
    let text = given.or_else(cookie).ok_or_else(Problem::unauthenticated)?;
    let token = Token::parse(&text).map_err(|_| Problem::unauthenticated())?;
    if transport == Transport::Cookie {
        let session =
            sessions::session_of(&state.pool, &token).await?.ok_or_else(Problem::unauthenticated)?;
        csrf::check_token(request.headers(), &state.keys().csrf, session)?;
    }
    let started = refresh(&state, &token, &Traced::of(&request)?.0).await?;
    let account = accounts::find(&state.pool, started.user_id).await?.ok_or_else(Problem::unauthenticated)?;
    sign_in::reply(&state, transport, account, &started)
}

async fn refresh(state: &State, token: &Token, trace: &Trace) -> Result<Started, Problem> {
    let (now, lifetimes) = (state.clock.now(), &state.config.common.lifetimes);
    let result = sessions::refresh(&state.pool, now, lifetimes, &state.keys().token, token, trace).await;
    if let Err(RefreshError::Reused { session_id }) = &result {
        tracing::warn!(%session_id, "a refresh token was used twice: its session was ended");
        state.sessions.forget(&[*session_id]).await;
        state.wake.wake();
    }
    Ok(result?)
}
