//! `/api/me/identities/`: the accounts at identity providers that sign in to one's own.

use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use domain::accounts::Password;
use domain::identities::{self, Identity};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{oauth, proof};
use crate::app::{Shared, State};
use crate::audit::Traced;
use crate::auth::Caller;
use crate::auth::handoff::Handoff;
use crate::body::{Complaint, OptionalFields};
use crate::limits::Throttle;
use crate::own_path;
use crate::problem::{Code, FieldCode, Problem};

/// One's ways to sign in.
#[derive(Serialize, ToSchema)]
pub(super) struct Identities {
    items: Vec<View>,
    /// Whether a password does, too.
    has_password: bool,
}

/// An account at an identity provider.
#[derive(Serialize, ToSchema)]
#[schema(as = Identity)]
pub(super) struct View {
    id: Uuid,
    /// The provider's name.
    provider: String,
    /// What people call it.
    title: String,
    /// The address that the provider told when it was linked.
    email: Option<String>,
    created_at: DateTime<Utc>,
    /// When it last signed in.
    last_used_at: DateTime<Utc>,
}

impl View {
    fn new(state: &State, identity: Identity) -> Self {
        let configured = state.providers.find(&identity.provider).ok();
        let title = configured.map(|provider| provider.title().to_owned());
        Self {
            id: identity.id,
            title: title.unwrap_or_else(|| identities::title(&identity.provider)),
            provider: identity.provider,
            email: identity.email,
            created_at: identity.created_at,
            last_used_at: identity.last_used_at,
        }
    }
}

/// What proves that the holder asks, and where to go on.
#[derive(ToSchema)]
#[schema(as = IdentityLink)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Link {
    /// Needed unless one signed in within the last ten minutes.
    #[schema(min_length = 1, max_length = 128, format = Password)]
    password: Option<String>,
    /// Where the browser goes on: a path of this site.
    #[schema(max_length = 512, example = "/dashboard#account")]
    next: Option<String>,
}

/// Where to send the browser.
#[derive(Serialize, ToSchema)]
pub(super) struct Linking {
    /// At the provider.
    authorization_url: String,
}

/// One's ways to sign in
#[utoipa::path(
    get, path = "/api/me/identities/", tag = "accounts",
    responses((status = 200, description = "All of them, oldest first", body = Identities)),
)]
pub(super) async fn get(state: Shared, caller: Caller) -> Result<HttpResponse, Problem> {
    let has_password = proof::credentials(&state, caller).await?.password_hash.is_some();
    let items = identities::list(&state.pool, caller.user_id).await?;
    let items = items.into_iter().map(|identity| View::new(&state, identity)).collect();
    Ok(HttpResponse::Ok().json(Identities { items, has_password }))
}

/// Link an identity
///
/// Begins a sign-in at the provider that links, in the browser that asks; the holder is told by mail. Here `identity` is
/// the provider's name.
#[utoipa::path(
    post, path = "/api/me/identities/{identity}/", tag = "accounts", request_body(content = Option<Link>),
    params(("identity" = String, Path, description = "The provider's name", example = "google")),
    responses((status = 200, description = "Send the browser there", body = Linking),
              (status = 403, description = "`recent_sign_in_needed`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn post(
    state: Shared,
    request: HttpRequest,
    caller: Caller,
    throttle: Throttle,
    OptionalFields(mut fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    let provider = state.providers.find(request.match_info().get("identity").unwrap_or_default())?;
    let password = fields.parse_optional("password", Password::typed);
    let not_ours =
        || Complaint::new(FieldCode::InvalidValue, "This must be a path of this site, such as /dashboard.");
    let next =
        fields.parse_optional("next", |text| own_path::parse(text).map(str::to_owned).ok_or_else(not_ours));
    let (password, next) = fields.finish((password, next))?;
    let next = next.unwrap_or_else(|| oauth::HOME.to_owned());
    let credentials = proof::credentials(&state, caller).await?;
    proof::check(&state, &throttle, caller, credentials, password).await?;

    let handoff = Handoff::begin(provider.name(), next, state.clock.now()).to_link(caller);
    let authorization_url = provider.authorization_url(&state.handoffs.secrets(&handoff), None).await?;
    let mut response = HttpResponse::Ok();
    for cookie in state.handoffs.cookies(request.headers(), &handoff)? {
        response.cookie(cookie);
    }
    Ok(response.json(Linking { authorization_url }))
}

/// What proves that the holder asks.
#[derive(ToSchema)]
#[schema(as = IdentityUnlink)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Unlink {
    /// Needed unless one signed in within the last ten minutes.
    #[schema(min_length = 1, max_length = 128, format = Password)]
    password: Option<String>,
}

/// Unlink an identity
///
/// Here `identity` is the id. Refused when it is the only way to sign in. Wants the password, or a sign-in of the last ten
/// minutes. A notice is mailed.
#[utoipa::path(
    delete, path = "/api/me/identities/{identity}/", tag = "accounts", request_body(content = Option<Unlink>),
    params(("identity" = Uuid, Path, description = "The id")),
    responses((status = 204, description = "It signs in no more"),
              (status = 401, description = "`invalid_credentials`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 403, description = "`recent_sign_in_needed`, or `csrf_failed`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 409, description = "`last_way_in`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn delete(
    state: Shared,
    request: HttpRequest,
    Traced(trace): Traced,
    caller: Caller,
    throttle: Throttle,
    OptionalFields(mut fields): OptionalFields,
) -> Result<HttpResponse, Problem> {
    let password = fields.parse_optional("password", Password::typed);
    let password = fields.finish(password)?;
    let credentials = proof::credentials(&state, caller).await?;
    proof::check(&state, &throttle, caller, credentials, password).await?;
    let id = request.match_info().get("identity").and_then(|id| Uuid::try_parse(id).ok());
    let id = id.ok_or_else(|| Problem::new(Code::NotFound))?;
    identities::unlink(&state.pool, state.clock.now(), caller.user_id, id, &trace).await?;
    state.wake.wake();
    tracing::info!(user_id = %caller.user_id, "unlinked an identity");
    Ok(HttpResponse::NoContent().finish())
}
