//! Endpoints of webhooks, as managers add, change and try them; and what arrives there of a life on this site.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{PATIENCE, TestApp};
use testkit::client::{Client, Reply};
use testkit::receiver::{Answer, Received, Receiver};

use crate::support::{Bearer, quick_app};

const PATH: &str = "/api/admin/webhooks/";

async fn manager(app: &TestApp, name: &str) -> Client {
    app.register(name, None).await.expect(201);
    let sql = format!("UPDATE users SET role = 'admin' WHERE username = '{name}'");
    app.database.batch_execute(&sql).await.unwrap();
    Bearer::login(app, name).await.client
}

async fn add(boss: &Client, body: Value) -> Value {
    boss.post(PATH, body).await.expect(201).json()
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    client.get(path).await.expect(200).json()["items"].as_array().unwrap().clone()
}

/// Where the next page of a list is.
fn next_of(page: &Reply) -> String {
    page.header("link").unwrap().split(['<', '>']).nth(1).unwrap().to_owned()
}

/// The path of an endpoint that was answered.
fn at(endpoint: &Value) -> String {
    format!("{PATH}{}/", endpoint["id"].as_str().unwrap())
}

async fn recorded(boss: &Client) -> Vec<String> {
    let events = items(boss, "/api/admin/audit/?limit=100").await;
    let events = events.iter().map(|event| event["event"].as_str().unwrap().to_owned());
    let mut events: Vec<String> = events.filter(|event| event.starts_with("webhook")).collect();
    events.reverse();
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn w1_a_manager_adds_an_endpoint_and_it_is_told_of_a_friend_who_joins() {
    let mut app = quick_app().await;
    app.start_worker();
    let receiver = Receiver::start().await;
    let boss = manager(&app, "boss").await;
    let added = add(&boss, json!({ "url": receiver.url(), "description": "the shop" })).await;
    let secret = added["secret"].as_str().unwrap();
    assert_eq!(
        (&added["enabled"], &added["events"], &added["description"]),
        (&json!(true), &json!([]), &json!("the shop"))
    );

    let pinged = boss.post(&format!("{}ping/", at(&added)), json!({})).await.expect(202).json();
    let ping = receiver.wait_for(1, PATIENCE).await.remove(0);
    assert_eq!((ping.event().as_str(), ping.id()), ("ping", pinged["event_id"].as_str().unwrap()));
    assert!(ping.is_signed_by(secret));
    assert!(ping.header("user-agent").starts_with("Trellis/"));

    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    app.register("bob", Some(&code)).await.expect(201);
    app.verify("bob").await;
    app.stats_when(&ada, |stats| stats["successful"] == 1).await;
    let received = receiver.wait_for(6, PATIENCE).await;
    assert!(received.iter().all(|message| message.is_signed_by(secret)));
    let mut told: Vec<String> = received.iter().map(Received::event).collect();
    told.sort();
    let wanted = [
        "ping",
        "referral.pending",
        "referral.successful",
        "user.registered",
        "user.registered",
        "user.verified",
    ];
    assert_eq!(told, wanted);

    // What arrived is listed, with the body as it was sent; the lists of states are disjoint.
    app.jobs_done().await;
    let deliveries = format!("{}deliveries/", at(&added));
    let all = items(&boss, &deliveries).await;
    assert_eq!(all.len(), 6);
    assert!(
        all.iter()
            .all(|row| row["state"] == "delivered" && row["last_status"] == 204 && row["attempts"] == 1)
    );
    let sent = received.iter().find(|message| message.event() == "referral.successful").unwrap();
    let listed = all.iter().find(|row| row["event"] == "referral.successful").unwrap();
    assert_eq!((listed["event_id"].as_str().unwrap(), &listed["body"]), (sent.id(), &sent.json()));
    assert_eq!(items(&boss, &format!("{deliveries}?state=delivered")).await.len(), 6);
    assert_eq!(items(&boss, &format!("{deliveries}?state=waiting")).await.len(), 0);
    let page = boss.get(&format!("{deliveries}?limit=4&state=delivered")).await.expect(200);
    let next = next_of(&page);
    assert_eq!(items(&boss, &next).await.len(), 2);

    // Told again, by the same id.
    let again = format!("{deliveries}{}/redeliver/", listed["id"].as_str().unwrap());
    boss.post(&again, json!({})).await.expect(202);
    let received = receiver.wait_for(7, PATIENCE).await;
    assert_eq!((received[6].id(), &received[6].body), (sent.id(), &sent.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn w7_endpoints_are_listed_changed_and_taken_away_and_each_change_is_on_record() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let first = add(&boss, json!({ "url": "https://one.example/hook?key=1#part" })).await;
    let second = add(&boss, json!({ "url": "https://two.example/", "events": ["user.deleted", "referral.successful", "user.deleted"] })).await;
    assert_eq!(first["url"], "https://one.example/hook?key=1");
    assert_eq!(second["events"], json!(["referral.successful", "user.deleted"]));
    let listed = items(&boss, PATH).await;
    assert_eq!(listed.iter().map(|row| &row["id"]).collect::<Vec<_>>(), [&second["id"], &first["id"]]);
    assert!(listed.iter().all(|row| row.get("secret").is_none()), "a secret is shown once");
    let page = boss.get(&format!("{PATH}?limit=1")).await.expect(200);
    let next = next_of(&page);
    assert_eq!(items(&boss, &next).await[0]["id"], first["id"]);

    let change = json!({ "url": "https://uno.example/", "events": ["user.verified"], "description": "CRM" });
    let changed = boss.patch(&at(&first), change).await.expect(200).json();
    assert_eq!(
        (&changed["url"], &changed["events"], &changed["description"]),
        (&json!("https://uno.example/"), &json!(["user.verified"]), &json!("CRM"))
    );
    let cleared =
        boss.patch(&at(&first), json!({ "events": null, "description": null })).await.expect(200).json();
    assert_eq!(
        (&cleared["url"], &cleared["events"], &cleared["description"]),
        (&json!("https://uno.example/"), &json!([]), &json!(""))
    );
    assert_eq!(boss.patch(&at(&first), json!({})).await.expect(200).json(), cleared);
    for enabled in [false, false, true] {
        let row = boss.patch(&at(&first), json!({ "enabled": enabled })).await.expect(200).json();
        assert_eq!(row["enabled"], enabled);
        assert_eq!(row["disabled_reason"], if enabled { Value::Null } else { json!("manager") });
        if !enabled {
            let reply = boss.post(&format!("{}ping/", at(&first)), json!({})).await.expect(409);
            assert_eq!(reply.code(), "conflicting_state");
        }
    }
    let rotated = boss.post(&format!("{}rotate-secret/", at(&first)), json!({})).await.expect(200).json();
    assert_ne!(rotated["secret"], first["secret"]);
    assert!(rotated["secret"].as_str().unwrap().starts_with("whsec_"));
    let row = boss.get(&at(&first)).await.expect(200).json();
    assert_eq!(row["previous_secret_until"], rotated["previous_secret_until"]);
    boss.delete(&at(&first), json!({})).await.expect(204);
    boss.delete(&at(&first), json!({})).await.expect(404);
    boss.get(&at(&first)).await.expect(404);
    assert_eq!(items(&boss, PATH).await.len(), 1);
    let wanted = [
        "webhook_added",
        "webhook_added",
        "webhook_changed",
        "webhook_changed",
        "webhook_disabled",
        "webhook_enabled",
        "webhook_secret_rotated",
        "webhook_disabled",
        "webhook_deleted",
    ];
    assert_eq!(recorded(&boss).await, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn w4_a14_every_wrong_field_is_named_and_nothing_is_written() {
    let app = TestApp::api_with(|settings| {
        settings
            .set("ARGON2_MEMORY_KIB", "64")
            .set("ARGON2_ITERATIONS", "1")
            .set("WEBHOOK_PRIVATE_NETWORKS", "none");
    })
    .await;
    let boss = manager(&app, "boss").await;
    let stands = add(&boss, json!({ "url": "https://one.example/" })).await;
    let refused = |reply: Reply| reply.expect(422).errors();
    for (body, errors) in [
        (json!({}), vec!["/url required"]),
        (
            json!({ "url": 7, "events": "all", "description": 1 }),
            vec!["/description wrong_type", "/events wrong_type", "/url wrong_type"],
        ),
        (
            json!({ "url": "", "events": ["referral.won", 7], "description": "a\u{0}b", "secret": "mine" }),
            vec![
                "/description invalid_character",
                "/events/0 invalid_value",
                "/events/1 wrong_type",
                "/secret unknown_field",
                "/url empty",
            ],
        ),
        (
            json!({ "url": "https://one.example/", "description": "x".repeat(121) }),
            vec!["/description too_long"],
        ),
        (
            json!({ "url": "https://one.example/", "events": vec!["user.deleted"; 23] }),
            vec!["/events too_long"],
        ),
    ] {
        assert_eq!(refused(boss.post(PATH, body.clone()).await), errors, "{body}");
    }
    for url in [
        "one.example",
        "ftp://one.example/",
        "http://one.example/",
        "javascript:alert(1)",
        "https://u:p@one.example/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]:8080/",
        "https://0x7f000001/",
        "https://10.0.0.1/",
    ] {
        assert_eq!(refused(boss.post(PATH, json!({ "url": url })).await), ["/url invalid_url"], "{url}");
        assert_eq!(
            refused(boss.patch(&at(&stands), json!({ "url": url })).await),
            ["/url invalid_url"],
            "{url}"
        );
    }
    let wrong = json!({ "url": null, "enabled": "yes", "events": [null], "id": 1 });
    let errors = ["/enabled wrong_type", "/events/0 wrong_type", "/id unknown_field", "/url wrong_type"];
    assert_eq!(refused(boss.patch(&at(&stands), wrong).await), errors);
    assert_eq!(items(&boss, PATH).await.len(), 1);
    assert_eq!(boss.get(&at(&stands)).await.expect(200).json()["url"], "https://one.example/");

    for path in ["x", "019a0000-0000-7000-8000-000000000001"] {
        boss.get(&format!("{PATH}{path}/")).await.expect(404);
        boss.get(&format!("{PATH}{path}/deliveries/")).await.expect(404);
        boss.patch(&format!("{PATH}{path}/"), json!({ "enabled": true })).await.expect(404);
        for action in ["ping", "rotate-secret", "deliveries/019a0000-0000-7000-8000-000000000001/redeliver"] {
            boss.post(&format!("{PATH}{path}/{action}/"), json!({})).await.expect(404);
        }
    }
    let reply = boss.get(&format!("{}deliveries/?state=lost&limit=0", at(&stands))).await.expect(422);
    assert_eq!(reply.errors(), ["?limit invalid_value", "?state invalid_value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn w7_only_managers_see_or_change_endpoints_and_there_are_twenty_at_most() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = app.member("ada").await;
    assert_eq!(ada.get(PATH).await.expect(403).code(), "forbidden");
    ada.post(PATH, json!({ "url": "https://one.example/" })).await.expect(403);
    app.client().get(PATH).await.expect(401);

    let adding = (0..30).map(async |n| {
        let body = json!({ "url": format!("https://host{n}.example/") });
        boss.send(Method::POST, PATH, Some(body), &[]).await.status
    });
    let statuses = futures_util::future::join_all(adding).await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 20, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 10, "{statuses:?}");
    assert_eq!(items(&boss, &format!("{PATH}?limit=100")).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn w5_a_receiver_that_hangs_delays_neither_rewards_nor_other_receivers() {
    /// Less than a receiver that hangs is waited for.
    const SOON: Duration = Duration::from_secs(14);
    let mut app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1").set("WORKER_CONCURRENCY", "4");
    })
    .await;
    let (hangs, good) = (Receiver::start().await, Receiver::start().await);
    hangs.answer(Answer::Stall);
    let boss = manager(&app, "boss").await;
    let slow = add(&boss, json!({ "url": hangs.url() })).await;
    add(&boss, json!({ "url": good.url() })).await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    // More than there are hands, before anybody knows that one of them hangs.
    let names = ["bob", "carol", "dora", "emil", "fritz", "gerd"];
    for name in names {
        app.register(name, Some(&code)).await.expect(201);
    }
    app.start_worker();
    let received = good.wait_for(1 + 2 * names.len(), SOON).await;
    assert!(received.iter().all(|message| message.event() != "ping"));
    for name in names {
        app.verify(name).await;
    }
    app.stats_when(&ada, |stats| stats["successful"] == names.len()).await;
    good.wait_for(1 + 4 * names.len(), SOON).await;
    let delivered = items(&boss, &format!("{}deliveries/?state=delivered", at(&slow))).await;
    assert_eq!(delivered.len(), 0, "the one that hangs took nothing");
}
