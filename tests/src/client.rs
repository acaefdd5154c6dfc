//! An HTTP client that keeps cookies as a browser does, and looks at every answer.
//!
//! Whatever a test is about, each answer must have a request id, no 5xx status (unless the test says so), and the problem
//! media type when it is an error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// A cookie as it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its value.
    pub value: String,
    /// The path it is sent to.
    pub path: String,
    /// The whole `Set-Cookie` line.
    pub line: String,
}

/// A client with a jar of its own; clones share the jar.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    jar: Arc<Mutex<BTreeMap<String, Cookie>>>,
    headers: Vec<(String, String)>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// A new client of the server at `base`, such as `http://127.0.0.1:8080`.
    pub fn new(base: &str) -> Self {
        Self { http: http(None), base: base.to_owned(), jar: Arc::default(), headers: Vec::new() }
    }

    /// The same browser, calling from another of this machine's addresses: any of `127.0.0.0/8` on Linux.
    #[must_use]
    pub fn calling_from(&self, address: &str) -> Self {
        let address: std::net::IpAddr = address.parse().unwrap();
        Self { http: http(Some(address)), ..self.clone() }
    }

    /// Where it calls.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The same browser at another replica.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// The same browser that also sends a header, each time.
    #[must_use]
    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// A copy with a jar of its own, holding the same cookies: what a thief would have.
    #[must_use]
    pub fn stolen(&self) -> Self {
        let jar = self.jar.lock().unwrap().clone();
        Self { jar: Arc::new(Mutex::new(jar)), ..self.clone() }
    }

    /// A cookie in the jar, by its plain name or with its production prefix.
    pub fn cookie(&self, name: &str) -> Option<Cookie> {
        let jar = self.jar.lock().unwrap();
        jar.iter()
            .find(|(known, _)| *known == name || known.ends_with(&format!("-{name}")))
            .map(|(_, c)| c.clone())
    }

    /// Name and value of the cookies in the jar whose names start with `prefix`.
    pub fn cookies(&self, prefix: &str) -> Vec<(String, String)> {
        let jar = self.jar.lock().unwrap();
        let found = jar.iter().filter(|(name, _)| name.starts_with(prefix));
        found.map(|(name, cookie)| (name.clone(), cookie.value.clone())).collect()
    }

    /// Puts a cookie into the jar.
    pub fn set_cookie(&self, name: &str, value: &str) {
        let cookie = Cookie { value: value.to_owned(), path: "/".to_owned(), line: String::new() };
        self.jar.lock().unwrap().insert(name.to_owned(), cookie);
    }

    /// Empties the jar.
    pub fn clear_cookies(&self) {
        self.jar.lock().unwrap().clear();
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, None, &[]).await
    }

    /// POST of JSON, with the CSRF token of the jar.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.with_csrf(Method::POST, path, Some(body)).await
    }

    /// POST without a body, with the CSRF token of the jar.
    pub async fn post_empty(&self, path: &str) -> Reply {
        self.with_csrf(Method::POST, path, None).await
    }

    /// PUT of JSON, with the CSRF token of the jar.
    pub async fn put(&self, path: &str, body: Value) -> Reply {
        self.with_csrf(Method::PUT, path, Some(body)).await
    }

    /// PATCH of JSON, with the CSRF token of the jar.
    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        self.with_csrf(Method::PATCH, path, Some(body)).await
    }

    /// DELETE with JSON, with the CSRF token of the jar.
    pub async fn delete(&self, path: &str, body: Value) -> Reply {
        self.with_csrf(Method::DELETE, path, Some(body)).await
    }

    /// DELETE without a body, with the CSRF token of the jar.
    pub async fn delete_empty(&self, path: &str) -> Reply {
        self.with_csrf(Method::DELETE, path, None).await
    }

    async fn with_csrf(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let token = self.cookie("csrf_token").map(|cookie| cookie.value).unwrap_or_default();
        let headers = if token.is_empty() { vec![] } else { vec![("X-CSRF-Token", token.as_str())] };
        self.send(method, path, body, &headers).await
    }

    /// Any request, with exactly these headers besides the client's own. A body is sent as JSON.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let body = body.map(|body| ("application/json", body.to_string().into_bytes()));
        self.send_raw(method, path, body, headers).await
    }

    /// Any request with any body of any media type.
    pub async fn send_raw(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let reply = self.try_send(method.clone(), path, body, headers).await.unwrap();
        assert!(reply.status < 500, "{method} {path} failed: {reply:?}");
        reply
    }

    /// As [`Client::send_raw`], but a server error is an answer too, and a broken connection an error.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
        headers: &[(&str, &str)],
    ) -> reqwest::Result<Reply> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        let cookies = self.cookies_for(path);
        if !cookies.is_empty() {
            request = request.header("Cookie", cookies);
        }
        for (name, value) in
            self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain(headers.iter().copied())
        {
            request = request.header(name, value);
        }
        if let Some((media_type, body)) = body {
            request = request.header("Content-Type", media_type).body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        self.keep(&headers);
        let reply = Reply { status: status.as_u16(), headers, body: response.bytes().await?.to_vec() };
        reply.look(&method, path, status);
        Ok(reply)
    }

    fn cookies_for(&self, path: &str) -> String {
        let jar = self.jar.lock().unwrap();
        let sent = jar.iter().filter(|(_, cookie)| path.starts_with(cookie.path.trim_end_matches('/')));
        sent.map(|(name, cookie)| format!("{name}={}", cookie.value)).collect::<Vec<_>>().join("; ")
    }

    fn keep(&self, headers: &HeaderMap) {
        let mut jar = self.jar.lock().unwrap();
        for line in headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok()) {
            let mut parts = line.split("; ");
            let (name, value) =
                parts.next().and_then(|pair| pair.split_once('=')).expect("a cookie is a pair");
            let path = parts.clone().find_map(|part| part.strip_prefix("Path=")).unwrap_or("/").to_owned();
            if parts.any(|part| part == "Max-Age=0") {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), Cookie { value: value.to_owned(), path, line: line.to_owned() });
            }
        }
    }
}

fn http(from: Option<std::net::IpAddr>) -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(std::time::Duration::from_secs(30));
    builder.local_address(from).build().unwrap()
}

impl Reply {
    /// What holds for every answer.
    fn look(&self, method: &Method, path: &str, status: StatusCode) {
        assert!(self.headers.contains_key("x-request-id"), "{method} {path}: no request id: {self:?}");
        // The answer to HEAD has no body to look at.
        if (status.is_client_error() || status.is_server_error()) && *method != Method::HEAD {
            let media_type = self.header("content-type");
            assert_eq!(media_type, Some("application/problem+json"), "{method} {path}: {self:?}");
            let problem = self.json();
            assert_eq!(problem["status"], self.status, "{method} {path}: {self:?}");
            assert_eq!(
                problem["request_id"].as_str(),
                self.header("x-request-id"),
                "{method} {path}: {self:?}"
            );
        }
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The `code` of a problem.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().expect("a problem has a code").to_owned()
    }

    /// The failing fields of a problem, sorted, each as `pointer code`.
    pub fn errors(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        let mut errors: Vec<String> = errors
            .iter()
            .map(|error| {
                format!("{} {}", error["pointer"].as_str().unwrap(), error["code"].as_str().unwrap())
            })
            .collect();
        errors.sort();
        errors
    }

    /// Asserts the status; a problem's body shows when it is another.
    #[allow(
        clippy::must_use_candidate,
        clippy::return_self_not_must_use,
        reason = "the assertion is the use"
    )]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}
