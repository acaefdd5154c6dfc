//! What operators read in the logs: each thing that matters about security or rewards is a line of JSON, with the id of the
//! request that it belongs to.

use serde_json::{Value, json};
use testkit::app::{PASSWORD, within};
use testkit::client::{Client, Reply};
use testkit::process::{Process, Program};
use testkit::smtp::Mail;
use testkit::stack::{RECOVERY, Stack, StackOptions, registration};

/// The lines of all processes that belong to a request.
fn lines_of(stack: &Stack, request_id: &str) -> Vec<Value> {
    let logs: Vec<String> = stack.processes().map(Process::log).collect();
    let lines = logs.iter().flat_map(|log| log.lines());
    let parsed =
        lines.map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}")));
    parsed
        .filter(|line| line["request_id"] == request_id || line["span"]["request_id"] == request_id)
        .collect()
}

/// Waits until a request has said this, on a line that names a level and a time. A line may follow what it tells of.
async fn assert_said(stack: &Stack, reply: &Reply, message: &str) -> Value {
    let id = reply.header("x-request-id").unwrap();
    let line = within(RECOVERY, message, async || {
        let lines = lines_of(stack, id);
        lines.iter().find(|line| line["message"] == message).cloned().ok_or_else(|| format!("{lines:?}"))
    })
    .await;
    assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_what_matters_is_logged_as_json_with_the_id_of_its_request() {
    let settings = [("RATE_LIMITS", "on"), ("TRUSTED_PROXIES", "127.0.0.1")];
    let stack = Stack::start(StackOptions { apis: 2, workers: 1, settings: &settings }).await;
    let ada = stack.client(0).with_header("X-Forwarded-For", "203.0.113.7");
    let made = ada.post("/api/register/", registration("ada", None)).await.expect(201);
    assert_said(&stack, &made, "registered an account").await;
    stack.verify(0, "ada").await;

    let sign_in = async |client: &Client, password: &str| {
        client.post("/api/login/", json!({ "identifier": "ada", "password": password })).await
    };
    let signed_in = sign_in(&ada, PASSWORD).await.expect(200);
    assert!(assert_said(&stack, &signed_in, "signed in").await["user_id"].is_string());
    let stranger = stack.client(1).with_header("X-Forwarded-For", "203.0.113.8");
    assert_said(&stack, &sign_in(&stranger, "not-this-one").await.expect(401), "a sign-in failed").await;
    let mut limited = None;
    for _ in 0..20 {
        limited = Some(sign_in(&stranger, "not-this-one").await);
    }
    let limited = limited.unwrap().expect(429);
    assert_eq!(
        assert_said(&stack, &limited, "a limit turned a request away").await["policy"],
        "login-account"
    );

    // A reward: the request that confirms the address, and the job that settles the referral for it.
    let code = made.json()["user"]["referral_code"].as_str().unwrap().to_owned();
    stack.register(1, "bob", Some(&code)).await.expect(201);
    let token = stack.mail_to("bob").await.token().unwrap();
    let confirmed = stack.client(1).post("/api/verify-email/", json!({ "token": token })).await.expect(204);
    stack.jobs_done().await;
    let settled = assert_said(&stack, &confirmed, "settled a referral").await;
    assert_eq!(settled["status"], "successful", "{settled}");
    assert_said(&stack, &confirmed, "did a job").await;

    // A refresh token that is used again, late.
    let old = ada.cookie("refresh_token").unwrap().value;
    // Used twice, so that the successor of the old one was used, too.
    for _ in 0..2 {
        ada.post("/api/token/refresh/", json!({})).await.expect(200);
    }
    let late = "UPDATE refresh_tokens SET used_at = used_at - interval '1 hour'";
    stack.database.batch_execute(late).await.unwrap();
    let reused =
        stack.client(1).post("/api/token/refresh/", json!({ "refresh_token": old })).await.expect(401);
    let line = assert_said(&stack, &reused, "a refresh token was used twice: its session was ended").await;
    assert_eq!(line["level"], "WARN", "{line}");

    // A forgotten password.
    let before = stack.mail.mails().len();
    ada.post("/api/forgot-password/", json!({ "email": "ada@example.org" })).await.expect(202);
    let token = within(RECOVERY, "the mail comes", async || {
        let mails = stack.mail.mails();
        let link = mails[before..].iter().find(|mail| mail.text.contains("/reset-password?"));
        link.and_then(Mail::token).ok_or_else(|| format!("{} mails", mails.len()))
    })
    .await;
    let body = json!({ "token": token, "password": "zqPass-7416-cinnabar" });
    let reset = ada.post("/api/reset-password/", body).await.expect(204);
    assert_said(&stack, &reset, "a password was reset").await;
    stack.jobs_done().await;
    // Its notice was mailed under the same id.
    assert_said(&stack, &reset, "did a job").await;

    // A right that is given at the command line is in the record, which has no request.
    let promoted = stack.command(Program::Api, &["admin", "promote", "ada@example.org"]).await;
    assert!(promoted.status.success(), "{promoted:?}");
    let recorded: i64 = stack
        .database
        .value("SELECT count(*) FROM security_events WHERE event = 'role_granted' AND actor = 'operator'")
        .await;
    assert_eq!(recorded, 1);
}
