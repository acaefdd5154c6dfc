//! `POST /api/logout/`: ends the session.
//!
//! Having any token of a session is enough to end it, in the spirit of RFC 7009: a refresh token in the body, an access token
//! in its header or cookie, expired or not. What identifies no live session is answered like success, so that no client is
//! left with cookies that it cannot drop.

use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse};
use domain::sessions::{self, LiveSession};
use domain::token::Token;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::{Shared, State};
use crate::audit::Traced;
use crate::auth::{self, Transport, cookies, csrf};
use crate::body::{Complaint, OptionalFields};
use crate::problem::Problem;

/// The refresh token of the session to end, for clients that have no access token at hand.
#[derive(ToSchema)]
#[schema(as = LogoutBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    #[schema(max_length = 128)]
    refresh_token: Option<String>,
}

/// Sign out
///
/// Ends the session of the refresh token in the body, and that of the access token in its header or cookie, on every replica;
/// an expired access token still names its session. Clears the session's cookies. Answers 204 as well when there is no
/// session to end. A cookie ends a live session only together with its `X-CSRF-Token`.
#[utoipa::path(
    post, path = "/api/logout/", tag = "accounts", request_body(content = Option<Body>),
    responses((status = 204, description = "Signed out")),
)]
pub(super) async fn post(
    state: Shared,
    request: HttpRequest,
    Traced(trace): Traced,
    OptionalFields(mut fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    let given = fields.parse_optional("refresh_token", |text| Ok::<_, Complaint>(text.to_owned()));
    let given = fields.finish(given)?;
    // The cookie goes first: a refusal leaves everything as it was.
    let mut live: Vec<LiveSession> = of_access(&state, request.headers()).await?.into_iter().collect();
    if let Some(id) = of_refresh(&state, request.headers(), given.as_deref()).await? {
        live.extend(find(&state, id).await?);
    }
    for session in live {
        sessions::sign_out(&state.pool, state.clock.now(), session.user_id, session.id, &trace).await?;
        state.sessions.forget(&[session.id]).await;
    }
    let mut response = HttpResponse::NoContent();
    for cookie in state.cookies.signed_out() {
        response.cookie(cookie);
    }
    Ok(response.finish())
}

/// The live session of the access token. With a cookie the request has to prove that it comes from our own pages, or any
/// other site could sign people out. A session that is over needs no such proof: nothing is left to protect, and a browser
/// that lost its CSRF cookie must get rid of the others.
async fn of_access(state: &State, headers: &HeaderMap) -> Result<Option<LiveSession>, Problem> {
    let Some((token, transport)) = auth::presented(state, headers) else { return Ok(None) };
    let Some(id) = state.jwt.session_of(token) else { return Ok(None) };
    let found = find(state, id).await?;
    if transport == Transport::Cookie && found.is_some() {
        csrf::check_token(headers, &state.keys().csrf, id)?;
    }
    Ok(found)
}

/// The session of the refresh token, in the body or in its cookie. Browsers do not send that cookie here; a client that does
/// has to bring the CSRF token like everywhere else.
async fn of_refresh(
    state: &State,
    headers: &HeaderMap,
    given: Option<&str>,
) -> Result<Option<Uuid>, Problem> {
    let cookie = state.cookies.read(headers, &cookies::REFRESH);
    let Some(Ok(token)) = given.or(cookie).map(Token::parse) else { return Ok(None) };
    let Some(id) = sessions::session_of(&state.pool, &token).await? else { return Ok(None) };
    if given.is_none() && find(state, id).await?.is_some() {
        csrf::check_token(headers, &state.keys().csrf, id)?;
    }
    Ok(Some(id))
}

async fn find(state: &State, id: Uuid) -> Result<Option<LiveSession>, Problem> {
    let idle = state.config.common.lifetimes.session_idle;
    Ok(sessions::find_live(&state.pool, state.clock.now(), idle, id).await?)
}
