//! What stands in front of every handler.

use actix_web::dev::{Handler, Payload, ServiceRequest, ServiceResponse, fn_service};
use actix_web::guard::fn_guard;
use actix_web::http::Method;
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse, Responder, Route};

use domain::cache::Kind;

use super::Access;
use crate::app::State;
use crate::auth::{self, Transport, csrf};
use crate::middleware::context;
use crate::problem::Problem;

/// What a row says about who may come in.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) prefetch: Option<Kind>,
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
    if let Err(problem) = admit(guard, request).await {
        return HttpResponse::from_error(problem);
    }
    match Args::from_request(request, payload).await {
        Ok(arguments) => handler.call(arguments).await.respond_to(request).map_into_boxed_body(),
        Err(error) => HttpResponse::from_error(error.into()),
    }
}

/// Lets a request in, or says why not. The body is not looked at before.
async fn admit(guard: &Guard, request: &HttpRequest) -> Result<(), Problem> {
    let context = context(request)?;
    context.route.set(Some(guard.path));
    let state = State::of(request)?;
    let is_unsafe = !guard.method.is_safe();
    if is_unsafe {
        csrf::check_origin(request.headers(), &state.config)?;
    }
    if guard.access == Access::User {
        let (caller, prefetched) = auth::authenticate(state, request.headers(), guard.prefetch).await?;
        if is_unsafe && caller.transport == Transport::Cookie {
            csrf::check_token(request.headers(), &state.keys().csrf, caller.session_id)?;
        }
        context.caller.set(Some(caller));
        context.prefetched.set(prefetched);
    }
    Ok(())
}
