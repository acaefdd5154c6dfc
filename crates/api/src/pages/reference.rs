//! The pages that problem `type` URLs lead to: what an error means and what to do about it.

use actix_web::HttpRequest;
use actix_web::error::ErrorNotFound;
use askama::Template;

use super::html::{self, Keep};
use super::site::Site;
use super::{Page, ProblemHelp};

#[derive(Template)]
#[template(path = "problems.html")]
struct Index<'a> {
    site: &'a Site,
    problems: &'a [ProblemHelp],
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    site: &'a Site,
    problem: &'a ProblemHelp,
}

/// `/problems`
pub(super) fn index(site: &Site, _: &HttpRequest) -> Page {
    html::render(&Index { site, problems: &site.config.problems }, Keep::Hour)
}

/// `/problems/{code}`
pub(super) fn problem(site: &Site, request: &HttpRequest) -> Page {
    let code = request.match_info().get("code");
    let problem = site
        .config
        .problems
        .iter()
        .find(|problem| Some(problem.code) == code)
        .ok_or_else(|| ErrorNotFound("no such problem code"))?;
    html::render(&Problem { site, problem }, Keep::Hour)
}
