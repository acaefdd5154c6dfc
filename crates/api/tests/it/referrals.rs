//! Referrals through the API: who brought whom, who may not, and what the referrer sees of it.

mod attribution;
mod list;
mod refusals;

use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

/// A registration as `client` sends it, with the address and what is given besides.
async fn register(client: &Client, email: &str, username: &str, query: &str, more: Value) -> Reply {
    let mut body = json!({ "email": email, "username": username, "password": PASSWORD });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    client.post(&format!("/api/register/{query}"), body).await
}

fn with_code(code: &str) -> Value {
    json!({ "referral_code": code })
}

/// Status and reason of each of the caller's referrals, newest first.
async fn referrals(client: &Client) -> Vec<(String, String)> {
    let list = client.get("/api/referrals/").await.expect(200).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (text(&item["status"]), text(&item["reason"])))
        .collect()
}

async fn count(app: &TestApp, rows: &str) -> i64 {
    app.database.value(&format!("SELECT count(*) FROM {rows}")).await
}

/// Who brought this user, by name; empty for nobody.
async fn brought_by(app: &TestApp, username: &str) -> String {
    app.database
        .value(&format!(
            "SELECT coalesce((SELECT r.username FROM referrals JOIN users r ON r.id = referrer_id
             WHERE referred_user_id = u.id), '') FROM users u WHERE u.username = '{username}'"
        ))
        .await
}

/// Hashing is not what these tests are about.
async fn quick_app() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await
}
