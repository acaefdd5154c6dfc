//! The pages around an account: register, log in, recover, confirm, and the signed-in home; and the one to report a page.
//!
//! The server never reads a token from these URLs: opening a mail link spends nothing, the script posts the token to
//! the API when the person presses the button.

use actix_web::HttpRequest;
use askama::Template;
use domain::accounts::Username;
use domain::pages::{Network, Theme};
use url::form_urlencoded;

use super::Page;
use super::html::{self, Keep};
use super::site::Site;
use crate::oidc::Provider;
use crate::problem::Problem;

#[derive(Template)]
#[template(path = "register.html")]
struct Register<'a> {
    site: Site<'a>,
    referral: &'a str,
}

#[derive(Template)]
#[template(path = "register_confirm.html")]
struct RegisterConfirm<'a> {
    site: Site<'a>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    site: Site<'a>,
}

#[derive(Template)]
#[template(path = "sign_in_failed.html")]
struct SignInFailed<'a> {
    site: Site<'a>,
    provider: Option<&'a Provider>,
    title: &'a str,
    detail: &'a str,
}

#[derive(Template)]
#[template(path = "forgot_password.html")]
struct ForgotPassword<'a> {
    site: Site<'a>,
}

#[derive(Template)]
#[template(path = "reset_password.html")]
struct ResetPassword<'a> {
    site: Site<'a>,
}

#[derive(Template)]
#[template(path = "verify_email.html")]
struct VerifyEmail<'a> {
    site: Site<'a>,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Report<'a> {
    site: Site<'a>,
    page: &'a str,
}

#[derive(Template)]
#[template(path = "dashboard.html")]
struct Dashboard<'a> {
    site: Site<'a>,
    themes: &'static [Theme],
    networks: &'static [Network],
}

/// `/register`, with the code of `?referral=` in its field.
pub(super) fn register(site: Site<'_>, request: &HttpRequest) -> Page {
    let referral = referral(request.query_string()).unwrap_or_default();
    html::render(&Register { site, referral: &referral }, Keep::Checked)
}

/// `/register/confirm`, where the mail's `?token=` is left to the script.
pub(super) fn register_confirm(site: Site<'_>, _: &HttpRequest) -> Page {
    html::render(&RegisterConfirm { site }, Keep::Never)
}

/// `/login`
pub(super) fn login(site: Site<'_>, _: &HttpRequest) -> Page {
    html::render(&Login { site }, Keep::Checked)
}

/// What went wrong with an identity provider.
pub(super) fn sign_in_failed(site: Site<'_>, provider: Option<&Provider>, problem: &Problem) -> Page {
    let (title, detail) = (problem.code().title(), problem.words());
    html::render(&SignInFailed { site, provider, title, detail }, Keep::Never)
}

/// `/forgot-password`
pub(super) fn forgot_password(site: Site<'_>, _: &HttpRequest) -> Page {
    html::render(&ForgotPassword { site }, Keep::Checked)
}

/// `/reset-password`, where the mail's `?token=` is left to the script.
pub(super) fn reset_password(site: Site<'_>, _: &HttpRequest) -> Page {
    html::render(&ResetPassword { site }, Keep::Never)
}

/// `/verify-email`, where the mail's `?token=` is left to the script.
pub(super) fn verify_email(site: Site<'_>, _: &HttpRequest) -> Page {
    html::render(&VerifyEmail { site }, Keep::Never)
}

/// `/report`, with the username of `?page=` in its field.
pub(super) fn report(site: Site<'_>, request: &HttpRequest) -> Page {
    let page = reported(request.query_string()).unwrap_or_default();
    html::render(&Report { site, page: &page }, Keep::Checked)
}

/// `/dashboard`: the frame; the script fills it with what the API tells the signed-in person.
pub(super) fn dashboard(site: Site<'_>, _: &HttpRequest) -> Page {
    html::render(&Dashboard { site, themes: &Theme::ALL, networks: Network::ALL }, Keep::Never)
}

/// The referral code or user id of a query string.
///
/// Anybody may write that link, so only what could be a code is repeated on our page: no sentence of a stranger.
fn referral(query: &str) -> Option<String> {
    let (_, code) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "referral")?;
    let code = code.trim();
    let plausible = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plausible.then(|| code.to_owned())
}

/// The username of a query string, if it is one: no sentence of a stranger here either.
fn reported(query: &str) -> Option<String> {
    let (_, name) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "page")?;
    Username::parse(&name).ok().map(|name| name.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oidc::Providers;

    #[test]
    fn only_a_plausible_code_is_taken_from_the_link() {
        assert_eq!(referral("referral=abc123defg").as_deref(), Some("abc123defg"));
        assert_eq!(referral("x=1&referral=%20ABC-12%20").as_deref(), Some("ABC-12"));
        assert_eq!(
            referral("referral=0199a7b2-0000-7000-8000-000000000000").as_deref(),
            Some("0199a7b2-0000-7000-8000-000000000000")
        );
        for hostile in ["%22%3E%3Cscript%3E", "call+us+on+555", "%FF%FE", "%00", &"a".repeat(65)] {
            assert_eq!(referral(&format!("referral={hostile}")), None, "{hostile}");
        }
        assert_eq!(referral("token=abc"), None);
    }

    #[test]
    fn only_a_name_is_taken_from_the_link_to_report_a_page() {
        assert_eq!(reported("page=ada").as_deref(), Some("ada"));
        for hostile in ["%22%3E%3Cscript%3E", "call+us+on+555", "%FF%FE", "", &"a".repeat(65)] {
            assert_eq!(reported(&format!("page={hostile}")), None, "{hostile}");
        }
        assert_eq!(reported("referral=ada"), None);
    }

    #[test]
    fn every_ground_can_be_chosen() {
        let page = include_str!("../../templates/report.html");
        for ground in domain::moderation::Ground::ALL {
            assert!(page.contains(&format!("<option value=\"{}\">", ground.as_str())), "{ground:?}");
        }
    }

    #[test]
    fn a_hostile_code_would_be_escaped_even_if_it_came_through() {
        let site = Site {
            public_url: "https://trellis.example",
            development: false,
            password_min_length: 8,
            verified_registration: false,
            version: "v",
            providers: &Providers::default(),
        };
        let page = Register { site, referral: "\"><script>alert(1)</script>" };
        let body = page.render().unwrap();
        assert!(!body.contains("<script>alert"), "{body}");
        assert!(body.contains("&#34;&#62;&#60;script&#62;alert(1)"), "{body}");
    }
}
