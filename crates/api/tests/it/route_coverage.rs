//! What holds for every route of the table, those included that are added later: who gets in, and in which form.

use api::routes::{Access, Row, table};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::{Client, Reply};

use crate::support::{Bearer, method};

/// A path of a route: something in place of each parameter.
fn path(row: &Row) -> String {
    row.path
        .split('/')
        .map(|part| part.find('{').map_or_else(|| part.to_owned(), |at| format!("{}0000000000", &part[..at])))
        .collect::<Vec<_>>()
        .join("/")
}

/// Sends what a browser on our own page would, unless the headers say otherwise. Bodies are empty objects: nothing that
/// takes fields gets any.
async fn call(client: &Client, method: &Method, path: &str, headers: &[(&str, &str)]) -> Reply {
    let body = (!method.is_safe()).then(|| json!({}));
    client.send(method.clone(), path, body, headers).await
}

async fn users(app: &TestApp) -> Vec<String> {
    let tables = testkit::dump::tables(&app.database, &["last_seen_at", "generation", "due_at"]).await;
    tables
        .into_iter()
        .flat_map(|(name, rows)| rows.into_iter().map(move |row| format!("{name} {row}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_every_unsafe_route_refuses_other_sites_and_wants_the_token_beside_a_cookie() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let bearer = Bearer::login(&app, "ada").await;
    let token = ada.cookie("csrf_token").unwrap().value;
    let before = users(&app).await;
    let mut seen = 0;
    for row in table().iter().filter(|row| row.is_unsafe() && !row.from_other_sites) {
        let path = path(row);
        let what = format!("{} {path}", row.method);
        let refused = |reply: Reply, how: &str| {
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (403, "csrf_failed"),
                "{what} {how}: {reply:?}"
            );
        };
        for client in [&app.client(), &ada, &bearer.client] {
            for headers in [
                ("Sec-Fetch-Site", "cross-site"),
                ("Sec-Fetch-Site", "same-site"),
                ("Origin", "https://evil.example"),
                ("Origin", "null"),
            ] {
                let headers = [headers, ("X-CSRF-Token", token.as_str())];
                refused(call(client, &method(row), &path, &headers).await, "from another site");
            }
        }
        if row.access != Access::Public {
            let ours = [("Sec-Fetch-Site", "same-origin"), ("Origin", "http://trellis.test")];
            refused(call(&ada, &method(row), &path, &[]).await, "without a token");
            refused(call(&ada, &method(row), &path, &ours).await, "from our page without a token");
            refused(call(&ada, &method(row), &path, &[("X-CSRF-Token", "x")]).await, "with another token");
        }
        seen += 1;
    }
    assert!(seen >= 10, "the table has {seen} unsafe routes");
    assert_eq!(users(&app).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_no_route_that_wants_a_user_takes_a_session_that_ended() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let stolen = ada.stolen();
    let token = stolen.cookie("csrf_token").unwrap().value;
    let as_bearer = format!("Bearer {}", stolen.cookie("access_token").unwrap().value);
    ada.post_empty("/api/logout/").await.expect(204);
    for row in table().iter().filter(|row| row.access.is_signed_in()) {
        for client in [&stolen, &app.client().with_header("Authorization", &as_bearer)] {
            let reply = call(client, &method(row), &path(row), &[("X-CSRF-Token", &token)]).await;
            let what = format!("{} {}", row.method, row.path);
            assert_eq!((reply.status, reply.code().as_str()), (401, "unauthenticated"), "{what}");
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
        }
    }
}

/// The other slash form of a path; a file has none.
fn other_form(path: &str) -> Option<String> {
    let last = path.rsplit('/').next().unwrap_or_default();
    if path == "/"
        || path.starts_with("/api/") && last.contains('.')
        || path.starts_with("/api/docs/") && !last.is_empty()
    {
        return None;
    }
    Some(path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned))
}

/// Members that differ from one answer to the next.
fn settled(reply: &Reply) -> (u16, Option<String>, Value) {
    let mut body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    if let Some(members) = body.as_object_mut() {
        members.remove("request_id");
        members.remove("next_cursor");
        // An export tells of the export before it.
        members.remove("exported_at");
        members.remove("data");
        // Lists of what these very calls did: sessions, events.
        members.remove("items");
        // Of one's page, which each of them changes.
        members.remove("version");
        members.remove("updated_at");
    }
    (reply.status, reply.header("location").map(str::to_owned), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn h9_both_slash_forms_of_every_route_are_answered_alike_without_a_redirect() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    for row in table().into_iter().filter(|row| !row.endless) {
        let path = path(&row);
        let Some(other) = other_form(&path) else { continue };
        let mut answers = Vec::new();
        for form in [&path, &other] {
            // A session for each that changes something: some end it. Another sign-in shows in what others list.
            let client = match row.access {
                Access::User | Access::Manager | Access::Shop if row.is_unsafe() => {
                    Bearer::login(&app, "ada").await.client
                }
                Access::User | Access::Manager | Access::Shop => ada.clone(),
                Access::Public | Access::Refresh => app.client(),
            };
            let reply = call(&client, &method(&row), form, &[]).await;
            assert_ne!(reply.status, 405, "{} {form}", row.method);
            assert!(![301, 307, 308].contains(&reply.status), "{} {form} redirects", row.method);
            answers.push(settled(&reply));
            let with_query = call(&app.client(), &method(&row), &format!("{form}?x=/y"), &[]).await;
            assert_ne!(with_query.status, 405, "{} {form}", row.method);
        }
        assert_eq!(answers[0], answers[1], "{} {path} and {other}", row.method);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h9_head_is_get_without_the_body() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    for row in table().iter().filter(|row| method(row) == Method::GET && !row.endless) {
        let path = path(row);
        for client in [&ada, &app.client()] {
            let get = client.send(Method::GET, &path, None, &[]).await;
            let head = client.send(Method::HEAD, &path, None, &[]).await;
            assert_eq!(head.status, get.status, "{path}");
            assert_eq!(head.text(), "", "{path}");
            for name in ["content-type", "cache-control", "content-security-policy", "location", "etag"] {
                assert_eq!(head.header(name), get.header(name), "{path} {name}");
            }
        }
    }
}
