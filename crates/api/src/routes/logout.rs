//! `POST /api/logout/`: ends the session.

use actix_web::HttpResponse;
use domain::sessions;

use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::OptionalFields;
use crate::problem::Problem;

/// Sign out
///
/// Ends the session on every replica and clears its cookies.
#[utoipa::path(
    post, path = "/api/logout/", tag = "accounts",
    responses((status = 204, description = "The session has ended")),
)]
pub(super) async fn post(
    state: Shared,
    Traced(trace): Traced,
    caller: Caller,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    sessions::sign_out(&state.pool, state.clock.now(), caller.user_id, caller.session_id, &trace).await?;
    state.sessions.forget(&[caller.session_id]).await;
    let mut response = HttpResponse::NoContent();
    for cookie in state.cookies.signed_out() {
        response.cookie(cookie);
    }
    Ok(response.finish())
}
