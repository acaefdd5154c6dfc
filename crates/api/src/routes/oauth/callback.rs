//! `/api/oauth/{provider}/callback/`: coming back from the provider, by GET or, for Apple, by POST.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use domain::audit::{self, Trace};
use domain::identities::{self, Newcomer, Profile};
use domain::referrals::Claim;
use url::form_urlencoded;
use utoipa::ToSchema;

use super::{answer, provider};
use crate::app::{Shared, State};
use crate::audit::Traced;
use crate::auth::handoff::Handoff;
use crate::auth::{Caller, MaybeCaller, Transport, sign_in};
use crate::body::Form;
use crate::config::Registration;
use crate::limits::Throttle;
use crate::middleware::RequestId;
use crate::oidc::{Provider, ProviderError};
use crate::problem::{Code, Problem};
use crate::query::Query;
use crate::routes::register;

/// What an authorization response consists of.
const PARAMETERS: [&str; 4] = ["code", "state", "iss", "error"];

/// What a provider sends back.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Form` reads it")]
pub(in crate::routes) struct AuthorizationResponse {
    /// What the provider vouches with.
    #[schema(max_length = 4096)]
    code: Option<String>,
    /// What `start` sent along.
    state: Option<String>,
    /// The issuer (RFC 9207).
    iss: Option<String>,
    /// Why the provider does not vouch.
    error: Option<String>,
}

/// Come back from a provider
///
/// Where the provider sends the browser, once. With the cookie transport it goes on to `next`; with the bearer transport the
/// answer is the login's. What `start` put into the browser has to be there.
#[utoipa::path(
    get, path = "/api/oauth/{provider}/callback/", tag = "accounts",
    params(("provider" = String, Path, description = "Its name", example = "google"),
           ("code" = Option<String>, Query, description = "What the provider vouches with"),
           ("state" = Option<String>, Query, description = "What `start` sent along"),
           ("iss" = Option<String>, Query, description = "The issuer (RFC 9207)"),
           ("error" = Option<String>, Query, description = "Why it does not vouch")),
    responses((status = 200, description = "Signed in, with the bearer transport", body = sign_in::Reply),
              (status = 303, description = "Signed in or linked, with the cookie transport"),
              (status = 400, description = "`invalid_state`: not begun in this browser, over, or used before",
               body = crate::problem::Schema, content_type = "application/problem+json"),
              (status = 401, description = "`provider_refused`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 403, description = "`account_blocked`, with `reason` and `contact`", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 409, description = "`email_taken`: the address has an account, and not both sides have confirmed it; \
               `identity_taken`: it is linked to another account", body = crate::problem::Schema,
               content_type = "application/problem+json"),
              (status = 422, description = "`email_missing`", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(in crate::routes) async fn callback(
    state: Shared,
    id: RequestId,
    request: HttpRequest,
    Traced(trace): Traced,
    caller: MaybeCaller,
    throttle: Throttle,
    query: Query,
) -> HttpResponse {
    let result = come_back(&state, &request, &trace, caller, &throttle, &query).await;
    answer(&state, &id, &request, result)
}

/// Come back from a provider by POST
///
/// For providers that answer with a form (`response_mode=form_post`), such as Apple. It leads to the same path by GET with
/// what the form says; other fields, such as Apple's `user`, are ignored.
#[utoipa::path(
    post, path = "/api/oauth/{provider}/callback/", tag = "accounts",
    request_body(content = AuthorizationResponse, content_type = "application/x-www-form-urlencoded"),
    params(("provider" = String, Path, description = "Its name", example = "apple")),
    responses((status = 303, description = "To the same path, by GET")),
)]
pub(in crate::routes) async fn callback_by_form(
    state: Shared,
    id: RequestId,
    request: HttpRequest,
    form: Form,
) -> HttpResponse {
    let result = redirect(&state, &request, &form);
    answer(&state, &id, &request, result)
}

/// Sends the browser on by GET. The form comes from the provider's page, so the browser sends none of our `SameSite=Lax`
/// cookies with it; with the navigation that follows it does. Nothing is checked or changed here: the GET checks it all.
fn redirect(state: &State, request: &HttpRequest, form: &Form) -> Result<HttpResponse, Problem> {
    let provider = provider(state, request)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in PARAMETERS {
        if let Some(value) = form.single(name)? {
            query.append_pair(name, value);
        }
    }
    let address = format!("/api/oauth/{}/callback?{}", provider.name(), query.finish());
    Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, address)).finish())
}

async fn come_back(
    state: &State,
    request: &HttpRequest,
    trace: &Trace,
    caller: MaybeCaller,
    throttle: &Throttle,
    query: &Query,
) -> Result<HttpResponse, Problem> {
    let provider = provider(state, request)?;
    throttle.admit(provider.name()).await?;
    let handoff = handoff(state, request, provider, query).await?;
    let profile = identify(state, provider, &handoff, query, trace).await?;
    match handoff.link {
        Some((user_id, session_id)) => {
            let asked = Caller { user_id, session_id, transport: Transport::Cookie };
            link(state, asked, &profile, trace).await?;
            Ok(go_on(state, &handoff, &handoff.next).finish())
        }
        None => enter(state, request, &handoff, profile, caller, trace).await,
    }
}

/// The handoff that comes back here, used up from now on.
async fn handoff(
    state: &State,
    request: &HttpRequest,
    provider: &Provider,
    query: &Query,
) -> Result<Handoff, Problem> {
    let invalid = || Problem::new(Code::InvalidState);
    let given = query.first("state").unwrap_or_default();
    let read = state.handoffs.read(request, provider.name(), &given, state.clock.now());
    let handoff = read.ok_or_else(invalid)?;
    if !identities::spend_state(&state.pool, handoff.digest(), handoff.expires_at()).await? {
        return Err(invalid());
    }
    if !provider.is_issuer(query.first("iss").as_deref()).await? {
        tracing::warn!(provider = provider.name(), "an answer names another issuer");
        return Err(invalid());
    }
    Ok(handoff)
}

/// Whom the provider vouches for.
async fn identify(
    state: &State,
    provider: &Provider,
    handoff: &Handoff,
    query: &Query,
    trace: &Trace,
) -> Result<Profile, Problem> {
    if query.first("error").is_some_and(|error| error == "access_denied") {
        return Err(
            Problem::new(Code::ProviderRefused).detail("The sign-in was given up at the identity provider.")
        );
    }
    let refused = ProviderError::Refused("it sent no code");
    let identified = match query.first("code") {
        Some(code) => provider.identify(code, &state.handoffs.secrets(handoff)).await,
        None => Err(refused),
    };
    if let Err(error @ (ProviderError::Refused(_) | ProviderError::Claim { .. })) = &identified {
        // The name of a claim, never its value: it may be an address.
        let claim = if let ProviderError::Claim { claim, .. } = error { *claim } else { "" };
        tracing::warn!(provider = provider.name(), claim, %error, "provider sign-in refused");
        audit::sign_in_failed(&state.pool, state.clock.now(), None, trace).await?;
    }
    Ok(identified?)
}

/// Links what came back to the account whose session asked for it, if that session still lives.
async fn link(state: &State, asked: Caller, profile: &Profile, trace: &Trace) -> Result<(), Problem> {
    if !state.sessions.is_live(asked).await? {
        return Err(Problem::unauthenticated());
    }
    let (now, policy) = (state.clock.now(), state.config.common.referrals);
    let holder = (asked.user_id, asked.session_id);
    let ended = identities::link(&state.pool, now, policy, holder, profile, trace).await?;
    state.sessions.forget(&ended).await;
    state.wake.wake();
    tracing::info!(user_id = %asked.user_id, provider = profile.provider, "linked an identity");
    Ok(())
}

/// Lets in whom the provider vouches for, with a new account if they have none.
async fn enter(
    state: &State,
    request: &HttpRequest,
    handoff: &Handoff,
    profile: Profile,
    caller: MaybeCaller,
    trace: &Trace,
) -> Result<HttpResponse, Problem> {
    let newcomer = Newcomer {
        claim: handoff.referral.clone().map(Claim::Link),
        known_as: register::known_as(state, request, caller),
        confirmation: state.config.common.lifetimes.confirmation,
        may_be_unverified: state.config.registration == Registration::Open,
        reserved: state.config.reserved_usernames.clone(),
    };
    let (now, policy) = (state.clock.now(), state.config.common.referrals);
    let arrival =
        identities::sign_in(&state.pool, now, state.keys(), policy, &profile, &newcomer, trace).await?;
    if let Some(registered) = &arrival.registered {
        register::announce(state, registered).await;
    }
    state.wake.wake();
    let entered = sign_in::enter(state, request, trace, handoff.transport(), &arrival.credentials).await;
    match (handoff.transport(), entered) {
        (Transport::Cookie, Ok(reply)) => {
            let mut response = go_on(state, handoff, &handoff.next);
            for cookie in reply.headers().get_all(header::SET_COOKIE) {
                response.append_header((header::SET_COOKIE, cookie.clone()));
            }
            Ok(response.finish())
        }
        (Transport::Cookie, Err(problem)) => second_factor(state, handoff, problem),
        (Transport::Bearer, entered) => {
            let mut reply = entered?;
            reply.add_cookie(&state.handoffs.clear(handoff)).map_err(Problem::internal)?;
            Ok(reply)
        }
    }
}

/// An account may want a second factor after this one: the browser goes on to the login page, which asks for it. What
/// stands for this factor is in the fragment, which no server and no `Referer` sees.
fn second_factor(state: &State, handoff: &Handoff, problem: Problem) -> Result<HttpResponse, Problem> {
    let challenge = problem.member_of("challenge").and_then(serde_json::Value::as_str);
    let Some(challenge) = challenge else { return Err(problem) };
    let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let page = format!("/login?next={}#challenge={}", escape(&handoff.next), escape(challenge));
    Ok(go_on(state, handoff, &page).finish())
}

fn go_on(state: &State, handoff: &Handoff, path: &str) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::SeeOther();
    response.cookie(state.handoffs.clear(handoff)).insert_header((header::LOCATION, path));
    response
}
