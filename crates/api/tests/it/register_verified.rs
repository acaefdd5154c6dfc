//! Registering with `REGISTRATION=verified`: nobody learns who has an account, names are kept either way, and only whoever
//! reads the mailbox gets in.

use chrono::TimeDelta;
use domain::token::Token;
use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};
use testkit::config::TestSettings;
use testkit::dump;

use crate::support::{OTHER_PASSWORD, assert_alike, count_mails, login_status, tokens, wait_for_tokens};
use crate::timing::{Medians, PAIRS};

/// The page that the mails of registrations lead to.
const CONFIRM: &str = "/register/confirm?";

const TAKEN: &str = "You already have an account";

fn verified(settings: &mut TestSettings) {
    settings.set("REGISTRATION", "verified");
}

async fn start() -> TestApp {
    let mut app = TestApp::api_with(|settings| {
        verified(settings);
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await;
    app.start_worker();
    app
}

async fn register(app: &TestApp, email: &str, username: &str) -> Reply {
    let body = json!({ "email": email, "username": username, "password": PASSWORD });
    app.client().post("/api/register/", body).await
}

async fn confirm(client: &Client, token: &str, password: &str) -> Reply {
    client.post("/api/register/confirm/", json!({ "token": token, "password": password })).await
}

/// An answer without its only cookie, which differs each time: the browser remembers its registration by it.
fn without_registration(mut reply: Reply) -> Reply {
    let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies.len(), 1);
    let line = cookies[0].to_str().unwrap();
    assert!(line.starts_with("registration=") && line.contains("HttpOnly"), "{line}");
    reply.headers.remove("set-cookie");
    reply
}

/// Somebody who registered and confirmed, signed in.
async fn member(app: &TestApp, username: &str) -> Client {
    let email = format!("{username}@example.org");
    register(app, &email, username).await.expect(202);
    app.confirm_registration(&email).await.expect(201);
    app.login(username).await
}

async fn count(app: &TestApp, rows: &str) -> i64 {
    app.database.value(&format!("SELECT count(*) FROM {rows}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_known_and_an_unknown_address_are_answered_alike_and_the_owner_is_told() {
    let app = start().await;
    member(&app, "ada").await;
    let replies = [
        ("unknown", register(&app, "new@example.org", "new-one").await),
        ("taken", register(&app, "ada@example.org", "new-two").await),
        ("taken, written otherwise", register(&app, " ADA@Example.ORG", "new-three").await),
        ("without a password", {
            let body = json!({ "email": "other@example.org", "username": "new-four" });
            app.client().post("/api/register/", body).await
        }),
    ];
    let replies = replies.map(|(name, reply)| (name, without_registration(reply)));
    let reply = assert_alike(&replies).expect(202);
    assert_eq!(reply.text(), "");
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", TAKEN), 2, "one for each that was tried");
    assert_eq!(count_mails(&app, "new@example.org", "Finish creating your account"), 1);
    assert_eq!(count_mails(&app, "new@example.org", TAKEN), 0);
    let told = app.mail.mails().into_iter().find(|mail| mail.subject == TAKEN).unwrap();
    assert!(told.text.contains("Hello ada,") && !told.text.contains("new-two"), "{}", told.text);
    assert_eq!(told.token(), None, "there is nothing to confirm");
    assert_eq!(count(&app, "users").await, 1);
    assert_eq!(count(&app, "users WHERE password_hash IS NULL").await, 0);
    // Whoever tried the taken address left nothing of it.
    assert_eq!(count(&app, "pending_registrations WHERE holder_id IS NOT NULL AND email IS NULL").await, 2);
}

/// How long registering takes with an address that has an account, and with one that has none.
async fn times(app: &TestApp) -> Medians {
    register(app, "ada@example.org", "ada").await.expect(202);
    app.confirm_registration("ada@example.org").await.expect(201);
    let client = app.client();
    let number = std::cell::Cell::new(0);
    let ask = |known: bool| {
        number.set(number.get() + 1);
        let n = number.get();
        let email = if known { "ada@example.org".to_owned() } else { format!("new{n}@example.org") };
        let body = json!({ "email": email, "username": format!("name-{n}"), "password": PASSWORD });
        let client = client.clone();
        async move { client.post("/api/register/", body).await.expect(202) }
    };
    Medians::of(PAIRS, || ask(true), || ask(false)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_it_takes_as_long_for_a_known_address() {
    let mut app = TestApp::api_with(verified).await;
    app.start_worker();
    let medians = times(&app).await;
    assert!(!medians.differ(), "{medians:?}");
}

/// Here the address is looked up within the request, and a new one costs what hashing its password would: the same
/// statistic tells the two apart.
#[tokio::test(flavor = "multi_thread")]
async fn a5_the_test_notices_when_a_new_address_costs_a_hash() {
    let mut app = TestApp::api_with(verified).await;
    app.start_worker();
    let careless = "
        CREATE FUNCTION look_it_up() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NOT EXISTS (SELECT FROM users WHERE email = NEW.email) THEN PERFORM pg_sleep(0.015); END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER look_it_up BEFORE INSERT ON pending_registrations
            FOR EACH ROW EXECUTE FUNCTION look_it_up()";
    app.database.batch_execute(careless).await.unwrap();
    let medians = times(&app).await;
    assert!(medians.differ(), "{medians:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_the_name_is_kept_in_both_cases_until_it_runs_out() {
    let app = start().await;
    let ada = member(&app, "ada").await;
    register(&app, "new@example.org", "name.one").await.expect(202);
    register(&app, "ada@example.org", "name.two").await.expect(202);
    for worked in [false, true] {
        if worked {
            app.jobs_done().await;
        }
        for name in ["name.one", "name.two", "NAME.0ne", "name.tw0"] {
            let reply = register(&app, "third@example.org", name).await.expect(409);
            assert_eq!(reply.code(), "username_taken", "{name}");
            let reply = ada.patch("/api/me/", json!({ "username": name })).await.expect(409);
            assert_eq!(reply.code(), "username_taken", "{name}");
        }
    }
    // Asking again with the same address is no conflict, in either case.
    let again = [
        ("unknown", without_registration(register(&app, "new@example.org", "name.one").await)),
        ("taken", without_registration(register(&app, "ada@example.org", "name.two").await)),
    ];
    assert_alike(&again).expect(202);
    app.clock.advance(TimeDelta::hours(48));
    for (name, email) in [("name.one", "third@example.org"), ("name.two", "fourth@example.org")] {
        register(&app, email, name).await.expect(202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_of_parallel_registrations_of_one_name_one_keeps_it() {
    let app = start().await;
    let replies = join_all((0..20).map(|index| {
        let username = if index % 2 == 0 { "carol.1" } else { "carol.l" };
        let body = json!({ "email": format!("c{index}@example.org"), "username": username });
        let client = app.client();
        async move { client.post("/api/register/", body).await }
    }))
    .await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 202).count(), 1);
    assert!(replies.iter().all(|reply| reply.status == 202 || reply.code() == "username_taken"));
    assert_eq!(count(&app, "pending_registrations").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_whoever_registers_somebody_elses_address_never_gets_in() {
    let app = start().await;
    let attacker = app.client();
    let body = json!({ "email": "victim@example.org", "username": "victim", "password": PASSWORD });
    attacker.post("/api/register/", body).await.expect(202);
    assert_eq!(attacker.cookie("access_token"), None);
    assert_eq!(login_status(&app, "victim", PASSWORD).await, 401, "there is no account yet");
    assert_eq!(dump::holding(&app.database, "argon2").await, [""; 0], "no password is kept");

    let token = wait_for_tokens(&app, "victim@example.org", CONFIRM, 1).await.remove(0);
    let victim = app.client();
    // The page of this mode asks for no password, and the one that the mail leads to does. Opening it spends nothing.
    let page = app.client().get("/register").await.expect(200).text();
    assert!(page.contains("name=\"email\"") && !page.contains("name=\"password\""), "{page}");
    let page = victim.get(&format!("/register/confirm?token={token}")).await.expect(200).text();
    assert!(page.contains("name=\"password\"") && !page.contains(&token), "{page}");
    assert_eq!(count(&app, "users").await, 0);
    let reply = confirm(&victim, &token, OTHER_PASSWORD).await.expect(201);
    assert!(!reply.headers.contains_key("set-cookie"), "registering does not sign in");
    let user = &reply.json()["user"];
    assert_eq!((&user["email_verified"], &user["username"]), (&json!(true), &json!("victim")));
    for identifier in ["victim", "victim@example.org"] {
        assert_eq!(login_status(&app, identifier, PASSWORD).await, 401);
        assert_eq!(login_status(&app, identifier, OTHER_PASSWORD).await, 200);
    }
    attacker.get("/api/me/").await.expect(401);
    // The attacker's later tries, with the token's page or the same names, lead nowhere either.
    let later = json!({ "email": "victim@example.org", "username": "victim", "password": PASSWORD });
    assert_eq!(attacker.post("/api/register/", later).await.expect(409).code(), "username_taken");
    let later = json!({ "email": "victim@example.org", "username": "victim-2", "password": PASSWORD });
    attacker.post("/api/register/", later).await.expect(202);
    app.jobs_done().await;
    assert_eq!(tokens(&app, "victim@example.org", CONFIRM).len(), 1);
    let sessions = count(&app, "sessions").await;
    assert_eq!(sessions, 2, "the victim's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_the_reader_of_the_mail_may_choose_another_name() {
    let app = start().await;
    member(&app, "ada").await;
    register(&app, "bob@example.org", "not-what-bob-wants").await.expect(202);
    let token = wait_for_tokens(&app, "bob@example.org", CONFIRM, 1).await.remove(0);
    let choose = |name: &str| json!({ "token": token, "password": OTHER_PASSWORD, "username": name });
    let client = app.client();
    let reply = client.post("/api/register/confirm/", choose("ada")).await.expect(409);
    assert_eq!(reply.code(), "username_taken", "the token is not spent by that");
    let reply = client.post("/api/register/confirm/", choose("admin")).await.expect(422);
    assert_eq!(reply.errors(), ["/username username_reserved"]);
    register(&app, "carol@example.org", "carol").await.expect(202);
    client.post("/api/register/confirm/", choose("carol")).await.expect(409);
    let reply = client.post("/api/register/confirm/", choose("bob")).await.expect(201).json();
    assert_eq!(reply["user"]["username"], "bob");
    // The first name is free again.
    register(&app, "dan@example.org", "not-what-bob-wants").await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_of_parallel_confirmations_one_makes_an_account() {
    let app = start().await;
    // Two registrations of one address, and ten uses of each link.
    register(&app, "ada@example.org", "ada").await.expect(202);
    register(&app, "ada@example.org", "ada-two").await.expect(202);
    let links = wait_for_tokens(&app, "ada@example.org", CONFIRM, 2).await;
    let client = app.client();
    let replies = join_all((0..20).map(|n| confirm(&client, &links[n % 2], PASSWORD))).await;
    let mut statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [&[201][..], &[400; 19]].concat());
    assert!(replies.iter().filter(|reply| reply.status == 400).all(|reply| reply.code() == "invalid_token"));
    assert_eq!(count(&app, "users").await, 1);
    assert_eq!(count(&app, "referral_counters").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_every_bad_link_is_answered_alike_and_a_weak_password_spends_none() {
    let app = start().await;
    for name in ["ada", "bob"] {
        register(&app, &format!("{name}@example.org"), name).await.expect(202);
    }
    let used = wait_for_tokens(&app, "ada@example.org", CONFIRM, 1).await.remove(0);
    let expired = wait_for_tokens(&app, "bob@example.org", CONFIRM, 1).await.remove(0);
    let client = app.client();
    for (weak, code) in [("short", "too_short"), ("ada@example.org", "weak_password")] {
        let reply = confirm(&client, &used, weak).await.expect(422);
        assert_eq!(reply.errors(), [format!("/password {code}")]);
    }
    confirm(&client, &used, PASSWORD).await.expect(201);
    app.clock.advance(TimeDelta::hours(48));
    let unknown = Token::random().expose();
    let mut replies = Vec::new();
    for (name, token) in
        [("unknown", unknown.as_str()), ("used", &used), ("expired", &expired), ("a text", "x")]
    {
        replies.push((name, confirm(&client, token, PASSWORD).await));
    }
    assert_eq!(assert_alike(&replies).expect(400).code(), "invalid_token");
    // Nor is it good anywhere else.
    client.post("/api/verify-email/", json!({ "token": used })).await.expect(400);
    crate::support::reset(&app, &used, PASSWORD).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn r8_an_address_is_mailed_three_times_an_hour_at_most_whoever_registers_it() {
    let app = start().await;
    member(&app, "ada").await;
    app.clock.advance(TimeDelta::hours(2));
    for (address, name) in [("ada@example.org", "known"), ("new@example.org", "unknown")] {
        for n in 0..7 {
            register(&app, address, &format!("{name}-{n}")).await.expect(202);
        }
        register(&app, address, &format!("{name}-0")).await.expect(202);
    }
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", TAKEN), 3);
    assert_eq!(count_mails(&app, "new@example.org", "Finish creating"), 3);
    // The links that were mailed stay good.
    let first = tokens(&app, "new@example.org", CONFIRM).remove(0);
    confirm(&app.client(), &first, PASSWORD).await.expect(201);
    app.clock.advance(TimeDelta::hours(1));
    register(&app, "ada@example.org", "one-more").await.expect(202);
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", TAKEN), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_who_registers_with_a_code_counts_once_the_account_is_made() {
    let app = start().await;
    let ada = member(&app, "ada").await;
    let code = app.code_of(&ada).await;
    let unknown = json!({ "email": "bob@example.org", "username": "bob", "referral_code": "0000000000" });
    let reply = app.client().post("/api/register/", unknown).await.expect(422);
    assert_eq!(reply.errors(), ["/referral_code invalid_referral_code"]);

    // A typed code, a link's query, a link's cookie, and a link that leads to nobody.
    let typed = json!({ "email": "bob@example.org", "username": "bob", "referral_code": code });
    app.client().post("/api/register/", typed).await.expect(202);
    let plain = |name: &str| json!({ "email": format!("{name}@example.org"), "username": name });
    app.client().post(&format!("/api/register/?referral={code}"), plain("carol")).await.expect(202);
    let follower = app.client();
    follower.get(&format!("/r/{code}")).await.expect(302);
    follower.post("/api/register/", plain("dan")).await.expect(202);
    app.client().post("/api/register/?referral=nobody", plain("eve")).await.expect(202);
    assert_eq!(count(&app, "referrals").await, 0);
    for name in ["bob", "carol", "dan"] {
        let reply = app.confirm_registration(&format!("{name}@example.org")).await.expect(201);
        assert_eq!(reply.json()["referral"], json!({ "status": "pending" }), "{name}");
    }
    let reply = app.confirm_registration("eve@example.org").await.expect(201);
    assert_eq!(reply.json()["referral"], Value::Null);
    app.stats_when(&ada, |stats| stats["successful"] == 3).await;

    // What speaks against a referral is known from either browser, and by the address.
    ada.post(&format!("/api/register/?referral={code}"), plain("self-one")).await.expect(202);
    app.client().post(&format!("/api/register/?referral={code}"), plain("self-two")).await.expect(202);
    let reply = app.confirm_registration("self-one@example.org").await.expect(201);
    assert_eq!(reply.json()["referral"], json!({ "status": "rejected" }));
    let token = wait_for_tokens(&app, "self-two@example.org", CONFIRM, 1).await.remove(0);
    let reply = confirm(&ada, &token, OTHER_PASSWORD).await.expect(201);
    assert_eq!(reply.json()["referral"], json!({ "status": "rejected" }));
    app.jobs_done().await;
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_confirms_though_whoever_brought_them_is_gone() {
    let app = start().await;
    let ada = member(&app, "ada").await;
    let code = app.code_of(&ada).await;
    let typed = json!({ "email": "bob@example.org", "username": "bob", "referral_code": code });
    app.client().post("/api/register/", typed).await.expect(202);
    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    let reply = app.confirm_registration("bob@example.org").await.expect(201);
    assert_eq!(reply.json()["referral"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_a_deletion_leaves_nothing_of_registrations_that_named_the_address() {
    let mut app = start().await;
    let ada = member(&app, "ada").await;
    register(&app, "ada@example.org", "somebody").await.expect(202);
    app.jobs_done().await;
    app.stop_worker().await;
    register(&app, "ada@example.org", "somebody-else").await.expect(202);
    assert!(dump::holding(&app.database, "ada@example.org").await.len() >= 2);
    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    assert_eq!(dump::holding(&app.database, "ada@example.org").await, [""; 0]);
    assert_eq!(count(&app, "pending_registrations").await, 0);
    app.start_worker();
    app.jobs_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_that_mode_nothing_changes() {
    let app = TestApp::api_only().await;
    app.register("ada", None).await.expect(201);
    let reply = register(&app, "ada@example.org", "another").await.expect(409);
    assert_eq!(reply.code(), "email_taken");
    let body = json!({ "email": "bob@example.org", "username": "bob" });
    let reply = app.client().post("/api/register/", body).await.expect(422);
    assert_eq!(reply.errors(), ["/password required"]);
    let body = json!({ "token": Token::random().expose(), "password": PASSWORD });
    app.client().post("/api/register/confirm/", body).await.expect(400);
}

/// cases/accounts 21: a typo in the address does not keep the name from the browser that made it.
#[tokio::test(flavor = "multi_thread")]
async fn a6_a_browser_may_correct_its_own_registration() {
    let mut app = TestApp::api_with(verified).await;
    let body = |email: &str| json!({ "email": email, "username": "ada" });
    let (browser, other) = (app.client(), app.client());
    browser.post("/api/register/", body("adda@example.org")).await.expect(202);
    other.post("/api/register/", json!({ "email": "bob@example.org", "username": "bob" })).await.expect(202);
    // Another browser, with a registration of its own or without, and one that makes its cookie up.
    for stranger in [&other, &app.client()] {
        let reply = stranger.post("/api/register/", body("eve@example.org")).await.expect(409);
        assert_eq!(reply.code(), "username_taken");
    }
    let forged = app.client();
    let value = browser.cookie("registration").unwrap().value;
    forged.set_cookie("registration", &format!("{value}x"));
    forged.post("/api/register/", body("eve@example.org")).await.expect(409);

    browser.post("/api/register/", body("ada@example.org")).await.expect(202);
    assert_eq!(count(&app, "pending_registrations WHERE reserves AND username = 'ada'").await, 1);
    assert_eq!(dump::holding(&app.database, "adda@example.org").await, [""; 0], "the first one is closed");
    other.post("/api/register/", body("eve@example.org")).await.expect(409);
    app.start_worker();
    app.jobs_done().await;
    assert_eq!(tokens(&app, "adda@example.org", CONFIRM).len(), 0);
    app.confirm_registration("ada@example.org").await.expect(201);

    // A link that was mailed before the correction is void.
    browser
        .post("/api/register/", json!({ "email": "wrong@example.org", "username": "cat" }))
        .await
        .expect(202);
    let wrong = wait_for_tokens(&app, "wrong@example.org", CONFIRM, 1).await.remove(0);
    browser
        .post("/api/register/", json!({ "email": "cat@example.org", "username": "cat" }))
        .await
        .expect(202);
    confirm(&app.client(), &wrong, PASSWORD).await.expect(400);
    // The same browser may register a second person without closing the first.
    browser
        .post("/api/register/", json!({ "email": "dog@example.org", "username": "dog" }))
        .await
        .expect(202);
    app.confirm_registration("cat@example.org").await.expect(201);
}
