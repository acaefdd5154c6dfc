//! `POST /api/u/{username}/report/`: anybody says what is wrong with a page.

use actix_web::{HttpResponse, web};
use domain::accounts::Username;
use domain::moderation::{self, Complaint as Report, Ground};
use utoipa::ToSchema;

use crate::app::Shared;
use crate::audit::Traced;
use crate::body::{self, Fields, check_line};
use crate::limits::Throttle;
use crate::problem::Problem;

/// The longest explanation, in characters.
const LONGEST_DETAIL: usize = 1_000;

/// What is wrong with a page.
#[derive(ToSchema)]
#[schema(as = PageReport)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; `Fields` reads it")]
pub(super) struct Body {
    /// In a word.
    #[schema(
        pattern = "^(spam|scam|malware|impersonation|hate|violence|sexual|illegal|other)$",
        example = "scam"
    )]
    reason: String,
    /// In words, on one line.
    #[schema(
        nullable,
        min_length = 1,
        max_length = 1000,
        example = "the second link asks for the password of my bank"
    )]
    detail: Option<String>,
}

/// Report a page
///
/// The answer is the same whether there is such a page or not. Who reports is not noted; one network is heard once a page
/// until the managers decided.
#[utoipa::path(
    post, path = "/api/u/{username}/report/", tag = "pages", request_body = Body,
    params(("username" = String, Path, description = "Whose page", example = "ada")),
    responses((status = 202, description = "Somebody looks at it")),
)]
pub(super) async fn post(
    state: Shared,
    throttle: Throttle,
    traced: Traced,
    username: web::Path<String>,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    let grounds = Ground::ALL.map(|ground| (ground.as_str(), ground));
    let ground = fields.parse("reason", |text| body::pick(&grounds, text));
    let detail =
        fields.parse_optional("detail", |text| check_line(text, LONGEST_DETAIL).map(|()| text.to_owned()));
    let (ground, detail) = fields.finish((ground, detail))?;
    throttle.admit("").await?;
    // What is no name has no page, which is not told either.
    if let Ok(username) = Username::parse(&username) {
        let report = Report { username: &username, ground, detail: detail.as_deref() };
        moderation::report(&state.pool, state.clock.now(), report, &traced.0).await?;
    }
    Ok(HttpResponse::Accepted().finish())
}
