//! The way to a provider and back, step by step.

use std::collections::BTreeMap;

use testkit::app::TestApp;
use testkit::client::{Client, Reply};
use testkit::config::TestSettings;
use testkit::provider::{CLIENT_ID, CLIENT_SECRET, Provider};

/// Where a provider is sent back to.
const ORIGIN: &str = "http://trellis.test";

/// The way to the provider: where it leads, and what it carries.
pub(crate) struct Begun {
    url: String,
    query: BTreeMap<String, String>,
}

impl std::ops::Index<&str> for Begun {
    type Output = String;
    fn index(&self, name: &str) -> &String {
        &self.query[name]
    }
}

/// An api with the provider as `acme`, and its other face as `github`. Passwords are hashed cheaply.
pub(crate) async fn app(provider: &Provider) -> TestApp {
    app_with(provider, |_| {}).await
}

/// As [`app`], with settings of the test's own.
pub(crate) async fn app_with(provider: &Provider, change: impl FnOnce(&mut TestSettings)) -> TestApp {
    TestApp::api_with(|settings| {
        settings
            .set("ARGON2_MEMORY_KIB", "64")
            .set("ARGON2_ITERATIONS", "1")
            .set("OIDC_PROVIDERS", "acme,github")
            .set("OIDC_ACME_TITLE", "Acme ID");
        for name in ["ACME", "GITHUB"] {
            settings
                .set(&format!("OIDC_{name}_ISSUER"), provider.issuer())
                .set(&format!("OIDC_{name}_CLIENT_ID"), CLIENT_ID)
                .set(&format!("OIDC_{name}_CLIENT_SECRET"), CLIENT_SECRET);
        }
        change(settings);
    })
    .await
}

/// Reads where a browser is sent.
pub(crate) fn way(url: &str) -> Begun {
    let query = url.split_once('?').unwrap().1;
    let pairs = url_pairs(query);
    Begun { url: url.to_owned(), query: pairs }
}

fn url_pairs(query: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode(&text)
    };
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (decode(k), decode(v))).collect()
}

fn percent_decode(text: &str) -> String {
    reqwest::Url::parse(&format!("http://x/?v={}", text.replace(' ', "%20")))
        .unwrap()
        .query_pairs()
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Sends a browser on its way.
pub(crate) async fn begin(browser: &Client, name: &str, query: &str) -> Begun {
    let reply = browser.get(&format!("/api/oauth/{name}/start{query}")).await.expect(302);
    way(reply.header("location").unwrap())
}

/// Lets the provider send the browser back: the path that it comes back to.
pub(crate) async fn back_at(provider: &Provider, begun: &Begun) -> String {
    assert!(begun.url.starts_with(provider.issuer()), "{}", begun.url);
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let reply = http.get(&begun.url).send().await.unwrap();
    assert_eq!(reply.status(), 302, "{}", reply.text().await.unwrap());
    let back = reply.headers()["location"].to_str().unwrap();
    back.strip_prefix(ORIGIN).unwrap().to_owned()
}

/// The form that the provider's page posts, for `response_mode=form_post`.
pub(crate) async fn form_of(provider: &Provider, begun: &Begun) -> String {
    assert!(begun.url.starts_with(provider.issuer()), "{}", begun.url);
    let reply = reqwest::get(&begun.url).await.unwrap();
    assert_eq!(reply.status(), 200);
    reply.text().await.unwrap()
}

/// Posts a form as a page of the provider does: no cookie of ours comes with it.
pub(crate) async fn post_form(app: &TestApp, name: &str, form: &str) -> reqwest::Response {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = http
        .post(format!("{}/api/oauth/{name}/callback", app.base()))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Origin", "https://appleid.apple.com")
        .header("Sec-Fetch-Site", "cross-site")
        .header("Sec-Fetch-Mode", "navigate")
        .body(form.to_owned());
    request.send().await.unwrap()
}

/// The whole way with a provider that answers by POST.
pub(crate) async fn come_back_by_form(app: &TestApp, browser: &Client, name: &str, form: &str) -> Reply {
    let posted = post_form(app, name, form).await;
    assert_eq!(posted.status(), 303);
    let path = posted.headers()["location"].to_str().unwrap().to_owned();
    assert!(path.starts_with(&format!("/api/oauth/{name}/callback?")), "{path}");
    assert_eq!(posted.headers()["cache-control"], "no-store");
    callback(browser, &path).await
}

/// The cookie of a sign-in that a browser has begun.
pub(crate) fn attempt_cookie(browser: &Client) -> (String, String) {
    let mut all = browser.cookies("sign_in_attempt_");
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Comes back, whatever becomes of it.
pub(crate) async fn callback(browser: &Client, path: &str) -> Reply {
    browser.try_send(reqwest::Method::GET, path, None, &[]).await.unwrap()
}

/// The whole way.
pub(crate) async fn sign_in(
    _: &TestApp,
    browser: &Client,
    provider: &Provider,
    name: &str,
    query: &str,
) -> Reply {
    let begun = begin(browser, name, query).await;
    callback(browser, &back_at(provider, &begun).await).await
}
