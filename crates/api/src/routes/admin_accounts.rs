//! `/api/admin/users/{id}/`: one account, and what managers do for its holder.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, web};
use domain::accounts::{self, Email, Find, Intervened, Intervention};
use domain::audit::Actor;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::admin_users::View;
use super::managers::{self, Because, Body};
use super::me_export::Reply as Export;
use crate::app::{Shared, State};
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::{Complaint, Fields};
use crate::path;
use crate::problem::{Code, Problem};

/// An account, and by what its holder signs in.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminAccount)]
pub(super) struct Account {
    #[serde(flatten)]
    account: View,
    /// `null` of a deleted account.
    sign_in: Option<SignIn>,
}

/// By what the holder of an account signs in.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminSignIn)]
pub(super) struct SignIn {
    has_password: bool,
    /// Whether a second factor is asked for.
    second_factor: bool,
    /// The identity providers that it may sign in with.
    providers: Vec<String>,
    /// Sessions that have not ended.
    sessions: i64,
}

/// A new address, and why.
#[derive(ToSchema)]
#[schema(as = AdminEmail)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct EmailBody {
    #[schema(max_length = 254, format = Email, example = "ada@example.org")]
    email: String,
    /// For the audit record. The people concerned do not read it.
    #[schema(min_length = 1, max_length = 500, pattern = r"\S", example = "a typo, confirmed by phone")]
    reason: String,
}

/// Look at one account
///
/// As in the list, and by what its holder signs in.
#[utoipa::path(
    get, path = "/api/admin/users/{id}/", tag = "managers",
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 200, description = "The account", body = Account)),
)]
pub(super) async fn get(state: Shared, _: Caller, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let id = path::id(&id)?;
    let text = id.to_string();
    let find = Find { text: Some(&text), email: None };
    let found = accounts::find_views(&state.pool, find, None, 1).await?;
    let row = found.into_iter().next().ok_or_else(|| Problem::new(Code::NotFound))?;
    let sign_in = accounts::sign_in_state(&state.pool, state.clock.now(), id).await?;
    let sign_in = sign_in.map(|state| SignIn {
        has_password: state.has_password,
        second_factor: state.second_factor,
        providers: state.providers,
        sessions: state.sessions,
    });
    Ok(HttpResponse::Ok().json(Account { account: View::from(row), sign_in }))
}

fn intervention<'a>(id: &str, because: &'a Because) -> Result<Intervention<'a>, Problem> {
    Ok(Intervention { user_id: path::id(id)?, actor: because.actor, reason: Some(&because.reason) })
}

/// What follows the commit: copies of ended sessions go, and promised jobs start.
async fn done(state: &State, user_id: Uuid, what: &'static str, done: Intervened) -> HttpResponse {
    state.sessions.forget(&done.ended).await;
    state.wake.wake();
    if done.changed {
        tracing::info!(%user_id, action = what, "a manager changed an account");
    }
    HttpResponse::NoContent().finish()
}

/// Take the role of a manager away
///
/// From the next request on. Not of the own account: one manager always stays. Only `api admin promote` gives the role. The
/// same again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/demote/", tag = "managers", request_body = Body,
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 204, description = "It is not a manager's")),
)]
pub(super) async fn demote(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    let order = intervention(&id, &because)?;
    let result = accounts::demote(&state.pool, state.clock.now(), order, &because.trace).await?;
    Ok(done(&state, order.user_id, "demote", result).await)
}

/// End all sessions of an account
///
/// At once, and every sign-in that is under way. For the own account there is `DELETE /api/sessions/`.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/end-sessions/", tag = "managers", request_body = Body,
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 204, description = "They have ended")),
)]
pub(super) async fn end_sessions(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    let order = intervention(&id, &because)?;
    let result = accounts::end_sessions(&state.pool, state.clock.now(), order, &because.trace).await?;
    Ok(done(&state, order.user_id, "end_sessions", result).await)
}

/// Delete an account
///
/// As its holder would with `DELETE /api/me/`, also while it is blocked. A manager's account is deleted by its holder or with
/// `api admin delete`.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/delete/", tag = "managers", request_body = Body,
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 204, description = "It is deleted")),
)]
pub(super) async fn delete(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    let order = intervention(&id, &because)?;
    let (now, keys) = (state.clock.now(), state.keys());
    let result = accounts::delete_as_operator(&state.pool, now, keys, order, &because.trace).await?;
    Ok(done(&state, order.user_id, "delete", result).await)
}

/// Confirm the address of an account
///
/// For a person you know. Unlike a mailed link it proves nothing of the mailbox, so sessions, second factor and linked
/// providers stay. A referral that waited for it is settled next. The same again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/confirm-email/", tag = "managers", request_body = Body,
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 204, description = "The address is confirmed")),
)]
pub(super) async fn confirm_email(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    let order = intervention(&id, &because)?;
    let (now, policy) = (state.clock.now(), state.config.common.referrals);
    let result = accounts::confirm_email(&state.pool, now, policy, order, &because.trace).await?;
    Ok(done(&state, order.user_id, "confirm_email", result).await)
}

/// Correct the address of an account
///
/// The new address is in force at once, unconfirmed, and is mailed a link; the old one is mailed a notice. All sessions end,
/// and mailed links are void. Not of a manager's account: that is the operator's. The same again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/users/{id}/email/", tag = "managers", request_body = EmailBody,
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 204, description = "It has the address"),
              (status = 409, description = "`email_taken`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn email(
    state: Shared,
    caller: Caller,
    traced: Traced,
    id: web::Path<String>,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let email = fields.parse("email", |text| Email::parse(text).map_err(Complaint::from));
    let reason = managers::reason(&mut fields);
    let (email, reason) = fields.finish((email, reason))?;
    let because = Because { actor: Actor::Manager(caller.user_id), reason, trace: traced.0 };
    let order = intervention(&id, &because)?;
    let (now, keys) = (state.clock.now(), state.keys());
    let lifetime = state.config.common.lifetimes.confirmation;
    let result =
        accounts::correct_email(&state.pool, now, keys, lifetime, &email, order, &because.trace).await?;
    Ok(done(&state, order.user_id, "correct_email", result).await)
}

/// Export the data of an account
///
/// What its holder would get with `GET /api/me/export/`, for a person who cannot sign in. On record with the manager.
#[utoipa::path(
    get, path = "/api/admin/users/{id}/export/", tag = "managers",
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 200, description = "The data", body = Export)),
)]
pub(super) async fn export(
    state: Shared,
    caller: Caller,
    Traced(trace): Traced,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (now, user_id) = (state.clock.now(), path::id(&id)?);
    let order = Intervention { user_id, actor: Actor::Manager(caller.user_id), reason: None };
    let data = accounts::export_as_operator(&state.pool, now, order, &trace).await?;
    tracing::info!(%user_id, "a manager exported an account");
    let name = HeaderValue::from_static("attachment; filename=\"trellis-export.json\"");
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_DISPOSITION, name))
        .json(Export { exported_at: now, data }))
}
