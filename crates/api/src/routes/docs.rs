//! `/api/docs/`: Swagger UI, from files that are compiled in. Nothing is fetched from elsewhere.

use std::future::ready;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use utoipa_swagger_ui::Config;

use super::Row;
use crate::problem::{Code, Problem};

/// Where it is.
pub(super) const PATH: &str = "/api/docs/";

/// Its scripts are ours; it writes style attributes, and draws its icons from `data:`.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const A_DAY: HeaderValue = HeaderValue::from_static("public, max-age=86400");

/// The rows of the page and its files.
pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::page(PATH, || ready(page())),
        Row::page("/api/docs/start.js", || ready(start())),
        Row::page("/api/docs/swagger-ui.css", || ready(file("swagger-ui.css"))),
        Row::page("/api/docs/swagger-ui-bundle.js", || ready(file("swagger-ui-bundle.js"))),
        Row::page("/api/docs/favicon-32x32.png", || ready(file("favicon-32x32.png"))),
    ]
}

fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .body(include_str!("docs/index.html"))
}

fn start() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, A_DAY))
        .body(include_str!("docs/start.js"))
}

/// A file of Swagger UI. Its own configuration goes into one that is not served.
fn file(name: &str) -> Result<HttpResponse, Problem> {
    let found = utoipa_swagger_ui::serve(name, Arc::new(Config::from(super::openapi::PATH)));
    let found =
        found.map_err(|error| Problem::internal(anyhow::anyhow!("{error}")))?.ok_or(Code::NotFound)?;
    let mut response = HttpResponse::Ok();
    response.content_type(found.content_type).insert_header((header::CACHE_CONTROL, A_DAY));
    if found.gzpipped {
        response.insert_header((header::CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    }
    Ok(response.body(found.bytes.into_owned()))
}
