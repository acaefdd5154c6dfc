//! Who is calling: the access token, by header or by cookie, and whether its session still lives.
//!
//! A valid token is not enough: its session may have ended a moment ago. The truth about that is in PostgreSQL; see
//! [`sessions`] for how long a cache may believe otherwise.

pub mod attempt;
pub mod browser;
pub mod cookies;
pub mod csrf;
pub mod handoff;
pub mod jwt;
pub mod second_factor;
pub mod sessions;
pub mod sign_in;
mod signed;

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpRequest};
use domain::cache::{Entry, Kind};
use uuid::Uuid;

use crate::app::State;
use crate::cache::Prefetched;
use crate::middleware::context;
use crate::problem::{Code, Problem};
use jwt::Access;

/// The header by which a page says whose data it shows: a user id. Another account's session is answered `account_changed`.
pub const EXPECTED_USER: &str = "x-trellis-user";

/// How a client carries its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In cookies, as browsers do.
    Cookie,
    /// In the `Authorization` header.
    Bearer,
}

/// A signed-in user. The guard of a route that wants one puts it there; a handler takes it as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: Uuid,
    /// The session.
    pub session_id: Uuid,
    /// How the token came.
    pub transport: Transport,
}

/// Whoever calls, on a route that anybody may call: `None` without a token of a live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaybeCaller(pub Option<Caller>);

/// The access token of a request, not yet looked at. A header goes before a cookie.
pub(crate) fn presented<'a>(state: &State, headers: &'a HeaderMap) -> Option<(&'a str, Transport)> {
    Some(match headers.get(header::AUTHORIZATION) {
        Some(value) => (bearer(value.to_str().ok()?)?, Transport::Bearer),
        None => (state.cookies.read(headers, &cookies::ACCESS)?, Transport::Cookie),
    })
}

/// The caller that the token names, its session not yet looked at.
pub(crate) fn claimed(state: &State, headers: &HeaderMap) -> Option<Caller> {
    let (token, transport) = presented(state, headers)?;
    let Access { user_id, session_id } = state.jwt.verify(token, state.clock.now())?;
    Some(Caller { user_id, session_id, transport })
}

/// The token of an `Authorization: Bearer` header (RFC 6750, 2.1); the scheme has no case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The caller, if their session lives; with it, in one round trip, the copy of `wanted` that the handler will ask for.
pub(crate) async fn authenticate(
    state: &State,
    headers: &HeaderMap,
    wanted: Option<Kind>,
) -> Result<(Caller, Prefetched), Problem> {
    let caller = claimed(state, headers).ok_or_else(Problem::unauthenticated)?;
    let (live, prefetched) = match wanted {
        Some(kind) => state.sessions.is_live_and(caller, Entry { kind, id: caller.user_id }).await?,
        None => (state.sessions.is_live(caller).await?, Prefetched::Unknown),
    };
    if live { Ok((caller, prefetched)) } else { Err(Problem::unauthenticated()) }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = context(request).map(|context| context.caller.get());
        let missing = || Problem::internal(anyhow::anyhow!("this route's row does not ask for a user"));
        ready(caller.and_then(|caller| caller.ok_or_else(missing)))
    }
}

impl FromRequest for MaybeCaller {
    type Error = Problem;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let state = State::of(&request)?;
            let Some(caller) = claimed(state, request.headers()) else { return Ok(Self(None)) };
            match state.sessions.is_live(caller).await {
                Ok(live) => Ok(Self(live.then_some(caller))),
                Err(problem) if problem.code() == Code::Unauthenticated => Ok(Self(None)),
                Err(problem) => Err(problem),
            }
        })
    }
}
