//! Signing out, and that it holds everywhere at once, whatever becomes of Redis.

use std::time::{Duration, Instant};

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
    stolen.post_empty("/api/logout/").await.expect(401);
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
