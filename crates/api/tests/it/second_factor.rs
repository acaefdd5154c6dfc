//! The second factor: adding it, being asked for it, losing it.

mod changes;
mod codes;
mod enrolment;
mod secrecy;
mod sign_in;

use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::authenticator::{Authenticator, enrol};
use testkit::client::{Client, Reply};

const FACTORS: &str = "/api/me/factors/";
const TOTP: &str = "/api/me/factors/totp/";
const CONFIRM: &str = "/api/me/factors/totp/confirm/";
const RECOVERY_CODES: &str = "/api/me/factors/recovery-codes/";

/// Somebody with an authenticator app.
struct Owner {
    /// A browser that is signed in.
    client: Client,
    authenticator: Authenticator,
    recovery_codes: Vec<String>,
}

impl Owner {
    async fn new(app: &TestApp, username: &str) -> Self {
        Self::enrolled(app, app.member(username).await).await
    }

    /// Whoever is signed in there.
    async fn enrolled(app: &TestApp, client: Client) -> Self {
        let (authenticator, recovery_codes) = enrol(app, &client, PASSWORD).await;
        Self { client, authenticator, recovery_codes }
    }
}

/// The first half of a sign-in.
async fn first_half(client: &Client, username: &str) -> Reply {
    client.post("/api/login/", json!({ "identifier": username, "password": PASSWORD })).await
}

/// The challenge of somebody who has a second factor.
async fn challenge(client: &Client, username: &str) -> String {
    let reply = first_half(client, username).await.expect(401);
    assert_eq!(reply.code(), "second_factor_required");
    reply.json()["challenge"].as_str().unwrap().to_owned()
}

/// The second half.
async fn second_half(client: &Client, challenge: &str, code: &str) -> Reply {
    client.post("/api/login/factor/", json!({ "challenge": challenge, "code": code })).await
}

/// Both halves, in a new browser.
async fn sign_in(app: &TestApp, username: &str, code: &str) -> Reply {
    let client = app.client();
    let challenge = challenge(&client, username).await;
    second_half(&client, &challenge, code).await
}

/// A body with the password and a code.
fn with_code(code: &str) -> Value {
    json!({ "password": PASSWORD, "code": code })
}

/// How often something is in the record of somebody's security events.
async fn count_events(app: &TestApp, event: &str, actor: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM security_events WHERE event = '{event}' AND actor = '{actor}'");
    app.database.value(&sql).await
}
