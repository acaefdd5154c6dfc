//! The pages that problem `type` URLs lead to: what an error means and what to do about it.

use actix_web::HttpRequest;
use askama::Template;

use super::Page;
use super::html::{self, Keep};
use super::site::Site;
use crate::problem::{Code, Problem};

#[derive(Template)]
#[template(path = "problems.html")]
struct Index<'a> {
    site: Site<'a>,
    codes: &'a [Code],
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Explained<'a> {
    site: Site<'a>,
    code: Code,
    help: Vec<Piece<'a>>,
}

/// A stretch of a help text: prose, or what stood between backticks.
#[derive(Debug, PartialEq, Eq)]
struct Piece<'a> {
    text: &'a str,
    code: bool,
}

/// `/problems`
pub(super) fn index(site: Site<'_>, _: &HttpRequest) -> Page {
    html::render(&Index { site, codes: Code::ALL }, Keep::Hour)
}

/// `/problems/{code}`
pub(super) fn problem(site: Site<'_>, request: &HttpRequest) -> Page {
    let slug = request.match_info().get("code");
    let code = Code::ALL.iter().find(|code| Some(code.slug()) == slug);
    let code = *code.ok_or_else(|| Problem::new(Code::NotFound))?;
    html::render(&Explained { site, code, help: pieces(code.help()) }, Keep::Hour)
}

fn pieces(help: &str) -> Vec<Piece<'_>> {
    let pieces = help.split('`').enumerate().map(|(n, text)| Piece { text, code: n % 2 == 1 });
    pieces.filter(|piece| !piece.text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code() {
        let prose = |text| Piece { text, code: false };
        let code = |text| Piece { text, code: true };
        assert_eq!(pieces("`a` then `b`."), [code("a"), prose(" then "), code("b"), prose(".")]);
        assert_eq!(pieces("plain"), [prose("plain")]);
    }

    #[test]
    fn every_help_text_closes_its_backticks() {
        for code in Code::ALL {
            assert_eq!(code.help().matches('`').count() % 2, 0, "{}", code.slug());
        }
    }
}
