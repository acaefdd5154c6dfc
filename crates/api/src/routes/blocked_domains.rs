//! `/api/admin/blocked-domains/`: domains that no link leads to, sub-domains with them.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::audit::Actor;
use domain::moderation::{self, BlockedDomain, Decision, Domain};
use serde::Serialize;
use utoipa::ToSchema;

use super::managers::{self, Because, Body as Reason};
use crate::app::Shared;
use crate::audit::Traced;
use crate::auth::Caller;
use crate::body::Fields;
use crate::list::{List, Page};
use crate::problem::{Code, Problem};
use crate::query::Query;

const PATH: &str = "/api/admin/blocked-domains/";

/// A domain that no link leads to.
#[derive(Serialize, ToSchema)]
#[schema(as = BlockedDomain)]
pub(super) struct View {
    /// As DNS has it.
    domain: String,
    reason: String,
    created_at: DateTime<Utc>,
}

impl From<Domain> for View {
    fn from(row: Domain) -> Self {
        Self { domain: row.domain, reason: row.reason, created_at: row.created_at }
    }
}

/// A domain to block.
#[derive(ToSchema)]
#[schema(as = BlockDomain)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// A name or an IP address; of a name, all below it are meant too.
    #[schema(min_length = 1, max_length = 253, example = "phishing.example")]
    domain: String,
    /// For the record.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = r"\S",
        example = "copies the sign-in page of a bank"
    )]
    reason: String,
}

/// Blocked domains
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/admin/blocked-domains/", tag = "managers",
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
    let rows = moderation::list_domains(&state.pool, list.after, list.rows).await?;
    Ok(list.reply(rows, |row| (row.created_at, row.id), View::from))
}

/// Block a domain
///
/// Links to it and to all below it are refused, and those there are no longer shown or followed within a second. The same
/// again changes nothing.
#[utoipa::path(
    post, path = "/api/admin/blocked-domains/", tag = "managers", request_body = Body,
    responses((status = 204, description = "It is blocked")),
)]
pub(super) async fn post(
    state: Shared,
    caller: Caller,
    traced: Traced,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let domain = fields.parse("domain", BlockedDomain::parse);
    let reason = managers::reason(&mut fields);
    let (domain, reason) = fields.finish((domain, reason))?;
    let decision = Decision { actor: Actor::Manager(caller.user_id), reason: &reason };
    if moderation::block_domain(&state.pool, state.clock.now(), &domain, decision, &traced.0).await? {
        tracing::info!(%domain, "a manager blocked a domain");
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Unblock a domain
///
/// Links lead to it again, unless a domain above it is blocked. The same again changes nothing.
#[utoipa::path(
    delete, path = "/api/admin/blocked-domains/{domain}/", tag = "managers", request_body = Reason,
    params(("domain" = String, Path, description = "The domain", example = "phishing.example")),
    responses((status = 204, description = "It is not blocked")),
)]
pub(super) async fn delete(
    state: Shared,
    domain: web::Path<String>,
    because: Because,
) -> Result<HttpResponse, Problem> {
    let domain = BlockedDomain::parse(&domain).map_err(|_| Problem::new(Code::NotFound))?;
    let now = state.clock.now();
    if moderation::unblock_domain(&state.pool, now, &domain, because.decision(), &because.trace).await? {
        tracing::info!(%domain, "a manager unblocked a domain");
    }
    Ok(HttpResponse::NoContent().finish())
}
