//! The access log and the request metrics: by route pattern, never by raw path, which may hold a code or a name.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use metrics::Histogram;

use super::Context;
use crate::problem::Problem;

/// The label of what no route took.
const NO_ROUTE: &str = "unmatched";

/// Histograms that were used before: looking one up by its labels costs more than recording into it. One per thread.
#[derive(Default)]
pub(super) struct Recorder {
    known: RefCell<HashMap<(&'static str, &'static str, u16), Histogram>>,
}

impl Recorder {
    /// Writes down that a request was answered.
    pub(super) fn answered(&self, context: &Context, method: &Method, status: StatusCode, took: Duration) {
        let route = context.route.get().unwrap_or(NO_ROUTE);
        let method_name = method_name(method);
        self.histogram(route, method_name, status).record(took.as_secs_f64());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        // Reads are many and say little: one line each would cost more than serving them.
        if method.is_safe() {
            tracing::debug!(
                http.method = method_name,
                http.route = route,
                http.status = status.as_u16(),
                took_ms,
                request_id = context.request_id.as_str(),
                "answered a request"
            );
        } else {
            tracing::info!(
                http.method = method_name,
                http.route = route,
                http.status = status.as_u16(),
                took_ms,
                request_id = context.request_id.as_str(),
                "answered a request"
            );
        }
    }

    fn histogram(&self, route: &'static str, method: &'static str, status: StatusCode) -> Histogram {
        let key = (route, method, status.as_u16());
        let mut known = self.known.borrow_mut();
        let histogram = known.entry(key).or_insert_with(|| {
            metrics::histogram!(
                "http_server_request_duration_seconds",
                "http_route" => route,
                "http_request_method" => method,
                "http_response_status_code" => status.as_u16().to_string(),
            )
        });
        histogram.clone()
    }
}

/// Logs what is behind a problem, with its whole chain, once. It is never sent.
pub(super) fn log_source(context: &Context, problem: &Problem) {
    let Some(source) = problem.source() else { return };
    let (route, code) = (context.route.get().unwrap_or(NO_ROUTE), problem.code().slug());
    let request_id = context.request_id.as_str();
    if problem.code().status().is_server_error() {
        tracing::error!(http.route = route, code, request_id, "a request failed: {source:#}");
    } else {
        tracing::info!(http.route = route, code, request_id, "a request was refused: {source:#}");
    }
}

/// The method, or `_OTHER` for what a client invented: labels must stay few.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
