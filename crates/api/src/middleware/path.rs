//! One form of each path: `/api/login` and `/api/login/` are one route, without a redirect.
//!
//! A redirect would drop the body of a POST. Paths under `/api/` end in a slash, but for the files there; all others do
//! not. The routes are registered in that form, so that matching stays a comparison of strings.

use actix_web::dev::ServiceRequest;
use actix_web::http::Uri;
use actix_web::http::uri::PathAndQuery;

/// Brings the path of a request into the form that the routes have.
pub(super) fn normalise(request: &mut ServiceRequest) {
    let Some(path) = canonical(request.path()) else { return };
    let path_and_query = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = request.uri().clone().into_parts();
    let Ok(path_and_query) = path_and_query.parse::<PathAndQuery>() else { return };
    parts.path_and_query = Some(path_and_query);
    let Ok(uri) = Uri::from_parts(parts) else { return };
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
}

/// The other form of a path, if it does not have the right one.
fn canonical(path: &str) -> Option<String> {
    let slashed = path.ends_with('/');
    if path.starts_with("/api/") {
        return (!slashed && !is_file(path)).then(|| format!("{path}/"));
    }
    (slashed && path.len() > 1).then(|| path.strip_suffix('/').unwrap_or(path).to_owned())
}

/// The pictures of a page.
const PICTURES: [&str; 3] = ["card.png", "qr.png", "qr.svg"];

/// The files among the API's paths.
fn is_file(path: &str) -> bool {
    let of_page = path.strip_prefix("/api/u/").and_then(|rest| rest.split_once('/'));
    path == "/api/openapi.json"
        || path.strip_prefix("/api/docs/").is_some_and(|file| !file.is_empty())
        || of_page.is_some_and(|(_, file)| PICTURES.contains(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h9_both_slash_forms_are_one() {
        for (path, form) in [
            ("/api/login", Some("/api/login/")),
            ("/api/login/", None),
            ("/api/u/a.b", Some("/api/u/a.b/")),
            ("/api/u/a.b/card.png", None),
            ("/api/u/card.png", Some("/api/u/card.png/")),
            ("/api/u/a/b/qr.svg", Some("/api/u/a/b/qr.svg/")),
            ("/api/openapi.json", None),
            ("/api/docs", Some("/api/docs/")),
            ("/api/docs/", None),
            ("/api/docs/swagger-ui.css", None),
            ("/health/live/", Some("/health/live")),
            ("/health/live", None),
            ("/r/abc/", Some("/r/abc")),
            ("/", None),
            ("", None),
            ("/api", None),
            ("/api/", None),
        ] {
            assert_eq!(canonical(path).as_deref(), form, "{path}");
        }
    }
}
