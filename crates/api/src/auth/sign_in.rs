//! Letting somebody in, and the answer to whoever signed in or whose session goes on: the same from all endpoints.

use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse};
use domain::accounts::{self, Account, Credentials};
use domain::audit::Trace;
use domain::config::SupportUrl;
use domain::factors;
use domain::sessions::{self, Origin, Started};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::jwt::Access;
use super::{Transport, csrf, second_factor};
use crate::app::State;
use crate::client_ip;
use crate::problem::{Code, Problem};
use crate::reply::User;

/// What a browser gets: its tokens are in cookies.
#[derive(Serialize, ToSchema)]
pub struct CookieReply {
    user: User,
    /// What unsafe requests send as `X-CSRF-Token`; also in the readable CSRF cookie.
    csrf_token: String,
    /// Seconds until the access token is to be refreshed.
    expires_in: i64,
}

/// What every other client gets.
#[derive(Serialize, ToSchema)]
pub struct BearerReply {
    user: User,
    /// What to send as `Authorization: Bearer`.
    access_token: String,
    /// What to send to `/api/token/refresh/`; good for one use.
    refresh_token: String,
    /// `Bearer`
    token_type: &'static str,
    /// Seconds until the access token is to be refreshed.
    expires_in: i64,
}

/// Either.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "describes the reply for the OpenAPI document")]
pub enum Reply {
    /// With the bearer transport.
    Bearer(BearerReply),
    /// With the cookie transport.
    Cookie(CookieReply),
}

/// Lets somebody in who just proved to be the owner of `checked`, by whatever one proves it first. Every way of signing in
/// ends here. An account with a second factor is asked for it, and nothing is started.
///
/// `checked` is read before the factor is looked for: a factor that is added in between raises the session epoch, so that
/// no session starts past it.
pub async fn enter(
    state: &State,
    request: &HttpRequest,
    trace: &Trace,
    transport: Transport,
    checked: &Credentials,
) -> Result<HttpResponse, Problem> {
    if factors::is_on(&state.pool, checked.user_id).await? {
        tracing::info!(user_id = %checked.user_id, "a second factor is asked for");
        return Err(second_factor::required(state, checked));
    }
    start(state, request, trace, transport, checked).await
}

/// The answer to the holder of a blocked account, who proved everything: why, and whom to ask. Without the whole proof the
/// answer is that of an unknown account, so it tells a stranger nothing.
async fn blocked(state: &State, user_id: Uuid) -> Result<HttpResponse, Problem> {
    tracing::info!(%user_id, "refused the sign-in of a blocked account");
    let notice = accounts::block_notice(&state.pool, user_id).await?;
    // Unblocked since the password was checked: the next sign-in succeeds.
    let notice = notice.ok_or_else(|| Problem::new(Code::InvalidCredentials))?;
    let contact = state.config.common.contact();
    let reason = notice.reason.as_deref().map(|reason| reason.trim_end_matches('.'));
    let reason = reason.map(|reason| format!(" The reason: {reason}.")).unwrap_or_default();
    let whom = contact.unwrap_or("the people who run this site");
    let detail = format!(
        "This account is blocked.{reason} If you think that this is a mistake, or want a copy of your data or its \
         deletion, ask: {whom}"
    );
    Err(Problem::new(Code::AccountBlocked)
        .detail(detail)
        .member("reason", notice.reason.into())
        .member("contact", state.config.common.support_url.as_ref().map(SupportUrl::as_str).into()))
}

/// Starts a session for somebody who proved everything that `checked` wants, and answers with its tokens.
pub(crate) async fn start(
    state: &State,
    request: &HttpRequest,
    trace: &Trace,
    transport: Transport,
    checked: &Credentials,
) -> Result<HttpResponse, Problem> {
    if checked.is_blocked {
        return blocked(state, checked.user_id).await;
    }
    // A device cookie from before a new password is of no use to sign in with, and still tells that the browser is not new.
    let known_browser = state.browser.device_user(request.headers()) == Some(checked.user_id);
    let origin =
        Origin { known_browser, ..client_ip::session_origin(request, &state.config.trusted_proxies) };
    let replaced = presented(state, request.headers(), transport);
    let (now, lifetime) = (state.clock.now(), state.config.common.lifetimes.session);
    let started = sessions::start(&state.pool, now, lifetime, checked, &origin, replaced, trace).await?;
    // Perhaps for a notice of the new browser.
    state.wake.wake();
    if let Some(replaced) = replaced {
        state.sessions.forget(&[replaced]).await;
    }
    tracing::info!(user_id = %started.user_id, session_id = %started.session_id, "signed in");
    let account = accounts::find(&state.pool, started.user_id).await?;
    let account = account.ok_or_else(|| Problem::new(Code::InvalidCredentials))?;
    let mut response = reply(state, transport, account, &started)?;
    if transport == Transport::Cookie {
        let device = state.browser.device_cookie(checked.user_id, checked.session_epoch);
        response.add_cookie(&device).map_err(|error| Problem::internal(anyhow::Error::from(error)))?;
    }
    Ok(response)
}

/// The session that the client has in the transport it signs in with, even if its access token has expired.
fn presented(state: &State, headers: &HeaderMap, transport: Transport) -> Option<Uuid> {
    super::presented(state, headers)
        .filter(|(_, shown)| *shown == transport)
        .and_then(|(token, _)| state.jwt.session_of(token))
}

/// Answers with the tokens of a session, in the client's transport.
pub fn reply(
    state: &State,
    transport: Transport,
    account: Account,
    started: &Started,
) -> Result<HttpResponse, Problem> {
    let access = Access { user_id: started.user_id, session_id: started.session_id };
    let access_token = state.jwt.sign(access, state.clock.now()).map_err(Problem::internal)?;
    let refresh_token = started.refresh.expose();
    let expires_in = state.config.common.lifetimes.access_token.num_seconds();
    let user = User::new(state, account);
    if transport == Transport::Bearer {
        let token_type = "Bearer";
        let body = BearerReply { user, access_token, refresh_token, token_type, expires_in };
        return Ok(HttpResponse::Ok().json(body));
    }
    let csrf_token = csrf_token(state, started.session_id);
    let mut response = HttpResponse::Ok();
    for cookie in state.cookies.signed_in(access_token, refresh_token, csrf_token.clone()) {
        response.cookie(cookie);
    }
    Ok(response.json(CookieReply { user, csrf_token, expires_in }))
}

pub(crate) fn csrf_token(state: &State, session_id: Uuid) -> String {
    csrf::token(&state.keys().csrf, session_id)
}
