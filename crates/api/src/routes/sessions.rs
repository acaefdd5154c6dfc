//! `/api/sessions/`: where the caller is signed in, and signing out there.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::sessions;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::OptionalFields;
use crate::list::{List, Page};
use crate::problem::{Code, Problem};
use crate::query::Query;

const PATH: &str = "/api/sessions/";

/// A place where the caller is signed in.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    id: Uuid,
    /// When it started.
    created_at: DateTime<Utc>,
    /// When it was last used, to the minute.
    last_seen_at: DateTime<Utc>,
    /// What the browser or the program called itself; may be empty.
    user_agent: String,
    /// The network it started from: never a whole address.
    #[schema(example = "203.0.113.0/24")]
    ip_prefix: String,
    /// Whether this request was made with it.
    current: bool,
}

/// One's sessions
///
/// Those that live, newest first.
#[utoipa::path(
    get, path = "/api/sessions/", tag = "accounts",
    params(("limit" = Option<u8>, Query, description = "Items a page", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128)),
    responses((status = 200, description = "A page", body = Page<Session>),
              (status = 400, description = "`invalid_cursor`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn get(state: Shared, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let asked = query.page();
    let asked = query.finish(asked)?;

    let list = List::new(&state, caller, PATH, "", asked)?;
    let (now, idle) = (state.clock.now(), state.config.common.lifetimes.session_idle);
    let rows = sessions::list(&state.pool, now, idle, caller.user_id, list.after, list.rows).await?;
    Ok(list.reply(
        rows,
        |row| (row.created_at, row.id),
        |row| Session {
            current: row.id == caller.session_id,
            id: row.id,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            user_agent: row.user_agent,
            ip_prefix: row.ip_prefix,
        },
    ))
}

/// Sign out everywhere else
///
/// Ends every session but this one, on every replica. Browsers that were known from earlier sign-ins are known no more.
#[utoipa::path(
    delete, path = "/api/sessions/", tag = "accounts",
    responses((status = 204, description = "The others have ended")),
)]
pub(super) async fn delete_others(
    state: Shared,
    Traced(trace): Traced,
    caller: Caller,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    let (now, idle) = (state.clock.now(), state.config.common.lifetimes.session_idle);
    let ended =
        sessions::end_others(&state.pool, now, idle, caller.user_id, caller.session_id, &trace).await?;
    let ended = ended.ok_or_else(Problem::unauthenticated)?;
    state.sessions.forget(&ended).await;
    tracing::info!(user_id = %caller.user_id, ended = ended.len(), "all other sessions were ended");
    Ok(HttpResponse::NoContent().finish())
}

/// Sign out somewhere
///
/// Ends one of the caller's sessions, on every replica. Ending the present one is signing out.
#[utoipa::path(
    delete, path = "/api/sessions/{id}/", tag = "accounts",
    params(("id" = Uuid, Path, description = "The session")),
    responses((status = 204, description = "It has ended")),
)]
pub(super) async fn delete_one(
    state: Shared,
    Traced(trace): Traced,
    caller: Caller,
    id: web::Path<String>,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    // Somebody else's, one that ended and what is no id are one answer.
    let unknown = || Problem::new(Code::NotFound);
    let id = Uuid::try_parse(&id).map_err(|_| unknown())?;
    let (now, idle) = (state.clock.now(), state.config.common.lifetimes.session_idle);
    if !sessions::end_one(&state.pool, now, idle, caller.user_id, id, &trace).await? {
        return Err(unknown());
    }
    state.sessions.forget(&[id]).await;
    tracing::info!(user_id = %caller.user_id, session_id = %id, "a session was ended by its holder");
    let mut response = HttpResponse::NoContent();
    if id == caller.session_id {
        for cookie in state.cookies.signed_out() {
            response.cookie(cookie);
        }
    }
    Ok(response.finish())
}
