//! What the tests of accounts and sessions share: other ways to sign in, the tokens of mails, and what of an answer two
//! answers must have in common.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use api::routes::Row;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp, eventually};
use testkit::client::{Client, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An api whose passwords cost next to nothing.
pub(crate) async fn quick_app() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await
}

/// Somebody with a public page: registered, signed in, the address confirmed.
pub(crate) async fn with_page(app: &TestApp, username: &str) -> Client {
    app.register(username, None).await.expect(201);
    let sql = "UPDATE users SET email_verified_at = now() WHERE username = $1";
    app.database.execute(sql, &[&username]).await.unwrap();
    Bearer::login(app, username).await.client
}

/// Somebody buys a week of premium with credits that fell from heaven.
pub(crate) async fn buy_premium(app: &TestApp, username: &str, client: &Client) {
    crate::reward_rules::fund(app, username, 200).await;
    let body = Some(json!({ "option": "premium_7_days" }));
    let key = [("Idempotency-Key", "premium")];
    client.send(Method::POST, "/api/rewards/redeem/", body, &key).await.expect(201);
}

/// How soon a change of a page must show everywhere.
const SOON: Duration = Duration::from_secs(1);

/// Asks for a page again and again until it shows what was just done. Whoever asks a second later or more must see it.
pub(crate) async fn within_a_second<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let done = Instant::now();
    loop {
        let asked = done.elapsed();
        match ask().await {
            Ok(answer) => return answer,
            Err(last) => assert!(asked < SOON, "asked {asked:?} after it was done: {what}; at last: {last}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Adds a link; returns what was made.
pub(crate) async fn add_link(client: &Client, title: &str) -> Value {
    let body = json!({ "title": title, "url": "https://example.org/" });
    client.post("/api/links/", body).await.expect(201).json()
}

/// Another password that every rule takes.
pub(crate) const OTHER_PASSWORD: &str = "Jx4-walnut-harbour";

/// Somebody who signed in with the bearer transport.
pub(crate) struct Bearer {
    /// Sends the access token.
    pub(crate) client: Client,
    /// The access token.
    pub(crate) access: String,
    /// The refresh token.
    pub(crate) refresh: String,
}

impl Bearer {
    /// Signs somebody in whom [`TestApp::register`] made.
    pub(crate) async fn login(app: &TestApp, username: &str) -> Self {
        let body = json!({ "identifier": username, "password": PASSWORD, "transport": "bearer" });
        let reply = app.client().post("/api/login/", body).await.expect(200);
        Self::of(app, &reply.json())
    }

    /// Takes the tokens of a reply.
    pub(crate) fn of(app: &TestApp, reply: &Value) -> Self {
        let text = |name: &str| reply[name].as_str().unwrap().to_owned();
        let (access, refresh) = (text("access_token"), text("refresh_token"));
        let client = app.client().with_header("Authorization", &format!("Bearer {access}"));
        Self { client, access, refresh }
    }
}

/// Tries to sign in; returns the status.
pub(crate) async fn login_status(app: &TestApp, identifier: &str, password: &str) -> u16 {
    let body = json!({ "identifier": identifier, "password": password });
    app.client().post("/api/login/", body).await.status
}

/// Uses a refresh token of the bearer transport.
pub(crate) async fn refresh(app: &TestApp, token: &str) -> Reply {
    app.client().post("/api/token/refresh/", json!({ "refresh_token": token })).await
}

/// Asks for a reset mail.
pub(crate) async fn forgot(app: &TestApp, email: &str) -> Reply {
    app.client().post("/api/forgot-password/", json!({ "email": email })).await
}

/// Sets a new password with a token.
pub(crate) async fn reset(app: &TestApp, token: &str, password: &str) -> Reply {
    app.client().post("/api/reset-password/", json!({ "token": token, "password": password })).await
}

/// The tokens in the mails so far to an address whose link leads to `page`, in the order of their arrival.
pub(crate) fn tokens(app: &TestApp, address: &str, page: &str) -> Vec<String> {
    let mails = app.mail.mails();
    let to_them = mails.iter().filter(|mail| mail.to.iter().any(|to| to == address));
    let of_page = to_them.filter(|mail| mail.links().iter().any(|link| link.contains(page)));
    of_page.filter_map(testkit::smtp::Mail::token).collect()
}

/// The tokens once there are `count`.
pub(crate) async fn wait_for_tokens(app: &TestApp, address: &str, page: &str, count: usize) -> Vec<String> {
    eventually("the mails arrive", async || {
        let tokens = tokens(app, address, page);
        if tokens.len() >= count { Ok(tokens) } else { Err(format!("{} of {count}", tokens.len())) }
    })
    .await
}

/// The page that reset mails lead to.
pub(crate) const RESET: &str = "/reset-password?";

/// The page that confirmation mails lead to.
pub(crate) const VERIFY: &str = "/verify-email?";

/// Asks for a reset mail for somebody whom [`TestApp::register`] made, and takes its token. Needs a worker.
pub(crate) async fn reset_token(app: &TestApp, username: &str) -> String {
    let address = format!("{username}@example.org");
    let before = tokens(app, &address, RESET).len();
    forgot(app, &address).await.expect(202);
    wait_for_tokens(app, &address, RESET, before + 1).await.pop().unwrap()
}

/// How many mails with this in the subject went to an address.
pub(crate) fn count_mails(app: &TestApp, address: &str, subject: &str) -> usize {
    let mails = app.mail.mails();
    mails.iter().filter(|mail| mail.subject.contains(subject) && mail.to == [address]).count()
}

/// An answer without what differs from one to the next: status, sorted headers, body.
pub(crate) fn comparable(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let id = reply.header("x-request-id").unwrap().to_owned();
    let known = reply.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"));
    let mut headers: Vec<(String, String)> =
        known.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    headers.sort();
    (reply.status, headers, reply.text().replace(&id, "REQUEST-ID"))
}

/// Asserts that all answers are the same to the byte, less the request id; returns one.
#[track_caller]
pub(crate) fn assert_alike(replies: &[(&str, Reply)]) -> Reply {
    let (first_name, first) = &replies[0];
    for (name, reply) in replies {
        assert_eq!(comparable(reply), comparable(first), "{name} is answered unlike {first_name}");
    }
    first.clone()
}

/// The method of a row, as the client names it.
pub(crate) fn method(row: &Row) -> Method {
    Method::from_bytes(row.method.as_str().as_bytes()).unwrap()
}

/// Bytes as the database shows them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// Sends these bytes as they are and reads one answer with a body of announced length.
pub(crate) async fn raw(addr: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.is_none_or(|length| body.len() >= length.parse::<usize>().unwrap()) {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the answer breaks off: {text}");
    }
}
