//! `/api/admin/webhooks/{id}/deliveries/`: what an endpoint was told, telling it again, and trying whether it listens.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::audit::Actor;
use domain::webhooks::{self, Delivery, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::OptionalFields;
use crate::list::{List, Page};
use crate::path;
use crate::problem::Problem;
use crate::query::Query;

/// Where the lists are, as links to their next pages say it.
const PATH: &str = "/api/admin/webhooks/";

/// The states, by their words.
const STATES: [(&str, State); 3] =
    [("waiting", State::Waiting), ("delivered", State::Delivered), ("failed", State::Failed)];

/// What an endpoint was told, or is to be.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub(super) struct View {
    id: Uuid,
    /// `webhook-id`: the same at each attempt, and to each endpoint.
    event_id: Uuid,
    /// What happened.
    event: String,
    /// `waiting`, `delivered` or `failed`.
    state: &'static str,
    /// What is sent: `{type, timestamp, data}`.
    #[schema(value_type = Object)]
    body: Value,
    created_at: DateTime<Utc>,
    attempts: i32,
    last_attempt_at: Option<DateTime<Utc>>,
    /// The status of the last answer; `null` when there was none.
    last_status: Option<i16>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    delivered_at: Option<DateTime<Utc>>,
    failed_at: Option<DateTime<Utc>>,
}

impl From<Delivery> for View {
    fn from(row: Delivery) -> Self {
        let state = match (row.delivered_at, row.failed_at) {
            (Some(_), _) => "delivered",
            (None, Some(_)) => "failed",
            (None, None) => "waiting",
        };
        Self {
            id: row.id,
            event_id: row.event_id,
            event: row.event,
            state,
            body: serde_json::from_str(&row.body).unwrap_or_default(),
            created_at: row.created_at,
            attempts: row.attempts,
            last_attempt_at: row.last_attempt_at,
            last_status: row.last_status,
            last_error: row.last_error,
            delivered_at: row.delivered_at,
            failed_at: row.failed_at,
        }
    }
}

/// What an endpoint was told
///
/// Newest first, for thirty days.
#[utoipa::path(
    get, path = "/api/admin/webhooks/{id}/deliveries/", tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint"),
           ("state" = Option<String>, Query, description = "Only those that stand there",
            pattern = "^(waiting|delivered|failed)$"),
           ("limit" = Option<u8>, Query, description = "Items a page", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128)),
    responses((status = 200, description = "A page", body = Page<View>),
              (status = 400, description = "`invalid_cursor`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn get(
    state: Shared,
    caller: Caller,
    id: web::Path<String>,
    mut query: Query,
) -> Result<HttpResponse, Problem> {
    let only = query.choice("state", &STATES);
    let asked = query.page();
    let (only, asked) = query.finish((only, asked))?;
    let id = path::id(&id)?;

    let word = STATES.iter().find(|(_, state)| Some(*state) == only).map(|(word, _)| *word);
    let filters = word.map(|word| format!("&state={word}")).unwrap_or_default();
    let list = List::new(&state, caller, format!("{PATH}{id}/deliveries/"), filters, asked)?;
    let rows = webhooks::list_deliveries(&state.pool, id, only, list.after, list.rows).await?;
    Ok(list.reply(rows, |row| (row.created_at, row.id), View::from))
}

/// Tell an endpoint again
///
/// What it took, or what was given up, by the same `webhook-id`. What waits is tried as soon as the endpoint may be.
#[utoipa::path(
    post, path = "/api/admin/webhooks/{id}/deliveries/{delivery}/redeliver/", tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint"), ("delivery" = Uuid, Path, description = "The delivery")),
    responses((status = 202, description = "It is told soon"),
              (status = 409, description = "`conflicting_state`: the endpoint is disabled", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn redeliver(
    state: Shared,
    caller: Caller,
    traced: Traced,
    ids: web::Path<(String, String)>,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    let (id, delivery_id) = (path::id(&ids.0)?, path::id(&ids.1)?);
    let (now, actor) = (state.clock.now(), Actor::Manager(caller.user_id));
    webhooks::redeliver(&state.pool, now, id, delivery_id, actor, &traced.0).await?;
    state.wake.wake();
    Ok(HttpResponse::Accepted().finish())
}

/// Try an endpoint
///
/// It is told a `ping`. What came of it is in its deliveries.
#[utoipa::path(
    post, path = "/api/admin/webhooks/{id}/ping/", tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint")),
    responses((status = 202, description = "The delivery, which waits", body = View),
              (status = 409, description = "`conflicting_state`: the endpoint is disabled", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn ping(
    state: Shared,
    caller: Caller,
    traced: Traced,
    id: web::Path<String>,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    let (now, actor) = (state.clock.now(), Actor::Manager(caller.user_id));
    let delivery = webhooks::ping(&state.pool, now, path::id(&id)?, actor, &traced.0).await?;
    state.wake.wake();
    Ok(HttpResponse::Accepted().json(View::from(delivery)))
}
