//! The export: everything about oneself, nothing about others, no secret, and nothing forgotten when a table is added.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};

use crate::support::{VERIFY, forgot, wait_for_tokens};

/// Tables that refer to users, with the section that shows them, or why they show nowhere.
const TABLES: [(&str, &str); 33] = [
    ("avatars", "pictures"),
    ("balances", "balances"),
    ("discounts", "benefits"),
    ("email_changes", "email_changes"),
    ("email_verifications", "email_confirmations"),
    ("former_identities", "former_addresses"),
    ("identities", "identities"),
    ("ledger_entries", "ledger"),
    ("links", "page_links"),
    ("page_reports", "page_reports"),
    ("password_resets", "password_resets"),
    ("pending_registrations", "uses_of_the_address_by_others"),
    ("premium_periods", "benefits"),
    ("profiles", "page"),
    ("recovery_codes", "recovery_codes"),
    ("redemptions", "redemptions"),
    ("registration_keys", "registration_attempts"),
    ("reward_rule_sets", "rules_changed_by_this_account"),
    ("reward_tallies", "reward_tallies"),
    ("referral_counters", "referral_figures"),
    ("referral_days", "referral_days"),
    ("referrals", "referrals_made"),
    ("refresh_tokens", "refresh_tokens"),
    ("reward_decisions", "reward_decisions"),
    ("rewards", "rewards"),
    ("security_events", "security_events"),
    ("sessions", "sessions"),
    ("thumbnails", "pictures"),
    ("totp_factors", "authenticator_apps"),
    ("username_changes", "former_usernames"),
    ("usernames", "reserved_usernames"),
    ("users", "account"),
    ("outbox", "mails"),
];

#[tokio::test(flavor = "multi_thread")]
async fn v2_an_export_holds_everything_about_oneself_and_nothing_about_others() {
    let app = TestApp::start().await;
    let ada = app.member("ada").await;
    app.verify("ada").await;
    let code = app.code_of(&ada).await;
    app.client().get(&format!("/r/{code}")).await.expect(302);
    app.register("bob-the-friend", Some(&code)).await.expect(201);
    app.verify("bob-the-friend").await;
    app.stats_when(&ada, |stats| stats["successful"] == 1).await;
    forgot(&app, "ada@example.org").await.expect(202);
    app.jobs_done().await;
    let ada = app.login("ada").await;
    ada.post("/api/me/email/", json!({ "email": "new@example.org", "password": PASSWORD })).await.expect(202);
    let token = wait_for_tokens(&app, "new@example.org", VERIFY, 1).await.remove(0);
    app.client().post("/api/verify-email/", json!({ "token": token })).await.expect(204);
    app.jobs_done().await;

    let reply = ada.get("/api/me/export/").await.expect(200);
    assert_eq!(reply.header("content-disposition"), Some("attachment; filename=\"trellis-export.json\""));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let export = reply.json();
    assert!(export["exported_at"].is_string());
    let data = export["data"].as_object().unwrap();
    let rows = |name: &str| data[name].as_array().unwrap_or_else(|| panic!("{name}")).clone();
    assert_eq!(rows("account")[0]["email"], "new@example.org");
    assert_eq!(rows("account")[0]["has_password"], true);
    assert_eq!(rows("email_changes")[0]["old_email"], "ada@example.org");
    assert_eq!(rows("referrals_made")[0]["status"], "successful");
    assert_eq!(
        (&rows("ledger")[0]["amount"], &rows("balances")[0]["amount"]),
        (&json!("10.00"), &json!("10.00"))
    );
    assert_eq!(rows("sessions").len(), 2);
    assert_eq!(rows("referral_days")[0]["visits"], 1);
    let kinds: BTreeSet<_> =
        rows("mails").iter().map(|mail| mail["kind"].as_str().unwrap().to_owned()).collect();
    for kind in
        ["mail.email_change", "mail.email_changed", "mail.email_change_requested", "mail.password_reset"]
    {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    let last = rows("security_events").pop().unwrap();
    assert_eq!(last["event"], "data_exported", "the export is in itself");

    // Nothing of others, and no secret or its digest.
    let bob: String =
        app.database.value("SELECT id::text FROM users WHERE username = 'bob-the-friend'").await;
    let text = reply.text();
    for absent in [bob.as_str(), "bob-the-friend", "argon2", "token_hash", "password_hash", &token] {
        assert!(!text.contains(absent), "{absent} is in the export");
    }
    let hashes =
        app.database.query("SELECT encode(token_hash, 'hex') FROM refresh_tokens", &[]).await.unwrap();
    assert!(hashes.iter().all(|row| !text.contains(row.get::<_, &str>(0))));

    // Bob's has bob's side of the same referral, and nothing of ada.
    let bob = app.login("bob-the-friend").await.get("/api/me/export/").await.expect(200);
    let data: Value = bob.json()["data"].clone();
    assert_eq!(data["referral_of_this_account"][0]["status"], "successful");
    assert_eq!(data["account"][0]["was_referred"], true);
    let ada: String = app.database.value("SELECT id::text FROM users WHERE username = 'ada'").await;
    for absent in [ada.as_str(), "\"ada\"", "ada@", "new@example.org", code.as_str()] {
        assert!(!bob.text().contains(absent), "{absent} is in bob's export");
    }
    app.client().get("/api/me/export/").await.expect(401);
}

/// A table that is added shows in the export, or is said not to.
#[tokio::test(flavor = "multi_thread")]
async fn v2_every_table_that_refers_to_a_user_has_its_section() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let data = ada.get("/api/me/export/").await.expect(200).json()["data"].clone();
    let sql = "SELECT DISTINCT conrelid::regclass::text FROM pg_constraint
               WHERE contype = 'f' AND confrelid IN ('users'::regclass, 'sessions'::regclass, 'profiles'::regclass, 'links'::regclass)";
    for row in app.database.query(sql, &[]).await.unwrap() {
        let table: String = row.get(0);
        let section = TABLES.iter().find(|(known, _)| *known == table).map(|(_, section)| *section);
        let section = section.unwrap_or_else(|| panic!("{table} refers to users: which section shows it?"));
        assert!(data[section].is_array(), "{table} is to be shown as {section}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_handed_out_five_times_an_hour() {
    let app = TestApp::api_with(|settings| {
        settings.set("RATE_LIMITS", "on");
    })
    .await;
    let ada = app.member("ada").await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(ada.get("/api/me/export/").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    app.member("bob").await.get("/api/me/export/").await.expect(200);
}
