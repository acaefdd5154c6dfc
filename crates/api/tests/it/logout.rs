//! Signing out, and that it holds everywhere at once, whatever becomes of Redis.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use deadpool_redis::redis;
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Client;
use testkit::redis::RedisServer;

use crate::support::{Bearer, refresh};

/// Waits for the session to be refused, which may take a second by what we promise; returns how long it took.
async fn refused_after(client: &Client) -> Duration {
    let begun = Instant::now();
    while client.get("/api/me/").await.status != 401 {
        assert!(begun.elapsed() < Duration::from_secs(1), "a session is still taken a second after its end");
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_every_sign_in_is_a_session_of_its_own_and_signing_out_ends_one() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let other = app.login("ada").await;
    let bearer = Bearer::login(&app, "ada").await;
    let sessions: i64 = app.database.value("SELECT count(DISTINCT id) FROM sessions").await;
    assert_eq!(sessions, 3);
    // A browser that signs in again gets a new session, too: whoever planted the old one is left out.
    let before = other.cookie("access_token").unwrap().value;
    other.post("/api/login/", json!({ "identifier": "ada", "password": PASSWORD })).await.expect(200);
    assert_ne!(other.cookie("access_token").unwrap().value, before);

    let stolen = ada.stolen();
    let reply = ada.post_empty("/api/logout/").await.expect(204);
    let cleared: Vec<_> = reply.headers.get_all("set-cookie").iter().map(|l| l.to_str().unwrap()).collect();
    assert_eq!(cleared.len(), 3);
    assert!(cleared.iter().all(|line| line.ends_with("Max-Age=0")), "{cleared:?}");
    stolen.get("/api/me/").await.expect(401);
    stolen.post_empty("/api/token/refresh/").await.expect(401);
    stolen.post_empty("/api/logout/").await.expect(204);
    other.get("/api/me/").await.expect(200);

    bearer.client.post_empty("/api/logout/").await.expect(204);
    bearer.client.get("/api/me/").await.expect(401);
    refresh(&app, &bearer.refresh).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_session_that_ended_is_refused_by_every_replica_with_redis_up_emptied_or_gone() {
    let mut redis = RedisServer::start().await.unwrap();
    let url = redis.url();
    let app = TestApp::api_with(|settings| {
        settings.set("REDIS_URL", secrecy::ExposeSecret::expose_secret(&url));
    })
    .await;
    let replica = app.replica_with(|_| {}).await;
    let ada = app.member("ada").await;
    let there = |client: &Client| client.at(&replica.base());

    // With Redis up: at once.
    let stolen = ada.stolen();
    for _ in 0..3 {
        ada.get("/api/me/").await.expect(200);
        there(&stolen).get("/api/me/").await.expect(200);
    }
    ada.post_empty("/api/logout/").await.expect(204);
    there(&stolen).get("/api/me/").await.expect(401);
    stolen.get("/api/me/").await.expect(401);

    // Emptied: what is gone from it is asked of the database.
    let mut connection = redis.connection().await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    there(&stolen).get("/api/me/").await.expect(401);
    stolen.get("/api/me/").await.expect(401);

    // Gone: sessions that ended stay so, those that live go on, and one that ends now is refused within a second.
    let living = app.login("ada").await;
    let victim = living.stolen();
    redis.stop().await.unwrap();
    there(&stolen).get("/api/me/").await.expect(401);
    stolen.get("/api/me/").await.expect(401);
    there(&victim).get("/api/me/").await.expect(200);
    living.post_empty("/api/logout/").await.expect(204);
    refused_after(&there(&victim)).await;
    refused_after(&victim).await;

    // Back, and empty.
    redis.restart().await.unwrap();
    for client in [&stolen, &victim] {
        client.get("/api/me/").await.expect(401);
        there(client).get("/api/me/").await.expect(401);
        there(client).post_empty("/api/token/refresh/").await.expect(401);
    }
    app.login("ada").await.at(&replica.base()).get("/api/me/").await.expect(200);
}

/// How the sessions of this database ended, in the order of their start.
async fn reasons(app: &TestApp) -> Vec<Option<String>> {
    let json: String = app
        .database
        .value("SELECT coalesce(json_agg(end_reason ORDER BY created_at, id), '[]')::text FROM sessions")
        .await;
    serde_json::from_str(&json).unwrap()
}

fn cleared(reply: &testkit::client::Reply) -> usize {
    let lines = reply.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
    lines.filter(|line| line.ends_with("Max-Age=0") && !line.contains("device")).count()
}

/// cases/accounts 15
#[tokio::test(flavor = "multi_thread")]
async fn t6_having_any_token_of_a_session_is_enough_to_end_it() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    // The access token expired; its cookie still tells which session it was of.
    app.clock.advance(TimeDelta::minutes(20));
    ada.get("/api/me/").await.expect(401);
    let stolen = ada.stolen();
    assert_eq!(cleared(&ada.post_empty("/api/logout/").await.expect(204)), 3);
    assert!(ada.cookie("device").is_some());
    stolen.post_empty("/api/token/refresh/").await.expect(401);
    // The refresh token alone, without any cookie or CSRF token; also one that was used.
    for used in [false, true] {
        let bearer = Bearer::login(&app, "ada").await;
        let next = if used { Some(refresh(&app, &bearer.refresh).await.expect(200).json()) } else { None };
        let body = json!({ "refresh_token": bearer.refresh });
        assert_eq!(cleared(&app.client().post("/api/logout/", body).await.expect(204)), 3);
        bearer.client.get("/api/me/").await.expect(401);
        let last = next.map_or(bearer.refresh, |next| next["refresh_token"].as_str().unwrap().to_owned());
        refresh(&app, &last).await.expect(401);
    }
    // An expired bearer token.
    let bearer = Bearer::login(&app, "ada").await;
    app.clock.advance(TimeDelta::minutes(20));
    bearer.client.post_empty("/api/logout/").await.expect(204);
    refresh(&app, &bearer.refresh).await.expect(401);
    assert_eq!(reasons(&app).await, vec![Some("logout".to_owned()); 4]);
}

/// cases/accounts 15
#[tokio::test(flavor = "multi_thread")]
async fn signing_out_of_nothing_is_answered_like_success() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let guest = app.client();
    let rubbish = app.client();
    for name in ["access_token", "refresh_token", "csrf_token"] {
        rubbish.set_cookie(name, "rubbish");
    }
    let forged = app.client();
    let access = ada.cookie("access_token").unwrap().value;
    forged.set_cookie("access_token", &format!("{}AAAA", &access[..access.len() - 4]));
    let unknown = domain::token::Token::random().expose();
    for (client, body) in [
        (&guest, json!({})),
        (&guest, json!({ "refresh_token": null })),
        (&guest, json!({ "refresh_token": "rubbish" })),
        (&guest, json!({ "refresh_token": unknown })),
        (&rubbish, json!({})),
        (&forged, json!({})),
        (&app.client().with_header("Authorization", "Bearer rubbish"), json!({})),
        (&app.client().with_header("Authorization", "Basic YTpi"), json!({})),
    ] {
        assert_eq!(cleared(&client.post("/api/logout/", body.clone()).await.expect(204)), 3, "{body}");
    }
    assert_eq!(cleared(&guest.post_empty("/api/logout/").await.expect(204)), 3);
    ada.get("/api/me/").await.expect(200);
    // A session that ended elsewhere, in a browser that lost its CSRF cookie: nothing is left to protect.
    let stranded = ada.stolen();
    ada.post_empty("/api/logout/").await.expect(204);
    let reply = stranded.send(reqwest::Method::POST, "/api/logout/", None, &[]).await.expect(204);
    assert_eq!(cleared(&reply), 3);
    // What is no body of this route is refused as everywhere.
    guest.post("/api/logout/", json!({ "refresh_token": 7 })).await.expect(422);
    guest.post("/api/logout/", json!({ "token": "x" })).await.expect(422);
}

/// cases/accounts 15
#[tokio::test(flavor = "multi_thread")]
async fn a15_no_other_site_signs_a_browser_out() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let token = ada.cookie("csrf_token").unwrap().value;
    for expired in [false, true] {
        if expired {
            app.clock.advance(TimeDelta::minutes(20));
        }
        for headers in [
            &[("Origin", "https://evil.example"), ("X-CSRF-Token", token.as_str())][..],
            &[("Sec-Fetch-Site", "cross-site"), ("X-CSRF-Token", token.as_str())],
            &[("Origin", "http://trellis.test")],
            &[("X-CSRF-Token", "x")],
            &[],
        ] {
            let reply = ada.send(reqwest::Method::POST, "/api/logout/", None, headers).await;
            assert_eq!((reply.status, reply.code().as_str()), (403, "csrf_failed"), "{headers:?}");
            assert!(!reply.headers.contains_key("set-cookie"));
        }
    }
    ada.post_empty("/api/token/refresh/").await.expect(200);
    // A browser that lost its CSRF cookie gets it again with the account and with the page, and can sign out then.
    for path in ["/api/me/", "/dashboard"] {
        let browser = app.login("ada").await;
        let lost = browser.cookie("csrf_token").unwrap().value;
        browser.set_cookie("csrf_token", "lost");
        browser.post_empty("/api/logout/").await.expect(403);
        let reply = browser.get(path).await.expect(200);
        assert_eq!(browser.cookie("csrf_token").unwrap().value, lost);
        if path == "/api/me/" {
            assert_eq!(reply.json()["csrf_token"], lost);
        }
        browser.post_empty("/api/logout/").await.expect(204);
        browser.get("/api/me/").await.expect(401);
    }
}

/// cases/accounts 16
#[tokio::test(flavor = "multi_thread")]
async fn t6_signing_in_again_ends_the_session_that_the_browser_had() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    app.register("bob", None).await.expect(201);
    let login = |name: &str| json!({ "identifier": name, "password": PASSWORD });
    let elsewhere = app.login("ada").await;
    let first = ada.stolen();
    ada.post("/api/login/", login("ada")).await.expect(200);
    first.get("/api/me/").await.expect(401);
    first.post_empty("/api/token/refresh/").await.expect(401);
    // After the access token expired, and as another account.
    let second = ada.stolen();
    app.clock.advance(TimeDelta::minutes(20));
    ada.post("/api/login/", login("bob")).await.expect(200);
    second.post_empty("/api/token/refresh/").await.expect(401);
    // A wrong password ends nothing.
    ada.post("/api/login/", json!({ "identifier": "ada", "password": "wrong" })).await.expect(401);
    assert_eq!(ada.get("/api/me/").await.expect(200).json()["username"], "bob");
    elsewhere.post_empty("/api/token/refresh/").await.expect(200);
    // With a token in the body, the cookies beside it stay what they are; a client that presents its token is the same one.
    let mut body = login("bob");
    body["transport"] = "bearer".into();
    let bearer = Bearer::of(&app, &ada.post("/api/login/", body.clone()).await.expect(200).json());
    ada.get("/api/me/").await.expect(200);
    bearer.client.post("/api/login/", body).await.expect(200);
    bearer.client.get("/api/me/").await.expect(401);
    let replaced = reasons(&app).await.into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(replaced, ["replaced"; 3]);
    let record = |condition: &str| {
        format!(
            "SELECT count(*) FROM security_events e JOIN users u ON u.id = e.user_id
             WHERE e.event = 'session_replaced' AND {condition}"
        )
    };
    let own: i64 = app.database.value(&record("u.username = 'ada' AND e.actor_id = u.id")).await;
    let system: i64 = app.database.value(&record("u.username = 'ada' AND e.actor_id IS NULL")).await;
    let bobs: i64 = app.database.value(&record("u.username = 'bob'")).await;
    assert_eq!((own, system, bobs), (1, 1, 1));
}
