//! The first proof of a mailbox removes what was added to the account before: whatever it is, and however it is proved.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::authenticator::enrol;
use testkit::client::Client;
use testkit::provider::{Person, Provider};

use crate::oauth::trip::{app, back_at, callback, sign_in, way};
use crate::support::{
    Bearer, OTHER_PASSWORD, VERIFY, count_mails, refresh, reset, reset_token, wait_for_tokens,
};

const CLEANED: &str = "cleaned up";

/// Whether a table with a reference to users holds what lets a person in or take over. A new table is classified here, and one
/// that holds such a thing is emptied by `accounts::prove_mailbox`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// With the condition under which a row is of use.
    Credential(&'static str),
    Harmless,
}

const TABLES: &[(&str, Class)] = &[
    ("sessions", Class::Credential("ended_at IS NULL")),
    ("identities", Class::Credential("true")),
    ("totp_factors", Class::Credential("true")),
    ("recovery_codes", Class::Credential("true")),
    ("email_changes", Class::Credential("closed_at IS NULL")),
    // Their links go to the mailbox itself.
    ("password_resets", Class::Harmless),
    ("email_verifications", Class::Harmless),
    ("pending_registrations", Class::Harmless),
    // Answers a registration again, to the holder of its password; for a day.
    ("registration_keys", Class::Harmless),
    ("avatars", Class::Harmless),
    ("balances", Class::Harmless),
    ("discounts", Class::Harmless),
    ("former_identities", Class::Harmless),
    ("ledger_entries", Class::Harmless),
    ("links", Class::Harmless),
    ("page_reports", Class::Harmless),
    ("premium_periods", Class::Harmless),
    ("profiles", Class::Harmless),
    ("redemptions", Class::Harmless),
    ("referral_counters", Class::Harmless),
    ("referral_days", Class::Harmless),
    ("referrals", Class::Harmless),
    ("reward_decisions", Class::Harmless),
    ("reward_rule_sets", Class::Harmless),
    ("reward_tallies", Class::Harmless),
    ("rewards", Class::Harmless),
    ("security_events", Class::Harmless),
    ("username_changes", Class::Harmless),
    ("usernames", Class::Harmless),
    ("users", Class::Harmless),
];

/// How a mailbox is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Reset,
    Confirmation,
    EmailChange,
}

async fn prove(app: &TestApp, way: Way, eve: &Client, name: &str) {
    let victim = app.client();
    match way {
        Way::Reset => {
            let token = reset_token(app, name).await;
            reset(app, &token, OTHER_PASSWORD).await.expect(204);
        }
        Way::Confirmation => {
            let token = wait_for_tokens(app, &format!("{name}@example.org"), VERIFY, 1).await.remove(0);
            victim.post("/api/verify-email/", json!({ "token": token })).await.expect(204);
        }
        Way::EmailChange => {
            let address = format!("new-{name}@example.org");
            eve.post("/api/me/email/", json!({ "email": address, "password": PASSWORD })).await.expect(202);
            let token = wait_for_tokens(app, &address, VERIFY, 1).await.remove(0);
            // One more that waits: made by hand, because a newer request overtakes it.
            let sql = format!(
                "INSERT INTO email_changes (id, user_id, session_id, new_email, old_email, address_hash, created_at, expires_at)
                 SELECT gen_random_uuid(), id, gen_random_uuid(), 'later@example.org', email, '\\x00', now(), now() + interval '1 day'
                 FROM users WHERE username = '{name}'"
            );
            app.database.batch_execute(&sql).await.unwrap();
            victim.post("/api/verify-email/", json!({ "token": token })).await.expect(204);
        }
    }
}

async fn rows(app: &TestApp, name: &str) -> BTreeMap<&'static str, i64> {
    let mut counted = BTreeMap::new();
    for (table, class) in TABLES {
        if let Class::Credential(live) = class {
            let sql = format!(
                "SELECT count(*) FROM {table} t JOIN users u ON u.id = t.user_id WHERE u.username = '{name}' AND {live}"
            );
            counted.insert(*table, app.database.value(&sql).await);
        }
    }
    counted
}

/// A pre-hijacker fills every kind of credential of an account in the name of a victim.
async fn prepare(app: &TestApp, provider: &Provider, name: &str) -> (Client, Bearer) {
    app.register(name, None).await.expect(201);
    let eve = app.login(name).await;
    let bearer = Bearer::login(app, name).await;
    provider.is_good_with(Person { email: None, ..Person::new(&format!("eve-{name}")) });
    let asked = eve.post("/api/me/identities/acme/", json!({})).await.expect(200).json();
    let path = back_at(provider, &way(asked["authorization_url"].as_str().unwrap())).await;
    callback(&eve, &path).await.expect(303);
    let change = json!({ "email": format!("eve-{name}@evil.example"), "password": PASSWORD });
    eve.post("/api/me/email/", change).await.expect(202);
    (eve, bearer)
}

/// cases/accounts 1, 2: asked of the database, so that a table that comes later is not forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a7_every_table_of_a_user_is_classified() {
    let app = TestApp::api_only().await;
    let sql = "SELECT DISTINCT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND (
                   EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.confrelid = 'users'::regclass)
                   OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'user_id' AND NOT a.attisdropped))";
    let rows = app.database.query(sql, &[]).await.unwrap();
    for table in rows.iter().map(|row| row.get::<_, String>(0)) {
        assert!(TABLES.iter().any(|(known, _)| *known == table), "is {table} a credential of its user?");
    }
}

/// cases/accounts 1: identities, second factors, recovery codes, sessions and changes of address, by each way of proof.
#[tokio::test(flavor = "multi_thread")]
async fn a7_the_first_proof_of_a_mailbox_removes_all_credentials() {
    let provider = Provider::start().await;
    let mut app = app(&provider).await;
    app.start_worker();
    for (way, name) in [(Way::Reset, "one"), (Way::Confirmation, "two"), (Way::EmailChange, "three")] {
        let (eve, bearer) = prepare(&app, &provider, name).await;
        enrol(&app, &eve, PASSWORD).await;
        let before = rows(&app, name).await;
        assert!(before.values().all(|count| *count > 0), "{way:?}: {before:?}");

        prove(&app, way, &eve, name).await;
        let after = rows(&app, name).await;
        // The session that asked for the change typed the password, which stays good.
        let kept = i64::from(way == Way::EmailChange);
        for (table, count) in after {
            assert_eq!(count, if table == "sessions" { kept } else { 0 }, "{way:?}: {table}");
        }
        bearer.client.get("/api/me/").await.expect(401);
        refresh(&app, &bearer.refresh).await.expect(401);
        if way != Way::EmailChange {
            eve.get("/api/me/").await.expect(401);
        }
        let reply = sign_in(&app, &app.client(), &provider, "acme", "").await.expect(422);
        assert_eq!(reply.code(), "email_missing", "{way:?}: the identity leads nowhere");
        let sql = format!(
            "SELECT count(*) FROM security_events e JOIN users u ON u.id = e.user_id
             WHERE u.username = '{name}' AND e.event = 'trust_reset' AND e.reason LIKE '%identity providers%recovery codes%'"
        );
        assert_eq!(app.database.value::<i64>(&sql).await, 1, "{way:?}");
        app.jobs_done().await;
        let address = if way == Way::EmailChange {
            format!("new-{name}@example.org")
        } else {
            format!("{name}@example.org")
        };
        assert_eq!(count_mails(&app, &address, CLEANED), 1, "{way:?}");
        let mail = app.mail.mails().into_iter().rfind(|mail| mail.subject.contains(CLEANED)).unwrap();
        for words in ["the second factor", "recovery codes", "identity providers"] {
            assert!(mail.text.contains(words), "{words} is not in: {}", mail.text);
        }
    }
}

/// cases/accounts 2: an account that a provider made without vouching for the address.
#[tokio::test(flavor = "multi_thread")]
async fn a7_a_provider_that_does_not_vouch_loses_the_account() {
    let provider = Provider::start().await;
    let mut app = app(&provider).await;
    app.start_worker();
    for (name, by_reset) in [("ada", true), ("bob", false)] {
        let person = Person { email_verified: false, ..Person::new(name) };
        provider.is_good_with(person.clone());
        let eve = app.client();
        sign_in(&app, &eve, &provider, "acme", "").await.expect(303);
        if by_reset {
            let token = reset_token(&app, name).await;
            reset(&app, &token, OTHER_PASSWORD).await.expect(204);
            let body = json!({ "identifier": name, "password": OTHER_PASSWORD });
            app.client().post("/api/login/", body).await.expect(200);
        } else {
            app.verify_in(&app.client(), name).await;
        }
        eve.get("/api/me/").await.expect(401);
        let reply = sign_in(&app, &app.client(), &provider, "acme", "").await.expect(409);
        assert_eq!(reply.code(), "email_taken");
    }
    // A person who confirms in the browser that the provider signed in keeps their only way in.
    provider.is_good_with(Person { email_verified: false, ..Person::new("carol") });
    let carol = app.client();
    sign_in(&app, &carol, &provider, "acme", "").await.expect(303);
    app.verify_in(&carol, "carol").await;
    carol.get("/api/me/").await.expect(200);
    sign_in(&app, &app.client(), &provider, "acme", "").await.expect(303);
}

/// A provider that vouches for the account's own address, linked by its signed-in holder, proves the mailbox too.
#[tokio::test(flavor = "multi_thread")]
async fn a7_linking_a_provider_that_vouches_proves_the_mailbox() {
    let provider = Provider::start().await;
    let app = app(&provider).await;
    let eve = app.member("ada").await;
    let ada = app.login("ada").await;
    let link = async |person: Person| {
        provider.is_good_with(person);
        let asked = ada.post("/api/me/identities/acme/", json!({ "password": PASSWORD })).await.expect(200);
        let there = asked.json()["authorization_url"].as_str().unwrap().to_owned();
        callback(&ada, &back_at(&provider, &way(&there)).await).await.expect(303);
        ada.get("/api/me/").await.expect(200).json()["email_verified"].clone()
    };
    // Neither an address that nobody vouches for nor another person's says anything about the mailbox.
    assert_eq!(link(Person { email_verified: false, ..Person::new("ada") }).await, false);
    assert_eq!(link(Person { subject: "other".to_owned(), ..Person::new("bob") }).await, false);
    eve.get("/api/me/").await.expect(200);
    let vouched = Person { subject: "third".to_owned(), ..Person::new("ada") };
    assert_eq!(link(vouched).await, true);
    eve.get("/api/me/").await.expect(401);
    let identities = ada.get("/api/me/identities/").await.expect(200).json();
    assert_eq!(identities["items"].as_array().unwrap().len(), 1, "those from before are gone: {identities}");
}

/// cases/accounts 3, 4: the reset takes a foreign second factor away, and confirms the address.
#[tokio::test(flavor = "multi_thread")]
async fn a7_a_reset_opens_an_account_with_a_foreign_second_factor() {
    let app = TestApp::start().await;
    let grace = app.member("grace").await;
    let code = app.code_of(&grace).await;
    app.register("victim", Some(&code)).await.expect(201);
    let eve = app.login("victim").await;
    enrol(&app, &eve, PASSWORD).await;
    let token = reset_token(&app, "victim").await;
    reset(&app, &token, OTHER_PASSWORD).await.expect(204);
    let victim = app.client();
    let body = json!({ "identifier": "victim", "password": OTHER_PASSWORD });
    victim.post("/api/login/", body).await.expect(200);
    let me: Value = victim.get("/api/me/").await.expect(200).json();
    assert_eq!(me["email_verified"], true);
    app.stats_when(&grace, |stats| stats["successful"] == 1).await;
    // The link of the registration's mail is still good for a click, and removes nothing more.
    let (_, codes) = enrol(&app, &victim, OTHER_PASSWORD).await;
    assert_eq!(codes.len(), 10);
    let confirmation = wait_for_tokens(&app, "victim@example.org", VERIFY, 1).await.remove(0);
    app.client().post("/api/verify-email/", json!({ "token": confirmation })).await.expect(204);
    let factors = victim.get("/api/me/factors/").await.expect(200).json();
    assert_eq!(factors["recovery_codes_left"], 10);
}
