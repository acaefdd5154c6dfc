//! `GET /api/me/username/`: the names of the account, and whether another one may be chosen now.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use domain::accounts::{self, Change};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::auth::Caller;
use crate::problem::Problem;

/// The names of an account.
#[derive(Serialize, ToSchema)]
#[schema(as = Usernames)]
pub(super) struct Reply {
    username: String,
    /// Names of before, newest first. Links to them lead to the present one.
    former: Vec<Former>,
    /// How often the name may be changed now.
    changes_left: u16,
    /// When one more change is allowed; `null` when none is used up.
    next_change_at: Option<DateTime<Utc>>,
}

/// A name of before.
#[derive(Serialize, ToSchema)]
#[schema(as = FormerUsername)]
pub(super) struct Former {
    username: String,
    /// When it was changed.
    until: DateTime<Utc>,
}

impl From<Change> for Former {
    fn from(change: Change) -> Self {
        Self { username: change.old_username, until: change.changed_at }
    }
}

/// The usernames of the account
///
/// The present one, those of before, and how often it may be changed now (`PATCH /api/me/`).
#[utoipa::path(
    get, path = "/api/me/username/", tag = "accounts",
    responses((status = 200, description = "The names", body = Reply)),
)]
pub(super) async fn get(state: Shared, caller: Caller) -> Result<HttpResponse, Problem> {
    let account = accounts::find(&state.pool, caller.user_id).await?.ok_or_else(Problem::unauthenticated)?;
    let (now, allowed) = (state.clock.now(), state.config.username_changes);
    let status = accounts::name_status(&state.pool, now, allowed, caller.user_id).await?;
    Ok(HttpResponse::Ok().json(Reply {
        username: account.username,
        former: status.changes.into_iter().map(Former::from).collect(),
        changes_left: status.left,
        next_change_at: status.next_at,
    }))
}
