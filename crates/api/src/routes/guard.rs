//! What stands in front of every handler.

use actix_web::dev::{Handler, Payload, ServiceRequest, ServiceResponse, fn_service};
use actix_web::guard::fn_guard;
use actix_web::http::{Method, header};
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse, Responder, Route};

use domain::accounts;
use domain::cache::Kind;
use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq as _;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::Access;
use crate::app::State;
use crate::auth::{self, Caller, Transport, csrf};
use crate::client_ip;
use crate::limits::policy::Policy;
use crate::middleware::context;
use crate::problem::{Code, Problem};

/// The header with the key of the operator's shop.
const SHOP_KEY: &str = "x-shop-key";

/// What a row says about who may come in.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) limits: &'static [Policy],
    pub(super) from_other_sites: bool,
    pub(super) prefetch: Option<Kind>,
    pub(super) is_page: bool,
}

/// A handler behind its guard.
pub(super) fn route<F, Args>(guard: Guard, handler: F) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let method = guard.method.clone();
    let takes = move |asked: &Method| *asked == method || (*asked == Method::HEAD && method == Method::GET);
    let service = fn_service(move |request: ServiceRequest| {
        let (guard, handler) = (guard.clone(), handler.clone());
        async move {
            let (request, mut payload) = request.into_parts();
            let response = serve(&guard, handler, &request, &mut payload).await;
            Ok::<_, Error>(ServiceResponse::new(request, response))
        }
    });
    Route::new().guard(fn_guard(move |request| takes(&request.head().method))).service(service)
}

async fn serve<F, Args>(
    guard: &Guard,
    handler: F,
    request: &HttpRequest,
    payload: &mut Payload,
) -> HttpResponse
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    if guard.is_page
        && let Some(response) = to_public_host(guard, request)
    {
        return response;
    }
    if let Err(problem) = admit(guard, request).await {
        return HttpResponse::from_error(problem);
    }
    let arguments = match Args::from_request(request, payload).await {
        Ok(arguments) => arguments,
        Err(error) => return HttpResponse::from_error(error.into()),
    };
    let handled = handler.call(arguments);
    let output = if guard.method.is_safe() {
        handled.await
    } else {
        // What is logged on the way carries the request's id. Reads log nothing, and are spared the cost.
        handled.instrument(span(request)).await
    };
    output.respond_to(request).map_into_boxed_body()
}

/// Leads a page that is opened under a second host name to the same path of `PUBLIC_URL`: its own requests would be refused
/// there, since they come from an origin that is not allowed. The target never contains what the client sent as host.
fn to_public_host(guard: &Guard, request: &HttpRequest) -> Option<HttpResponse> {
    let state = State::of(request).ok()?;
    let host = client_ip::host(request, &state.config.trusted_proxies)?;
    if !state.config.is_foreign_host(host) {
        return None;
    }
    context(request).ok()?.route.set(Some(guard.path));
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    Some(
        HttpResponse::Found()
            .insert_header((header::LOCATION, state.config.common.public_url.join(path)))
            .finish(),
    )
}

fn span(request: &HttpRequest) -> Span {
    match context(request) {
        Ok(context) => tracing::info_span!("request", request_id = context.request_id.as_str()),
        Err(_) => Span::none(),
    }
}

/// Lets a request in, or says why not. The body is not looked at before.
async fn admit(guard: &Guard, request: &HttpRequest) -> Result<(), Problem> {
    let context = context(request)?;
    context.route.set(Some(guard.path));
    context.policies.set(guard.limits);
    let state = State::of(request)?;
    let is_unsafe = !guard.method.is_safe();
    if is_unsafe && !guard.from_other_sites {
        csrf::check_origin(request.headers(), &state.config)?;
    }
    if guard.access == Access::Shop
        && let Some(key) = request.headers().get(SHOP_KEY)
    {
        return if is_shop(state, key.as_bytes()) { Ok(()) } else { Err(Problem::unauthenticated()) };
    }
    if guard.access.is_signed_in() {
        let (caller, prefetched) = auth::authenticate(state, request.headers(), guard.prefetch).await?;
        check_account(request, caller)?;
        if is_unsafe && caller.transport == Transport::Cookie {
            csrf::check_token(request.headers(), &state.keys().csrf, caller.session_id)?;
        }
        if matches!(guard.access, Access::Manager | Access::Shop) && !is_manager(state, caller).await? {
            return Err(Problem::new(Code::Forbidden));
        }
        context.caller.set(Some(caller));
        context.prefetched.set(prefetched);
    }
    Ok(())
}

/// Refuses a page that shows another account than the one whose session the browser has by now: people sign out and in again
/// in a second tab. The CSRF token does not tell, since every tab reads it from the same cookie.
fn check_account(request: &HttpRequest, caller: Caller) -> Result<(), Problem> {
    let Some(expected) = request.headers().get(auth::EXPECTED_USER) else { return Ok(()) };
    let same = expected.to_str().ok().and_then(|id| Uuid::try_parse(id).ok()) == Some(caller.user_id);
    if same { Ok(()) } else { Err(Problem::new(Code::AccountChanged)) }
}

/// Whether this is the key of the operator's shop. How long it takes tells nothing of the key.
fn is_shop(state: &State, key: &[u8]) -> bool {
    let known = state.config.shop_api_key.as_ref();
    known.is_some_and(|known| bool::from(known.expose_secret().as_bytes().ct_eq(key)))
}

/// Asked of PostgreSQL each time: a role that was taken away is gone at once.
async fn is_manager(state: &State, caller: Caller) -> Result<bool, Problem> {
    let account = accounts::find(&state.pool, caller.user_id).await?;
    Ok(account.is_some_and(|account| account.is_manager()))
}
