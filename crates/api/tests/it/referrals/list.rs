//! `GET /api/referrals/`: one's own, in pages, with names and never an address.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Client;

use super::{quick_app, referrals, register, with_code};
use crate::crowd::Crowd;

/// All items of a list, page by page.
async fn pages(client: &Client, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut next = path.to_owned();
    loop {
        let reply = client.get(&next).await.expect(200);
        let page = reply.json();
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert!(reply.header("link").is_none(), "no further page, no link");
            return items;
        };
        let link = reply.header("link").expect("a further page has a link");
        let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap();
        assert!(target.contains(cursor), "{link}");
        target.clone_into(&mut next);
    }
}

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_pages_hold_each_item_once_newest_first() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    Crowd::at(&app).bring("friend", 25, &code).await;
    // Several at one instant: the id decides.
    app.database
        .batch_execute("UPDATE referrals SET date_referred = '2026-01-01T00:00:00Z' WHERE id IN (SELECT id FROM referrals LIMIT 7)")
        .await
        .unwrap();
    let all = ada.get("/api/referrals/?limit=100").await.expect(200).json();
    assert_eq!(all["next_cursor"], Value::Null);
    let expected = ids(all["items"].as_array().unwrap());
    assert_eq!(expected.iter().collect::<BTreeSet<_>>().len(), 25);
    let newest_first = app
        .database
        .query("SELECT id::text FROM referrals ORDER BY date_referred DESC, id DESC", &[])
        .await
        .unwrap();
    assert_eq!(expected, newest_first.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>());
    for limit in [1, 3, 5, 24, 25, 26] {
        assert_eq!(ids(&pages(&ada, &format!("/api/referrals/?limit={limit}")).await), expected, "{limit}");
    }
    let default = ada.get("/api/referrals/").await.expect(200).json();
    assert_eq!(default["items"].as_array().unwrap().len(), 20);
    for limit in ["0", "101", "-1", "x", "1e1", "", "20&limit=20"] {
        let reply = ada.get(&format!("/api/referrals/?limit={limit}")).await.expect(422);
        assert!(reply.errors()[0].starts_with("?limit "), "{limit}: {:?}", reply.errors());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_pages_stay_whole_while_others_come_and_move() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let crowd = Crowd::at(&app);
    crowd.bring("early", 9, &code).await;
    let expected = ids(&pages(&ada, "/api/referrals/").await);
    let mut seen = Vec::new();
    let mut next = Some("/api/referrals/?limit=2".to_owned());
    let mut round = 0;
    while let Some(path) = next {
        let page = ada.get(&path).await.expect(200).json();
        seen.extend(ids(page["items"].as_array().unwrap()));
        next = page["next_cursor"].as_str().map(|cursor| format!("/api/referrals/?limit=2&cursor={cursor}"));
        round += 1;
        crowd.bring(&format!("late{round}x"), 2, &code).await;
        app.database
            .batch_execute(
                "UPDATE referrals SET status = 'rejected', settled_at = now() WHERE status = 'pending'
                            AND id IN (SELECT id FROM referrals ORDER BY id LIMIT 2)",
            )
            .await
            .unwrap();
    }
    assert_eq!(seen, expected, "no item twice, none lost, none that came after");
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_a_filter_shows_one_status_and_its_cursor_continues_no_other() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    Crowd::at(&app).bring("friend", 12, &code).await;
    app.database
        .batch_execute("UPDATE referrals SET status = 'rejected', settled_at = now() WHERE id IN (SELECT id FROM referrals ORDER BY id LIMIT 5)")
        .await
        .unwrap();
    for (status, count) in
        [("pending", 7), ("rejected", 5), ("successful", 0), ("review", 0), ("expired", 0), ("reversed", 0)]
    {
        let items = pages(&ada, &format!("/api/referrals/?status={status}&limit=3")).await;
        assert_eq!(items.len(), count, "{status}");
        assert!(items.iter().all(|item| item["status"] == status));
    }
    for status in ["Pending", "won", "", "pending&status=pending"] {
        let reply = ada.get(&format!("/api/referrals/?status={status}")).await.expect(422);
        assert!(reply.errors()[0].starts_with("?status "), "{status}");
    }
    let pending = ada.get("/api/referrals/?status=pending&limit=3").await.json();
    let cursor = pending["next_cursor"].as_str().unwrap();
    for path in ["/api/referrals/?", "/api/referrals/?status=rejected&", "/api/rewards/?"] {
        let reply = ada.get(&format!("{path}cursor={cursor}")).await.expect(400);
        assert_eq!(reply.code(), "invalid_cursor", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_everybody_sees_their_own_and_no_cursor_changes_that() {
    let app = quick_app().await;
    let (ada, bob) = (app.member("ada").await, app.member("bob").await);
    let crowd = Crowd::at(&app);
    crowd.bring("of-ada", 5, &app.code_of(&ada).await).await;
    crowd.bring("of-bob", 3, &app.code_of(&bob).await).await;
    let (of_ada, of_bob) =
        (pages(&ada, "/api/referrals/?limit=2").await, pages(&bob, "/api/referrals/?limit=2").await);
    assert_eq!((of_ada.len(), of_bob.len()), (5, 3));
    assert!(of_ada.iter().all(|item| item["username"].as_str().unwrap().starts_with("of-ada")));
    assert!(of_bob.iter().all(|item| item["username"].as_str().unwrap().starts_with("of-bob")));

    let cursor = ada.get("/api/referrals/?limit=2").await.json()["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(
        bob.get(&format!("/api/referrals/?cursor={cursor}")).await.expect(400).code(),
        "invalid_cursor"
    );
    for index in (0..cursor.len()).step_by(3) {
        let mut bytes = cursor.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        let reply = ada.get(&format!("/api/referrals/?cursor={changed}")).await.expect(400);
        assert_eq!(reply.code(), "invalid_cursor", "{changed}");
    }
    let long = format!("{cursor}{cursor}");
    for other in [&cursor[1..], &cursor[..cursor.len() - 1], &long, "x", "AAAA", "%27", "eyJpZCI6MX0"] {
        let reply = ada.get(&format!("/api/referrals/?cursor={other}")).await.expect(400);
        assert_eq!(reply.code(), "invalid_cursor", "{other}");
    }
    app.client().get("/api/referrals/").await.expect(401);
    let reply = ada.get("/api/referrals/").await.expect(200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_a_referral_shows_a_name_and_never_an_address() {
    let mut app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let crowd = Crowd::at(&app);
    let friends = crowd.bring("friend", 3, &code).await;
    register(&app.client(), "canary.mailbox@example.org", "bob", "", with_code(&code)).await.expect(201);
    let bob = app.login("bob").await;
    crowd.confirm(&friends).await;
    app.start_worker();
    app.jobs_done().await;
    bob.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);

    let list = ada.get("/api/referrals/").await.expect(200);
    let names: Vec<_> =
        list.json()["items"].as_array().unwrap().iter().map(|item| item["username"].clone()).collect();
    assert_eq!(names, ["deleted", "friend2", "friend1", "friend0"]);
    assert_eq!(list.json()["items"][0]["reason"], "referred_deleted");
    let fields: BTreeSet<_> = list.json()["items"][1].as_object().unwrap().keys().cloned().collect();
    let documented =
        ["date_referred", "expires_at", "id", "qualifies_at", "reason", "settled_at", "status", "username"];
    assert_eq!(fields.into_iter().collect::<Vec<_>>(), documented);
    for path in
        ["/api/referrals/", "/api/referral-stats/", "/api/rewards/", &format!("/api/referral-codes/{code}/")]
    {
        let text = ada.get(path).await.expect(200).text();
        for private in ["@", "example.org", "canary", "bob", "deleted:"] {
            assert!(!text.contains(private), "{path} tells {private}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_a_referral_is_pending_until_its_address_is_confirmed_and_a_worker_has_looked() {
    let mut app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let friends = Crowd::at(&app).bring("friend", 1, &code).await;
    let pending = |reason: &str| ("pending".to_owned(), reason.to_owned());
    assert_eq!(referrals(&ada).await, [pending("awaiting_verification")]);
    Crowd::at(&app).confirm(&friends).await;
    assert_eq!(referrals(&ada).await[0].0, "pending", "no request settles it");
    app.start_worker();
    app.jobs_done().await;
    assert_eq!(referrals(&ada).await, [("successful".to_owned(), "qualified".to_owned())]);
    let item = ada.get("/api/referrals/").await.json()["items"][0].clone();
    assert!(item["settled_at"].as_str().unwrap() >= item["date_referred"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn f4_a_held_referral_says_until_when() {
    let app = TestApp::api_with(|settings| {
        settings.set("REFERRAL_HOLD", "24h").set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await;
    let ada = app.member("ada").await;
    Crowd::at(&app).bring("friend", 1, &app.code_of(&ada).await).await;
    let item = ada.get("/api/referrals/").await.json()["items"][0].clone();
    let time = |name: &str| chrono::DateTime::parse_from_rfc3339(item[name].as_str().unwrap()).unwrap();
    assert_eq!(time("qualifies_at") - time("date_referred"), TimeDelta::hours(24));
}
