//! Confirming an address: once, by the person and not by a mail scanner, and again when the mail was lost.

use chrono::TimeDelta;
use domain::token::Token;
use futures_util::future::join_all;
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Reply;
use testkit::dump;

use crate::support::{RESET, VERIFY, assert_alike, count_mails, forgot, tokens, wait_for_tokens};

async fn verify(app: &TestApp, token: &str) -> Reply {
    app.client().post("/api/verify-email/", json!({ "token": token })).await
}

async fn is_verified(app: &TestApp, username: &str) -> bool {
    let sql = format!("SELECT email_verified_at IS NOT NULL FROM users WHERE username = '{username}'");
    app.database.value(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_uses_of_one_token_one_confirms_the_address() {
    let app = TestApp::start().await;
    app.register("ada", None).await.expect(201);
    let token = wait_for_tokens(&app, "ada@example.org", VERIFY, 1).await.remove(0);
    // A scanner that opens the link, or asks the API with another method, spends nothing.
    for path in [format!("/verify-email?token={token}"), format!("/api/verify-email/?token={token}")] {
        let status = app.client().get(&path).await.status;
        assert_eq!(status, if path.starts_with("/api/") { 405 } else { 200 }, "{path}");
    }
    assert!(!is_verified(&app, "ada").await);
    let replies = join_all((0..20).map(|_| verify(&app, &token))).await;
    let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [&[204][..], &[400; 19]].concat());
    assert!(replies.iter().filter(|reply| reply.status == 400).all(|reply| reply.code() == "invalid_token"));
    assert!(is_verified(&app, "ada").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_is_answered_alike() {
    let app = TestApp::start().await;
    for name in ["ada", "bob", "carol", "dan"] {
        app.register(name, None).await.expect(201);
    }
    let mut of = Vec::new();
    for name in ["ada", "bob", "carol"] {
        of.extend(wait_for_tokens(&app, &format!("{name}@example.org"), VERIFY, 1).await);
    }
    let (used, of_deleted, expired) = (&of[0], &of[1], &of[2]);
    verify(&app, used).await.expect(204);
    let bob = app.login("bob").await;
    bob.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    app.clock.advance(TimeDelta::hours(48));
    app.clock.advance(TimeDelta::seconds(1));
    forgot(&app, "dan@example.org").await.expect(202);
    let for_reset = wait_for_tokens(&app, "dan@example.org", RESET, 1).await.remove(0);
    let unknown = Token::random().expose();
    let mut replies = Vec::new();
    for (name, token) in [
        ("unknown", unknown.as_str()),
        ("used", used),
        ("of a deleted account", of_deleted),
        ("expired", expired),
        ("for another purpose", &for_reset),
        ("cut", &unknown[..42]),
        ("a text", "x"),
        ("look-alikes", "аbсdеfghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"),
    ] {
        replies.push((name, verify(&app, token).await));
    }
    assert_eq!(assert_alike(&replies).expect(400).code(), "invalid_token");
    assert!(!is_verified(&app, "carol").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_mail_is_sent_again_until_the_address_is_confirmed() {
    let app = TestApp::start().await;
    let ada = app.member("ada").await;
    wait_for_tokens(&app, "ada@example.org", VERIFY, 1).await;
    app.client().post_empty("/api/verify-email/resend/").await.expect(401);
    ada.post_empty("/api/verify-email/resend/").await.expect(202);
    let both = wait_for_tokens(&app, "ada@example.org", VERIFY, 2).await;
    assert_eq!(both[0], both[1], "a link that is good is mailed again");
    assert_eq!(dump::holding(&app.database, &both[0]).await, [""; 0]);
    // After two days the first mails are of no use: one sent then is.
    app.clock.advance(TimeDelta::hours(49));
    let ada = app.login("ada").await;
    ada.post_empty("/api/verify-email/resend/").await.expect(202);
    let third = wait_for_tokens(&app, "ada@example.org", VERIFY, 3).await.remove(2);
    verify(&app, &both[1]).await.expect(400);
    ada.post("/api/verify-email/", json!({ "token": third })).await.expect(204);
    assert_eq!(ada.get("/api/me/").await.json()["email_verified"], true);

    ada.post_empty("/api/verify-email/resend/").await.expect(202);
    app.jobs_done().await;
    assert_eq!(tokens(&app, "ada@example.org", VERIFY).len(), 3, "there is nothing left to confirm");
}

/// cases/accounts 7. Registering with the address of another person does not fill their mailbox either.
#[tokio::test(flavor = "multi_thread")]
async fn r8_an_address_is_mailed_five_confirmations_an_hour_at_most() {
    let app = TestApp::start().await;
    let ada = app.member("ada").await;
    let replies = join_all((0..12).map(|_| ada.post_empty("/api/verify-email/resend/"))).await;
    let (sent, refused): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 202);
    assert_eq!((sent.len(), refused.len()), (4, 8));
    assert!(sent.iter().all(|reply| reply.text().is_empty()));
    for reply in refused {
        assert_eq!(reply.clone().expect(429).code(), "rate_limited");
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((3_500..=3_600).contains(&wait), "{wait}");
    }
    app.jobs_done().await;
    assert_eq!(tokens(&app, "ada@example.org", VERIFY).len(), 5);
    // Somebody else's are counted apart, and an hour later there is more.
    let bob = app.member("bob").await;
    bob.post_empty("/api/verify-email/resend/").await.expect(202);
    wait_for_tokens(&app, "bob@example.org", VERIFY, 2).await;
    app.clock.advance(TimeDelta::minutes(61));
    app.login("ada").await.post_empty("/api/verify-email/resend/").await.expect(202);
    wait_for_tokens(&app, "ada@example.org", VERIFY, 6).await;
}

/// cases/accounts 1: the session that comes with the first confirmation stays.
#[tokio::test(flavor = "multi_thread")]
async fn a7_the_session_that_confirms_stays_and_others_end() {
    let app = TestApp::start().await;
    let ada = app.member("ada").await;
    let elsewhere = app.login("ada").await;
    let token = wait_for_tokens(&app, "ada@example.org", VERIFY, 1).await.remove(0);
    ada.post("/api/verify-email/", json!({ "token": token })).await.expect(204);
    assert_eq!(ada.get("/api/me/").await.expect(200).json()["email_verified"], true);
    ada.post_empty("/api/token/refresh/").await.expect(200);
    elsewhere.get("/api/me/").await.expect(401);
    elsewhere.post_empty("/api/token/refresh/").await.expect(401);
    // The password stays: a person may confirm in another place than they log in.
    app.login("ada").await;
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", "cleaned up"), 1);

    // Where nothing was added there is nothing to tell.
    let bob = app.member("bob").await;
    app.verify("bob").await;
    bob.get("/api/me/").await.expect(200);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "bob@example.org", "cleaned up"), 0);
    assert_eq!(
        app.database.value::<i64>("SELECT count(*) FROM security_events WHERE event = 'trust_reset'").await,
        1
    );
}
