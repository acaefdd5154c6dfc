//! The main job, from end to end: register, invite, confirm, earn; and recover a lost password.

use serde_json::json;
use testkit::app::{PASSWORD, TestApp};

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_who_registers_with_the_code_and_confirms_the_address_earns_both_their_rewards() {
    let app = TestApp::start().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;

    let reply = app.register("bob", Some(&code)).await.expect(201).json();
    assert_eq!(reply["referral"], json!({ "status": "pending" }));
    let stats = app.stats_when(&ada, |stats| stats["pending"] == 1).await;
    assert_eq!(stats["rewards"]["credits"], "0.00");

    app.verify("bob").await;
    let stats = app.stats_when(&ada, |stats| stats["successful"] == 1).await;
    assert_eq!(stats["rewards"], json!({ "credits": "10.00", "premium_until": null, "discounts": [] }));
    assert_eq!(stats["next_milestone"]["remaining"], 4);

    let bob = app.login("bob").await;
    let rewards = bob.get("/api/rewards/").await.expect(200).json();
    assert_eq!(rewards["items"][0]["amount"], "5.00");
    assert_eq!(rewards["items"][0]["beneficiary"], "referred");
    app.jobs_done().await;
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_forgot_the_password_gets_a_mail_and_sets_a_new_one() {
    let app = TestApp::start().await;
    let session = app.member("ada").await;
    app.client().post("/api/forgot-password/", json!({ "email": "ada@example.org" })).await.expect(202);
    let mails = app.mail.wait_for(2, testkit::app::PATIENCE).await.unwrap();
    let reset =
        mails.iter().find(|mail| mail.links().iter().any(|link| link.contains("/reset-password?"))).unwrap();
    let token = reset.token().unwrap();

    let body = json!({ "token": token, "password": "other-Vq7-tangerine" });
    let reply = app.client().post("/api/reset-password/", body).await.expect(204);
    assert!(!reply.headers.contains_key("set-cookie"), "R5: a reset does not sign in");

    session.get("/api/me/").await.expect(401);
    let old = json!({ "identifier": "ada", "password": PASSWORD });
    assert_eq!(app.client().post("/api/login/", old).await.expect(401).code(), "invalid_credentials");
    let new = json!({ "identifier": "ada@example.org", "password": "other-Vq7-tangerine" });
    app.client().post("/api/login/", new).await.expect(200);
    let notices = app.mail.wait_for(3, testkit::app::PATIENCE).await.unwrap();
    assert!(notices.iter().any(|mail| mail.subject.contains("password was changed")), "{notices:#?}");
}
