//! `/api/admin/referrals/`: what managers see of referrals, and decide about them.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::cache::{Entry, Kind};
use domain::referrals::{self, ReferralStatus, Reviewed, Ruling, Search, Side, Verdict};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::managers::{Because, Body};
use super::security_events::network_tag;
use crate::app::{Shared, State};
use crate::auth::Caller;
use crate::body::Complaint;
use crate::list::{self, List, Page};
use crate::path;
use crate::problem::Problem;
use crate::query::Query;

const PATH: &str = "/api/admin/referrals/";

/// One side of a referral.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminReferralSide)]
pub(super) struct Person {
    id: Uuid,
    username: String,
    email_verified: bool,
    blocked_at: Option<DateTime<Utc>>,
    deleted_at: Option<DateTime<Utc>>,
}

impl From<Side> for Person {
    fn from(side: Side) -> Self {
        Self {
            id: side.id,
            username: side.username,
            email_verified: side.email_verified_at.is_some(),
            blocked_at: side.blocked_at,
            deleted_at: side.deleted_at,
        }
    }
}

/// A referral with what speaks against it.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminReferral)]
pub(super) struct View {
    id: Uuid,
    /// `pending`, `review`, `successful`, `rejected`, `expired` or `reversed`.
    status: String,
    /// Why, as the referrer reads it.
    reason: String,
    referrer: Person,
    referred: Person,
    date_referred: DateTime<Utc>,
    /// It is not decided before.
    qualifies_at: DateTime<Utc>,
    /// When it was decided.
    settled_at: Option<DateTime<Utc>>,
    /// When a manager let it pass.
    cleared_at: Option<DateTime<Utc>>,
    /// A tag of the network of the registration: equal tags, equal networks. Gone after 90 days.
    network: Option<String>,
    /// What it was last judged by: `decision` (`allow`, `review` or `deny`), `score`, `signals` (each with its points, and
    /// whether they counted), the `facts` they were read off, and the `limits` that the score was held against.
    #[schema(value_type = Option<Object>)]
    assessment: Option<serde_json::Value>,
}

impl From<Reviewed> for View {
    fn from(row: Reviewed) -> Self {
        Self {
            id: row.id,
            status: row.status,
            reason: row.reason,
            referrer: row.referrer.into(),
            referred: row.referred.into(),
            date_referred: row.date_referred,
            qualifies_at: row.qualifies_at,
            settled_at: row.settled_at,
            cleared_at: row.cleared_at,
            network: row.network.as_deref().map(network_tag),
            assessment: row.assessment,
        }
    }
}

/// Everybody's referrals
///
/// With what speaks against each; newest first.
#[utoipa::path(
    get, path = "/api/admin/referrals/", tag = "managers",
    params(("status" = Option<String>, Query, description = "Only those of this status",
            pattern = "^(pending|review|successful|rejected|expired|reversed)$"),
           ("q" = Option<String>, Query, description = "The id of a referral or of either side, a referral code, or the beginning of a username",
            min_length = 1, max_length = 64, pattern = "^[a-z0-9-]{1,64}$"),
           ("limit" = Option<u8>, Query, description = "Items a page", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128)),
    responses((status = 200, description = "A page", body = Page<View>),
              (status = 400, description = "`invalid_cursor`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn get(state: Shared, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let statuses = ReferralStatus::ALL.map(|status| (status.as_str(), status));
    let status = query.choice("status", &statuses);
    let text = query.parse("q", |text| Ok::<_, Complaint>(text.to_owned()));
    let asked = query.page();
    let (status, text, asked) = query.finish((status, text, asked))?;

    let of_status = status.map(|status| format!("&status={status}"));
    let of_text = text.as_deref().map(list::search);
    let filters = of_status.into_iter().chain(of_text).collect::<String>();
    let list = List::new(&state, caller, PATH, filters, asked)?;
    let search = Search { status, text };
    let rows = referrals::search(&state.pool, &search, list.after, list.rows).await?;
    Ok(list.reply(rows, |row| (row.date_referred, row.id), View::from))
}

/// Let a referral pass
///
/// From `review` back to `pending`: the worker settles it as soon as it is due, whatever speaks against it. The same again
/// changes nothing and is answered alike.
#[utoipa::path(
    post, path = "/api/admin/referrals/{id}/approve/", tag = "managers", request_body = Body,
    params(("id" = Uuid, Path, description = "The referral")),
    responses((status = 200, description = "The referral", body = View),
              (status = 409, description = "`conflicting_state`: it is not in review", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn approve(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    decide(&state, &id, Verdict::Approve, &because).await
}

/// Refuse a referral
///
/// From `review` or `pending`. The same again changes nothing and is answered alike.
#[utoipa::path(
    post, path = "/api/admin/referrals/{id}/reject/", tag = "managers", request_body = Body,
    params(("id" = Uuid, Path, description = "The referral")),
    responses((status = 200, description = "The referral", body = View),
              (status = 409, description = "`conflicting_state`: it is decided", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn reject(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    decide(&state, &id, Verdict::Reject, &because).await
}

/// Take a successful referral back
///
/// With what it earned both sides, as far as it was not spent. The same again changes nothing and is answered alike.
#[utoipa::path(
    post, path = "/api/admin/referrals/{id}/reverse/", tag = "managers", request_body = Body,
    params(("id" = Uuid, Path, description = "The referral")),
    responses((status = 200, description = "The referral", body = View),
              (status = 409, description = "`conflicting_state`: it has not succeeded", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn reverse(
    state: Shared,
    id: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    decide(&state, &id, Verdict::Reverse, &because).await
}

async fn decide(
    state: &State,
    id: &str,
    verdict: Verdict,
    because: &Because,
) -> Result<HttpResponse, Problem> {
    let referral_id = path::id(id)?;
    let ruling = Ruling { referral_id, verdict, actor: because.actor, reason: &because.reason };
    let policy = state.config.common.referrals;
    let ruled = referrals::rule(&state.pool, state.clock.now(), policy, ruling, &because.trace).await?;
    state.wake.wake();
    if !ruled.changed.is_empty() {
        tracing::info!(%referral_id, status = %ruled.status, "a manager decided about a referral");
    }
    for (user_id, version) in ruled.changed {
        state.cache.invalidate(Entry { kind: Kind::ReferralStats, id: user_id }, version).await;
    }
    let row = referrals::review_one(&state.pool, referral_id).await?;
    Ok(HttpResponse::Ok().json(row.map(View::from)))
}
