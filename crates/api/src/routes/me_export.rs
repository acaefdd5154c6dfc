//! `GET /api/me/export/`: everything that is held about the signed-in user.

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use chrono::{DateTime, Utc};
use domain::export;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::limits::Throttle;
use crate::problem::Problem;

/// Everything that is held about the account.
#[derive(Serialize, ToSchema)]
#[schema(as = Export)]
pub(super) struct Reply {
    /// When it was put together.
    exported_at: DateTime<Utc>,
    /// Sections by name, such as `account`, `sessions`, `referrals_made`, `ledger`, `mails`: a list of objects each.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<Object>>)]
    data: Map<String, Value>,
}

/// Export one's data
///
/// Everything that is held about the account, as a file. Secrets and other people's data are left out. Five times an hour.
#[utoipa::path(
    get, path = "/api/me/export/", tag = "accounts",
    responses((status = 200, description = "The data", body = Reply)),
)]
pub(super) async fn get(
    state: Shared,
    Traced(trace): Traced,
    caller: Caller,
    throttle: Throttle,
) -> Result<HttpResponse, Problem> {
    throttle.admit(&caller.user_id.to_string()).await?;
    let exported_at = state.clock.now();
    let data = export::everything_about(&state.pool, exported_at, caller.user_id, &trace).await?;
    let name = HeaderValue::from_static("attachment; filename=\"trellis-export.json\"");
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_DISPOSITION, name))
        .json(Reply { exported_at, data }))
}
