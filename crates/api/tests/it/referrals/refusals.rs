//! Whom nobody may bring: oneself, and those who come back.

use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

use crate::support::{VERIFY, wait_for_tokens};

use super::{count, quick_app, referrals, register, with_code};

/// `SQLSTATE` of a CHECK and of a UNIQUE key that refuse a row.
const CHECK: &str = "23514";
const UNIQUE: &str = "23505";

#[tokio::test(flavor = "multi_thread")]
async fn f2_f3_the_database_itself_refuses_a_second_referrer_and_oneself() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    app.register("bob", Some(&app.code_of(&ada).await)).await.expect(201);
    let row = |referrer: &str, referred: &str| {
        format!(
            "INSERT INTO referrals (id, referrer_id, referred_user_id, date_referred, status, reason, qualifies_at)
             SELECT gen_random_uuid(), a.id, b.id, now(), 'pending', 'x', now() FROM users a, users b
             WHERE a.username = '{referrer}' AND b.username = '{referred}'"
        )
    };
    for (statement, refusal) in [
        (row("ada", "ada"), CHECK),
        (row("ada", "bob"), UNIQUE),
        ("UPDATE referrals SET referred_user_id = referrer_id".to_owned(), CHECK),
        ("UPDATE users SET referred_by = id".to_owned(), CHECK),
    ] {
        let error = app.database.batch_execute(&statement).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), refusal, "{statement}");
    }
}

/// Asserts that a registration was made, that its referral was refused for this reason, and that even once the address
/// is confirmed nobody earns anything.
async fn assert_refused(app: &mut TestApp, referrer: &Client, reply: Reply, email: &str, reason: &str) {
    let reply = reply.expect(201).json();
    assert_eq!(reply["referral"], json!({ "status": "rejected" }), "{reason}");
    assert_eq!(referrals(referrer).await[0], ("rejected".to_owned(), reason.to_owned()));
    app.start_worker();
    // The deletion of an account is mailed to the same address, without a link.
    let token = wait_for_tokens(app, email, VERIFY, 1).await.remove(0);
    app.client().post("/api/verify-email/", json!({ "token": token })).await.expect(204);
    app.jobs_done().await;
    app.stop_worker().await;
    assert_eq!(referrals(referrer).await[0], ("rejected".to_owned(), reason.to_owned()));
    let stats = referrer.get("/api/referral-stats/").await.expect(200).json();
    assert_eq!(stats["successful"], 0);
    assert_eq!(count(app, "rewards").await, 0);
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_the_referrers_own_mailbox_in_another_spelling_is_refused() {
    let mut app = quick_app().await;
    let mut number = 0;
    for (own, other) in [
        ("ada.lovelace@gmail.com", "a.d.a.lovelace@gmail.com"),
        ("bob@gmail.com", "bob+friend@googlemail.com"),
        ("eve+shop@example.org", "EVE+news@Example.org"),
        ("mia@example.org", "mia+x@example.org"),
    ] {
        number += 1;
        register(&app.client(), own, &format!("owner{number}"), "", Value::Null).await.expect(201);
        let referrer = app.login(&format!("owner{number}")).await;
        let code = app.code_of(&referrer).await;
        let reply = register(&app.client(), other, &format!("other{number}"), "", with_code(&code)).await;
        let stored = other.to_lowercase();
        assert_refused(&mut app, &referrer, reply, &stored, "self_referral_same_email").await;
    }
    // Dots are somebody else's elsewhere.
    let referrer = app.login("owner4").await;
    let code = app.code_of(&referrer).await;
    let reply =
        register(&app.client(), "m.ia@example.org", "another", "", with_code(&code)).await.expect(201);
    assert_eq!(reply.json()["referral"]["status"], "pending");
}

/// Why a referral is refused that comes from the referrer's own browser.
const REASON: &str = "self_referral_same_browser";

#[tokio::test(flavor = "multi_thread")]
async fn f3_the_referrers_own_browser_is_refused() {
    let mut app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;

    let reply = register(&ada, "one@example.org", "one", "", with_code(&code)).await;
    assert_refused(&mut app, &ada, reply, "one@example.org", REASON).await;

    let bearer = json!({ "identifier": "ada", "password": PASSWORD, "transport": "bearer" });
    let token = app.client().post("/api/login/", bearer).await.expect(200).json()["access_token"].clone();
    let bearer = app.client().with_header("Authorization", &format!("Bearer {}", token.as_str().unwrap()));
    let reply = register(&bearer, "two@example.org", "two", "", with_code(&code)).await;
    assert_refused(&mut app, &ada, reply, "two@example.org", REASON).await;

    // After the logout the browser still remembers whose it is; by its link as well as by the code.
    let shared = app.login("ada").await;
    shared.post_empty("/api/logout/").await.expect(204);
    assert!(shared.cookie("access_token").is_none() && shared.cookie("device").is_some());
    shared.get(&format!("/r/{code}")).await.expect(302);
    let reply = register(&shared, "three@example.org", "three", "", Value::Null).await;
    assert_refused(&mut app, &ada, reply, "three@example.org", REASON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_somebody_elses_browser_and_forged_cookies_are_not() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let bob = app.member("bob").await;
    let code = app.code_of(&ada).await;
    let id = ada.get("/api/me/").await.json()["id"].as_str().unwrap().replace('-', "");
    let forger = app.client();
    forger.set_cookie("device", &format!("{id}.{}", "A".repeat(43)));
    let ended = ada.stolen();
    ended.set_cookie("device", "");
    ada.post_empty("/api/logout/").await.expect(204);
    for (name, browser) in [("one", &bob), ("two", &forger), ("three", &ended), ("four", &app.client())] {
        let reply =
            register(browser, &format!("{name}@example.org"), name, "", with_code(&code)).await.expect(201);
        assert_eq!(reply.json()["referral"]["status"], "pending", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_the_address_of_a_deleted_account_never_qualifies_again() {
    let mut app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    for (first, again) in [("bob@example.org", "bob@example.org"), ("e.ve@gmail.com", "eve+2@googlemail.com")]
    {
        let name = if first.starts_with("bob") { "bob" } else { "eve" };
        register(&app.client(), first, name, "", Value::Null).await.expect(201);
        let deleted = app.login(name).await;
        deleted.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
        let reply = register(&app.client(), again, &format!("{name}-again"), "", with_code(&code)).await;
        assert_refused(&mut app, &ada, reply, again, "email_of_deleted_account").await;
    }
}
