//! What managers see of referrals and decide about them; and that many from one network come before them.

use domain::referrals::ReferralStatus;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp, eventually};
use testkit::client::Client;
use testkit::process::Program;

const REASON: &str = "thirty in one evening";

/// An api behind a proxy that it trusts: the address is what `X-Forwarded-For` says.
async fn proxied_app() -> TestApp {
    TestApp::api_with(|settings| {
        settings
            .set("ARGON2_MEMORY_KIB", "64")
            .set("ARGON2_ITERATIONS", "1")
            .set("TRUSTED_PROXIES", "127.0.0.1");
    })
    .await
}

/// Somebody who comes from an address.
fn from(app: &TestApp, address: &str) -> Client {
    app.client().with_header("X-Forwarded-For", address)
}

async fn register(app: &TestApp, address: &str, name: &str, email: &str, code: Option<&str>) -> Value {
    let mut body = json!({ "email": email, "username": name, "password": PASSWORD });
    if let Some(code) = code {
        body["referral_code"] = code.into();
    }
    from(app, address).post("/api/register/", body).await.expect(201).json()
}

/// Somebody who is signed in from an address, and the code.
async fn member(app: &TestApp, address: &str, name: &str) -> (Client, String) {
    let made = register(app, address, name, &format!("{name}@example.org"), None).await;
    let client = from(app, address);
    client.post("/api/login/", json!({ "identifier": name, "password": PASSWORD })).await.expect(200);
    // Confirmed, so that no later proof of the mailbox ends the session.
    let sql = format!("UPDATE users SET email_verified_at = now() WHERE username = '{name}'");
    app.database.batch_execute(&sql).await.unwrap();
    (client, made["user"]["referral_code"].as_str().unwrap().to_owned())
}

async fn manager(app: &TestApp, name: &str) -> Client {
    let (client, _) = member(app, "198.51.100.1", name).await;
    let sql = format!("UPDATE users SET role = 'admin' WHERE username = '{name}'");
    app.database.batch_execute(&sql).await.unwrap();
    client
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    client.get(path).await.expect(200).json()["items"].as_array().unwrap().clone()
}

async fn decide(client: &Client, id: &str, what: &str) -> testkit::client::Reply {
    client.post(&format!("/api/admin/referrals/{id}/{what}/"), json!({ "reason": REASON })).await
}

/// Confirms every address that has not been.
async fn confirm_all(app: &TestApp) {
    app.jobs_done().await;
    for row in app
        .database
        .query("SELECT username FROM users WHERE email_verified_at IS NULL ORDER BY 1", &[])
        .await
        .unwrap()
    {
        app.verify(row.get(0)).await;
    }
    app.jobs_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f5_of_thirty_sign_ups_from_one_network_in_an_hour_three_count_whichever_family() {
    let mut app = proxied_app().await;
    let boss = manager(&app, "boss").await;
    app.start_worker();
    // A /24; a /56, whose /64s differ; and each with addresses that differ.
    let v4: Vec<String> = (0..30).map(|n| format!("203.0.113.{}", n + 1)).collect();
    let v6: Vec<String> = (0..30).map(|n| format!("2001:db8:7:12{n:02x}::{n:x}")).collect();
    for (family, addresses) in [("v4", v4), ("v6", v6)] {
        let (referrer, code) = member(&app, "192.0.2.9", &format!("{family}-ada")).await;
        let people = addresses.iter().enumerate().map(|(number, address)| {
            let (app, code, name) = (&app, code.as_str(), format!("{family}-friend{number}"));
            async move { register(app, address, &name, &format!("{name}@example.org"), Some(code)).await }
        });
        join_all(people).await;
        confirm_all(&app).await;
        let stats = app.stats_when(&referrer, |stats| stats["pending"] == 0).await;
        assert_eq!((&stats["successful"], &stats["in_review"]), (&json!(3), &json!(27)), "{family}");
        assert_eq!(stats["rejected"], 0);
        assert_eq!(stats["rewards"]["credits"], "30.00");
        // The referrer reads that somebody looks, and not what was noticed.
        let held = items(&referrer, "/api/referrals/?status=review&limit=100").await;
        assert_eq!(held.len(), 27);
        assert!(held.iter().all(|item| item["reason"] == "under_review"));
        assert!(held.iter().all(|item| item.get("assessment").is_none() && item.get("network").is_none()));

        let seen = items(&boss, &format!("/api/admin/referrals/?status=review&q={code}&limit=100")).await;
        assert_eq!(seen.len(), 27, "{family}");
        for item in &seen {
            let assessment = &item["assessment"];
            assert_eq!((&assessment["decision"], &assessment["score"]), (&json!("review"), &json!(60)));
            let signal = json!([{ "signal": "network_burst", "points": 60, "counted": true }]);
            assert_eq!(assessment["signals"], signal);
            assert_eq!(assessment["limits"]["network_hour"], 3);
            assert!(assessment["facts"]["network_hour"].as_i64().unwrap() > 3);
            assert_eq!(item["network"], seen[0]["network"], "one network");
            assert_eq!(item["referrer"]["username"], format!("{family}-ada"));
        }
    }
    let one = items(&boss, "/api/admin/referrals/?status=review&limit=1").await;
    assert!(!one[0].to_string().contains('@'), "no address: {}", one[0]);
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f5_the_neighbouring_network_is_another_and_one_machine_is_none() {
    let mut app = proxied_app().await;
    let (_, code) = member(&app, "192.0.2.9", "ada").await;
    let mut number = 0;
    for (addresses, status) in [
        // As a tour on one machine, or a system whose proxy is not named: everybody has that address.
        (vec!["127.0.0.1"; 12], "pending"),
        (vec!["10.1.2.3"; 8], "pending"),
        (vec!["fd00::7"; 8], "pending"),
        (
            vec!["203.0.112.7", "203.0.113.7", "203.0.114.7", "2001:db8:7:1200::1", "2001:db8:7:1300::1"],
            "pending",
        ),
        (vec!["192.0.2.77"], "review"),
    ] {
        for address in addresses {
            number += 1;
            let name = format!("friend{number}");
            let made = register(&app, address, &name, &format!("{name}@example.org"), Some(&code)).await;
            assert_eq!(made["referral"]["status"], status, "{address}");
        }
    }
    app.start_worker();
    confirm_all(&app).await;
    let ada = from(&app, "192.0.2.9");
    ada.post("/api/login/", json!({ "identifier": "ada", "password": PASSWORD })).await.expect(200);
    app.stats_when(&ada, |stats| stats["successful"] == 33 && stats["in_review"] == 1).await;
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_approve_reject_and_reverse_once_and_on_record() {
    let mut app = proxied_app().await;
    let (boss, other) = (manager(&app, "boss").await, manager(&app, "other").await);
    let (ada, code) = member(&app, "192.0.2.9", "ada").await;
    for name in ["bob", "eve"] {
        let made = register(&app, "192.0.2.10", name, &format!("{name}@example.org"), Some(&code)).await;
        assert_eq!(made["referral"]["status"], "review");
    }
    app.start_worker();
    confirm_all(&app).await;
    let held = items(&boss, "/api/admin/referrals/?status=review").await;
    let id_of = |name: &str| {
        held.iter().find(|item| item["referred"]["username"] == name).unwrap()["id"].as_str().unwrap()
    };
    let (bob, eve) = (id_of("bob"), id_of("eve"));

    // Nobody else decides.
    for what in ["approve", "reject", "reverse"] {
        assert_eq!(decide(&ada, bob, what).await.expect(403).code(), "forbidden");
        assert_eq!(decide(&app.client(), bob, what).await.expect(401).code(), "unauthenticated");
        for unknown in ["019a0000-0000-7000-8000-000000000001", "x"] {
            assert_eq!(decide(&boss, unknown, what).await.expect(404).code(), "not_found");
        }
    }
    assert_eq!(decide(&boss, bob, "reverse").await.expect(409).code(), "conflicting_state");

    let approved = decide(&boss, bob, "approve").await.expect(200).json();
    assert_eq!(approved["status"], "pending");
    assert!(approved["cleared_at"].is_string() && approved["assessment"]["score"] == 60);
    app.stats_when(&ada, |stats| stats["successful"] == 1 && stats["rewards"]["credits"] == "10.00").await;
    assert_eq!(decide(&other, bob, "approve").await.expect(200).json()["status"], "successful");
    assert_eq!(decide(&other, bob, "reject").await.expect(409).code(), "conflicting_state");

    for client in [&boss, &other, &boss] {
        let rejected = decide(client, eve, "reject").await.expect(200).json();
        assert_eq!(
            (&rejected["status"], &rejected["reason"]),
            (&json!("rejected"), &json!("rejected_by_manager"))
        );
    }
    let refused = decide(&other, eve, "approve").await.expect(409);
    assert!(refused.json()["detail"].as_str().unwrap().contains("rejected"));

    let mut answers = Vec::new();
    for client in [&boss, &other] {
        answers.push(decide(client, bob, "reverse").await.expect(200).json());
    }
    assert_eq!(answers[0], answers[1], "the same again is answered alike");
    assert_eq!(answers[0]["status"], "reversed");
    let stats = app.stats_when(&ada, |stats| stats["rewards"]["credits"] == "0.00").await;
    assert_eq!(
        (&stats["successful"], &stats["rejected"], &stats["total"]),
        (&json!(0), &json!(1), &json!(2))
    );

    // Four decisions, four rows, each with who and why; the worker's among them.
    let events = items(&other, &format!("/api/admin/audit/?subject_id={bob}")).await;
    let told: Vec<_> = events
        .iter()
        .map(|event| format!("{} {} {}", event["event"], event["actor"], event["reason"]).replace('"', ""))
        .collect();
    let expected = [
        format!("referral_reversed manager {REASON}"),
        "referral_successful system qualified".to_owned(),
        format!("referral_released manager {REASON}"),
        "referral_held system under_review".to_owned(),
    ];
    assert_eq!(told, expected);
    let boss_id = boss.get("/api/me/").await.json()["id"].clone();
    assert_eq!(events[0]["actor_id"], boss_id);
    assert_eq!(items(&boss, &format!("/api/admin/audit/?subject_id={eve}")).await.len(), 2);
    let own = items(&ada, "/api/me/security-events/").await;
    assert!(own.iter().all(|event| !event["event"].as_str().unwrap().starts_with("referral")));
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_managers_who_click_at_once_one_decides() {
    let app = proxied_app().await;
    let (boss, other) = (manager(&app, "boss").await, manager(&app, "other").await);
    let (_, code) = member(&app, "192.0.2.9", "ada").await;
    for number in 0..6 {
        let name = format!("friend{number}");
        register(&app, "192.0.2.10", &name, &format!("{name}@example.org"), Some(&code)).await;
    }
    for item in items(&boss, "/api/admin/referrals/?status=review").await {
        let id = item["id"].as_str().unwrap();
        let (one, two) = tokio::join!(decide(&boss, id, "approve"), decide(&other, id, "reject"));
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        let (one, two) = tokio::join!(decide(&boss, id, "approve"), decide(&other, id, "approve"));
        assert_eq!(one.status, two.status, "both hear the same");
    }
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_find_referrals_by_name_code_and_id() {
    let app = proxied_app().await;
    let boss = manager(&app, "boss").await;
    let (_, of_ada) = member(&app, "192.0.2.9", "ada").await;
    let (_, of_eve) = member(&app, "192.0.2.9", "eve_one").await;
    for (name, code) in [("bob", &of_ada), ("bobby", &of_ada), ("mia", &of_eve)] {
        register(&app, "127.0.0.1", name, &format!("{name}@example.org"), Some(code)).await;
    }
    let found = async |query: &str| {
        let mut names: Vec<String> = items(&boss, &format!("/api/admin/referrals/?{query}"))
            .await
            .iter()
            .map(|item| item["referred"]["username"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(found("").await, ["bob", "bobby", "mia"]);
    assert_eq!(found("q=bob").await, ["bob", "bobby"]);
    assert_eq!(found("q=BOBB").await, ["bobby"]);
    assert_eq!(found("q=ada").await, ["bob", "bobby"]);
    assert_eq!(found(&format!("q={of_eve}")).await, ["mia"]);
    assert_eq!(found(&format!("q={}", of_eve.to_uppercase())).await, ["mia"]);
    assert_eq!(found("q=eve_").await, ["mia"]);
    for nobody in ["q=eve%25", "q=%25", "q=_o", "q=%27%20OR%201%3D1%20--", "status=review", "q=nobody"] {
        assert!(found(nobody).await.is_empty(), "{nobody}");
    }
    let all = items(&boss, "/api/admin/referrals/").await;
    for id in [&all[0]["id"], &all[0]["referred"]["id"]] {
        assert_eq!(found(&format!("q={}", id.as_str().unwrap())).await.len(), 1);
    }
    let page = boss.get("/api/admin/referrals/?q=bob&limit=1").await.expect(200);
    let link = page.header("link").unwrap().to_owned();
    assert!(link.contains("&q=bob&cursor="), "{link}");
    let next = link.split(['<', '>']).nth(1).unwrap();
    let rest = boss.get(next).await.expect(200).json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
    let cursor = page.json()["next_cursor"].as_str().unwrap().to_owned();
    let foreign = boss.get(&format!("/api/admin/referrals/?q=mia&cursor={cursor}")).await.expect(400);
    assert_eq!(foreign.code(), "invalid_cursor");
    let wrong = boss.get("/api/admin/referrals/?status=won&q=").await.expect(422);
    assert_eq!(wrong.errors(), ["?q empty", "?status invalid_value"]);
    for status in ReferralStatus::ALL {
        boss.get(&format!("/api/admin/referrals/?status={status}")).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_decides_as_managers_do() {
    let app = proxied_app().await;
    let boss = manager(&app, "boss").await;
    let (_, code) = member(&app, "192.0.2.9", "ada").await;
    let made = register(&app, "192.0.2.10", "bob", "bob@example.org", Some(&code)).await;
    let bob = made["user"]["id"].as_str().unwrap().to_owned();
    let referral = items(&boss, "/api/admin/referrals/").await[0]["id"].as_str().unwrap().to_owned();
    let command = async |arguments: &[&str]| {
        let arguments = [&["admin"], arguments, &["--reason", REASON]].concat();
        let output = Program::Api.run(&arguments, &app.settings, &std::env::temp_dir()).await;
        let (out, err) = (output.stdout, String::from_utf8(output.stderr).unwrap());
        (output.status.success(), format!("{}{err}", String::from_utf8(out).unwrap()))
    };
    assert_eq!(command(&["approve", &referral]).await, (true, "the referral is pending\n".to_owned()));
    assert_eq!(
        command(&["approve", &referral]).await,
        (true, "the referral is pending, as before\n".to_owned())
    );
    for what in ["reverse", "reject"] {
        let (done, told) = command(&[what, &referral]).await;
        assert!(!done && told.contains("the referral is pending"), "{told}");
    }
    assert_eq!(command(&["block", &bob]).await, (true, "done\n".to_owned()));
    assert_eq!(command(&["block", &bob]).await, (true, "it was blocked before\n".to_owned()));
    assert_eq!(command(&["unblock", &bob]).await, (true, "done\n".to_owned()));
    let (done, told) = command(&["block", "00000000-0000-7000-8000-000000000000"]).await;
    assert!(!done && told.contains("there is no such account"), "{told}");
    assert!(!command(&["approve", "x"]).await.0);
    for what in ["approve", "reject", "reverse", "block", "unblock"] {
        let output = Program::Api.run(&["admin", what, "--help"], &app.settings, &std::env::temp_dir()).await;
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && help.contains("--reason") && help.contains("Usage"), "{help}");
    }
    let events = items(&boss, "/api/admin/audit/?event=account_blocked").await;
    assert_eq!(
        (events.len(), &events[0]["actor"], &events[0]["reason"]),
        (1, &json!("operator"), &json!(REASON))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_wants_a_reason_and_json() {
    let app = proxied_app().await;
    let boss = manager(&app, "boss").await;
    let path = "/api/admin/referrals/019a0000-0000-7000-8000-000000000001/approve/";
    let reply = boss.post(path, json!({})).await.expect(422);
    assert_eq!(reply.errors(), ["/reason required"]);
    boss.send(Method::GET, path, None, &[]).await.expect(405);
    eventually("the audit record is empty of it", async || {
        let events = items(&boss, "/api/admin/audit/?event=referral_released").await;
        if events.is_empty() { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
}
