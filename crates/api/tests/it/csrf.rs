//! Cross-site request forgery: who may make a browser change something, endpoint by endpoint.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};
use testkit::dump;

use crate::support::{Bearer, OTHER_PASSWORD};

const OURS: &str = "http://trellis.test";
const APP: &str = "https://app.example";
const JSON: &str = "application/json";

/// What a browser says about where a request comes from, and whether such a request is served.
const SOURCES: [(&[(&str, &str)], bool); 16] = [
    (&[], true),
    (&[("Origin", OURS)], true),
    (&[("Origin", APP)], true),
    (&[("Sec-Fetch-Site", "same-origin")], true),
    (&[("Sec-Fetch-Site", "same-origin"), ("Origin", OURS)], true),
    (&[("Sec-Fetch-Site", "cross-site"), ("Origin", APP)], true),
    (&[("Sec-Fetch-Site", "cross-site")], false),
    (&[("Sec-Fetch-Site", "same-site")], false),
    (&[("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")], false),
    (&[("Sec-Fetch-Site", "same-origin"), ("Origin", "https://evil.example")], false),
    (&[("Origin", "https://evil.example")], false),
    (&[("Origin", "null")], false),
    (&[("Origin", "")], false),
    (&[("Origin", "http://trellis.test.evil.example")], false),
    (&[("Origin", "http://trellis.test:8443")], false),
    (&[("Origin", "https://trellis.test")], false),
];

async fn start() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("ALLOWED_ORIGINS", APP).set("USERNAME_CHANGES", "100/30d");
    })
    .await
}

async fn send(client: &Client, method: &Method, path: &str, body: &Value, headers: &[(&str, &str)]) -> Reply {
    client.send(method.clone(), path, Some(body.clone()), headers).await
}

/// What is in the database, but for what a read may touch.
async fn state(app: &TestApp) -> BTreeMap<String, Vec<String>> {
    let mut tables = dump::tables(&app.database, &["last_seen_at"]).await;
    // The relay writes down when it pushed a job.
    tables.remove("outbox");
    tables
}

fn assert_refused(reply: &Reply, what: &str) {
    assert_eq!((reply.status, reply.code().as_str()), (403, "csrf_failed"), "{what}: {reply:?}");
    assert!(!reply.headers.contains_key("set-cookie"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_other_sites_cannot_register_or_sign_in_or_ask_for_mail() {
    let app = start().await;
    app.register("ada", None).await.expect(201);
    let login = json!({ "identifier": "ada", "password": PASSWORD });
    let forgot = json!({ "email": "ada@example.org" });
    for (index, (headers, served)) in SOURCES.into_iter().enumerate() {
        let name = format!("user-{index}");
        let register =
            json!({ "email": format!("{name}@example.org"), "username": name, "password": PASSWORD });
        let bad_token = json!({ "token": "x", "password": OTHER_PASSWORD });
        let before = state(&app).await;
        for (path, body, status) in [
            ("/api/register/", &register, 201),
            ("/api/login/", &login, 200),
            ("/api/forgot-password/", &forgot, 202),
            ("/api/reset-password/", &bad_token, 400),
            ("/api/verify-email/", &json!({ "token": "x" }), 400),
        ] {
            let reply = send(&app.client(), &Method::POST, path, body, headers).await;
            if served {
                assert_eq!(reply.status, status, "{path} {headers:?}: {}", reply.text());
            } else {
                assert_refused(&reply, &format!("{path} {headers:?}"));
            }
        }
        assert!(served || state(&app).await == before, "{headers:?} changed something");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_cookie_changes_something_only_with_the_token_of_its_session_and_from_our_pages() {
    let app = start().await;
    let ada = app.member("ada").await;
    let token = ada.cookie("csrf_token").unwrap().value;
    let of_another_session = app.login("ada").await.cookie("csrf_token").unwrap().value;
    let of_somebody_else = app.member("bob").await.cookie("csrf_token").unwrap().value;
    let cut = &token[..token.len() - 1];
    let (patch, body) = (Method::PATCH, json!({ "username": "ada.2" }));

    let before = state(&app).await;
    for (name, value) in [
        ("none", None),
        ("empty", Some("")),
        ("garbage", Some("x")),
        ("cut", Some(cut)),
        ("of another session", Some(of_another_session.as_str())),
        ("of somebody else", Some(of_somebody_else.as_str())),
    ] {
        let headers: Vec<_> = value.map(|value| ("X-CSRF-Token", value)).into_iter().collect();
        for (method, path, body) in [
            (&patch, "/api/me/", &body),
            (&Method::DELETE, "/api/me/", &json!({ "password": PASSWORD })),
            (
                &Method::POST,
                "/api/me/password/",
                &json!({ "current_password": PASSWORD, "password": OTHER_PASSWORD }),
            ),
            (&Method::POST, "/api/logout/", &json!({})),
            (&Method::POST, "/api/verify-email/resend/", &json!({})),
            (&Method::POST, "/api/token/refresh/", &json!({})),
        ] {
            let reply = send(&ada, method, path, body, &headers).await;
            assert_refused(&reply, &format!("{method} {path} with the token {name}"));
            // The same from our own page: the token is not made up for by the origin.
            let from_us = [&headers[..], &[("Origin", OURS), ("Sec-Fetch-Site", "same-origin")]].concat();
            assert_refused(&send(&ada, method, path, body, &from_us).await, path);
        }
    }
    // A token that was planted together with a cookie of the same value is not ours.
    let victim = ada.stolen();
    victim.set_cookie("csrf_token", "planted");
    let reply = send(&victim, &patch, "/api/me/", &body, &[("X-CSRF-Token", "planted")]).await;
    assert_refused(&reply, "a planted cookie");
    for (headers, _) in SOURCES.into_iter().filter(|(_, served)| !served) {
        let headers = [headers, &[("X-CSRF-Token", token.as_str())]].concat();
        assert_refused(&send(&ada, &patch, "/api/me/", &body, &headers).await, &format!("{headers:?}"));
    }
    assert_eq!(state(&app).await, before, "a refused request changed something");

    for (index, (headers, _)) in SOURCES.into_iter().filter(|(_, served)| *served).enumerate() {
        let headers = [headers, &[("X-CSRF-Token", token.as_str())]].concat();
        let body = json!({ "username": format!("ada.{index}") });
        send(&ada, &patch, "/api/me/", &body, &headers).await.expect(200);
    }
    // Reading needs no token.
    send(&ada, &Method::GET, "/api/me/", &json!({}), &[("Sec-Fetch-Site", "cross-site")]).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a15_a_bearer_token_needs_no_csrf_token_and_is_of_no_use_to_other_sites() {
    let app = start().await;
    app.register("ada", None).await.expect(201);
    let Bearer { client, .. } = Bearer::login(&app, "ada").await;
    for (headers, served) in SOURCES {
        let reply = send(&client, &Method::PATCH, "/api/me/", &json!({ "username": "ada" }), headers).await;
        if served {
            reply.expect(200);
        } else {
            assert_refused(&reply, &format!("{headers:?}"));
        }
    }
    // A bearer token that is no good does not fall back to the cookies beside it.
    let browser = app.login("ada").await.with_header("Authorization", "Bearer x");
    browser.patch("/api/me/", json!({ "username": "ada.2" })).await.expect(401);
}

/// What a form on any page can send without asking first.
#[tokio::test(flavor = "multi_thread")]
async fn a15_forms_and_plain_texts_are_not_read() {
    let app = start().await;
    let ada = app.member("ada").await;
    let token = ada.cookie("csrf_token").unwrap().value;
    let login = json!({ "identifier": "ada", "password": PASSWORD }).to_string();
    let rename = json!({ "username": "ada.2" }).to_string();
    let before = state(&app).await;
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json, text/plain",
        "text/plain; application/json",
        "application/csp-report",
    ] {
        for (method, path, body) in [
            (Method::POST, "/api/login/", &login),
            (Method::PATCH, "/api/me/", &rename),
            (Method::POST, "/api/token/refresh/", &login),
        ] {
            let headers = [("Sec-Fetch-Site", "same-origin"), ("X-CSRF-Token", token.as_str())];
            let body = Some((media_type, body.clone().into_bytes()));
            let reply = ada.send_raw(method.clone(), path, body, &headers).await;
            assert_eq!(reply.status, 415, "{method} {path} {media_type}: {}", reply.text());
            assert_eq!(reply.code(), "unsupported_media_type");
        }
    }
    assert_eq!(state(&app).await, before);
    let body = Some((JSON, login.into_bytes()));
    let headers = [("Sec-Fetch-Site", "same-origin")];
    app.client().send_raw(Method::POST, "/api/login/", body, &headers).await.expect(200);
}
