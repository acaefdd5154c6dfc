//! `GET` and `POST /api/me/export/`: everything that is held about the signed-in user.
//!
//! A stolen session must not carry it off: POST takes the password, GET wants a recent sign-in.

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use chrono::{DateTime, Utc};
use domain::accounts::Password;
use domain::audit::Trace;
use domain::export;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::proof;
use crate::app::{Shared, State};
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::OptionalFields;
use crate::limits::Throttle;
use crate::problem::Problem;

/// Everything that is held about the account.
#[derive(Serialize, ToSchema)]
#[schema(as = Export)]
pub(super) struct Reply {
    /// When it was put together.
    pub(super) exported_at: DateTime<Utc>,
    /// Sections by name, such as `account`, `sessions`, `referrals_made`, `ledger`, `mails`: a list of objects each.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<Object>>)]
    pub(super) data: Map<String, Value>,
}

/// Export one's data
///
/// Everything that is held about the account, as a file. Secrets and other people's data are left out. Five times an hour.
/// Wants a sign-in of the last ten minutes; with the password, send POST. A notice is mailed.
#[utoipa::path(
    get, path = "/api/me/export/", tag = "accounts",
    responses((status = 200, description = "The data", body = Reply),
              (status = 403, description = "`recent_sign_in_needed`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn get(
    state: Shared,
    Traced(trace): Traced,
    caller: Caller,
    throttle: Throttle,
) -> Result<HttpResponse, Problem> {
    export(&state, &trace, caller, &throttle, None).await
}

/// What proves that the holder asks.
#[derive(ToSchema)]
#[schema(as = ExportBody)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// Needed unless one signed in within the last ten minutes.
    #[schema(min_length = 1, max_length = 128, format = Password)]
    password: Option<String>,
}

/// Export one's data, with the password
///
/// As GET, also when the sign-in was longer ago.
#[utoipa::path(
    post, path = "/api/me/export/", tag = "accounts", request_body(content = Option<Body>),
    responses((status = 200, description = "The data", body = Reply),
              (status = 401, description = "`invalid_credentials`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 403, description = "`recent_sign_in_needed`, or `csrf_failed`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    Traced(trace): Traced,
    caller: Caller,
    throttle: Throttle,
    OptionalFields(mut fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    let password = fields.parse_optional("password", Password::typed);
    let password = fields.finish(password)?;
    export(&state, &trace, caller, &throttle, password).await
}

async fn export(
    state: &State,
    trace: &Trace,
    caller: Caller,
    throttle: &Throttle,
    password: Option<Password>,
) -> Result<HttpResponse, Problem> {
    let credentials = proof::credentials(state, caller).await?;
    proof::check(state, throttle, caller, credentials, password).await?;
    throttle.admit(&caller.user_id.to_string()).await?;
    let exported_at = state.clock.now();
    let data = export::everything_about(&state.pool, exported_at, caller.user_id, trace).await?;
    state.wake.wake();
    let name = HeaderValue::from_static("attachment; filename=\"trellis-export.json\"");
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_DISPOSITION, name))
        .json(Reply { exported_at, data }))
}
