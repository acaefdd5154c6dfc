//! The second factor, from the command line.

use domain::clock::Clock;
use serde_json::json;
use testkit::app::{PASSWORD, within};
use testkit::authenticator::enrol_by;
use testkit::process::Program;
use testkit::stack::{RECOVERY, Stack, StackOptions};

#[tokio::test(flavor = "multi_thread")]
async fn s6_a_command_takes_the_factor_of_somebody_away_who_lost_it() {
    let stack = Stack::start(StackOptions::default()).await;
    let ada = stack.client(0);
    let body = json!({ "email": "ada@example.org", "username": "ada", "password": PASSWORD });
    ada.post("/api/register/", body).await.expect(201);
    let credentials = json!({ "identifier": "ada", "password": PASSWORD });
    ada.post("/api/login/", credentials.clone()).await.expect(200);
    enrol_by(&Clock::system(), &ada, PASSWORD).await;
    stack.client(0).post("/api/login/", credentials.clone()).await.expect(401);

    let reset = async |email: &str| {
        let output = stack.command(Program::Api, &["admin", "reset-factor", email]).await;
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), said)
    };
    let (status, said) = reset("nobody@example.org").await;
    assert!(status == Some(1) && said.contains("no live account"), "{said}");
    let (status, said) = reset("ada@example.org").await;
    assert!(status == Some(0) && said.contains("done"), "{said}");
    let (status, said) = reset("ada@example.org").await;
    assert!(status == Some(0) && said.contains("nothing to do"), "{said}");

    stack.client(0).post("/api/login/", credentials).await.expect(200);
    let events = ada.get("/api/me/security-events/").await.expect(200).json();
    let removed = events["items"].as_array().unwrap().iter().find(|event| event["event"] == "factor_removed");
    assert_eq!(removed.unwrap()["actor"], "operator", "{events}");
    within(RECOVERY, "the owner is told", async || {
        let mails = stack.mail.mails();
        let told = mails.iter().any(|mail| mail.subject == "The second step of your account was removed");
        if told { Ok(()) } else { Err(format!("{} other mails", mails.len())) }
    })
    .await;
}
