//! Where somebody is signed in, and ending it there.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

use crate::support::{Bearer, refresh};

const PATH: &str = "/api/sessions/";

async fn list(client: &Client) -> Vec<Value> {
    client.get(PATH).await.expect(200).json()["items"].as_array().unwrap().clone()
}

async fn current(client: &Client) -> String {
    let items = list(client).await;
    let current: Vec<&Value> = items.iter().filter(|item| item["current"] == true).collect();
    assert_eq!(current.len(), 1, "{items:?}");
    current[0]["id"].as_str().unwrap().to_owned()
}

async fn end(client: &Client, id: &str) -> Reply {
    client.delete_empty(&format!("{PATH}{id}/")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_their_own_live_sessions_newest_first() {
    let app = TestApp::api_with(|settings| {
        settings.set("TRUSTED_PROXIES", "127.0.0.0/8");
    })
    .await;
    app.register("ada", None).await.expect(201);
    app.member("bob").await;
    let body = json!({ "identifier": "ada", "password": PASSWORD });
    let first = app
        .client()
        .with_header("User-Agent", "Mozilla/5.0 (first)")
        .with_header("X-Forwarded-For", "203.0.113.77");
    first.post("/api/login/", body.clone()).await.expect(200);
    app.clock.advance(TimeDelta::minutes(5));
    let second = Bearer::login(&app, "ada").await.client;
    let gone = app.login("ada").await;
    gone.post_empty("/api/logout/").await.expect(204);

    let items = list(&first).await;
    assert_eq!(items.len(), 2, "{items:?}");
    assert_eq!(items.iter().map(|item| &item["current"]).collect::<Vec<_>>(), [false, true]);
    assert_eq!(items[1]["user_agent"], "Mozilla/5.0 (first)");
    assert_eq!(items[1]["ip_prefix"], "203.0.113.0/24");
    let mut members: Vec<&String> = items[0].as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["created_at", "current", "id", "ip_prefix", "last_seen_at", "user_agent"]);
    let time = |item: &Value, name: &str| -> chrono::DateTime<chrono::Utc> {
        item[name].as_str().unwrap().parse().unwrap()
    };
    assert!(time(&items[0], "created_at") > time(&items[1], "created_at"));

    // Being used shows, to the minute.
    app.clock.advance(TimeDelta::minutes(3));
    let after = list(&first).await;
    let moved = time(&after[1], "last_seen_at") - time(&items[1], "created_at");
    assert_eq!(moved.num_minutes(), 8);
    assert!((time(&after[0], "last_seen_at") - time(&after[0], "created_at")).num_minutes() < 1);
    assert_ne!(current(&first).await, current(&second).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_the_list_is_cut_into_pages_and_a_cursor_is_ones_own() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    for _ in 0..6 {
        app.login("ada").await;
    }
    let bob = app.member("bob").await;
    let (mut seen, mut path) = (Vec::new(), format!("{PATH}?limit=3"));
    loop {
        let reply = ada.get(&path).await.expect(200);
        let page = reply.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()));
        // A sign-in between two pages moves nothing.
        app.login("ada").await;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        assert!(reply.header("link").unwrap().contains(cursor));
        path = format!("{PATH}?limit=3&cursor={cursor}");
        assert_eq!(bob.get(&path).await.expect(400).code(), "invalid_cursor");
    }
    assert_eq!(seen.len(), 7);
    seen.dedup();
    assert_eq!(seen.len(), 7);
    assert_eq!(ada.get(&format!("{PATH}?cursor=AAAA")).await.expect(400).code(), "invalid_cursor");
    assert_eq!(ada.get(&format!("{PATH}?limit=0")).await.expect(422).errors(), ["?limit invalid_value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_ending_one_session_ends_that_one_on_every_replica() {
    let app = TestApp::api_only().await;
    let other = app.replica_with(|_| {}).await;
    let ada = app.member("ada").await;
    let [phone, laptop] = [app.login("ada").await, app.login("ada").await];
    let bearer = Bearer::login(&app, "ada").await;
    let bob = app.member("bob").await;
    let id = current(&phone).await;

    // Somebody else's, one that never was, and what is no id: one answer, and nothing ends.
    let unknown = "0192f0c1-7a2b-7000-8000-000000000000".to_owned();
    for (who, id) in [(&bob, &id), (&ada, &unknown), (&ada, &"x".to_owned()), (&ada, &"..%2f".to_owned())] {
        assert_eq!(end(who, id).await.expect(404).code(), "not_found");
    }
    phone.get("/api/me/").await.expect(200);
    phone.at(&other.base()).get("/api/me/").await.expect(200);

    let reply = end(&ada, &id).await.expect(204);
    assert!(!reply.headers.contains_key("set-cookie"), "the caller stays signed in");
    for base in [app.base(), other.base()] {
        phone.at(&base).get("/api/me/").await.expect(401);
        laptop.at(&base).get("/api/me/").await.expect(200);
    }
    phone.post_empty("/api/token/refresh/").await.expect(401);
    end(&ada, &id).await.expect(404);
    assert_eq!(list(&ada).await.len(), 3);

    // The bearer transport ends sessions, too; ending one's own is signing out.
    end(&bearer.client, &current(&laptop).await).await.expect(204);
    laptop.get("/api/me/").await.expect(401);
    end(&bearer.client, &current(&bearer.client).await).await.expect(204);
    refresh(&app, &bearer.refresh).await.expect(401);
    let reply = end(&ada, &current(&ada).await).await.expect(204);
    let cleared: Vec<_> = reply.headers.get_all("set-cookie").iter().map(|l| l.to_str().unwrap()).collect();
    assert_eq!(cleared.len(), 3);
    assert!(cleared.iter().all(|line| line.ends_with("Max-Age=0")), "{cleared:?}");
    ada.get("/api/me/").await.expect(401);
    bob.get("/api/me/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_signing_out_everywhere_else_keeps_this_session_alone() {
    let app = TestApp::api_only().await;
    let other = app.replica_with(|_| {}).await;
    let ada = app.member("ada").await;
    let elsewhere = app.login("ada").await;
    let bearer = Bearer::login(&app, "ada").await;
    let bob = app.member("bob").await;
    for client in [&ada, &elsewhere, &bearer.client] {
        client.at(&other.base()).get("/api/me/").await.expect(200);
    }
    ada.delete_empty(PATH).await.expect(204);
    for base in [app.base(), other.base()] {
        elsewhere.at(&base).get("/api/me/").await.expect(401);
        bearer.client.at(&base).get("/api/me/").await.expect(401);
        ada.at(&base).get("/api/me/").await.expect(200);
    }
    elsewhere.post_empty("/api/token/refresh/").await.expect(401);
    refresh(&app, &bearer.refresh).await.expect(401);
    ada.post_empty("/api/token/refresh/").await.expect(200);
    bob.get("/api/me/").await.expect(200);
    assert_eq!(list(&ada).await.len(), 1);
    let events = ada.get("/api/me/security-events/").await.expect(200).json();
    assert_eq!(events["items"][0]["event"], "sessions_ended");
    // With nothing left to end it is no error.
    ada.delete_empty(PATH).await.expect(204);
}

/// Two sessions that end each other at once: one stays, whichever it is.
#[tokio::test(flavor = "multi_thread")]
async fn t7_of_sessions_that_end_each_other_one_stays() {
    let app = TestApp::api_only().await;
    let mut clients = vec![app.member("ada").await];
    for _ in 0..4 {
        clients.push(app.login("ada").await);
    }
    let ends = clients.iter().map(async |client| client.delete_empty(PATH).await.status);
    let statuses = join_all(ends).await;
    assert!(statuses.iter().all(|status| [204, 401].contains(status)), "{statuses:?}");
    let mut alive = 0;
    for client in &clients {
        alive += u32::from(client.get("/api/me/").await.status == 200);
    }
    assert_eq!(alive, 1, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t8_a_session_that_nobody_uses_ends_after_its_idle_time() {
    let app = TestApp::api_with(|settings| {
        settings.set("SESSION_IDLE", "2d");
    })
    .await;
    let used = app.member("ada").await;
    let idle = app.login("ada").await;
    let refreshed = app.login("ada").await;
    // Access tokens have run out long before: what is left are refresh tokens, and their use.
    for _ in 0..3 {
        app.clock.advance(TimeDelta::hours(40));
        used.post_empty("/api/token/refresh/").await.expect(200);
        used.get("/api/me/").await.expect(200);
    }
    idle.post_empty("/api/token/refresh/").await.expect(401);
    refreshed.post_empty("/api/token/refresh/").await.expect(401);
    assert_eq!(list(&used).await.len(), 1, "what has run out is not listed");

    // It is a matter of use, not of signing in: to the second before, and to the second after.
    let bearer = Bearer::login(&app, "ada").await;
    app.clock.advance(TimeDelta::days(2) - TimeDelta::seconds(1));
    let reply = refresh(&app, &bearer.refresh).await.expect(200).json();
    let bearer = Bearer::of(&app, &reply);
    app.clock.advance(TimeDelta::days(2));
    refresh(&app, &bearer.refresh).await.expect(401);
}

/// An access token of a session that was left alone is of no use either, whatever its own `exp` says.
#[tokio::test(flavor = "multi_thread")]
async fn t8_the_idle_time_is_kept_by_the_database_and_not_by_the_token() {
    let app = TestApp::api_with(|settings| {
        settings.set("SESSION_IDLE", "15m");
    })
    .await;
    let ada = app.member("ada").await;
    let other = app.replica_with(|_| {}).await;
    for _ in 0..3 {
        app.clock.advance(TimeDelta::minutes(14));
        ada.post_empty("/api/token/refresh/").await.expect(200);
        ada.get("/api/me/").await.expect(200);
    }
    app.database
        .batch_execute("UPDATE sessions SET last_seen_at = last_seen_at - interval '15 min'")
        .await
        .unwrap();
    // The copies of both replicas are believed for a second.
    app.clock.advance(TimeDelta::seconds(2));
    ada.get("/api/me/").await.expect(401);
    ada.at(&other.base()).get("/api/me/").await.expect(401);
    ada.post_empty("/api/token/refresh/").await.expect(401);
}
