//! Bad input, as a table: every field of every endpoint with every kind of wrong value.
//!
//! Each case must be refused with the pointer of the field that is wrong and of no other, and nothing may be written.
//! What is tried is data: `fields` lists the endpoints and what is wrong for each kind of field.

mod bodies;
mod fields;
mod queries;

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::stream;
use reqwest::Method;
use serde_json::{Map, Value, json};
use testkit::app::TestApp;
use testkit::client::{Client, Reply};
use testkit::dump;
use testkit::provider::Provider;

use fields::{Endpoint, Field, Outcome, endpoints};

use crate::oauth;
use crate::support::method;

/// Requests under way at once.
const AT_ONCE: usize = 8;

/// A system at rest, and clients with and without a session.
struct Stage {
    app: TestApp,
    nobody: Client,
    ada: Client,
    _provider: Provider,
}

impl Stage {
    async fn set() -> Self {
        let provider = Provider::start().await;
        let mut app = oauth::trip::app(&provider).await;
        app.start_worker();
        let ada = app.member("ada").await;
        app.verify("ada").await;
        app.jobs_done().await;
        app.stop_worker().await;
        // So that every endpoint looks at the body.
        app.database.batch_execute("UPDATE users SET role = 'admin'").await.unwrap();
        Self { nobody: app.client(), ada, app, _provider: provider }
    }

    fn client(&self, endpoint: &Endpoint) -> &Client {
        if endpoint.signed_in { &self.ada } else { &self.nobody }
    }

    async fn state(&self) -> BTreeMap<String, Vec<String>> {
        let mut tables = dump::tables(&self.app.database, &["last_seen_at"]).await;
        // That a sign-in failed is recorded, which is not what the body asked for.
        tables.remove("security_events");
        tables
    }

    /// Sends each body to its endpoint, several at once; returns the answers with what was asked for.
    async fn send_all<T>(
        &self,
        endpoint: &Endpoint,
        cases: impl IntoIterator<Item = (Value, T)>,
    ) -> Vec<(Value, T, Reply)> {
        let replies = cases.into_iter().map(|(body, expected)| async move {
            let reply = send(self.client(endpoint), &endpoint.method, &endpoint.url(), body.clone()).await;
            (body, expected, reply)
        });
        stream::iter(replies).buffer_unordered(AT_ONCE).collect().await
    }
}

async fn send(client: &Client, method: &Method, path: &str, body: Value) -> Reply {
    let path = &path.replace("{identity}", "acme");
    match *method {
        Method::POST => client.post(path, body).await,
        Method::PATCH => client.patch(path, body).await,
        Method::DELETE => client.delete(path, body).await,
        _ => panic!("no endpoint takes a body with {method}"),
    }
}

/// A good body with one field replaced.
fn with(endpoint: &Endpoint, name: &str, value: Value) -> Value {
    let mut body = endpoint.good();
    body.insert(name.to_owned(), value);
    body.into()
}

/// A good body without one field.
fn without(endpoint: &Endpoint, name: &str) -> Map<String, Value> {
    let mut body = endpoint.good();
    body.remove(name);
    body
}

fn refused(pointer: &str, code: &str) -> Outcome {
    Outcome::Fields(vec![format!("{pointer} {code}")])
}

/// Everything that is wrong with the value, or the name, of one field.
fn cases_of(endpoint: &Endpoint, field: &Field) -> Vec<(Value, Outcome)> {
    let name = field.name;
    let pointer = format!("/{name}");
    let good = field.kind.good();
    let mut cases = Vec::new();
    let mut wrong_types =
        vec![json!(0), json!(-1.5), json!(true), json!([good]), json!([]), json!({}), json!({ "x": good })];
    if field.required {
        wrong_types.push(Value::Null);
        cases.push((without(endpoint, name).into(), refused(&pointer, "required")));
    }
    for value in wrong_types {
        cases.push((with(endpoint, name, value), refused(&pointer, "wrong_type")));
    }
    for value in ["", "\0"] {
        let code = if value.is_empty() { "empty" } else { "invalid_character" };
        cases.push((with(endpoint, name, value.into()), refused(&pointer, code)));
    }
    for (before, after) in [
        ("", "\0"),
        ("\0", ""),
        ("", "\u{7}"),
        ("\u{1b}[31m", ""),
        ("", "\u{7f}"),
        ("", "\u{9f}"),
        ("", "\n"),
        ("", "\t"),
        ("", "\r\nBcc: eve@evil.example"),
        ("\r\n", ""),
    ] {
        let value = format!("{before}{good}{after}").into();
        cases.push((with(endpoint, name, value), refused(&pointer, "invalid_character")));
    }
    for (value, outcome) in field.kind.bad(endpoint) {
        let outcome = match outcome {
            Outcome::Code(code) => refused(&pointer, code),
            other => other,
        };
        cases.push((with(endpoint, name, value.into()), outcome));
    }
    // Under a name that is not quite the field's.
    let (first, rest) = name.split_at(1);
    for other in [
        name.to_uppercase(),
        format!("{}{rest}", first.to_uppercase()),
        format!(" {name}"),
        format!("{name} "),
        format!("{name}\u{200b}"),
        format!("{name}[]"),
        name.replace('e', "\u{435}").replace('o', "\u{43e}"),
        name.chars()
            .map(|c| if c.is_ascii_lowercase() { char::from_u32(u32::from(c) + 0xfee0).unwrap() } else { c })
            .collect(),
    ] {
        if other == name {
            continue;
        }
        let mut body = without(endpoint, name);
        body.insert(other.clone(), good.clone().into());
        let mut errors = vec![format!("/{other} unknown_field")];
        if field.required {
            errors.push(format!("{pointer} required"));
        }
        errors.sort();
        cases.push((body.into(), Outcome::Fields(errors)));
    }
    cases
}

/// Fields that nobody asked for beside all that is good.
fn extras(endpoint: &Endpoint) -> Vec<(Value, Outcome)> {
    let mut cases = Vec::new();
    for extra in ["role", "credits", "id", "user_id", "is_admin", "__proto__", "constructor", "x", ""] {
        for value in [json!("x"), json!(999), Value::Null, json!({ "a": [1, { "b": null }] })] {
            cases.push((with(endpoint, extra, value), refused(&format!("/{extra}"), "unknown_field")));
        }
    }
    cases
}

fn assert_outcome(endpoint: &Endpoint, body: &Value, expected: &Outcome, reply: &Reply) {
    let what = || {
        format!("{} {} with {body} gave {}: {}", endpoint.method, endpoint.path, reply.status, reply.text())
    };
    match expected {
        Outcome::Fields(errors) => {
            assert_eq!(reply.status, 422, "{}", what());
            assert_eq!((reply.code().as_str(), &reply.errors()), ("validation", errors), "{}", what());
        }
        Outcome::Problem(status, code) => {
            assert_eq!((reply.status, reply.code().as_str()), (*status, *code), "{}", what());
        }
        Outcome::Code(_) => unreachable!("made into a pointer before"),
    }
    assert!(!reply.headers.contains_key("set-cookie"), "{}", what());
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_every_wrong_value_of_every_field_is_named_and_nothing_is_written() {
    let stage = Stage::set().await;
    for endpoint in endpoints() {
        let before = stage.state().await;
        let mut cases = extras(&endpoint);
        cases.extend(endpoint.fields.iter().flat_map(|field| cases_of(&endpoint, field)));
        for (body, expected, reply) in stage.send_all(&endpoint, cases).await {
            assert_outcome(&endpoint, &body, &expected, &reply);
        }
        assert_eq!(stage.state().await, before, "{} {} wrote something", endpoint.method, endpoint.path);
    }
    stage.ada.get("/api/me/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_all_fields_that_are_wrong_are_named_at_once() {
    let stage = Stage::set().await;
    let before = stage.state().await;
    for endpoint in endpoints() {
        let all = |value: Value, code: &str| {
            let body: Map<_, _> =
                endpoint.fields.iter().map(|field| (field.name.to_owned(), value.clone())).collect();
            (body, endpoint.fields.iter().map(|field| format!("/{} {code}", field.name)).collect::<Vec<_>>())
        };
        let mut cases = vec![
            all(json!([]), "wrong_type"),
            all("".into(), "empty"),
            all("\0".into(), "invalid_character"),
        ];
        for (body, errors) in &mut cases {
            body.insert("surplus".to_owned(), 1.into());
            errors.push("/surplus unknown_field".to_owned());
        }
        let required = endpoint.fields.iter().filter(|field| field.required);
        let required: Vec<_> = required.map(|field| format!("/{} required", field.name)).collect();
        if !required.is_empty() {
            cases.push((Map::new(), required));
        }
        let cases = cases.into_iter().map(|(body, mut errors)| {
            errors.sort();
            (Value::from(body), Outcome::Fields(errors))
        });
        for (body, expected, reply) in stage.send_all(&endpoint, cases).await {
            assert_outcome(&endpoint, &body, &expected, &reply);
        }
    }
    assert_eq!(stage.state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_what_takes_no_fields_refuses_every_field() {
    const ID: &str = "019a0000-0000-7000-8000-000000000001";
    let stage = Stage::set().await;
    let before = stage.state().await;
    for (method, path) in fields::WITHOUT_BODY {
        let path = &path.replace("{id}", ID).replace("{identity}", ID);
        for (body, errors) in [
            (
                json!({ "role": "admin", "credits": 999 }),
                vec!["/credits unknown_field", "/role unknown_field"],
            ),
            (json!({ "user_id": null }), vec!["/user_id unknown_field"]),
            (json!([]), vec![" wrong_type"]),
        ] {
            let reply = match method {
                Method::DELETE => stage.ada.delete(path, body).await,
                _ => stage.ada.post(path, body).await,
            };
            assert_eq!(reply.expect(422).errors(), errors, "{method} {path}");
        }
        let token = stage.ada.cookie("csrf_token").unwrap().value;
        let form = Some(("application/x-www-form-urlencoded", b"role=admin".to_vec()));
        stage.ada.send_raw(method, path, form, &[("X-CSRF-Token", &token)]).await.expect(415);
    }
    assert_eq!(stage.state().await, before);
    stage.ada.post("/api/verify-email/resend/", json!({})).await.expect(202);
    stage.ada.post("/api/logout/", json!({})).await.expect(204);
}

/// A new endpoint that takes a body must be in the table of `fields`.
#[test]
fn the_table_has_every_endpoint_that_takes_a_body() {
    let listed: Vec<_> = endpoints().into_iter().map(|endpoint| (endpoint.method, endpoint.path)).collect();
    for row in api::routes::table().into_iter().filter(api::routes::Row::is_unsafe) {
        let row_of = (method(&row), row.path);
        let known = listed.contains(&row_of)
            || fields::WITHOUT_BODY.contains(&row_of)
            || fields::APART.contains(&row.path);
        assert!(known, "{} {} is not in the table of bad input", row.method, row.path);
    }
}
