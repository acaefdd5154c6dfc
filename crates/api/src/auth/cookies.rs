//! The cookies: their names, attributes and reading.
//!
//! In production every cookie is `Secure` and has a prefix that makes browsers refuse it from anybody else's host or over
//! plain HTTP (RFC 6265bis, 4.1.3). Development runs on plain HTTP, where such names do not work. No cookie has a `Domain`.

use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{self, HeaderMap};
use domain::config::{AppEnv, Lifetimes};

/// What is the same for all cookies of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieKind {
    /// The name in development.
    pub plain_name: &'static str,
    /// The name in production, with its prefix: `__Host-` wants the path `/`, `__Secure-` takes any.
    pub secure_name: &'static str,
    /// The path it is sent to.
    pub path: &'static str,
    /// Whether scripts are kept from reading it.
    pub http_only: bool,
    /// How long browsers keep it, unless a setting says so.
    pub max_age: Duration,
}

/// The access token. The cookie outlives the token in it, which is refused once it has expired: its signed session id still
/// tells which session a browser has when it signs out or signs in again.
pub const ACCESS: CookieKind = CookieKind {
    plain_name: "access_token",
    secure_name: "__Host-access_token",
    path: "/",
    http_only: true,
    max_age: Duration::days(30),
};

/// The refresh token, which only the refresh endpoint sees.
pub const REFRESH: CookieKind = CookieKind {
    plain_name: "refresh_token",
    secure_name: "__Secure-refresh_token",
    path: "/api/token/",
    http_only: true,
    max_age: Duration::days(30),
};

/// The CSRF token, which our pages read.
pub const CSRF: CookieKind = CookieKind {
    plain_name: "csrf_token",
    secure_name: "__Host-csrf_token",
    path: "/",
    http_only: false,
    max_age: Duration::days(30),
};

/// Makes and reads cookies as the environment wants them.
#[derive(Clone, Copy, Debug)]
pub struct Cookies {
    secure: bool,
    session: Duration,
}

impl Cookies {
    /// Cookies for an environment.
    pub fn new(env: AppEnv) -> Self {
        Self { secure: env == AppEnv::Production, session: CSRF.max_age }
    }

    /// The cookies of a session are kept as long as it lives.
    #[must_use]
    pub fn with_lifetimes(self, lifetimes: &Lifetimes) -> Self {
        Self { session: Duration::seconds(lifetimes.session.num_seconds()), ..self }
    }

    /// The name of a cookie here.
    pub fn name(self, kind: &CookieKind) -> &'static str {
        if self.secure { kind.secure_name } else { kind.plain_name }
    }

    /// A cookie to set.
    pub fn make(self, kind: &CookieKind, value: String) -> Cookie<'static> {
        self.build(kind, value, kind.max_age)
    }

    /// A cookie that takes one away.
    pub fn clear(self, kind: &CookieKind) -> Cookie<'static> {
        self.build(kind, String::new(), Duration::ZERO)
    }

    /// The cookies of somebody who just signed in.
    pub fn signed_in(self, access: String, refresh: String, csrf: String) -> [Cookie<'static>; 3] {
        [(&ACCESS, access), (&REFRESH, refresh), (&CSRF, csrf)]
            .map(|(kind, value)| self.build(kind, value, self.session))
    }

    /// The CSRF token of a session that goes on, for a browser that may have lost it.
    pub fn csrf(self, token: String) -> Cookie<'static> {
        self.build(&CSRF, token, self.session)
    }

    /// The cookies of somebody whose session ended.
    pub fn signed_out(self) -> [Cookie<'static>; 3] {
        [self.clear(&ACCESS), self.clear(&REFRESH), self.clear(&CSRF)]
    }

    /// The value of a cookie in a request, as it was sent.
    pub fn read<'a>(self, headers: &'a HeaderMap, kind: &CookieKind) -> Option<&'a str> {
        find(headers, self.name(kind))
    }

    /// As [`make`](Self::make), for one of several cookies of a kind: `suffix` continues the name.
    pub fn make_one(self, kind: &CookieKind, suffix: &str, value: String) -> Cookie<'static> {
        self.named(kind, format!("{}{suffix}", self.name(kind)), value, kind.max_age)
    }

    /// Takes away what [`make_one`](Self::make_one) set.
    pub fn clear_one(self, kind: &CookieKind, suffix: &str) -> Cookie<'static> {
        self.named(kind, format!("{}{suffix}", self.name(kind)), String::new(), Duration::ZERO)
    }

    /// Suffix and value of all cookies of a kind that has several.
    pub fn read_all<'a>(
        self,
        headers: &'a HeaderMap,
        kind: &CookieKind,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let name = self.name(kind);
        pairs(headers).filter_map(move |(known, value)| Some((known.strip_prefix(name)?, value)))
    }

    fn build(self, kind: &CookieKind, value: String, max_age: Duration) -> Cookie<'static> {
        self.named(kind, self.name(kind).to_owned(), value, max_age)
    }

    fn named(self, kind: &CookieKind, name: String, value: String, max_age: Duration) -> Cookie<'static> {
        Cookie::build(name, value)
            .path(kind.path)
            .http_only(kind.http_only)
            .secure(self.secure)
            .same_site(SameSite::Lax)
            .max_age(max_age)
            .finish()
    }
}

/// Looks for one cookie without parsing all of them: this is on the way of every request.
fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let found = pairs(headers).find(|(known, _)| *known == name);
    found.map(|(_, value)| value).filter(|value| !value.is_empty())
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a16_production_cookies_are_prefixed_secure_and_without_domain() {
        let cookies = Cookies::new(AppEnv::Production);
        let texts = cookies.signed_in("a".into(), "r".into(), "c".into()).map(|cookie| cookie.to_string());
        assert_eq!(
            texts,
            [
                "__Host-access_token=a; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=2592000",
                "__Secure-refresh_token=r; HttpOnly; SameSite=Lax; Secure; Path=/api/token/; Max-Age=2592000",
                "__Host-csrf_token=c; SameSite=Lax; Secure; Path=/; Max-Age=2592000",
            ]
        );
    }

    #[test]
    fn development_cookies_work_without_tls() {
        let cookies = Cookies::new(AppEnv::Development);
        let access = cookies.make(&ACCESS, "a".into()).to_string();
        assert_eq!(access, "access_token=a; HttpOnly; SameSite=Lax; Path=/; Max-Age=2592000");
        let cleared = cookies.signed_out().map(|cookie| cookie.to_string());
        assert!(
            cleared.iter().all(|cookie| cookie.contains("=; ") && cookie.ends_with("Max-Age=0")),
            "{cleared:?}"
        );
    }

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            if let Ok(value) = HeaderValue::from_str(line) {
                headers.append(header::COOKIE, value);
            }
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let headers = headers(&["a=1; access_tokens=x;access_token=y=z ; b", "c=3"]);
        assert_eq!(find(&headers, "access_token"), Some("y=z"));
        assert_eq!(find(&headers, "c"), Some("3"));
        assert_eq!(find(&headers, "b"), None);
        assert_eq!(find(&headers, "Access_Token"), None);
    }

    proptest! {
        #[test]
        fn t10_any_cookie_header_is_read_without_a_panic(line in ".*") {
            let _any = find(&headers(&[&line]), "access_token");
        }
    }
}
