//! Deleting an account: what goes, what stays reserved, what becomes of its referrals and credits.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp, eventually};
use testkit::client::Client;
use testkit::dump;

use crate::support::{Bearer, OTHER_PASSWORD, RESET, VERIFY, forgot, login_status, refresh, tokens};

async fn delete(client: &Client) {
    let reply = client.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    let cleared = reply.headers.get_all("set-cookie").iter().count();
    assert_eq!(cleared, 3, "{reply:?}");
}

async fn register(app: &TestApp, email: &str, username: &str, code: Option<&str>) -> Value {
    let body = json!({ "email": email, "username": username, "password": PASSWORD, "referral_code": code });
    app.client().post("/api/register/", body).await.expect(201).json()
}

async fn referral(app: &TestApp, referred: &str) -> (String, String) {
    let sql = "SELECT r.status, r.reason FROM referrals r JOIN users u ON u.id = r.referred_user_id
               WHERE u.username = $1";
    let row = app.database.query_one(sql, &[&referred]).await.unwrap();
    (row.get(0), row.get(1))
}

/// The address is nowhere in the database any more, and neither is its local part, which is a name.
#[tokio::test(flavor = "multi_thread")]
async fn v2_no_table_holds_the_address_or_the_name_in_it_after_a_deletion() {
    let mut app = TestApp::start().await;
    let email = "augusta.king@lovelace.example";
    register(&app, email, "countess", None).await;
    let body = json!({ "identifier": "countess", "password": PASSWORD });
    let ada = app.client().with_header("User-Agent", "Difference-Engine/2");
    ada.post("/api/login/", body).await.expect(200);
    forgot(&app, email).await.expect(202);
    app.jobs_done().await;
    app.stop_worker().await;
    // Promised, and not yet seen by a worker.
    forgot(&app, email).await.expect(202);
    ada.post_empty("/api/verify-email/resend/").await.expect(202);

    let held = dump::holding(&app.database, "augusta.king").await;
    assert!(held.len() >= 3, "the address is found while it is there: {held:#?}");
    delete(&ada).await;
    for personal in ["augusta.king", "lovelace.example", "argon2id", "Difference-Engine"] {
        assert_eq!(dump::holding(&app.database, personal).await, [""; 0], "{personal}");
    }
    let backup = dump::backup(&app.database.url()).await.to_lowercase();
    assert!(backup.contains("countess") && !backup.contains("augusta.king"), "a backup taken now");
    // The name is reserved, so it stays, and only there.
    let mut named = dump::holding(&app.database, "countess").await;
    named.sort();
    let reserved = named.len() == 2 && named[0].starts_with("usernames: ") && named[1].starts_with("users: ");
    assert!(reserved, "{named:#?}");

    // Of what was enqueued, only the notice of the deletion is sent.
    let before = app.mail.mails().len();
    app.start_worker();
    app.jobs_done().await;
    let mails = app.mail.mails();
    let subjects: Vec<_> = mails.iter().skip(before).map(|mail| mail.subject.as_str()).collect();
    assert_eq!(subjects, ["Your account was deleted"]);
    assert_eq!(dump::holding(&app.database, "augusta.king").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t7_a_deletion_ends_every_session_and_every_link() {
    let app = TestApp::start().await;
    let ada = app.member("ada").await;
    let elsewhere = app.login("ada").await;
    let bearer = Bearer::login(&app, "ada").await;
    forgot(&app, "ada@example.org").await.expect(202);
    app.jobs_done().await;
    let reset = tokens(&app, "ada@example.org", RESET).remove(0);
    let verify = tokens(&app, "ada@example.org", VERIFY).remove(0);
    let stolen = ada.stolen();
    delete(&ada).await;
    for client in [&stolen, &elsewhere, &bearer.client] {
        client.get("/api/me/").await.expect(401);
    }
    stolen.post_empty("/api/token/refresh/").await.expect(401);
    refresh(&app, &bearer.refresh).await.expect(401);
    for identifier in ["ada", "ada@example.org"] {
        assert_eq!(login_status(&app, identifier, PASSWORD).await, 401);
    }
    let body = json!({ "token": reset, "password": OTHER_PASSWORD });
    app.client().post("/api/reset-password/", body).await.expect(400);
    app.client().post("/api/verify-email/", json!({ "token": verify })).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_wants_the_password() {
    let app = TestApp::start().await;
    let ada = app.member("ada").await;
    app.jobs_done().await;
    let before = dump::tables(&app.database, &["last_seen_at"]).await;
    let reply = ada.delete("/api/me/", json!({ "password": OTHER_PASSWORD })).await.expect(401);
    assert_eq!(reply.code(), "invalid_credentials");
    assert!(!reply.headers.contains_key("set-cookie"));
    ada.delete("/api/me/", json!({})).await.expect(422);
    ada.delete("/api/me/", json!({ "password": PASSWORD, "force": true })).await.expect(422);
    assert_eq!(dump::tables(&app.database, &["last_seen_at"]).await, before);
    ada.get("/api/me/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_deletions_one_deletes() {
    let app = TestApp::api_only().await;
    let mut clients = vec![app.member("ada").await];
    for _ in 0..4 {
        clients.push(app.login("ada").await);
    }
    let deletions = clients.iter().map(|client| client.delete("/api/me/", json!({ "password": PASSWORD })));
    let mut statuses: Vec<_> = join_all(deletions).await.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 401, 401, 401, 401]);
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_and_the_code_of_a_deleted_account_are_never_given_out_again() {
    let app = TestApp::start().await;
    let ada = app.member("ada.1").await;
    let code = app.code_of(&ada).await;
    delete(&ada).await;

    for name in ["ada.1", "ADA.1", "ada.l"] {
        let body = json!({ "email": "other@example.org", "username": name, "password": PASSWORD });
        assert_eq!(app.client().post("/api/register/", body).await.expect(409).code(), "username_taken");
    }
    let bob = app.member("bob").await;
    assert_eq!(
        bob.patch("/api/me/", json!({ "username": "ada.1" })).await.expect(409).code(),
        "username_taken"
    );

    // The code brings nobody: typed it is an error, in a link it is nothing.
    let lookup = app.client().get(&format!("/api/referral-codes/{code}/")).await.expect(200);
    assert_eq!(lookup.json(), json!({ "valid": false }));
    let body = json!({ "email": "carol@example.org", "username": "carol", "password": PASSWORD });
    let mut typed = body.clone();
    typed["referral_code"] = code.as_str().into();
    let reply = app.client().post("/api/register/", typed).await.expect(422);
    assert_eq!(reply.errors(), ["/referral_code invalid_referral_code"]);
    let reply = app.client().post(&format!("/api/register/?referral={code}"), body).await.expect(201);
    assert_eq!(reply.json()["referral"], Value::Null);

    // Whoever comes back with the address gets another code, each time.
    let mut codes = vec![code];
    for name in ["ada.2", "ada.3", "ada.4"] {
        let user = register(&app, "ada.1@example.org", name, None).await;
        codes.push(user["user"]["referral_code"].as_str().unwrap().to_owned());
        delete(&app.login(name).await).await;
    }
    let different: std::collections::HashSet<_> = codes.iter().collect();
    assert_eq!(different.len(), 4, "{codes:?}");
    app.jobs_done().await;
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_a_deletion_rejects_what_is_pending_on_either_side_and_forfeits_the_credits() {
    let app = TestApp::start().await;
    let eve = app.member("eve").await;
    let ada_code = {
        let code = app.code_of(&eve).await;
        app.register("ada", Some(&code)).await.expect(201);
        let ada = app.login("ada").await;
        app.code_of(&ada).await
    };
    let ada = app.login("ada").await;
    for name in ["bob", "carol"] {
        app.register(name, Some(&ada_code)).await.expect(201);
    }
    app.verify("bob").await;
    app.stats_when(&ada, |stats| stats["rewards"]["credits"] == "10.00").await;
    app.jobs_done().await;

    delete(&ada).await;
    assert_eq!(referral(&app, "ada").await, ("rejected".to_owned(), "referred_deleted".to_owned()));
    assert_eq!(referral(&app, "carol").await, ("rejected".to_owned(), "referrer_deleted".to_owned()));
    assert_eq!(referral(&app, "bob").await.0, "successful", "what was earned stays");
    let sql = "SELECT string_agg(cause || ' ' || amount || ' ' || balance_after, ', ' ORDER BY e.id)
               FROM ledger_entries e JOIN users u ON u.id = e.user_id WHERE u.username = 'ada'";
    assert_eq!(app.database.value::<String>(sql).await, "referral 10.00 10.00, forfeit -10.00 0.00");
    let bob = app.login("bob").await;
    let stats = app.stats_when(&bob, |stats| stats["rewards"]["credits"] == "5.00").await;
    assert_eq!(stats["total"], 0);

    // The referrer sees that somebody was deleted, and no name.
    let stats = app.stats_when(&eve, |stats| stats["rejected"] == 1).await;
    assert_eq!((&stats["pending"], &stats["total"]), (&json!(0), &json!(1)));
    let item = eve.get("/api/referrals/").await.expect(200).json()["items"][0].clone();
    assert_eq!(
        (&item["username"], &item["status"], &item["reason"]),
        (&json!("deleted"), &json!("rejected"), &json!("referred_deleted"))
    );
    // Confirming now earns nobody anything.
    app.verify("carol").await;
    app.jobs_done().await;
    assert_eq!(referral(&app, "carol").await.0, "rejected");
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_whoever_comes_back_after_a_deletion_never_counts_as_brought() {
    let app = TestApp::start().await;
    delete(&app.member("ada").await).await;
    let eve = app.member("eve").await;
    let code = app.code_of(&eve).await;
    for (index, email) in ["ada@example.org", "ada+again@example.org", "ADA+x@example.org"].iter().enumerate()
    {
        let reply = register(&app, email, &format!("ada.{index}"), Some(&code)).await;
        assert_eq!(reply["referral"], json!({ "status": "rejected" }), "{email}");
        assert_eq!(referral(&app, &format!("ada.{index}")).await.1, "email_of_deleted_account");
    }
    eventually("the mail arrives", async || {
        let arrived = tokens(&app, "ada@example.org", VERIFY);
        // The first was for the account that is gone, if it was sent at all.
        let token = arrived.last().ok_or("no mail")?;
        match app.client().post("/api/verify-email/", json!({ "token": token })).await.status {
            204 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    app.jobs_done().await;
    let stats = app.stats_when(&eve, |stats| stats["rejected"] == 3).await;
    assert_eq!(stats["rewards"]["credits"], "0.00");
    app.check_ledger().await;
}
