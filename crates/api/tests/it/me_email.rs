//! Another e-mail address: with the password, when the new address confirms, and with word to the old one.

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::json;
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};
use testkit::dump;

use crate::support::{
    Bearer, OTHER_PASSWORD, RESET, VERIFY, assert_alike, count_mails, forgot, login_status, reset, tokens,
    wait_for_tokens,
};

const NEW: &str = "new@example.org";
const ASKED: &str = "A new e-mail address for your account";
const CHANGED: &str = "Your e-mail address was changed";

async fn start() -> TestApp {
    let mut app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await;
    app.start_worker();
    app
}

async fn ask(client: &Client, email: &str) -> Reply {
    client.post("/api/me/email/", json!({ "email": email, "password": PASSWORD })).await
}

async fn confirm(app: &TestApp, token: &str) -> Reply {
    app.client().post("/api/verify-email/", json!({ "token": token })).await
}

/// The token of the newest link to an address.
async fn token_to(app: &TestApp, address: &str, count: usize) -> String {
    wait_for_tokens(app, address, VERIFY, count).await.pop().unwrap()
}

async fn email_of(client: &Client) -> String {
    client.get("/api/me/").await.expect(200).json()["email"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a18_f1_a_new_address_needs_the_password_and_its_confirmation_and_the_old_one_is_told() {
    let app = start().await;
    let ada = app.member("ada").await;
    app.verify("ada").await;
    let code = app.code_of(&ada).await;
    let elsewhere = app.login("ada").await;
    let bearer = Bearer::login(&app, "ada").await;

    let wrong = json!({ "email": NEW, "password": OTHER_PASSWORD });
    assert_eq!(ada.post("/api/me/email/", wrong).await.expect(401).code(), "invalid_credentials");
    ada.post("/api/me/email/", json!({ "email": NEW })).await.expect(422);
    app.client().post("/api/me/email/", json!({ "email": NEW, "password": PASSWORD })).await.expect(401);
    let reply = ask(&ada, "Ada@Example.org").await.expect(422);
    assert_eq!(reply.errors(), ["/email invalid_value"], "that is the address already");
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", ASKED), 0);

    assert_eq!(ask(&ada, NEW).await.expect(202).text(), "");
    let token = token_to(&app, NEW, 1).await;
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", ASKED), 1);
    // Until it is confirmed nothing changes.
    assert_eq!(email_of(&ada).await, "ada@example.org");
    assert_eq!(login_status(&app, NEW, PASSWORD).await, 401);
    assert_eq!(login_status(&app, "ada@example.org", PASSWORD).await, 200);
    elsewhere.get("/api/me/").await.expect(200);

    confirm(&app, &token).await.expect(204);
    assert_eq!(email_of(&ada).await, NEW, "the session that asked goes on");
    let me = ada.get("/api/me/").await.expect(200).json();
    assert_eq!((&me["email_verified"], me["referral_code"].as_str().unwrap()), (&json!(true), code.as_str()));
    elsewhere.get("/api/me/").await.expect(401);
    bearer.client.get("/api/me/").await.expect(401);
    crate::support::refresh(&app, &bearer.refresh).await.expect(401);
    assert_eq!(login_status(&app, "ada@example.org", PASSWORD).await, 401);
    assert_eq!(login_status(&app, NEW, PASSWORD).await, 200);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", CHANGED), 1);
    assert_eq!(count_mails(&app, NEW, CHANGED), 0);
    confirm(&app, &token).await.expect(400);
    let valid = app.client().get(&format!("/api/referral-codes/{code}/")).await.json();
    assert_eq!(valid, json!({ "valid": true }), "the code stays");
    let events = ada.get("/api/me/security-events/").await.expect(200).json();
    let events: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| &event["event"]).collect();
    for event in ["email_change_requested", "email_changed"] {
        assert!(events.contains(&&json!(event)), "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a18_nobody_learns_whether_the_new_address_has_an_account() {
    let app = start().await;
    let ada = app.member("ada").await;
    app.register("bob", None).await.expect(201);
    let replies =
        [("unknown", ask(&ada, "nobody@example.org").await), ("taken", ask(&ada, "bob@example.org").await)];
    assert_alike(&replies).expect(202);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "bob@example.org", "You already have an account"), 1);
    assert_eq!(tokens(&app, "bob@example.org", VERIFY).len(), 1, "the one of bob's own registration");
    let told = app.mail.mails().into_iter().find(|mail| mail.subject.contains("already")).unwrap();
    assert!(told.text.contains("Hello bob,") && !told.text.contains("ada"), "{}", told.text);
    assert_eq!(email_of(&ada).await, "ada@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn a18_the_newest_request_counts_and_a_new_password_stops_it() {
    let app = start().await;
    let ada = app.member("ada").await;
    ask(&ada, NEW).await.expect(202);
    let overtaken = token_to(&app, NEW, 1).await;
    ask(&ada, "newer@example.org").await.expect(202);
    confirm(&app, &overtaken).await.expect(400);
    let newer = token_to(&app, "newer@example.org", 1).await;
    // The owner reads the notice, and takes the account back by mail.
    forgot(&app, "ada@example.org").await.expect(202);
    let token = wait_for_tokens(&app, "ada@example.org", RESET, 1).await.remove(0);
    reset(&app, &token, OTHER_PASSWORD).await.expect(204);
    confirm(&app, &newer).await.expect(400);
    assert_eq!(login_status(&app, "ada@example.org", OTHER_PASSWORD).await, 200);

    let ada = app.member("eve").await;
    ask(&ada, NEW).await.expect(202);
    let token = token_to(&app, NEW, 2).await;
    let change = json!({ "current_password": PASSWORD, "password": OTHER_PASSWORD });
    ada.post("/api/me/password/", change).await.expect(204);
    confirm(&app, &token).await.expect(400);
    app.clock.advance(TimeDelta::hours(2));
    let again = json!({ "email": NEW, "password": OTHER_PASSWORD });
    ada.post("/api/me/email/", again).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_a_change_of_address_voids_reset_links_of_the_old_one() {
    let mut app = start().await;
    let ada = app.member("ada").await;
    ask(&ada, NEW).await.expect(202);
    let token = token_to(&app, NEW, 1).await;
    forgot(&app, "ada@example.org").await.expect(202);
    let mailed = wait_for_tokens(&app, "ada@example.org", RESET, 1).await.remove(0);
    let verification = tokens(&app, "ada@example.org", VERIFY).remove(0);
    app.jobs_done().await;
    app.stop_worker().await;
    // One that no worker has seen yet.
    forgot(&app, "ada@example.org").await.expect(202);
    confirm(&app, &token).await.expect(204);
    reset(&app, &mailed, OTHER_PASSWORD).await.expect(400);
    confirm(&app, &verification).await.expect(400);
    app.start_worker();
    app.jobs_done().await;
    assert_eq!(tokens(&app, "ada@example.org", RESET).len(), 1);
    assert_eq!(login_status(&app, NEW, PASSWORD).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a18_of_several_accounts_that_want_one_address_one_gets_it() {
    let app = start().await;
    let mut clients = Vec::new();
    for name in ["ada", "bob", "carol"] {
        clients.push(app.member(name).await);
    }
    join_all(clients.iter().map(|client| async { ask(client, NEW).await.expect(202) })).await;
    let links = wait_for_tokens(&app, NEW, VERIFY, 3).await;
    let replies = join_all((0..12).map(|n| confirm(&app, &links[n % 3]))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 204).count(), 1);
    assert!(replies.iter().all(|reply| reply.status == 204 || reply.code() == "invalid_token"));
    let holders: i64 = app.database.value(&format!("SELECT count(*) FROM users WHERE email = '{NEW}'")).await;
    assert_eq!(holders, 1);
    // Somebody who registers the address meanwhile has it.
    let dan = app.member("dan").await;
    ask(&dan, "late@example.org").await.expect(202);
    let token = token_to(&app, "late@example.org", 1).await;
    app.register("late", None).await.expect(201);
    confirm(&app, &token).await.expect(400);
    assert_eq!(email_of(&dan).await, "dan@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_a_mailbox_is_written_to_three_times_an_hour_at_most_because_of_changes() {
    let app = start().await;
    app.register("victim", None).await.expect(201);
    for index in 0..5 {
        ask(&app.member(&format!("one-{index}")).await, "victim@example.org").await.expect(202);
        ask(&app.member(&format!("two-{index}")).await, NEW).await.expect(202);
    }
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "victim@example.org", "You already have an account"), 3);
    assert_eq!(tokens(&app, NEW, VERIFY).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_a_changed_address_hides_nobody_from_the_rules_of_referrals() {
    let app = start().await;
    let ada = app.member("ada").await;
    app.verify("ada").await;
    let code = app.code_of(&ada).await;
    let reason = async |name: &str| -> String {
        let sql = format!(
            "SELECT r.reason FROM referrals r JOIN users u ON u.id = r.referred_user_id WHERE u.username = '{name}'"
        );
        app.database.value(&sql).await
    };
    ask(&ada, NEW).await.expect(202);
    confirm(&app, &token_to(&app, NEW, 1).await).await.expect(204);
    let register = async |email: &str, username: &str, code: &str| {
        let body =
            json!({ "email": email, "username": username, "password": PASSWORD, "referral_code": code });
        app.client().post("/api/register/", body).await.expect(201).json()["referral"].clone()
    };
    // The referrer's former mailbox, under another spelling.
    assert_eq!(register("ada+x@example.org", "ada-again", &code).await, json!({ "status": "rejected" }));
    assert_eq!(reason("ada-again").await, "self_referral_same_email");
    // Somebody else's code does not make a stranger of them.
    let eve = app.member("eve").await;
    let eves = app.code_of(&eve).await;
    assert_eq!(register("ada@example.org", "ada-third", &eves).await, json!({ "status": "rejected" }));
    assert_eq!(reason("ada-third").await, "email_used_before");

    // Registered with any address, changed to the referrer's own mailbox.
    let body = json!({ "email": "mule@example.org", "username": "mule", "password": PASSWORD, "referral_code": eves });
    app.client().post("/api/register/", body).await.expect(201);
    let mule = app.login("mule").await;
    ask(&mule, "eve+mule@example.org").await.expect(202);
    confirm(&app, &token_to(&app, "eve+mule@example.org", 1).await).await.expect(204);
    app.jobs_done().await;
    assert_eq!(reason("mule").await, "self_referral_same_email");
    // An honest friend who mends a typing error counts.
    let body = json!({ "email": "fred@exmaple.org", "username": "fred", "password": PASSWORD, "referral_code": eves });
    app.client().post("/api/register/", body).await.expect(201);
    let fred = app.login("fred").await;
    ask(&fred, "fred@example.org").await.expect(202);
    confirm(&app, &token_to(&app, "fred@example.org", 1).await).await.expect(204);
    app.stats_when(&eve, |stats| stats["successful"] == 1).await;
    app.jobs_done().await;
    app.check_ledger().await;

    // After a deletion every address that was theirs is remembered, as a keyed hash.
    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    for (email, name) in [("ada+2@example.org", "back-one"), (NEW, "back-two")] {
        register(email, name, &eves).await;
        assert_eq!(reason(name).await, "email_of_deleted_account", "{email}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_a_deletion_leaves_nothing_of_any_address_that_was_named() {
    let mut app = start().await;
    let ada = app.member("ada").await;
    app.verify("ada").await;
    ask(&ada, NEW).await.expect(202);
    confirm(&app, &token_to(&app, NEW, 1).await).await.expect(204);
    ask(&ada, "third@example.org").await.expect(202);
    let bob = app.member("bob").await;
    ask(&bob, NEW).await.expect(202);
    app.jobs_done().await;
    app.stop_worker().await;
    ask(&bob, NEW).await.expect(202);
    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    for address in ["ada@example.org", NEW, "third@example.org"] {
        assert_eq!(dump::holding(&app.database, address).await, [""; 0], "{address}");
    }
    app.start_worker();
    app.jobs_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_asking_for_addresses_is_limited_by_account() {
    let app = TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on").set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await;
    let ada = app.member("ada").await;
    let mut statuses = Vec::new();
    for n in 0..6 {
        statuses.push(ask(&ada, &format!("n{n}@example.org")).await.status);
    }
    assert_eq!(statuses, [202, 202, 202, 202, 202, 429]);
    let bob = app.member("bob").await;
    ask(&bob, NEW).await.expect(202);
}
