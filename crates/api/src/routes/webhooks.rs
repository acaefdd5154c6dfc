//! `/api/admin/webhooks/`: which other systems are told what happens, for managers.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::audit::Actor;
use domain::webhooks::{self, Edit, Endpoint, EndpointUrl, Event, NewEndpoint};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::{Shared, State};
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::{Complaint, Fields, OptionalFields};
use crate::list::{List, Page};
use crate::path;
use crate::problem::{FieldCode, Problem};
use crate::query::Query;

const PATH: &str = "/api/admin/webhooks/";

/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 120;

/// An endpoint that is told what happens.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(super) struct View {
    id: Uuid,
    url: String,
    /// What managers call it.
    description: String,
    /// What it is told of; empty: everything.
    events: Vec<String>,
    /// Whether anything is sent there.
    enabled: bool,
    /// `manager`; `gone`: it answered 410; `failing`: it took nothing for three days.
    disabled_reason: Option<String>,
    /// Since when it took nothing, if that is so.
    failing_since: Option<DateTime<Utc>>,
    /// Until when the secret before this one signs too.
    previous_secret_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

/// An endpoint that was added.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookCreated)]
pub(super) struct Created {
    #[serde(flatten)]
    endpoint: View,
    /// What requests are signed with (Standard Webhooks). It is shown this once.
    #[schema(example = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")]
    secret: String,
}

/// A new secret.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSecret)]
pub(super) struct NewSecret {
    /// It is shown this once.
    secret: String,
    /// Until then requests carry two signatures, the former secret's too.
    previous_secret_until: DateTime<Utc>,
}

impl From<Endpoint> for View {
    fn from(row: Endpoint) -> Self {
        Self {
            id: row.id,
            url: row.url,
            description: row.description,
            events: row.events,
            enabled: row.disabled_at.is_none(),
            disabled_reason: row.disabled_reason,
            failing_since: row.failing_since,
            previous_secret_until: row.previous_until,
            created_at: row.created_at,
        }
    }
}

/// An endpoint to be added.
#[derive(ToSchema)]
#[schema(as = WebhookNew)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct New {
    /// `https`; within `WEBHOOK_PRIVATE_NETWORKS` of the installation `http` too.
    #[schema(min_length = 1, max_length = 2048, example = "https://crm.example/hooks/trellis")]
    url: String,
    #[schema(max_length = 120)]
    description: Option<String>,
    /// What it is told of; everything unless given.
    #[schema(max_items = 20)]
    events: Option<Vec<String>>,
}

/// What may be changed. What is left out stays.
#[derive(ToSchema)]
#[schema(as = WebhookPatch)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Patch {
    #[schema(min_length = 1, max_length = 2048, nullable = false)]
    url: Option<String>,
    #[schema(max_length = 120)]
    description: Option<String>,
    /// `null` or empty: everything.
    #[schema(max_items = 20)]
    events: Option<Vec<String>>,
    /// Enabled again, it is forgiven what failed before; what waits is tried when its turn comes.
    #[schema(nullable = false)]
    enabled: Option<bool>,
}

/// Endpoints of webhooks
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/admin/webhooks/", tag = "webhooks",
    params(("limit" = Option<u8>, Query, description = "Items a page", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128)),
    responses((status = 200, description = "A page", body = Page<View>),
              (status = 400, description = "`invalid_cursor`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn get(state: Shared, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let asked = query.page();
    let asked = query.finish(asked)?;
    let list = List::new(&state, caller, PATH, "", asked)?;
    let rows = webhooks::list(&state.pool, list.after, list.rows).await?;
    Ok(list.reply(rows, |row| (row.created_at, row.id), View::from))
}

/// Add an endpoint
///
/// It is told of what happens from now on (and perhaps of what has just happened), by `POST` of `{type, timestamp, data}`,
/// signed as Standard Webhooks 1.0.0 has it (`webhook-id`, `webhook-timestamp`, `webhook-signature`). It has 15 seconds to
/// answer 2xx; else it is told again, for a day.
#[utoipa::path(
    post, path = "/api/admin/webhooks/", tag = "webhooks", request_body = New,
    responses((status = 201, description = "The endpoint, with its secret", body = Created),
              (status = 409, description = "`conflicting_state`: there are as many as there may be", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    caller: Caller,
    traced: Traced,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let url = url(&state, &mut fields, "url");
    let description = fields.merged("description", String::new(), description);
    let events = fields.merged("events", Vec::new(), events);
    let (url, description, events) = fields.finish((url, description, events))?;
    let new =
        NewEndpoint { url, description: description.unwrap_or_default(), events: events.unwrap_or_default() };
    let (now, actor) = (state.clock.now(), Actor::Manager(caller.user_id));
    let (endpoint, secret) =
        webhooks::create(&state.pool, now, &state.keys().factor, &new, actor, &traced.0).await?;
    tracing::info!(endpoint_id = %endpoint.id, "a manager added an endpoint of webhooks");
    let secret = secret.expose().to_string();
    Ok(HttpResponse::Created().json(Created { endpoint: endpoint.into(), secret }))
}

/// One endpoint
#[utoipa::path(
    get, path = "/api/admin/webhooks/{id}/", tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint")),
    responses((status = 200, description = "The endpoint", body = View)),
)]
pub(super) async fn get_one(state: Shared, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let endpoint = webhooks::find(&state.pool, path::id(&id)?).await?;
    Ok(HttpResponse::Ok().json(View::from(endpoint)))
}

/// Change an endpoint
///
/// A JSON merge patch: what is left out stays.
#[utoipa::path(
    patch, path = "/api/admin/webhooks/{id}/", tag = "webhooks", request_body = Patch,
    params(("id" = Uuid, Path, description = "The endpoint")),
    responses((status = 200, description = "The endpoint", body = View)),
)]
pub(super) async fn patch(
    state: Shared,
    caller: Caller,
    traced: Traced,
    id: web::Path<String>,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let url = fields.replaced("url", |fields, name| url(&state, fields, name));
    let description = fields.merged("description", String::new(), description);
    let events = fields.merged("events", Vec::new(), events);
    let enabled = fields.replaced("enabled", Fields::flag);
    let (url, description, events, enabled) = fields.finish((url, description, events, enabled))?;
    let edit = Edit { url, description, events, enabled };
    let (now, actor) = (state.clock.now(), Actor::Manager(caller.user_id));
    let endpoint = webhooks::edit(&state.pool, now, path::id(&id)?, &edit, actor, &traced.0).await?;
    Ok(HttpResponse::Ok().json(View::from(endpoint)))
}

/// Take an endpoint away
///
/// With all that it was told.
#[utoipa::path(
    delete, path = "/api/admin/webhooks/{id}/", tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint")),
    responses((status = 204, description = "It is gone")),
)]
pub(super) async fn delete(
    state: Shared,
    caller: Caller,
    traced: Traced,
    id: web::Path<String>,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    let (now, actor) = (state.clock.now(), Actor::Manager(caller.user_id));
    webhooks::delete(&state.pool, now, path::id(&id)?, actor, &traced.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Exchange the secret of an endpoint
///
/// For a day requests are signed with both, so that the receiver changes over without missing anything.
#[utoipa::path(
    post, path = "/api/admin/webhooks/{id}/rotate-secret/", tag = "webhooks",
    params(("id" = Uuid, Path, description = "The endpoint")),
    responses((status = 200, description = "The new secret", body = NewSecret)),
)]
pub(super) async fn rotate_secret(
    state: Shared,
    caller: Caller,
    traced: Traced,
    id: web::Path<String>,
    OptionalFields(fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    fields.finish(())?;
    let (id, actor) = (path::id(&id)?, Actor::Manager(caller.user_id));
    let keys = &state.keys().factor;
    let (secret, previous_secret_until) =
        webhooks::rotate(&state.pool, state.clock.now(), keys, id, actor, &traced.0).await?;
    let secret = secret.expose().to_string();
    Ok(HttpResponse::Ok().json(NewSecret { secret, previous_secret_until }))
}

fn url(state: &State, fields: &mut Fields, name: &str) -> Option<EndpointUrl> {
    let targets = &state.config.common.webhook_targets;
    fields.parse(name, |text| EndpointUrl::parse(text, targets))
}

fn description(fields: &mut Fields, name: &str) -> Option<String> {
    fields.words(name, |text| match text {
        "" => Ok(String::new()),
        text => crate::body::check_line(text, LONGEST_DESCRIPTION).map(|()| text.to_owned()),
    })
}

/// Each once, whatever order they are named in.
fn events(fields: &mut Fields, name: &str) -> Option<Vec<Event>> {
    let events = fields.texts(name, 2 * Event::ALL.len(), |text| {
        Event::parse(text).ok_or_else(|| {
            let words: Vec<&str> = Event::ALL.iter().map(|event| event.as_str()).collect();
            let detail = format!("An event is one of: {}.", words.join(", "));
            Complaint::new(FieldCode::InvalidValue, detail)
        })
    })?;
    Some(Event::ALL.iter().copied().filter(|event| events.contains(event)).collect())
}
