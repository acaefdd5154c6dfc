//! The record of security events: one's own at `GET /api/me/security-events/`, everybody's at `GET /api/admin/audit/`.

use actix_web::HttpResponse;
use chrono::{DateTime, Utc};
use domain::audit::{self, Event, Filter, SecurityEvent};
use domain::token::hex;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::{Shared, State};
use crate::auth::Caller;
use crate::body::Complaint;
use crate::list::{List, Page};
use crate::problem::{FieldCode, Problem};
use crate::query::Query;

const OWN: &str = "/api/me/security-events/";
const ALL: &str = "/api/admin/audit/";

/// How many bytes of a network's hash are shown: enough to tell networks apart.
const NETWORK_SHOWN: usize = 6;

/// A tag of a network: equal tags, equal networks.
pub(super) fn network_tag(hash: &[u8]) -> String {
    hex(hash.get(..NETWORK_SHOWN).unwrap_or(hash))
}

/// Something that happened to an account.
#[derive(Serialize, ToSchema)]
#[schema(as = SecurityEvent)]
pub(super) struct View {
    id: Uuid,
    /// Such as `signed_in`, `sign_in_failed`, `password_changed`, `refresh_reused`; all of them are listed at the `event`
    /// parameter of `/api/admin/audit/`.
    event: String,
    /// Who did it: `account`, `manager`, `operator`, `system` or `unknown`.
    actor: String,
    /// The session, factor, identity or referral that it is about.
    subject_id: Option<Uuid>,
    /// Why, when somebody gave a reason.
    reason: Option<String>,
    /// A tag of the network that it came from: equal tags, equal networks. Gone after 90 days.
    network: Option<String>,
    /// The request, for questions to support.
    request_id: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<SecurityEvent> for View {
    fn from(row: SecurityEvent) -> Self {
        Self {
            id: row.id,
            event: row.event,
            actor: row.actor,
            subject_id: row.subject_id,
            reason: row.reason,
            network: row.ip_hash.as_deref().map(network_tag),
            request_id: row.request_id,
            created_at: row.created_at,
        }
    }
}

/// As managers see it.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditEvent {
    #[serde(flatten)]
    event: View,
    /// Whose account; `null` when a sign-in named nobody.
    user_id: Option<Uuid>,
    /// The account or manager who did it.
    actor_id: Option<Uuid>,
}

/// One's security events
///
/// Signing in and out, failed attempts, changes of the password and the like; newest first.
#[utoipa::path(
    get, path = "/api/me/security-events/", tag = "accounts",
    params(("limit" = Option<u8>, Query, description = "Items a page", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128)),
    responses((status = 200, description = "A page", body = Page<View>),
              (status = 400, description = "`invalid_cursor`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn own(state: Shared, caller: Caller, query: Query) -> Result<HttpResponse, Problem> {
    let filter = Filter { user_id: Some(caller.user_id), ..Filter::default() };
    page(&state, caller, query, OWN, filter, String::new(), View::from).await
}

/// The audit record
///
/// Everybody's security events and what managers and operators did; newest first.
#[utoipa::path(
    get, path = "/api/admin/audit/", tag = "managers",
    params(("user_id" = Option<Uuid>, Query, description = "Of this account only"),
           ("subject_id" = Option<Uuid>, Query, description = "About this session, factor, identity or referral only"),
           ("event" = Option<String>, Query, description = "Of this kind only"),
           ("limit" = Option<u8>, Query, description = "Items a page", minimum = 1, maximum = 100),
           ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", min_length = 1, max_length = 128)),
    responses((status = 200, description = "A page", body = Page<AuditEvent>),
              (status = 400, description = "`invalid_cursor`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn all(state: Shared, caller: Caller, mut query: Query) -> Result<HttpResponse, Problem> {
    let uuid = |text: &str| {
        Uuid::try_parse(text).map_err(|_| Complaint::new(FieldCode::InvalidValue, "This must be a UUID."))
    };
    let user_id = query.parse("user_id", uuid);
    let subject_id = query.parse("subject_id", uuid);
    let events: Vec<(&str, Event)> = Event::ALL.iter().map(|event| (event.as_str(), *event)).collect();
    let event = query.choice("event", &events);
    let of_user = user_id.flatten().map(|id| format!("&user_id={id}"));
    let of_event = event.flatten().map(|event| format!("&event={}", event.as_str()));
    let of_subject = subject_id.flatten().map(|id| format!("&subject_id={id}"));
    let filters = of_user.into_iter().chain(of_event).chain(of_subject).collect::<String>();
    let filter =
        Filter { user_id: user_id.flatten(), event: event.flatten(), subject_id: subject_id.flatten() };
    page(&state, caller, query, ALL, filter, filters, |row| AuditEvent {
        user_id: row.user_id,
        actor_id: row.actor_id,
        event: row.into(),
    })
    .await
}

async fn page<T: Serialize>(
    state: &State,
    caller: Caller,
    mut query: Query,
    path: &'static str,
    filter: Filter,
    filters: String,
    render: impl Fn(SecurityEvent) -> T,
) -> Result<HttpResponse, Problem> {
    let asked = query.page();
    let asked = query.finish(asked)?;

    let list = List::new(state, caller, path, filters, asked)?;
    let rows = audit::list(&state.pool, filter, list.after, list.rows).await?;
    Ok(list.reply(rows, |row| (row.created_at, row.id), render))
}
