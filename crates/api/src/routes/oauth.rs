//! `/api/oauth/`: signing in with an identity provider, in a browser.
//!
//! `start` sends the person to the provider, and `callback` is where they come back; between the two only their browser
//! remembers anything. Pages of other sites may send people to `start`: it signs nobody in but the person at the provider.

mod callback;

use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpRequest, HttpResponse};
use domain::referrals::{self, ReferralCode};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use callback::{__path_callback, __path_callback_by_form, callback, callback_by_form};

use super::login::TRANSPORTS;
use crate::app::{Shared, State};
use crate::auth::Transport;
use crate::auth::handoff::Handoff;
use crate::config::Prompt;
use crate::limits::Throttle;
use crate::middleware::RequestId;
use crate::oidc::Provider;
use crate::own_path;
use crate::pages;
use crate::problem::{Code, FieldCode, Problem};
use crate::query::Query;

/// Where people go on who did not say where.
pub(super) const HOME: &str = "/dashboard";

/// The longest code or id that a link carries.
const LONGEST_REFERRAL: usize = 64;

/// The identity providers.
#[derive(Serialize, ToSchema)]
pub(super) struct Providers {
    items: Vec<ProviderView>,
}

/// An identity provider.
#[derive(Serialize, ToSchema)]
#[schema(as = Provider)]
pub(super) struct ProviderView {
    /// What the other paths call it.
    name: String,
    /// What people call it.
    title: String,
    /// Where a link "Continue with .." leads.
    start_url: String,
}

impl From<&Provider> for ProviderView {
    fn from(provider: &Provider) -> Self {
        Self {
            name: provider.name().to_owned(),
            title: provider.title().to_owned(),
            start_url: format!("/api/oauth/{}/start", provider.name()),
        }
    }
}

/// The identity providers
///
/// Those that people may sign in with here, in the order to show them.
#[utoipa::path(
    get, path = "/api/oauth/providers/", tag = "accounts",
    responses((status = 200, description = "All of them; there may be none", body = Providers)),
)]
pub(super) async fn providers(state: Shared) -> HttpResponse {
    HttpResponse::Ok().json(Providers { items: state.providers.iter().map(ProviderView::from).collect() })
}

/// Sign in with a provider
///
/// For a browser to be sent to, not to be called: leads to the provider, which leads back to `callback`. Somebody who is
/// new here gets an account. Problems are pages for whoever accepts `text/html`.
#[utoipa::path(
    get, path = "/api/oauth/{provider}/start/", tag = "accounts",
    params(("provider" = String, Path, description = "Its name", example = "google"),
           ("next" = Option<String>, Query, description = "Where to go on: a path of this site"),
           ("referral" = Option<String>, Query, description = "A referral code or a user id, from a link; an unknown one does not stand in the way"),
           ("referral_code" = Option<String>, Query, description = "A referral code that the person typed; an unknown one is 422", max_length = 64),
           ("transport" = Option<String>, Query, description = "`cookie` (the default) or `bearer`: then the callback answers with the tokens, for an app's own browser window", pattern = "^(cookie|bearer)$"),
           ("prompt" = Option<String>, Query, description = "`select_account`: the provider asks which account to use", pattern = "^select_account$")),
    responses((status = 302, description = "To the provider")),
)]
pub(super) async fn start(
    state: Shared,
    id: RequestId,
    request: HttpRequest,
    throttle: Throttle,
    query: Query,
) -> HttpResponse {
    let result = begin(&state, &request, &throttle, query).await;
    answer(&state, &id, &request, result)
}

async fn begin(
    state: &State,
    request: &HttpRequest,
    throttle: &Throttle,
    mut query: Query,
) -> Result<HttpResponse, Problem> {
    let provider = provider(state, request)?;
    let next = next(query.first("next").as_deref())?;
    let from_link = query.first("referral");
    let typed = query.parse("referral_code", ReferralCode::parse);
    let transport = query.choice("transport", &TRANSPORTS);
    let prompt = query.choice("prompt", &[(Prompt::SelectAccount.as_str(), Prompt::SelectAccount)]);
    let (typed, transport, prompt) = query.finish((typed, transport, prompt))?;
    throttle.admit(provider.name()).await?;
    // Said now: after the way to the provider and back nobody could mend it.
    if let Some(code) = &typed
        && !referrals::is_valid(&state.pool, code).await?
    {
        return Err(Problem::field("?referral_code", FieldCode::InvalidReferralCode));
    }
    let of_code = |code: ReferralCode| code.as_str().to_owned();
    let from_cookie = || state.browser.referral_code(request.headers()).map(of_code);
    let referral = typed.map(of_code).or(from_link).or_else(from_cookie);
    let handoff = Handoff::begin(provider.name(), next, state.clock.now()).of_newcomer(
        referral.filter(|referral| referral.len() <= LONGEST_REFERRAL),
        transport.unwrap_or(Transport::Cookie),
    );
    let url = provider.authorization_url(&state.handoffs.secrets(&handoff), prompt).await?;
    let mut response = HttpResponse::Found();
    for cookie in state.handoffs.cookies(request.headers(), &handoff)? {
        response.cookie(cookie);
    }
    Ok(response.insert_header((header::LOCATION, url)).finish())
}

/// The provider that the path names.
pub(super) fn provider<'a>(state: &'a State, request: &HttpRequest) -> Result<&'a Provider, Problem> {
    state.providers.find(request.match_info().get("provider").unwrap_or_default())
}

/// Where to go on.
fn next(given: Option<&str>) -> Result<String, Problem> {
    let Some(given) = given else { return Ok(HOME.to_owned()) };
    let own = own_path::parse(given).map(str::to_owned);
    own.ok_or_else(|| {
        Problem::new(Code::BadRequest).detail("`next` must be a path of this site, such as /dashboard.")
    })
}

/// The answer to a browser: what went wrong is a page for people, and a problem for everybody else.
fn answer(
    state: &State,
    id: &RequestId,
    request: &HttpRequest,
    result: Result<HttpResponse, Problem>,
) -> HttpResponse {
    let problem = match result {
        Ok(response) => return response,
        Err(problem) if !wants_page(request) => return HttpResponse::from_error(problem),
        Err(problem) => problem,
    };
    if let Some(source) = problem.source() {
        let (code, request_id) = (problem.code().slug(), id.as_str());
        tracing::warn!(code, request_id, "a sign-in with a provider failed: {source:#}");
    }
    let Ok(mut page) = pages::sign_in_failed(state, provider(state, request).ok(), &problem) else {
        return HttpResponse::from_error(problem);
    };
    let as_json = problem.render(state.origin(), id.as_str());
    *page.status_mut() = as_json.status();
    for (name, value) in as_json.headers().iter().filter(|(name, _)| *name != header::CONTENT_TYPE) {
        page.headers_mut().insert(HeaderName::clone(name), value.clone());
    }
    page
}

fn wants_page(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
