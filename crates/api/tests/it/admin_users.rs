//! What managers see of accounts, keeping somebody out, and giving and taking credits.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

use crate::support::login_status;

async fn quick_app() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await
}

async fn manager(app: &TestApp, name: &str) -> Client {
    let client = app.member(name).await;
    let sql = format!("UPDATE users SET role = 'admin' WHERE username = '{name}'");
    app.database.batch_execute(&sql).await.unwrap();
    client
}

async fn id_of(client: &Client) -> String {
    client.get("/api/me/").await.expect(200).json()["id"].as_str().unwrap().to_owned()
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    client.get(path).await.expect(200).json()["items"].as_array().unwrap().clone()
}

async fn act(client: &Client, id: &str, what: &str) -> Reply {
    client.post(&format!("/api/admin/users/{id}/{what}/"), json!({ "reason": "a test" })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_account_is_out_at_once_and_its_referral_waits() {
    let mut app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    app.register("bob", Some(&code)).await.expect(201);
    let bob = app.login("bob").await;
    let id = id_of(&bob).await;
    app.start_worker();
    app.mail.wait_for_to("bob@example.org").await.unwrap();

    assert_eq!(act(&ada, &id, "block").await.expect(403).code(), "forbidden");
    assert_eq!(act(&boss, &id_of(&boss).await, "block").await.expect(403).code(), "forbidden");
    assert_eq!(act(&boss, "x", "block").await.expect(404).code(), "not_found");
    for _ in 0..2 {
        act(&boss, &id, "block").await.expect(204);
        bob.get("/api/me/").await.expect(401);
        assert_eq!(login_status(&app, "bob", PASSWORD).await, 403);
    }
    // Whoever has the mail may still confirm the address: nothing is earned by it.
    app.verify("bob").await;
    app.jobs_done().await;
    let waits = items(&ada, "/api/referrals/").await;
    assert_eq!((&waits[0]["status"], &waits[0]["reason"]), (&json!("pending"), &json!("account_blocked")));
    let reply = app.register("eve", Some(&code)).await.expect(201);
    assert_eq!(reply.json()["referral"]["status"], "pending", "ada is not blocked");

    for _ in 0..2 {
        act(&boss, &id, "unblock").await.expect(204);
    }
    app.stats_when(&ada, |stats| stats["successful"] == 1).await;
    app.login("bob").await.get("/api/me/").await.expect(200);
    let events = items(&boss, &format!("/api/admin/audit/?user_id={id}")).await;
    let told: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(told.iter().filter(|event| **event == "account_blocked").count(), 1);
    assert_eq!(told.iter().filter(|event| **event == "account_unblocked").count(), 1);
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_find_accounts_by_name_code_and_id_and_see_no_address() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    for name in ["bob", "bobby", "b_b"] {
        app.register(name, Some(&code)).await.expect(201);
    }
    let found = async |query: &str| {
        let path = format!("/api/admin/users/?{query}");
        let names = items(&boss, &path).await;
        names.iter().map(|item| item["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("").await, ["b_b", "bobby", "bob", "ada", "boss"], "newest first");
    assert_eq!(found("q=bob").await, ["bobby", "bob"]);
    assert_eq!(found("q=b_").await, ["b_b"]);
    assert_eq!(found(&format!("q={code}")).await, ["ada"]);
    assert_eq!(found(&format!("q={}", id_of(&ada).await)).await, ["ada"]);
    let of_ada = items(&boss, "/api/admin/users/?q=ada").await;
    assert_eq!(of_ada[0]["referrals"]["pending"], 3);
    assert!(!of_ada[0].to_string().contains('@'), "{}", of_ada[0]);
    let page = boss.get("/api/admin/users/?limit=2").await.expect(200).json();
    let next = page["next_cursor"].as_str().unwrap();
    assert_eq!(found(&format!("limit=2&cursor={next}")).await, ["bob", "ada"]);
    ada.get("/api/admin/users/").await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_are_adjusted_once_a_key() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = app.member("ada").await;
    let id = id_of(&ada).await;
    let token = boss.cookie("csrf_token").unwrap().value;
    let adjust = async |client: &Client, amount: &str, key: Option<&str>| {
        let body = json!({ "amount": amount, "reason": "a gift" });
        let mut headers = vec![("X-CSRF-Token", token.as_str())];
        headers.extend(key.map(|key| ("Idempotency-Key", key)));
        let path = format!("/api/admin/users/{id}/adjust/");
        client.send(Method::POST, &path, Some(body), &headers).await
    };
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(adjust(&boss, "25.00", Some("gift-1")).await.expect(200).json());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0]["balance"], "25.00");
    let stats = ada.get("/api/referral-stats/").await.expect(200).json();
    assert_eq!(stats["rewards"]["credits"], "25.00");

    assert_eq!(adjust(&boss, "26", Some("gift-1")).await.expect(422).code(), "idempotency_key_reused");
    let poor = adjust(&boss, "-25.01", Some("back-1")).await.expect(409);
    assert_eq!(poor.code(), "insufficient_credits");
    assert_eq!(adjust(&boss, "-25", Some("back-1")).await.expect(200).json()["balance"], "0.00");
    for missing in [None, Some(""), Some(&*"k".repeat(256))] {
        assert_eq!(adjust(&boss, "1", missing).await.expect(400).code(), "bad_request");
    }
    let events = items(&boss, "/api/admin/audit/?event=credits_adjusted").await;
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0]["reason"], &events[0]["actor"]), (&json!("a gift"), &json!("manager")));
    assert_eq!(events[1]["subject_id"], answers[0]["entry_id"]);
    app.check_ledger().await;
}
