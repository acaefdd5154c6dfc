//! Usernames: a name leads to its owner or nowhere, changes are few, proved and told.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use futures_util::future::join;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

use crate::support::{
    OTHER_PASSWORD, add_link, count_mails, login_status, quick_app, with_page, within_a_second,
};

async fn rename(client: &Client, username: &str) -> Reply {
    client.patch("/api/me/", json!({ "username": username, "password": PASSWORD })).await
}

async fn register(app: &TestApp, username: &str, email: &str) -> Reply {
    let body = json!({ "email": email, "username": username, "password": PASSWORD });
    app.client().post("/api/register/", body).await
}

/// Waits until a path of a former name leads to another.
async fn leads(client: &Client, from: &str, to: &str) {
    within_a_second("the former name leads on", async || {
        let reply = client.get(from).await;
        match (reply.status, reply.header("location")) {
            (301, Some(location)) if location == to => Ok(()),
            (status, location) => Err(format!("{from}: {status} {location:?}")),
        }
    })
    .await;
}

/// Waits until a path answers: that nothing was there may be remembered for a moment.
async fn is_there(client: &Client, path: &str) {
    within_a_second("the page is there", async || {
        let status = client.get(path).await.status;
        if status == 200 { Ok(()) } else { Err(format!("{path}: {status}")) }
    })
    .await;
}

/// Waits until nothing is there.
async fn is_gone(client: &Client, path: &str) {
    within_a_second("nothing is there", async || {
        let status = client.get(path).await.status;
        if status == 404 { Ok(()) } else { Err(format!("{path}: {status}")) }
    })
    .await;
}

/// cases/accounts 12
#[tokio::test(flavor = "multi_thread")]
async fn n1_a_name_leads_to_its_owner_or_nowhere() {
    let app = quick_app().await;
    let (second, _handle) = app.second_api().await;
    let ada = with_page(&app, "ada").await;
    add_link(&ada, "Shop").await;
    let readers = [app.client(), app.client().at(&format!("http://{second}"))];
    for reader in &readers {
        reader.get("/@ada").await.expect(200);
        reader.get("/@countess").await.expect(404);
    }
    rename(&ada, "countess").await.expect(200);
    for reader in &readers {
        for (from, to) in [
            ("/@ada", "/@countess"),
            ("/@Ada", "/@countess"),
            ("/api/u/ada/", "/api/u/countess/"),
            ("/api/u/ada", "/api/u/countess/"),
            ("/api/u/ada/card.png", "/api/u/countess/card.png"),
            ("/api/u/ada/qr.svg?size=256", "/api/u/countess/qr.svg?size=256"),
            ("/api/u/ada/qr.png", "/api/u/countess/qr.png"),
        ] {
            leads(reader, from, to).await;
            is_there(reader, to).await;
        }
        let moved = reader.get("/@ada").await.expect(301);
        // A browser that kept it would never come back to a name that its owner takes back.
        assert_eq!(moved.header("cache-control"), Some("public, max-age=0, stale-while-revalidate=30"));
    }
    for name in ["ada", "ADA", "countess", "c0untess"] {
        assert_eq!(
            register(&app, name, "eve@example.org").await.expect(409).code(),
            "username_taken",
            "{name}"
        );
    }
    let bob = app.member("bob").await;
    assert_eq!(rename(&bob, "ada").await.expect(409).code(), "username_taken");
    assert_eq!(login_status(&app, "ada", PASSWORD).await, 401, "a former name signs nobody in");
    assert_eq!(login_status(&app, "countess", PASSWORD).await, 200);

    // Its owner takes it back, and the other one leads there.
    rename(&ada, "ada").await.expect(200);
    for reader in &readers {
        leads(reader, "/@countess", "/@ada").await;
        is_there(reader, "/@ada").await;
    }
    // While the page is not public, nothing of it is told.
    app.database.batch_execute("UPDATE users SET blocked_at = now() WHERE username = 'ada'").await.unwrap();
    is_gone(&readers[0], "/@countess").await;
    app.database.batch_execute("UPDATE users SET blocked_at = NULL").await.unwrap();
    leads(&readers[0], "/@countess", "/@ada").await;

    ada.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    for path in ["/@ada", "/@countess", "/api/u/ada/", "/api/u/countess/", "/api/u/countess/qr.svg"] {
        is_gone(&readers[1], path).await;
    }
    for name in ["ada", "countess"] {
        register(&app, name, "eve@example.org").await.expect(409);
    }
    assert_eq!(app.database.value::<i64>("SELECT count(*) FROM username_changes").await, 0);
}

/// cases/accounts 12
#[tokio::test(flavor = "multi_thread")]
async fn n2_renames_are_rare_proved_and_told() {
    let app = TestApp::start().await;
    let ada = app.member("ada").await;
    let unchanged = ada.get("/api/me/username/").await.expect(200).json();
    assert_eq!((&unchanged["changes_left"], &unchanged["next_change_at"]), (&json!(2), &Value::Null));
    // Ten minutes after the sign-in the password is wanted.
    app.clock.advance(TimeDelta::minutes(11));
    let reply = ada.patch("/api/me/", json!({ "username": "countess" })).await.expect(403);
    assert_eq!(reply.code(), "recent_sign_in_needed");
    let wrong = json!({ "username": "countess", "password": OTHER_PASSWORD });
    assert_eq!(ada.patch("/api/me/", wrong).await.expect(401).code(), "invalid_credentials");
    assert_eq!(ada.get("/api/me/").await.json()["username"], "ada");

    // The same name, in whatever case, is no change.
    for name in ["ada", "Ada", " @ada "] {
        rename(&ada, name).await.expect(200);
    }
    assert_eq!(ada.get("/api/me/username/").await.json()["changes_left"], 2);
    rename(&ada, "countess").await.expect(200);
    app.clock.advance(TimeDelta::days(1));
    let ada = app.login("countess").await;
    rename(&ada, "lovelace").await.expect(200);
    let reply = rename(&ada, "ada").await.expect(429);
    assert_eq!(reply.code(), "rate_limited");
    let wait: i64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((28 * 86_400..=29 * 86_400).contains(&wait), "{wait}");
    assert!(reply.text().contains("2 times in 30 days"), "{}", reply.text());
    // The name that it has is still no change.
    rename(&ada, "lovelace").await.expect(200);
    let status = ada.get("/api/me/username/").await.json();
    assert_eq!((&status["username"], &status["changes_left"]), (&json!("lovelace"), &json!(0)));
    assert!(status["next_change_at"].is_string());
    let former: Vec<_> = status["former"].as_array().unwrap().iter().map(|name| &name["username"]).collect();
    assert_eq!(former, [&json!("countess"), &json!("ada")]);

    app.jobs_done().await;
    assert_eq!(count_mails(&app, "ada@example.org", "Your username was changed"), 2);
    let mails = app.mail.mails();
    let mail = mails.iter().find(|mail| mail.subject == "Your username was changed").unwrap();
    assert!(mail.text.contains("from ada to countess"), "{}", mail.text);
    let events = ada.get("/api/me/security-events/").await.json();
    let events = events["items"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event["event"] == "username_changed").count(), 2);
    let announced: i64 = app
        .database
        .value("SELECT count(*) FROM outbox WHERE kind = 'event.announce' AND payload ->> 'event' = 'user.renamed'")
        .await;
    assert_eq!(announced, 2);
    let export = ada.get("/api/me/export/").await.expect(200).json();
    let names: BTreeSet<_> = export["data"]["former_usernames"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["old_username"].as_str().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["ada", "countess"]));

    app.clock.advance(TimeDelta::days(29));
    let ada = app.login("lovelace").await;
    rename(&ada, "ada").await.expect(200);
}

/// cases/accounts 12
#[tokio::test(flavor = "multi_thread")]
async fn n1_of_a_registration_and_a_rename_one_wins() {
    for mode in ["open", "verified"] {
        let app = TestApp::api_with(|settings| {
            settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
            settings.set("USERNAME_CHANGES", "100/30d");
        })
        .await;
        let ada = app.member("ada").await;
        let replica = app
            .replica_with(|settings| {
                settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
                settings.set("REGISTRATION", mode);
            })
            .await;
        let other = app.client().at(&replica.base());
        for round in 0..8 {
            let name = format!("same-{round}x");
            let body =
                json!({ "email": format!("eve{round}@example.org"), "username": name, "password": PASSWORD });
            let (renamed, registered) = join(rename(&ada, &name), other.post("/api/register/", body)).await;
            let statuses = (renamed.status, registered.status);
            let won = if mode == "open" { 201 } else { 202 };
            assert!(statuses == (200, 409) || statuses == (409, won), "{mode} {round}: {statuses:?}");
        }
    }
}

/// cases/accounts 12
#[tokio::test(flavor = "multi_thread")]
async fn n2_parallel_renames_are_counted_one_by_one() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let renames = (0..6).map(|index| {
        let (ada, name) = (ada.clone(), format!("ada-{index}"));
        async move { rename(&ada, &name).await.status }
    });
    let mut statuses = futures_util::future::join_all(renames).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429, 429, 429, 429]);
}

/// cases/accounts 22
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_makes_a_bad_link_is_not_given() {
    let app = TestApp::api_with(|settings| {
        settings.set("RESERVED_USERNAMES", "acme*,*-support");
    })
    .await;
    let ada = app.member("ada").await;
    for (name, code) in [
        ("dot.", "invalid_username"),
        ("a..b", "invalid_username"),
        ("trellis-support", "username_reserved"),
        ("www", "username_reserved"),
        ("noreply", "username_reserved"),
        ("acme-shop", "username_reserved"),
        ("ada-support", "username_reserved"),
    ] {
        let reply = register(&app, name, "eve@example.org").await.expect(422);
        assert_eq!(reply.errors(), [format!("/username {code}")], "{name}");
        assert_eq!(rename(&ada, name).await.expect(422).errors(), [format!("/username {code}")], "{name}");
    }
}

/// cases/accounts 22
#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_before_the_rules_still_works() {
    let app = quick_app().await;
    for (index, old) in ["dot.", "a..b", "trellis-support", "www"].into_iter().enumerate() {
        let name = format!("person-{index}");
        app.register(&name, None).await.expect(201);
        let sql = "UPDATE users SET username = $1, username_key = $1, email_verified_at = now() WHERE username = $2";
        app.database.execute(sql, &[&old, &name]).await.unwrap();
        assert_eq!(login_status(&app, old, PASSWORD).await, 200, "{old}");
        let page = app.client().get(&format!("/api/u/{old}/")).await.expect(200).json();
        assert_eq!(page["username"], old);
        app.client().get(&format!("/@{old}")).await.expect(200);
        app.client().get(&format!("/api/u/{old}/qr.svg")).await.expect(200);
    }
}

/// cases/accounts 23
#[tokio::test(flavor = "multi_thread")]
async fn what_people_type_around_a_name_is_dropped() {
    let app = quick_app().await;
    let body = json!({ "email": " ada@example.org ", "username": " @Ada ", "password": PASSWORD });
    let user = app.client().post("/api/register/", body).await.expect(201).json()["user"].clone();
    assert_eq!((&user["username"], &user["email"]), (&json!("ada"), &json!("ada@example.org")));
    for name in ["ada", "@ada", " @ada", "ada ", " Ada@example.org "] {
        assert_eq!(login_status(&app, name, PASSWORD).await, 200, "{name}");
    }
}

/// cases/accounts 23
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_name_or_address_is_said() {
    let app = quick_app().await;
    let told = async |email: &str, username: &str| {
        let reply = register(&app, username, email).await.expect(422).json();
        reply["errors"][0]["detail"].as_str().unwrap().to_owned()
    };
    let addresses = ["Ada <a@b.example>", "ada", "a@localhost", "a b@c.example", "a@b.example, c@d.example"];
    let mut details = BTreeSet::new();
    for email in addresses {
        details.insert(told(email, "ada").await);
    }
    assert_eq!(details.len(), addresses.len(), "{details:?}");
    assert!(
        details.contains("Enter the address alone, without a name and without angle brackets."),
        "{details:?}"
    );
    let names = ["ab", "dot.", ".dot", "a..b", "a b c", "admin", "abcdefghijklmnopqrstuvwxyz123456"];
    let mut details = BTreeSet::new();
    for name in names {
        details.insert(told("ada@example.org", name).await);
    }
    assert_eq!(details.len(), names.len(), "{details:?}");
    assert!(details.contains("Must be at most 30 characters."), "{details:?}");
}
