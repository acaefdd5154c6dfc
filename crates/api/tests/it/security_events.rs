//! The record of security events: what is in it, who reads it, and that nobody changes it.

use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Client;

const OTHER_PASSWORD: &str = "Vq7-tangerine-kiln-2";

async fn quick_app() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    client.get(path).await.expect(200).json()["items"].as_array().unwrap().clone()
}

fn column<'a>(items: &'a [Value], name: &str) -> Vec<&'a str> {
    items.iter().map(|item| item[name].as_str().unwrap_or("-")).collect()
}

async fn manager(app: &TestApp, name: &str) -> Client {
    let client = app.member(name).await;
    let sql = format!("UPDATE users SET role = 'admin' WHERE username = '{name}'");
    app.database.batch_execute(&sql).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_happens_to_an_account_is_on_record_for_its_holder() {
    let app = quick_app().await;
    app.member("eve").await;
    let ada = app.member("ada").await;
    let wrong = json!({ "identifier": "ada", "password": "wrong password" });
    app.client().post("/api/login/", wrong).await.expect(401);
    let new = json!({ "current_password": PASSWORD, "password": OTHER_PASSWORD });
    ada.with_header("X-Request-Id", "asked-by-ada").post("/api/me/password/", new).await.expect(204);
    let again = app.client();
    again.post("/api/login/", json!({ "identifier": "ada", "password": OTHER_PASSWORD })).await.expect(200);
    again.post_empty("/api/logout/").await.expect(204);

    let events = items(&ada, "/api/me/security-events/").await;
    let expected =
        ["signed_out", "signed_in", "password_changed", "sign_in_failed", "signed_in", "account_created"];
    assert_eq!(column(&events, "event"), expected);
    let actors = ["account", "account", "account", "unknown", "account", "account"];
    assert_eq!(column(&events, "actor"), actors);
    assert_eq!(events[2]["request_id"], "asked-by-ada");
    assert_eq!(
        events[0]["subject_id"], events[1]["subject_id"],
        "the session that ended is the one that started"
    );
    let network = events[0]["network"].as_str().unwrap();
    assert_eq!(network.len(), 12);
    assert!(events.iter().all(|event| event["network"] == network), "all came from one network");
    for hidden in ["user_id", "actor_id", "ip_hash"] {
        assert!(events.iter().all(|event| event.get(hidden).is_none()), "{hidden}");
    }
    let rest = items(&ada, "/api/me/security-events/?limit=4").await;
    assert_eq!(rest.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_refresh_token_used_twice_is_on_record() {
    let app = quick_app().await;
    app.register("ada", None).await.expect(201);
    let login = json!({ "identifier": "ada", "password": PASSWORD, "transport": "bearer" });
    let tokens = app.client().post("/api/login/", login).await.expect(200).json();
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    let next = app.client().post("/api/token/refresh/", refresh.clone()).await.expect(200).json();
    let next = json!({ "refresh_token": next["refresh_token"] });
    app.client().post("/api/token/refresh/", next).await.expect(200);
    app.clock.advance(chrono::TimeDelta::seconds(11));
    app.client().post("/api/token/refresh/", refresh).await.expect(401);
    let ada = app.login("ada").await;
    let events = items(&ada, "/api/me/security-events/").await;
    assert_eq!(column(&events, "event")[..2], ["signed_in", "refresh_reused"]);
    assert_eq!(events[1]["actor"], "unknown", "nobody knows who held it");
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_see_everybodys_record_and_nobody_else_does() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = app.member("ada").await;
    app.client().post("/api/login/", json!({ "identifier": "nobody", "password": "x" })).await.expect(401);
    let reply = ada.get("/api/admin/audit/").await.expect(403);
    assert_eq!(reply.code(), "forbidden");
    app.client().get("/api/admin/audit/").await.expect(401);

    let events = items(&boss, "/api/admin/audit/").await;
    let expected = ["sign_in_failed", "signed_in", "account_created", "signed_in", "account_created"];
    assert_eq!(column(&events, "event"), expected);
    assert_eq!(events[0]["user_id"], Value::Null, "it named nobody");
    let id = ada.get("/api/me/").await.json()["id"].as_str().unwrap().to_owned();
    let of_ada = items(&boss, &format!("/api/admin/audit/?user_id={id}")).await;
    assert_eq!(column(&of_ada, "event"), ["signed_in", "account_created"]);
    let made = boss.get("/api/admin/audit/?event=account_created&limit=1").await.expect(200);
    let next = made.json()["next_cursor"].as_str().unwrap().to_owned();
    assert!(made.header("link").unwrap().contains("&event=account_created&cursor="));
    let rest = items(&boss, &format!("/api/admin/audit/?event=account_created&limit=1&cursor={next}")).await;
    assert_eq!(rest.len(), 1);
    let other = boss.get(&format!("/api/admin/audit/?event=signed_in&cursor={next}")).await.expect(400);
    assert_eq!(other.code(), "invalid_cursor", "a cursor belongs to its filters");
    let reply = boss.get("/api/admin/audit/?event=nonsense&user_id=1").await.expect(422);
    assert_eq!(reply.errors(), ["?event invalid_value", "?user_id invalid_value"]);

    app.database.batch_execute("UPDATE users SET role = 'user' WHERE username = 'boss'").await.unwrap();
    boss.get("/api/admin/audit/").await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_is_append_only_and_forgets_networks() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    for statement in [
        "UPDATE security_events SET event = 'signed_out'",
        "UPDATE security_events SET ip_hash = '\\x01'",
        "UPDATE security_events SET ip_hash = NULL, actor = 'system', actor_id = NULL",
        "DELETE FROM security_events",
        "TRUNCATE security_events",
    ] {
        let error = app.database.batch_execute(statement).await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("append-only"), "{statement}");
    }
    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    let rows = "SELECT count(*), count(ip_hash) FROM security_events";
    let row = app.database.query_one(rows, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 0), "the events stay, the networks go");
}
