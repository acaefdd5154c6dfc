//! `/api/me/`: the signed-in account, its name, its password, its end.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use domain::accounts::{self, Password, Username};
use serde::Serialize;
use utoipa::ToSchema;

use super::proof;
use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::{Caller, Transport, sign_in};
use crate::body::{Complaint, Fields};
use crate::limits::Throttle;
use crate::passwords;
use crate::problem::Problem;
use crate::reply::User;

/// The account, with what its holder alone needs to know, and what a page of another origin needs to go on with its session.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    #[serde(flatten)]
    user: User,
    /// When mail to the address last bounced: null once a mail arrives, or the address changes. While it is set, no
    /// confirmation is sent to it.
    email_bounced_at: Option<DateTime<Utc>>,
    /// What unsafe requests send as `X-CSRF-Token`. Absent with the bearer transport, which needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
}

/// What may be changed.
#[derive(ToSchema)]
#[schema(as = MePatch)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Patch {
    #[schema(
        min_length = 3,
        max_length = 30,
        pattern = "^[A-Za-z0-9]([_.-]?[A-Za-z0-9]){2,14}$",
        example = "ada"
    )]
    username: String,
    /// Not needed within ten minutes of a sign-in.
    #[schema(min_length = 1, max_length = 128, format = Password)]
    password: Option<String>,
}

/// Whoever deletes an account proves to be its owner: by the password, or without one by a sign-in of the last ten minutes.
#[derive(ToSchema)]
#[schema(as = MeDelete)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Delete {
    #[schema(min_length = 1, max_length = 128, format = Password)]
    password: Option<String>,
}

/// The old password and the new one.
#[derive(ToSchema)]
#[schema(as = MePassword)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct NewPassword {
    /// Not needed for the first one, which wants a sign-in of the last ten minutes.
    #[schema(min_length = 1, max_length = 128, format = Password)]
    current_password: Option<String>,
    #[schema(min_length = 8, max_length = 128, format = Password, example = "Vq7-tangerine-kiln")]
    password: String,
}

/// The signed-in account
///
/// With cookies, also the `csrf_token` of the session, which pages of a sibling domain cannot read from the cookie; and the
/// cookie is set again.
#[utoipa::path(
    get, path = "/api/me/", tag = "accounts",
    responses((status = 200, description = "The account", body = Me)),
)]
pub(super) async fn get(state: Shared, caller: Caller) -> Result<HttpResponse, Problem> {
    let account = accounts::find(&state.pool, caller.user_id).await?.ok_or_else(Problem::unauthenticated)?;
    let email_bounced_at = account.email_bounced_at;
    let user = User::new(&state, account);
    let mut response = HttpResponse::Ok();
    let csrf_token = (caller.transport == Transport::Cookie).then(|| {
        let token = sign_in::csrf_token(&state, caller.session_id);
        response.cookie(state.cookies.csrf(token.clone()));
        token
    });
    Ok(response.json(Me { user, email_bounced_at, csrf_token }))
}

/// Change the username
///
/// Wants the password, or a sign-in of the last ten minutes. A username changes twice in 30 days at most, unless the operator
/// set another limit; the name that the account has already is no change. A former name stays its owner's for good: no other
/// account gets it, its owner may take it back, and links to it lead to the new one. The referral code stays.
#[utoipa::path(
    patch, path = "/api/me/", tag = "accounts", request_body = Patch,
    responses((status = 200, description = "The account", body = User),
              (status = 401, description = "`invalid_credentials`: the password is wrong", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 403, description = "`recent_sign_in_needed`: send the password", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 409, description = "`username_taken`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn patch(
    state: Shared,
    Traced(trace): Traced,
    throttle: Throttle,
    caller: Caller,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let username = fields.parse("username", |text| Username::choose(text, &state.config.reserved_usernames));
    let password = fields.parse_optional("password", Password::typed);
    let (username, password) = fields.finish((username, password))?;
    let credentials = proof::credentials(&state, caller).await?;
    let checked = proof::check(&state, &throttle, caller, credentials, password).await?;
    let (now, allowed) = (state.clock.now(), state.config.username_changes);
    let account = accounts::rename(&state.pool, now, allowed, &checked, &username, &trace).await?;
    state.wake.wake();
    tracing::info!(user_id = %caller.user_id, "username changed");
    Ok(HttpResponse::Ok().json(User::new(&state, account)))
}

/// Delete the account
///
/// Personal data goes, sessions end, the name and the referral code are never given out again. A notice is mailed to the
/// address that the account had, which is kept encrypted for it, for one day at most.
#[utoipa::path(
    delete, path = "/api/me/", tag = "accounts", request_body = Delete,
    responses((status = 202, description = "The account is deleted")),
)]
pub(super) async fn delete(
    state: Shared,
    Traced(trace): Traced,
    throttle: Throttle,
    caller: Caller,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let credentials = proof::credentials(&state, caller).await?;
    let password = proof::field(&mut fields, "password", &credentials);
    let password = fields.finish(password)?;
    let checked = proof::check(&state, &throttle, caller, credentials, password).await?;
    let ended = accounts::delete(&state.pool, state.clock.now(), state.keys(), &checked, &trace).await?;
    state.sessions.forget(&ended).await;
    state.wake.wake();
    tracing::info!(user_id = %caller.user_id, "an account was deleted");
    let mut response = HttpResponse::Accepted();
    for cookie in state.cookies.signed_out() {
        response.cookie(cookie);
    }
    Ok(response.finish())
}

/// Change the password
///
/// Or set the first one, of an account that was made with an identity provider. Every other session ends, and a notice is
/// mailed.
#[utoipa::path(
    post, path = "/api/me/password/", tag = "accounts", request_body = NewPassword,
    responses((status = 204, description = "The password is changed")),
)]
pub(super) async fn password(
    state: Shared,
    Traced(trace): Traced,
    throttle: Throttle,
    caller: Caller,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let account = accounts::find(&state.pool, caller.user_id).await?.ok_or_else(Problem::unauthenticated)?;
    let own = [account.email.as_str(), account.username.as_str()];
    let shortest = state.config.password_min_length;
    let credentials = proof::credentials(&state, caller).await?;
    let current = proof::field(&mut fields, "current_password", &credentials);
    let new =
        fields.parse("password", |text| Password::choose(text, shortest, &own).map_err(Complaint::from));
    let (current, new) = fields.finish((current, new))?;

    let checked = proof::check(&state, &throttle, caller, credentials, current).await?;
    let hash = passwords::hash_chosen(&state, new).await?;
    let now = state.clock.now();
    let ended =
        accounts::change_password(&state.pool, now, &checked, &hash, caller.session_id, &trace).await?;
    state.sessions.forget(&ended).await;
    state.wake.wake();
    tracing::info!(user_id = %caller.user_id, "a password was changed");
    let mut response = HttpResponse::NoContent();
    if caller.transport == Transport::Cookie {
        // The change raised the epoch by one and so ended what was known of every browser, this one included.
        response.cookie(state.browser.device_cookie(caller.user_id, checked.session_epoch + 1));
    }
    Ok(response.finish())
}
