//! The one layer that every request passes.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{self, HeaderName};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{Error, HttpMessage as _};

use super::context::{Context, REQUEST_ID, RequestId};
use super::record::{Recorder, log_source};
use super::unread::Unread;
use super::{cors, headers, path};
use crate::app::Shared;
use crate::problem::{Code, Problem};

/// Makes the layer for each thread.
pub(crate) struct Edge {
    state: Shared,
}

impl Edge {
    pub(crate) fn new(state: Shared) -> Self {
        Self { state }
    }
}

impl<S, B> Transform<S, ServiceRequest> for Edge
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Transform = EdgeService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let shared = Rc::new(Outbound {
            https: self.state.config.common.public_url.is_https(),
            state: self.state.clone(),
            recorder: Recorder::default(),
        });
        ready(Ok(EdgeService { inner, shared }))
    }
}

pub(crate) struct EdgeService<S> {
    inner: S,
    shared: Rc<Outbound>,
}

impl<S, B> Service<ServiceRequest> for EdgeService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>>>>;

    forward_ready!(inner);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let begun = Instant::now();
        let context = Rc::new(Context::new(RequestId::of(request.headers())));
        request.extensions_mut().insert(Rc::clone(&context));
        let shared = Rc::clone(&self.shared);
        let origin = cors::allowed_origin(request.headers(), &shared.state.config);
        if origin.is_some()
            && let Some(answer) = cors::preflight(request.method(), request.headers())
        {
            let mut response = request.into_response(answer);
            shared.finish(&context, &mut response, begun);
            cors::decorate(response.headers_mut(), origin);
            return Box::pin(ready(Ok(response)));
        }
        path::normalise(&mut request);
        let unread = Unread::of(&mut request);
        let served = self.inner.call(request);
        Box::pin(async move {
            let mut response = served.await?.map_into_boxed_body();
            if response.status().is_client_error() || response.status().is_server_error() {
                response = shared.explain(&context, response);
                if let Some(unread) = unread {
                    response = unread.close_after(response);
                }
            }
            shared.finish(&context, &mut response, begun);
            cors::decorate(response.headers_mut(), origin);
            Ok(response)
        })
    }
}

/// What answers need on their way out, one per thread.
struct Outbound {
    state: Shared,
    https: bool,
    recorder: Recorder,
}

impl Outbound {
    /// Gives a failure its body: a problem as the handler made it, or one for what the HTTP library answered by itself.
    fn explain(&self, context: &Context, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        let render = |problem: &Problem| {
            log_source(context, problem);
            problem.render(self.state.origin(), context.request_id.as_str())
        };
        let rendered = match response.response().error() {
            Some(error) => match error.as_error::<Problem>() {
                Some(problem) => render(problem),
                None => render(&of_library(error, response.status())),
            },
            // A handler that made its answer itself knows what it does; a layer only says no.
            None if response.headers().contains_key(header::CONTENT_TYPE) => return response,
            None => {
                let mut rendered = render(&Problem::new(Code::of_status(response.status())));
                for (name, value) in response.headers() {
                    rendered.headers_mut().append(name.clone(), value.clone());
                }
                rendered
            }
        };
        let (request, _) = response.into_parts();
        ServiceResponse::new(request, rendered)
    }

    fn finish(&self, context: &Context, response: &mut ServiceResponse<BoxBody>, begun: Instant) {
        self.recorder.answered(context, response.request().method(), response.status(), begun.elapsed());
        if self.state.is_draining() {
            response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        let headers = response.headers_mut();
        headers::secure(headers, self.https);
        if let Some((policies, limits)) = context.limits.take().and_then(|decision| decision.headers()) {
            headers.insert(HeaderName::from_static("ratelimit-policy"), policies);
            headers.insert(HeaderName::from_static("ratelimit"), limits);
        }
        headers.insert(HeaderName::from_static(REQUEST_ID), context.request_id.to_header());
    }
}

/// A problem for an error that the HTTP library made: its text may quote the request, so only its status is used.
fn of_library(error: &Error, status: StatusCode) -> Problem {
    let problem = Problem::new(Code::of_status(status));
    if status.is_server_error() { problem.because(anyhow::anyhow!("{error}")) } else { problem }
}
