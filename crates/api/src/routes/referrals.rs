//! `GET /api/referrals/`: whom the caller brought.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use domain::referrals::{self, ReferralStatus, ReferralView};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::Shared;
use crate::auth::Caller;
use crate::list::{List, Page};
use crate::problem::Problem;
use crate::query::Query;

const PATH: &str = "/api/referrals/";

/// Somebody whom the caller brought: never an e-mail address.
#[derive(Serialize, ToSchema)]
pub(super) struct Referral {
    id: Uuid,
    /// The name; `deleted` when that account is gone.
    username: String,
    /// `pending`, `review`, `successful`, `rejected`, `expired` or `reversed`.
    status: String,
    /// Why it stands there: what it waits for (`awaiting_verification`, `on_hold` until `qualifies_at`,
    /// `awaiting_settlement`, `under_review`, `account_blocked`), or why it was decided so.
    reason: String,
    /// When the account was made.
    date_referred: DateTime<Utc>,
    /// It is not decided before. The hold begins anew when the address is confirmed.
    qualifies_at: DateTime<Utc>,
    /// It expires then, unless the friend confirms the address before; `null` when it waits for something else.
    expires_at: Option<DateTime<Utc>>,
    /// When it was decided.
    settled_at: Option<DateTime<Utc>>,
}

impl From<ReferralView> for Referral {
    fn from(view: ReferralView) -> Self {
        Self {
            id: view.id,
            username: if view.deleted_at.is_some() { "deleted".to_owned() } else { view.username },
            status: view.status,
            reason: view.reason,
            date_referred: view.date_referred,
            qualifies_at: view.qualifies_at,
            expires_at: view.expires_at,
            settled_at: view.settled_at,
        }
    }
}

/// One's referrals
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/referrals/", tag = "referrals",
    params(("status" = Option<String>, Query, description = "Only those of this status",
            pattern = "^(pending|review|successful|rejected|expired|reversed)$"),
           ("limit" = Option<u8>, Query, description = "Items a page", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128)),
    responses((status = 200, description = "A page", body = Page<Referral>),
              (status = 400, description = "`invalid_cursor`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn get(state: Shared, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let statuses = ReferralStatus::ALL.map(|status| (status.as_str(), status));
    let status = query.choice("status", &statuses);
    let asked = query.page();
    let (status, asked) = query.finish((status, asked))?;

    let filters = status.map_or_else(String::new, |status| format!("&status={status}"));
    let list = List::new(&state, caller, PATH, filters, asked)?;
    let now = state.clock.now();
    let rows = referrals::list(&state.pool, now, caller.user_id, status, list.after, list.rows).await?;
    Ok(list.reply(rows, |row| (row.date_referred, row.id), Referral::from))
}
