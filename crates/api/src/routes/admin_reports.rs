//! `/api/admin/reports/`: what strangers reported, for managers.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::moderation::{self, Report, State};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::managers::{Because, Body};
use crate::app::Shared;
use crate::auth::Caller;
use crate::list::{List, Page};
use crate::path;
use crate::problem::Problem;
use crate::query::Query;

const PATH: &str = "/api/admin/reports/";

/// A report of a page.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminReport)]
pub(super) struct View {
    id: Uuid,
    /// Whose page.
    username: String,
    /// `spam`, `scam`, `malware`, `impersonation`, `hate`, `violence`, `sexual`, `illegal` or `other`.
    reason: String,
    detail: Option<String>,
    created_at: DateTime<Utc>,
    /// When a manager decided.
    settled_at: Option<DateTime<Utc>>,
    /// `disabled` or `dismissed`.
    outcome: Option<String>,
    /// When the page was taken down, if it is down now.
    page_disabled_at: Option<DateTime<Utc>>,
    /// How many reports of this page wait.
    waiting: i64,
}

impl From<Report> for View {
    fn from(row: Report) -> Self {
        Self {
            id: row.id,
            username: row.username,
            reason: row.reason,
            detail: row.detail,
            created_at: row.created_at,
            settled_at: row.settled_at,
            outcome: row.outcome,
            page_disabled_at: row.page_disabled_at,
            waiting: row.waiting,
        }
    }
}

/// Reports of pages
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/admin/reports/", tag = "managers",
    params(("state" = Option<String>, Query, description = "Only those that wait, or that were decided",
            pattern = "^(open|settled)$"),
           ("limit" = Option<u8>, Query, description = "Items a page", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128)),
    responses((status = 200, description = "A page", body = Page<View>),
              (status = 400, description = "`invalid_cursor`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn get(state: Shared, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let only = query.choice("state", &[("open", State::Open), ("settled", State::Settled)]);
    let asked = query.page();
    let (only, asked) = query.finish((only, asked))?;

    let filters = match only {
        Some(State::Open) => "&state=open",
        Some(State::Settled) => "&state=settled",
        None => "",
    };
    let list = List::new(&state, caller, PATH, filters, asked)?;
    let rows = moderation::list_reports(&state.pool, only, list.after, list.rows).await?;
    Ok(list.reply(rows, |row| (row.created_at, row.id), View::from))
}

/// Dismiss a report
///
/// The page stays as it is. The same again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/reports/{id}/dismiss/", tag = "managers", request_body = Body,
    params(("id" = Uuid, Path, description = "The report")),
    responses((status = 204, description = "It is settled")),
)]
pub(super) async fn dismiss(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    let id = path::id(&id)?;
    let now = state.clock.now();
    if moderation::dismiss_report(&state.pool, now, id, because.decision(), &because.trace).await? {
        tracing::info!(report_id = %id, "a manager dismissed a report");
    }
    Ok(HttpResponse::NoContent().finish())
}
