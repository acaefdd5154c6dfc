//! `/api/docs/`: Swagger UI, from files that are compiled in. Nothing is fetched from elsewhere.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{self, Bytes};
use utoipa_swagger_ui::Config;

use crate::problem::{Code, Problem};

/// Where it is.
pub(super) const PATH: &str = "/api/docs/";

/// A file of it.
pub(super) const FILE: &str = "/api/docs/{file}";

/// What of Swagger UI is served.
const FILES: [&str; 3] = ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"];

/// Its scripts are ours; it writes style attributes, and draws its icons from `data:`.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const A_DAY: HeaderValue = HeaderValue::from_static("public, max-age=86400");

/// The page.
pub(super) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .body(include_str!("docs/index.html"))
}

/// A file.
pub(super) async fn file(name: web::Path<String>) -> Result<HttpResponse, Problem> {
    if *name == "start.js" {
        let script = include_str!("docs/start.js");
        return Ok(answer("text/javascript; charset=utf-8", Bytes::from_static(script.as_bytes()), false));
    }
    let known = FILES.iter().find(|file| **file == *name).ok_or(Code::NotFound)?;
    // Its own configuration goes into a file that is not served.
    let found = utoipa_swagger_ui::serve(known, Arc::new(Config::from(super::openapi::PATH)));
    let found =
        found.map_err(|error| Problem::internal(anyhow::anyhow!("{error}")))?.ok_or(Code::NotFound)?;
    let bytes = match found.bytes {
        Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    Ok(answer(&found.content_type, bytes, found.gzpipped))
}

fn answer(content_type: &str, bytes: Bytes, gzipped: bool) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type(content_type).insert_header((header::CACHE_CONTROL, A_DAY));
    if gzipped {
        response.insert_header((header::CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    }
    response.body(bytes)
}
