//! Continuing a session: tokens that are used once, tabs that use one together, and thieves that use one later.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use domain::token::Token;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{TestApp, eventually};
use testkit::dump;
use testkit::redis::RedisServer;

use crate::support::{Bearer, assert_alike, count_mails, hex, refresh};

const ENDED: &str = "A sign-in to your account was ended";

#[tokio::test(flavor = "multi_thread")]
async fn t4_a_refresh_token_is_256_random_bits_of_which_only_the_digest_is_stored() {
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let mut seen = HashSet::new();
    let mut ada = Bearer::login(&app, "ada").await;
    for _ in 0..5 {
        let bytes = URL_SAFE_NO_PAD.decode(&ada.refresh).unwrap();
        assert_eq!(bytes.len(), 32);
        assert!(seen.insert(ada.refresh.clone()), "a token was given out twice");
        for secret in [&ada.refresh, &ada.access, &hex(&bytes)] {
            assert_eq!(dump::holding(&app.database, secret).await, [""; 0]);
        }
        // What would be found is found.
        let digest = Token::parse(&ada.refresh).unwrap().digest();
        assert_eq!(dump::holding(&app.database, &hex(digest.as_slice())).await.len(), 1);
        ada = Bearer::of(&app, &refresh(&app, &ada.refresh).await.expect(200).json());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t4_a_token_that_is_used_again_later_ends_its_whole_family_and_the_owner_is_told() {
    let app = TestApp::start().await;
    app.register("ada", None).await.expect(201);
    let bystander = Bearer::login(&app, "ada").await;
    let first = Bearer::login(&app, "ada").await;
    let second = Bearer::of(&app, &refresh(&app, &first.refresh).await.expect(200).json());
    let third = Bearer::of(&app, &refresh(&app, &second.refresh).await.expect(200).json());
    // Within the grace after the child's first use the same child again.
    app.clock.advance(TimeDelta::seconds(9));
    let again = refresh(&app, &first.refresh).await.expect(200).json();
    assert_eq!(again["refresh_token"], second.refresh.as_str());

    app.clock.advance(TimeDelta::seconds(2));
    third.client.get("/api/me/").await.expect(200);
    assert_eq!(count_mails(&app, "ada@example.org", ENDED), 0);
    // However many use it, it ends once.
    for reply in join_all((0..10).map(|_| refresh(&app, &first.refresh))).await {
        assert_eq!(reply.expect(401).code(), "unauthenticated");
    }
    for bearer in [&first, &second, &third] {
        bearer.client.get("/api/me/").await.expect(401);
        refresh(&app, &bearer.refresh).await.expect(401);
    }
    app.jobs_done().await;
    eventually("the owner is told", async || match count_mails(&app, "ada@example.org", ENDED) {
        1 => Ok(()),
        n => Err(format!("{n} mails")),
    })
    .await;
    // The mail names what happened and is of no use to a thief.
    let mail = app.mail.mails().into_iter().find(|mail| mail.subject == ENDED).unwrap();
    assert_eq!(mail.token(), None);
    // Other sessions of the same person are none of this family.
    bystander.client.get("/api/me/").await.expect(200);
    refresh(&app, &bystander.refresh).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn t4_in_cookies_too() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let thief = ada.stolen();
    ada.post_empty("/api/token/refresh/").await.expect(200);
    ada.post_empty("/api/token/refresh/").await.expect(200);
    app.clock.advance(TimeDelta::seconds(11));
    ada.get("/api/me/").await.expect(200);
    let reply = thief.post_empty("/api/token/refresh/").await.expect(401);
    assert!(!reply.headers.contains_key("set-cookie"));
    ada.get("/api/me/").await.expect(401);
    ada.post_empty("/api/token/refresh/").await.expect(401);
}

/// cases/accounts 8
#[tokio::test(flavor = "multi_thread")]
async fn t4_a_lost_answer_is_given_again_however_late() {
    let mut redis = RedisServer::start().await.unwrap();
    let url = redis.url();
    let app = TestApp::api_with(|settings| {
        settings.set("REDIS_URL", secrecy::ExposeSecret::expose_secret(&url)).set("REFRESH_GRACE", "30s");
    })
    .await;
    let replica = app.replica_with(|_| {}).await;
    app.register("ada", None).await.expect(201);
    let first = Bearer::login(&app, "ada").await;
    let lost = refresh(&app, &first.refresh).await.expect(200).json();
    // Twelve seconds, a tunnel, a night, a holiday of thirteen days: on either replica, with Redis up and down.
    let waits = [TimeDelta::seconds(12), TimeDelta::minutes(1), TimeDelta::hours(9), TimeDelta::days(13)];
    let mut last = lost.clone();
    for (index, wait) in waits.into_iter().enumerate() {
        if index == 2 {
            redis.stop().await.unwrap();
        }
        app.clock.advance(wait);
        let base = if index % 2 == 0 { replica.base() } else { app.base() };
        let body = json!({ "refresh_token": first.refresh });
        last = app.client().at(&base).post("/api/token/refresh/", body).await.expect(200).json();
        assert_eq!(last["refresh_token"], lost["refresh_token"], "after {wait}");
    }
    // Its access token is used: that is no use of the child itself.
    Bearer::of(&app, &last).client.get("/api/me/").await.expect(200);
    refresh(&app, &first.refresh).await.expect(200);
    // Once the child is used, the grace begins; it is a setting.
    let child = Bearer::of(&app, &last);
    let grandchild = Bearer::of(&app, &refresh(&app, &child.refresh).await.expect(200).json());
    app.clock.advance(TimeDelta::seconds(29));
    refresh(&app, &first.refresh).await.expect(200);
    app.clock.advance(TimeDelta::seconds(2));
    refresh(&app, &child.refresh).await.expect(200);
    refresh(&app, &first.refresh).await.expect(401);
    grandchild.client.get("/api/me/").await.expect(401);
    refresh(&app, &grandchild.refresh).await.expect(401);
    let reason: String = app.database.value("SELECT end_reason FROM sessions").await;
    assert_eq!(reason, "refresh_reused");
}

/// cases/accounts 8
#[tokio::test(flavor = "multi_thread")]
async fn t4_a_lost_answer_survives_a_new_token_key() {
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let ada = Bearer::login(&app, "ada").await;
    let old = refresh(&app, &ada.refresh).await.expect(200).json();
    let replica =
        app.replica_tuned(|config| config.common.keys.token = domain::token::Key::new([9; 32])).await;
    let there = app.client().at(&replica.base());
    let body = json!({ "refresh_token": ada.refresh });
    let new = there.post("/api/token/refresh/", body).await.expect(200).json();
    assert_ne!(new["refresh_token"], old["refresh_token"]);
    let body = json!({ "refresh_token": new["refresh_token"] });
    there.post("/api/token/refresh/", body).await.expect(200);
    let rows: i64 = app.database.value("SELECT count(*) FROM refresh_tokens").await;
    assert_eq!(rows, 3);
}

/// Settings of sessions are seen in tokens, cookies and answers.
#[tokio::test(flavor = "multi_thread")]
async fn lifetimes_of_sessions_and_tokens_are_settings() {
    let app = TestApp::api_with(|settings| {
        settings.set("SESSION_LIFETIME", "2h").set("SESSION_IDLE", "90m").set("ACCESS_TOKEN_LIFETIME", "5m");
    })
    .await;
    let ada = app.member("ada").await;
    for name in ["access_token", "refresh_token", "csrf_token"] {
        assert!(ada.cookie(name).unwrap().line.contains("Max-Age=7200"), "{name}");
    }
    let reply = ada.post_empty("/api/token/refresh/").await.expect(200);
    assert_eq!(reply.json()["expires_in"], 300);
    app.clock.advance(TimeDelta::seconds(299));
    ada.get("/api/me/").await.expect(200);
    app.clock.advance(TimeDelta::seconds(10));
    ada.get("/api/me/").await.expect(401);
    for _ in 0..2 {
        ada.post_empty("/api/token/refresh/").await.expect(200);
        app.clock.advance(TimeDelta::minutes(57));
    }
    ada.post_empty("/api/token/refresh/").await.expect(200);
    app.clock.advance(TimeDelta::minutes(1));
    ada.post_empty("/api/token/refresh/").await.expect(401);
    // A replica with a shorter setting refuses what was signed to live longer.
    let short = app
        .replica_with(|settings| {
            settings.set("ACCESS_TOKEN_LIFETIME", "1m");
        })
        .await;
    let bob = app.member("bob").await;
    bob.get("/api/me/").await.expect(200);
    bob.at(&short.base()).get("/api/me/").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_twenty_tabs_that_refresh_at_once_all_get_the_same_child() {
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let ada = Bearer::login(&app, "ada").await;
    let replica = app.replica_with(|_| {}).await;
    let bases = [app.base(), replica.base()];
    let body = json!({ "refresh_token": ada.refresh });
    let replies = join_all((0..20).map(async |index| {
        app.client().at(&bases[index % 2]).post("/api/token/refresh/", body.clone()).await
    }))
    .await;
    let children: HashSet<String> = replies
        .into_iter()
        .map(|reply| reply.expect(200).json()["refresh_token"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(children.len(), 1);
    let rows: i64 =
        app.database.value("SELECT count(*) FROM refresh_tokens WHERE parent_id IS NOT NULL").await;
    assert_eq!(rows, 1);
    let child = children.into_iter().next().unwrap();
    assert_ne!(child, ada.refresh);
    app.clock.advance(TimeDelta::seconds(11));
    refresh(&app, &child).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refresh_token_that_is_no_good_is_answered_alike() {
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let expired = Bearer::login(&app, "ada").await;
    let expired_and_used = Bearer::login(&app, "ada").await;
    refresh(&app, &expired_and_used.refresh).await.expect(200);
    app.clock.advance(TimeDelta::days(30));
    let used = Bearer::login(&app, "ada").await;
    let child = Bearer::of(&app, &refresh(&app, &used.refresh).await.expect(200).json());
    refresh(&app, &child.refresh).await.expect(200);
    app.clock.advance(TimeDelta::seconds(11));
    let ended = Bearer::login(&app, "ada").await;
    ended.client.post_empty("/api/logout/").await.expect(204);
    let unknown = Token::random().expose();
    let mut replies = Vec::new();
    for (name, token) in [
        ("unknown", unknown.as_str()),
        ("malformed", "x"),
        ("an access token's start", &ended.access[..100]),
        ("look-alike", "аааааааааааааааааааааааааааааааааааааааааааа"),
        ("ended", &ended.refresh),
        ("used", &used.refresh),
        ("expired", &expired.refresh),
        ("expired and used", &expired_and_used.refresh),
    ] {
        replies.push((name, refresh(&app, token).await));
    }
    assert_eq!(assert_alike(&replies).expect(401).code(), "unauthenticated");
    let browser = app.client();
    browser.post_empty("/api/token/refresh/").await.expect(401);
    browser.set_cookie("refresh_token", &unknown);
    browser.post_empty("/api/token/refresh/").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_answers_as_the_login_did_in_the_same_transport() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let before = ada.cookie("refresh_token").unwrap().value;
    // No body, an empty object, and a null are one.
    for body in [None, Some(json!({})), Some(json!({ "refresh_token": null }))] {
        let token = ada.cookie("csrf_token").unwrap().value;
        let headers = [("X-CSRF-Token", token.as_str())];
        let reply = ada.send(Method::POST, "/api/token/refresh/", body, &headers).await.expect(200).json();
        assert_eq!(reply["user"]["username"], "ada");
        assert_eq!((&reply["refresh_token"], &reply["access_token"]), (&Value::Null, &Value::Null));
        ada.get("/api/me/").await.expect(200);
    }
    assert_ne!(ada.cookie("refresh_token").unwrap().value, before);

    let bearer = Bearer::login(&app, "ada").await;
    let reply = refresh(&app, &bearer.refresh).await.expect(200);
    assert!(!reply.headers.contains_key("set-cookie"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.json()["token_type"], "Bearer");
    // A deleted account has no session to go on with.
    let token = Bearer::of(&app, &reply.json());
    token.client.delete("/api/me/", json!({ "password": testkit::app::PASSWORD })).await.expect(202);
    refresh(&app, &token.refresh).await.expect(401);
    ada.post_empty("/api/token/refresh/").await.expect(401);
}
