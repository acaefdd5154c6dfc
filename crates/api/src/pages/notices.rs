//! Small files at addresses that programs know: what robots may read, whom to tell of a security problem, where a password
//! is changed.

use actix_web::HttpResponse;
use actix_web::http::header;
use chrono::{Days, NaiveTime, SecondsFormat};

use super::Page;
use super::html::Keep;
use crate::app::State;
use crate::problem::{Code, Problem};

/// How long `security.txt` may be relied on; less than a year is recommended (RFC 9116, 2.5.5).
const RELIABLE_FOR: Days = Days::new(180);

/// `/robots.txt`: pages for people are open; the API is not for crawling, a crawler's visit to an invitation or a link
/// would be counted as a person's, and pages that mails lead to are of no use to anybody else.
pub(super) fn robots() -> HttpResponse {
    text(
        "User-agent: *\nDisallow: /api/\nAllow: /api/u/\nDisallow: /r/\nDisallow: /l/\nDisallow: /dev/\nDisallow: /dashboard\n\
         Disallow: /reset-password\nDisallow: /verify-email\n"
            .to_owned(),
    )
}

/// `/llms.txt`: what this is and where its documentation is, for programs that read rather than crawl.
pub(super) fn llms(state: &State) -> HttpResponse {
    let origin = state.origin();
    text(format!(
        "# Trellis\n\n\
         > A link-in-bio platform with a referral programme: accounts, personal invitation links, and rewards for friends who\n\
         > join. Everything is done through a JSON API; the pages are a small client of it.\n\n\
         - [OpenAPI 3.1 document]({origin}/api/openapi.json): every endpoint, field, status and code\n\
         - [The same, to read]({origin}/api/docs/)\n\
         - [Problems]({origin}/problems): what each error code means, and what to do about it\n\n\
         Programs log in with `\"transport\": \"bearer\"` at `POST /api/login/` and send `Authorization: Bearer <access_token>`.\n\
         429 and 503 say in `Retry-After` when to come back.\n"
    ))
}

/// `/.well-known/security.txt` (RFC 9116), where the operator has said whom to tell.
pub(super) fn security(state: &State) -> Page {
    let contacts = &state.config.security_contact;
    if contacts.is_empty() {
        return Err(Problem::new(Code::NotFound));
    }
    let today = state.clock.now().with_time(NaiveTime::MIN).single().unwrap_or_else(|| state.clock.now());
    let expires = today.checked_add_days(RELIABLE_FOR).unwrap_or(today);
    let mut lines: Vec<String> = contacts.iter().map(|contact| format!("Contact: {contact}\n")).collect();
    lines.push(format!("Expires: {}\n", expires.to_rfc3339_opts(SecondsFormat::Secs, true)));
    lines.push("Preferred-Languages: en\n".to_owned());
    lines.push(format!("Canonical: {}/.well-known/security.txt\n", state.origin()));
    Ok(text(lines.concat()))
}

/// `/.well-known/change-password`, where password managers send people (the W3C's "A Well-Known URL for Changing
/// Passwords"). Whoever is not signed in is led on from there, to the sign-in or to a new password.
pub(super) fn change_password() -> HttpResponse {
    HttpResponse::Found()
        .insert_header((header::LOCATION, "/dashboard#change-password"))
        .insert_header(Keep::Hour.header())
        .finish()
}

fn text(body: String) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").insert_header(Keep::Hour.header()).body(body)
}
