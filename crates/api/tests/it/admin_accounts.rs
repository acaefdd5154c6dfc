//! What managers and operators do for the holders of accounts.

use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};
use testkit::process::Program;

use crate::support::{Bearer, count_mails, login_status, quick_app};

async fn manager(app: &TestApp, name: &str) -> Client {
    let client = app.member(name).await;
    let sql = format!("UPDATE users SET role = 'admin' WHERE username = '{name}'");
    app.database.batch_execute(&sql).await.unwrap();
    client
}

async fn id_of(app: &TestApp, username: &str) -> String {
    app.database.value(&format!("SELECT id::text FROM users WHERE username = '{username}'")).await
}

async fn act(client: &Client, id: &str, what: &str) -> Reply {
    client.post(&format!("/api/admin/users/{id}/{what}/"), json!({ "reason": "a test" })).await
}

async fn events(app: &TestApp, id: &str) -> Vec<String> {
    let sql = "SELECT event || ' by ' || actor || coalesce(': ' || reason, '') FROM security_events
               WHERE user_id = $1::text::uuid AND actor IN ('manager', 'operator') ORDER BY created_at, id";
    let rows = app.database.query(sql, &[&id]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// cases/accounts 25
#[tokio::test(flavor = "multi_thread")]
async fn managers_find_an_account_by_its_whole_address() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    app.register("ada", None).await.expect(201);
    let found = async |email: &str| {
        let path = format!("/api/admin/users/?email={email}");
        boss.get(&path).await.expect(200).json()["items"].as_array().unwrap().clone()
    };
    let hits = found("Ada%40Example.org").await;
    assert_eq!((hits.len(), &hits[0]["username"]), (1, &json!("ada")));
    assert!(!hits[0].to_string().contains('@'), "{}", hits[0]);
    for part in ["da%40example.org", "ada%40example.or", "%25%40example.org", "a_a%40example.org"] {
        assert_eq!(found(part).await, Vec::<Value>::new(), "{part}");
    }
    let reply = boss.get("/api/admin/users/?email=ada").await.expect(422);
    assert_eq!(reply.errors(), ["?email invalid_email"]);
    let id = id_of(&app, "ada").await;
    let one = boss.get(&format!("/api/admin/users/{id}/")).await.expect(200).json();
    assert_eq!((&one["username"], &one["sign_in"]["has_password"]), (&json!("ada"), &json!(true)));
    assert_eq!((&one["sign_in"]["second_factor"], &one["sign_in"]["sessions"]), (&json!(false), &json!(0)));
    boss.get("/api/admin/users/00000000-0000-7000-8000-000000000000/").await.expect(404);
}

/// cases/accounts 25
#[tokio::test(flavor = "multi_thread")]
async fn managers_help_with_accounts_on_record() {
    let mut app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let other = manager(&app, "other").await;
    let ada = app.member("ada").await;
    app.register("taken", None).await.expect(201);
    let (id, boss_id, other_id) =
        (id_of(&app, "ada").await, id_of(&app, "boss").await, id_of(&app, "other").await);
    for what in ["demote", "end-sessions", "delete", "confirm-email"] {
        assert_eq!(act(&ada, &id, what).await.expect(403).code(), "forbidden", "{what}");
        assert_eq!(act(&boss, &boss_id, what).await.expect(403).code(), "forbidden", "{what}");
        act(&boss, "x", what).await.expect(404);
        let path = format!("/api/admin/users/{id}/{what}/");
        let reply = boss.post(&path, json!({ "reason": " " })).await.expect(422);
        assert_eq!(reply.errors(), ["/reason empty"]);
    }
    assert_eq!(act(&boss, &other_id, "delete").await.expect(403).code(), "forbidden");
    ada.get(&format!("/api/admin/users/{id}/export/")).await.expect(403);

    let set = async |id: &str, email: &str| {
        let body = json!({ "email": email, "reason": "a typo" });
        boss.post(&format!("/api/admin/users/{id}/email/"), body).await
    };
    set(&other_id, "new@example.org").await.expect(403);
    assert_eq!(set(&id, "taken@example.org").await.expect(409).code(), "email_taken");
    act(&boss, &id, "confirm-email").await.expect(204);
    assert_eq!(ada.get("/api/me/").await.expect(200).json()["email_verified"], true);
    set(&id, "new@example.org").await.expect(204);
    ada.get("/api/me/").await.expect(401);
    let ada = Bearer::login(&app, "ada").await.client;
    let me = ada.get("/api/me/").await.expect(200).json();
    assert_eq!((&me["email"], &me["email_verified"]), (&json!("new@example.org"), &json!(false)));
    app.start_worker();
    app.jobs_done().await;
    assert_eq!(count_mails(&app, "new@example.org", "Confirm your e-mail address"), 1);
    assert_eq!(count_mails(&app, "ada@example.org", "Your e-mail address was changed"), 1);

    let export = boss.get(&format!("/api/admin/users/{id}/export/")).await.expect(200).json();
    assert_eq!(export["data"]["account"][0]["email"], "new@example.org");
    act(&boss, &id, "end-sessions").await.expect(204);
    ada.get("/api/me/").await.expect(401);
    act(&boss, &other_id, "demote").await.expect(204);
    other.get("/api/admin/users/").await.expect(403);
    act(&boss, &id, "delete").await.expect(204);
    act(&boss, &id, "delete").await.expect(404);
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 401);
    assert_eq!(
        events(&app, &id).await,
        [
            "email_verified by manager: a test",
            "email_changed by manager: a typo",
            "data_exported by manager",
            "sessions_ended by manager: a test",
            "account_deleted by manager: a test",
        ]
    );
    assert_eq!(events(&app, &other_id).await, ["role_revoked by manager: a test"]);
    let held: i64 = app.database.value("SELECT count(*) FROM security_events WHERE reason LIKE '%@%'").await;
    assert_eq!(held, 0, "the record holds no address");
}

/// cases/accounts 25
#[tokio::test(flavor = "multi_thread")]
async fn two_managers_cannot_demote_each_other() {
    let app = quick_app().await;
    let (one, two) = (manager(&app, "one").await, manager(&app, "two").await);
    let (id_one, id_two) = (id_of(&app, "one").await, id_of(&app, "two").await);
    let (a, b) = tokio::join!(act(&one, &id_two, "demote"), act(&two, &id_one, "demote"));
    let mut answers = [a.status, b.status];
    answers.sort_unstable();
    assert_eq!(answers, [204, 403]);
    let left: i64 = app.database.value("SELECT count(*) FROM users WHERE role = 'admin'").await;
    assert_eq!(left, 1);
}

/// cases/accounts 14, 25
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_each_tool_as_a_command() {
    let app = quick_app().await;
    app.member("ada").await;
    let id = id_of(&app, "ada").await;
    let run = async |arguments: &[&str]| {
        let arguments = [&["admin"], arguments].concat();
        let output = Program::Api.run(&arguments, &app.settings, &std::env::temp_dir()).await;
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text)
    };
    let why = ["--reason", "by phone"];
    let act = async |what: &str| run(&[&[what, &id], &why[..]].concat()).await;
    let said = |text: &str| (0, format!("{text}\n"));
    let (code, found) = run(&["users", "--email", "ADA@example.org"]).await;
    assert!(code == 0 && found.starts_with(&id) && !found.contains('@'), "{found}");
    assert_eq!(run(&["users", "--email", "da@example.org"]).await, (0, String::new()));
    assert_eq!(run(&["users", "--email", "ada"]).await.0, 2);
    assert_eq!(act("block").await, said("done"));
    let (code, export) = act("export").await;
    let export: Value = serde_json::from_str(&export).unwrap();
    assert_eq!((code, &export["data"]["account"][0]["blocked_reason"]), (0, &json!("by phone")));
    assert_eq!(act("unblock").await, said("done"));
    app.login("ada").await;
    assert_eq!(act("end-sessions").await, said("done: 1 session ended"));
    assert_eq!(act("confirm-email").await, said("done"));
    assert_eq!(act("confirm-email").await, said("nothing to do: the address is confirmed already"));
    let set = [&["set-email", &id, "--email", "new@example.org"], &why[..]].concat();
    assert_eq!(run(&set).await, said("done"));
    assert_eq!(run(&["promote", "new@example.org"]).await.0, 0);
    assert_eq!(act("demote").await, said("done"));
    assert_eq!(act("delete").await, said("done"));
    let (code, text) = act("delete").await;
    assert!(code == 1 && text.contains("there is no such account"), "{text}");
    assert_eq!(run(&["delete", &id]).await.0, 2, "a reason is needed");
    for what in ["demote", "end-sessions", "delete", "export", "confirm-email", "set-email"] {
        let (code, help) = run(&[what, "--help"]).await;
        assert!(code == 0 && help.contains("--reason"), "{help}");
    }
}
