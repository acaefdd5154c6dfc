//! Reports of pages; pages, links and domains that managers take down.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::{Client, Reply};
use testkit::process::Program;

use crate::support::{Bearer, add_link, assert_alike, quick_app, with_page, within_a_second};

async fn manager(app: &TestApp, name: &str) -> Client {
    app.register(name, None).await.expect(201);
    let sql = format!("UPDATE users SET role = 'admin' WHERE username = '{name}'");
    app.database.batch_execute(&sql).await.unwrap();
    Bearer::login(app, name).await.client
}

async fn items(client: &Client, path: &str) -> Vec<Value> {
    client.get(path).await.expect(200).json()["items"].as_array().unwrap().clone()
}

async fn because(client: &Client, path: &str) -> Reply {
    client.post(path, json!({ "reason": "it sells stolen goods" })).await
}

async fn report(client: &Client, name: &str) -> Reply {
    let body = json!({ "reason": "scam", "detail": "it asks for my password" });
    client.post(&format!("/api/u/{name}/report/"), body).await
}

async fn version(app: &TestApp, name: &str) -> i64 {
    let sql = "SELECT version FROM profiles JOIN users ON users.id = user_id WHERE username = $1";
    app.database.query(sql, &[&name]).await.unwrap()[0].get(0)
}

/// How often an event is in the record.
async fn recorded(boss: &Client, event: &str) -> Vec<Value> {
    items(boss, &format!("/api/admin/audit/?event={event}")).await
}

async fn shown(app: &TestApp, name: &str) -> Vec<String> {
    let page = app.client().get(&format!("/api/u/{name}/")).await.expect(200).json();
    let links = page["links"].as_array().unwrap().iter();
    links.map(|link| link["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn v4_a_report_is_answered_alike_whether_there_is_a_page_or_not() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = with_page(&app, "ada").await;
    app.register("unverified", None).await.expect(201);
    for name in ["down", "blocked"] {
        with_page(&app, name).await;
    }
    because(&boss, "/api/admin/pages/down/disable/").await.expect(204);
    app.database
        .batch_execute("UPDATE users SET blocked_at = now() WHERE username = 'blocked'")
        .await
        .unwrap();
    let mut replies = Vec::new();
    for name in ["ada", "ADA", "nobody", "unverified", "down", "blocked", "admin", "x", "%00", "a%2Fb"] {
        replies.push((name, report(&app.client(), name).await.expect(202)));
    }
    assert_alike(&replies);
    let reports = items(&boss, "/api/admin/reports/").await;
    assert_eq!(reports.len(), 1, "one network is heard once: {reports:?}");
    let told = &reports[0];
    assert_eq!(
        (&told["username"], &told["reason"], &told["detail"], &told["waiting"]),
        (&json!("ada"), &json!("scam"), &json!("it asks for my password"), &json!(1))
    );
    // Who reported is not in it, and its owner reads nothing of it.
    assert!(!told.to_string().contains("network"));
    assert!(!ada.get("/api/me/export/").await.expect(200).text().contains("password of my"));
    ada.get("/api/admin/reports/").await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_settles_reports_by_dismissing_them_or_by_taking_the_page_down() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    with_page(&app, "ada").await;
    report(&app.client(), "ada").await.expect(202);
    let open = items(&boss, "/api/admin/reports/?state=open").await;
    let id = open[0]["id"].as_str().unwrap();
    for _ in 0..2 {
        because(&boss, &format!("/api/admin/reports/{id}/dismiss/")).await.expect(204);
    }
    because(&boss, "/api/admin/reports/00000000-0000-7000-8000-000000000000/dismiss/").await.expect(404);
    because(&boss, "/api/admin/reports/x/dismiss/").await.expect(404);
    assert_eq!(recorded(&boss, "report_dismissed").await.len(), 1);
    assert_eq!(items(&boss, "/api/admin/reports/?state=open").await, Vec::<Value>::new());
    assert_eq!(items(&boss, "/api/admin/reports/?state=settled").await[0]["outcome"], "dismissed");
    // Decided: the same network is heard again.
    report(&app.client(), "ada").await.expect(202);
    because(&boss, "/api/admin/pages/ada/disable/").await.expect(204);
    let settled = items(&boss, "/api/admin/reports/").await;
    let outcomes: Vec<_> = settled.iter().map(|report| report["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["disabled", "dismissed"]);
    assert!(settled[0]["page_disabled_at"].is_string());
    let page = boss.get("/api/admin/reports/?limit=1").await.expect(200).json();
    let next = page["next_cursor"].as_str().unwrap();
    assert_eq!(
        items(&boss, &format!("/api/admin/reports/?limit=1&cursor={next}")).await[0]["outcome"],
        "dismissed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_page_that_is_taken_down_is_as_if_it_were_not_there_and_comes_back_whole() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = with_page(&app, "ada").await;
    add_link(&ada, "Shop").await;
    assert_eq!(shown(&app, "ada").await, ["Shop"]);
    let before = version(&app, "ada").await;
    for _ in 0..2 {
        because(&boss, "/api/admin/pages/Ada/disable/").await.expect(204);
    }
    assert_eq!(version(&app, "ada").await, before + 1, "the second time nothing happens");
    within_a_second("the page is gone", async || {
        let mut statuses = Vec::new();
        for path in ["/@ada", "/api/u/ada/", "/api/u/ada/card.png", "/api/u/ada/qr.svg", "/api/u/ada/qr.png"]
        {
            statuses.push(app.client().get(path).await.status);
        }
        if statuses == [404; 5] { Ok(()) } else { Err(format!("{statuses:?}")) }
    })
    .await;
    let nobody = app.client().get("/api/u/nobody/").await;
    assert_alike(&[("ada", app.client().get("/api/u/ada/").await), ("nobody", nobody)]);
    // Its owner keeps everything, and reads why.
    let profile = ada.get("/api/profile/").await.expect(200).json();
    assert!(profile.to_string().contains("it sells stolen goods"), "{profile}");
    assert_eq!(ada.get("/api/links/").await.expect(200).json()["items"].as_array().unwrap().len(), 1);
    for _ in 0..2 {
        because(&boss, "/api/admin/pages/ada/enable/").await.expect(204);
    }
    within_a_second("the page is back", async || {
        let reply = app.client().get("/api/u/ada/").await;
        if reply.status == 200 { Ok(()) } else { Err(reply.text()) }
    })
    .await;
    assert_eq!(shown(&app, "ada").await, ["Shop"]);
    assert_eq!(recorded(&boss, "page_disabled").await.len(), 1);
    let told = recorded(&boss, "page_enabled").await;
    assert_eq!((told.len(), &told[0]["actor"]), (1, &json!("manager")));
    for path in ["/api/admin/pages/nobody/disable/", "/api/admin/pages/%00/enable/"] {
        because(&boss, path).await.expect(404);
        because(&ada, path).await.expect(403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_link_that_is_taken_down_is_hidden_and_its_owner_reads_why() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = with_page(&app, "ada").await;
    let id = add_link(&ada, "Shop").await["id"].as_str().unwrap().to_owned();
    add_link(&ada, "Blog").await;
    assert_eq!(shown(&app, "ada").await, ["Shop", "Blog"]);
    for _ in 0..2 {
        because(&boss, &format!("/api/admin/links/{id}/disable/")).await.expect(204);
    }
    within_a_second("the link is hidden", async || {
        let shown = shown(&app, "ada").await;
        if shown == ["Blog"] { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    // Its owner cannot put it up by editing it.
    let path = format!("/api/links/{id}/");
    let edited = ada.patch(&path, json!({ "enabled": true, "title": "Store" })).await.expect(200).json();
    assert!(edited["disabled"].to_string().contains("it sells stolen goods"), "{edited}");
    for _ in 0..2 {
        because(&boss, &format!("/api/admin/links/{id}/enable/")).await.expect(204);
    }
    within_a_second("the link is back", async || {
        let shown = shown(&app, "ada").await;
        if shown == ["Store", "Blog"] { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    for event in ["link_disabled", "link_enabled"] {
        let told = recorded(&boss, event).await;
        assert_eq!((told.len(), &told[0]["subject_id"]), (1, &json!(id)), "{event}");
    }
    because(&boss, "/api/admin/links/00000000-0000-7000-8000-000000000000/disable/").await.expect(404);
    because(&boss, "/api/admin/links/x/enable/").await.expect(404);
}

/// Where whoever follows a link is sent.
async fn target(app: &TestApp, id: &str) -> u16 {
    let reply = app.client().try_send(Method::GET, &format!("/l/{id}"), None, &[]).await.unwrap();
    reply.status
}

/// Waits until following a link is answered with a status.
async fn follows(app: &TestApp, id: &str, status: u16) {
    within_a_second("the link follows", async || match target(app, id).await {
        found if found == status => Ok(()),
        found => Err(found.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_whatever_is_taken_down_leads_nowhere_within_a_second() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = with_page(&app, "ada").await;
    let body = json!({ "title": "Shop", "url": "https://shop.evil.example/" });
    let id = ada.post("/api/links/", body).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    follows(&app, &id, 302).await;
    block(&boss, "evil.example").await.expect(204);
    follows(&app, &id, 404).await;
    unblock(&boss, "evil.example").await.expect(204);
    follows(&app, &id, 302).await;
    for what in [format!("links/{id}"), "pages/ada".to_owned()] {
        because(&boss, &format!("/api/admin/{what}/disable/")).await.expect(204);
        follows(&app, &id, 404).await;
        because(&boss, &format!("/api/admin/{what}/enable/")).await.expect(204);
        follows(&app, &id, 302).await;
    }
}

async fn block(boss: &Client, domain: &str) -> Reply {
    boss.post("/api/admin/blocked-domains/", json!({ "domain": domain, "reason": "phishing" })).await
}

async fn unblock(boss: &Client, domain: &str) -> Reply {
    boss.delete(&format!("/api/admin/blocked-domains/{domain}/"), json!({ "reason": "it changed hands" }))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_no_link_leads_to_a_blocked_domain_or_below_it_however_it_is_written() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = with_page(&app, "ada").await;
    block(&boss, "EVIL.example.").await.expect(204);
    block(&boss, "münchen.example").await.expect(204);
    block(&boss, "192.0.2.7").await.expect(204);
    block(&boss, "[2001:db8::1]").await.expect(204);
    let good = add_link(&ada, "Good").await["id"].as_str().unwrap().to_owned();
    for url in [
        "https://evil.example",
        "http://EVIL.example:8443/x?y#z",
        "https://evil.example./",
        "https://a.b.evil.example/",
        "https://ｅｖｉｌ.example/",
        "https://evil%2Eexample/",
        "https://xn--mnchen-3ya.example/",
        "https://www.MÜNCHEN.example/",
        "https://192.0.2.7/",
        "https://0xC0000207/",
        "https://[2001:DB8:0::1]:99/",
    ] {
        let made = ada.post("/api/links/", json!({ "title": "Bad", "url": url })).await.expect(422).json();
        assert_eq!(
            (&made["errors"][0]["pointer"], &made["errors"][0]["code"]),
            (&json!("/url"), &json!("blocked_domain")),
            "{url}"
        );
        let edited =
            ada.patch(&format!("/api/links/{good}/"), json!({ "url": url })).await.expect(422).json();
        assert_eq!(edited["errors"][0]["code"], "blocked_domain", "{url}");
    }
    for url in [
        "https://notevil.example/",
        "https://evil.example.org/",
        "https://example/evil.example",
        "mailto:a@evil.example",
    ] {
        ada.post("/api/links/", json!({ "title": "Good", "url": url })).await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_links_to_a_domain_are_hidden_once_it_is_blocked_and_back_when_it_is_not() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let (ada, bob) = (with_page(&app, "ada").await, with_page(&app, "bob").await);
    let social = json!([{ "network": "website", "url": "https://www.evil.example/" }, { "network": "website", "url": "https://good.example/" }]);
    ada.patch("/api/profile/", json!({ "social": social })).await.expect(200);
    for (title, url) in [
        ("Sub", "https://shop.evil.example./x"),
        ("Top", "https://evil.example"),
        ("Other", "https://notevil.example"),
    ] {
        ada.post("/api/links/", json!({ "title": title, "url": url })).await.expect(201);
    }
    add_link(&bob, "Blog").await;
    assert_eq!(shown(&app, "ada").await, ["Sub", "Top", "Other"]);
    let versions = (version(&app, "ada").await, version(&app, "bob").await);
    for _ in 0..2 {
        block(&boss, "evil.example").await.expect(204);
    }
    assert_eq!((version(&app, "ada").await, version(&app, "bob").await), (versions.0 + 1, versions.1));
    within_a_second("the links are hidden", async || {
        let shown = shown(&app, "ada").await;
        if shown == ["Other"] { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    let page = app.client().get("/api/u/ada/").await.expect(200).json();
    assert_eq!(page["social"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["social"][0]["url"], "https://good.example/");
    // No icon leads there from now on either; what else a profile says may be changed.
    let version_before = version(&app, "ada").await;
    let body = json!({ "bio": "x", "social": [social[1], social[0], { "network": "mastodon", "url": "https://EVIL.example./@a" }] });
    let refused = ada.patch("/api/profile/", body).await.expect(422);
    assert_eq!(refused.errors(), ["/social/1/url blocked_domain", "/social/2/url blocked_domain"]);
    assert_eq!(version(&app, "ada").await, version_before);
    ada.patch("/api/profile/", json!({ "display_name": "Ada" })).await.expect(200);
    let listed = items(&boss, "/api/admin/blocked-domains/").await;
    assert_eq!(
        (listed.len(), &listed[0]["domain"], &listed[0]["reason"]),
        (1, &json!("evil.example"), &json!("phishing"))
    );
    for _ in 0..2 {
        unblock(&boss, "EVIL.example").await.expect(204);
    }
    unblock(&boss, "a%20b").await.expect(404);
    within_a_second("the links are back", async || {
        let shown = shown(&app, "ada").await;
        if shown == ["Sub", "Top", "Other"] { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
    for (event, reason) in
        [("domain_blocked", "evil.example: phishing"), ("domain_unblocked", "evil.example: it changed hands")]
    {
        let told = recorded(&boss, event).await;
        assert_eq!((told.len(), &told[0]["reason"]), (1, &json!(reason)));
    }
    ada.get("/api/admin/blocked-domains/").await.expect(403);
    block(&ada, "good.example").await.expect(403);
}

/// Managers, the owner and a change of domains at once: each in its turn, none lost, none twice.
#[tokio::test(flavor = "multi_thread")]
async fn many_managers_at_once_do_each_thing_once() {
    let app = quick_app().await;
    let (boss, other) = (manager(&app, "boss").await, manager(&app, "other").await);
    let mut owners = Vec::new();
    for name in ["ada", "bob", "eve"] {
        let owner = with_page(&app, name).await;
        for domain in ["one.example", "two.example"] {
            let url = format!("https://{domain}/");
            owner.post("/api/links/", json!({ "title": domain, "url": url })).await.expect(201);
        }
        owners.push(owner);
    }
    let before = version(&app, "ada").await;
    let mut tasks = Vec::new();
    for round in 0..4 {
        for (client, domain) in [(&boss, "one.example"), (&other, "two.example")] {
            let (client, owner) = (client.clone(), owners[round % 3].clone());
            tasks.push(tokio::spawn(async move {
                block(&client, domain).await.expect(204);
                because(&client, "/api/admin/pages/ada/disable/").await.expect(204);
                owner.patch("/api/profile/", json!({ "bio": "busy" })).await.expect(200);
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(recorded(&boss, "page_disabled").await.len(), 1);
    assert_eq!(recorded(&boss, "domain_blocked").await.len(), 2);
    let patched = 4;
    assert_eq!(version(&app, "ada").await, before + 2 + 1 + patched);
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_reports_are_limited_by_network_and_answered_alike_beyond_it() {
    let app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1").set("RATE_LIMITS", "on");
    })
    .await;
    for _ in 0..10 {
        report(&app.client(), "nobody").await.expect(202);
    }
    let refused = report(&app.client(), "nobody").await.expect(429);
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_takes_down_and_puts_up_as_managers_do() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = with_page(&app, "ada").await;
    let id = add_link(&ada, "Shop").await["id"].as_str().unwrap().to_owned();
    let command = async |arguments: &[&str]| {
        let arguments = [&["admin"], arguments, &["--reason", "a call by telephone"]].concat();
        let output = Program::Api.run(&arguments, &app.settings, &std::env::temp_dir()).await;
        let (out, err) = (output.stdout, String::from_utf8(output.stderr).unwrap());
        (output.status.success(), format!("{}{err}", String::from_utf8(out).unwrap()))
    };
    let done = (true, "done\n".to_owned());
    let before = (true, "it was so before\n".to_owned());
    for (what, on, event) in [
        ("disable-page", "Ada", "page_disabled"),
        ("enable-page", "ada", "page_enabled"),
        ("disable-link", id.as_str(), "link_disabled"),
        ("enable-link", id.as_str(), "link_enabled"),
        ("block-domain", "EVIL.example", "domain_blocked"),
        ("unblock-domain", "evil.example.", "domain_unblocked"),
    ] {
        assert_eq!(command(&[what, on]).await, done, "{what}");
        assert_eq!(command(&[what, on]).await, before, "{what}");
        let told = recorded(&boss, event).await;
        assert_eq!((told.len(), &told[0]["actor"]), (1, &json!("operator")), "{what}");
        assert!(!command(&[what, ""]).await.0, "{what}");
    }
    for what in ["disable-page", "enable-page"] {
        let (done, told) = command(&[what, "nobody"]).await;
        assert!(!done && told.contains("there is no such thing"), "{told}");
    }
}

/// What an account held goes with it; a manager's word about it stays in the record.
#[tokio::test(flavor = "multi_thread")]
async fn v2_reports_of_a_deleted_account_go_with_it() {
    let app = quick_app().await;
    let boss = manager(&app, "boss").await;
    let ada = with_page(&app, "ada").await;
    report(&app.client(), "ada").await.expect(202);
    ada.send(Method::DELETE, "/api/me/", Some(json!({ "password": testkit::app::PASSWORD })), &[])
        .await
        .expect(202);
    assert_eq!(items(&boss, "/api/admin/reports/").await, Vec::<Value>::new());
    because(&boss, "/api/admin/pages/ada/disable/").await.expect(404);
}
