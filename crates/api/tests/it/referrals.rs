//! Referrals through the API: who brought whom, who may not, and what the referrer sees of it.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::{Client, Reply};

use crate::crowd::Crowd;

/// `SQLSTATE` of a CHECK and of a UNIQUE key that refuse a row.
const CHECK: &str = "23514";
const UNIQUE: &str = "23505";

/// A registration as `client` sends it, with the address and what is given besides.
async fn register(client: &Client, email: &str, username: &str, query: &str, more: Value) -> Reply {
    let mut body = json!({ "email": email, "username": username, "password": PASSWORD });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    client.post(&format!("/api/register/{query}"), body).await
}

fn with_code(code: &str) -> Value {
    json!({ "referral_code": code })
}

/// Status and reason of each of the caller's referrals, newest first.
async fn referrals(client: &Client) -> Vec<(String, String)> {
    let list = client.get("/api/referrals/").await.expect(200).json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (text(&item["status"]), text(&item["reason"])))
        .collect()
}

async fn count(app: &TestApp, rows: &str) -> i64 {
    app.database.value(&format!("SELECT count(*) FROM {rows}")).await
}

/// Who brought this user, by name; empty for nobody.
async fn brought_by(app: &TestApp, username: &str) -> String {
    app.database
        .value(&format!(
            "SELECT coalesce((SELECT r.username FROM referrals JOIN users r ON r.id = referrer_id
             WHERE referred_user_id = u.id), '') FROM users u WHERE u.username = '{username}'"
        ))
        .await
}

/// Hashing is not what these tests are about.
async fn quick_app() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn attribution_takes_the_typed_code_then_the_link_then_the_cookie() {
    let app = quick_app().await;
    let codes = [
        ("typed", app.member("typed").await),
        ("link", app.member("link").await),
        ("cookie", app.member("cookie").await),
    ];
    let [typed, link, cookie] = [&codes[0].1, &codes[1].1, &codes[2].1];
    let (typed, link, cookie) =
        (app.code_of(typed).await, app.code_of(link).await, app.code_of(cookie).await);
    let query = format!("?referral={link}");
    let mut number = 0;
    for (has_typed, has_link, has_cookie, wanted) in [
        (true, true, true, "typed"),
        (true, false, true, "typed"),
        (true, true, false, "typed"),
        (false, true, true, "link"),
        (false, true, false, "link"),
        (false, false, true, "cookie"),
        (false, false, false, ""),
    ] {
        let browser = app.client();
        if has_cookie {
            browser.get(&format!("/r/{cookie}")).await.expect(302);
        }
        number += 1;
        let name = format!("friend{number}");
        let more = if has_typed { with_code(&typed) } else { Value::Null };
        let query = if has_link { query.as_str() } else { "" };
        let reply =
            register(&browser, &format!("{name}@example.org"), &name, query, more).await.expect(201).json();
        assert_eq!(brought_by(&app, &name).await, wanted, "{has_typed} {has_link} {has_cookie}");
        let expected = if wanted.is_empty() { Value::Null } else { json!({ "status": "pending" }) };
        assert_eq!(reply["referral"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attribution_by_cookie_is_the_last_touch() {
    let app = quick_app().await;
    let (ada, bob) = (app.member("ada").await, app.member("bob").await);
    let browser = app.client();
    for owner in [&ada, &bob] {
        browser.get(&format!("/r/{}", app.code_of(owner).await)).await.expect(302);
    }
    browser.get("/r/0000000000").await.expect(302);
    register(&browser, "eve@example.org", "eve", "", Value::Null).await.expect(201);
    assert_eq!(brought_by(&app, "eve").await, "bob", "a link to nobody takes nothing away");
}

#[tokio::test(flavor = "multi_thread")]
async fn attribution_by_link_takes_a_user_id_too() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let id = ada.get("/api/me/").await.json()["id"].as_str().unwrap().to_owned();
    for (number, link) in [id.clone(), id.to_uppercase()].iter().enumerate() {
        let name = format!("friend{number}");
        register(
            &app.client(),
            &format!("{name}@example.org"),
            &name,
            &format!("?referral={link}"),
            Value::Null,
        )
        .await
        .expect(201);
        assert_eq!(brought_by(&app, &name).await, "ada", "{link}");
    }
    let reply = register(&app.client(), "eve@example.org", "eve", "", with_code(&id)).await.expect(422);
    assert_eq!(reply.errors(), ["/referral_code invalid_referral_code"], "nobody types an id");
}

#[tokio::test(flavor = "multi_thread")]
async fn attribution_believes_no_cookie_that_we_did_not_sign() {
    let app = quick_app().await;
    let (ada, bob) = (app.member("ada").await, app.member("bob").await);
    let (of_ada, of_bob) = (app.code_of(&ada).await, app.code_of(&bob).await);
    let browser = app.client();
    browser.get(&format!("/r/{of_bob}")).await.expect(302);
    let signed = browser.cookie("referral").unwrap().value;
    let (_, mac) = signed.split_once('.').unwrap();
    let device = ada.cookie("device").unwrap().value;
    let mut flipped = signed.clone().into_bytes();
    *flipped.last_mut().unwrap() ^= 1;
    for (number, forged) in [
        of_ada.clone(),
        format!("{of_ada}."),
        format!("{of_ada}.{mac}"),
        format!("{of_ada}.{}", "A".repeat(43)),
        String::from_utf8(flipped).unwrap(),
        format!("{signed}.{mac}"),
        signed[..signed.len() - 1].to_owned(),
        device,
    ]
    .iter()
    .enumerate()
    {
        let name = format!("friend{number}");
        let browser = app.client();
        browser.set_cookie("referral", forged);
        let reply =
            register(&browser, &format!("{name}@example.org"), &name, "", Value::Null).await.expect(201);
        assert_eq!(reply.json()["referral"], Value::Null, "{forged}");
    }
    let honest = app.client();
    honest.set_cookie("referral", &signed);
    register(&honest, "eve@example.org", "eve", "", Value::Null).await.expect(201);
    assert_eq!(brought_by(&app, "eve").await, "bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_code_that_leads_to_nobody_is_an_error_and_nothing_is_written() {
    let app = quick_app().await;
    let gone = app.member("gone").await;
    let retired = app.code_of(&gone).await;
    gone.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    let blocked = app.member("blocked").await;
    let blocked = app.code_of(&blocked).await;
    app.database
        .batch_execute("UPDATE users SET blocked_at = now() WHERE username = 'blocked'")
        .await
        .unwrap();
    let everything =
        "(SELECT id FROM users UNION ALL SELECT id FROM referrals UNION ALL SELECT id FROM outbox
                       UNION ALL SELECT id FROM email_verifications) AS everything";
    let before = count(&app, everything).await;
    for code in [
        "0000000000",
        retired.as_str(),
        blocked.as_str(),
        "short",
        "way-too-long-for-a-code",
        "uuuuuuuuuu",
        "a",
    ] {
        let reply = register(&app.client(), "eve@example.org", "eve", "", with_code(code)).await.expect(422);
        assert_eq!(reply.errors(), ["/referral_code invalid_referral_code"], "{code}");
        // What is typed wins over a link, and so does its error.
        let reply = register(&app.client(), "eve@example.org", "eve", "?referral=x", with_code(code))
            .await
            .expect(422);
        assert_eq!(reply.code(), "validation");
    }
    assert_eq!(count(&app, everything).await, before);
    register(&app.client(), "eve@example.org", "eve", "", json!({ "referral_code": null })).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_to_nobody_never_stands_in_the_way() {
    let app = quick_app().await;
    let gone = app.member("gone").await;
    let retired = app.code_of(&gone).await;
    let gone_id = gone.get("/api/me/").await.json()["id"].as_str().unwrap().to_owned();
    let visitor = app.client();
    visitor.get(&format!("/r/{retired}")).await.expect(302);
    gone.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
    let long = "a".repeat(3_000);
    let links = [
        "?referral=0000000000".to_owned(),
        format!("?referral={retired}"),
        format!("?referral={gone_id}"),
        "?referral=00000000-0000-7000-8000-000000000000".to_owned(),
        "?referral=".to_owned(),
        "?referral".to_owned(),
        "?referral=%20".to_owned(),
        "?referral=%00".to_owned(),
        "?referral=%0d%0a".to_owned(),
        "?referral=%ff%fe".to_owned(),
        "?referral=a&referral=b".to_owned(),
        format!("?referral={long}"),
        "?referral='%20OR%20''='".to_owned(),
    ];
    for (number, link) in links.iter().enumerate() {
        let name = format!("friend{number}");
        let reply = register(&app.client(), &format!("{name}@example.org"), &name, link, Value::Null)
            .await
            .expect(201);
        assert_eq!(reply.json()["referral"], Value::Null, "{link}");
    }
    let reply = register(&visitor, "eve@example.org", "eve", "", Value::Null).await.expect(201);
    assert_eq!(reply.json()["referral"], Value::Null, "the cookie outlived its owner");
    assert_eq!(count(&app, "referrals").await, 0);
    assert_eq!(count(&app, "users WHERE referred_by IS NOT NULL").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_fifty_parallel_registrations_of_one_address_make_one_referral() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let replies = join_all((0..50).map(|number| {
        let (app, code) = (&app, &code);
        async move {
            register(&app.client(), "bob@example.org", &format!("bob{number}"), "", with_code(code)).await
        }
    }))
    .await;
    let made = replies.iter().filter(|reply| reply.status == 201).count();
    let refused = replies.iter().filter(|reply| reply.status == 409 && reply.code() == "email_taken").count();
    assert_eq!((made, refused), (1, 49));
    assert_eq!(count(&app, "referrals").await, 1);
    assert_eq!(count(&app, "users").await, 2);
    assert_eq!(count(&app, "outbox").await, 2, "one mail for each account");
    let stats = ada.get("/api/referral-stats/").await.expect(200).json();
    assert_eq!((&stats["total"], &stats["pending"]), (&json!(1), &json!(1)));
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_f6_a_referrer_is_set_at_registration_and_never_after() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let bob = app.member("bob").await;
    let of_bob = app.code_of(&bob).await;
    register(&app.client(), "eve@example.org", "eve", "", with_code(&of_bob)).await.expect(201);
    let eve = app.login("eve").await;
    for (client, code) in [(&bob, &code), (&eve, &code)] {
        let reply = client.patch("/api/me/", with_code(code)).await.expect(422);
        assert!(reply.errors().contains(&"/referral_code unknown_field".to_owned()), "{:?}", reply.errors());
        client.get(&format!("/r/{code}")).await.expect(302);
        client.get("/api/me/").await.expect(200);
    }
    // A ring would take a referrer who comes later than the referred person.
    register(&app.client(), "bob@example.org", "bob2", "", with_code(&code)).await.expect(409);
    assert_eq!(brought_by(&app, "bob").await, "");
    assert_eq!(brought_by(&app, "eve").await, "bob");
    assert_eq!(count(&app, "referrals").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_f3_the_database_itself_refuses_a_second_referrer_and_oneself() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    app.register("bob", Some(&app.code_of(&ada).await)).await.expect(201);
    let row = |referrer: &str, referred: &str| {
        format!(
            "INSERT INTO referrals (id, referrer_id, referred_user_id, date_referred, status, reason, qualifies_at)
             SELECT gen_random_uuid(), a.id, b.id, now(), 'pending', 'x', now() FROM users a, users b
             WHERE a.username = '{referrer}' AND b.username = '{referred}'"
        )
    };
    for (statement, refusal) in [
        (row("ada", "ada"), CHECK),
        (row("ada", "bob"), UNIQUE),
        ("UPDATE referrals SET referred_user_id = referrer_id".to_owned(), CHECK),
        ("UPDATE users SET referred_by = id".to_owned(), CHECK),
    ] {
        let error = app.database.batch_execute(&statement).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), refusal, "{statement}");
    }
}

/// Asserts that a registration was made, that its referral was refused for this reason, and that even once the address
/// is confirmed nobody earns anything.
async fn assert_refused(app: &mut TestApp, referrer: &Client, reply: Reply, email: &str, reason: &str) {
    let reply = reply.expect(201).json();
    assert_eq!(reply["referral"], json!({ "status": "rejected" }), "{reason}");
    assert_eq!(referrals(referrer).await[0], ("rejected".to_owned(), reason.to_owned()));
    app.start_worker();
    let mail = app.mail.wait_for_to(email).await.unwrap();
    let token = mail.token().unwrap();
    app.client().post("/api/verify-email/", json!({ "token": token })).await.expect(204);
    app.jobs_done().await;
    app.stop_worker().await;
    assert_eq!(referrals(referrer).await[0], ("rejected".to_owned(), reason.to_owned()));
    let stats = referrer.get("/api/referral-stats/").await.expect(200).json();
    assert_eq!(stats["successful"], 0);
    assert_eq!(count(app, "rewards").await, 0);
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_the_referrers_own_mailbox_in_another_spelling_is_refused() {
    let mut app = quick_app().await;
    let mut number = 0;
    for (own, other) in [
        ("ada.lovelace@gmail.com", "a.d.a.lovelace@gmail.com"),
        ("bob@gmail.com", "bob+friend@googlemail.com"),
        ("eve+shop@example.org", "EVE+news@Example.org"),
        ("mia@example.org", "mia+x@example.org"),
    ] {
        number += 1;
        register(&app.client(), own, &format!("owner{number}"), "", Value::Null).await.expect(201);
        let referrer = app.login(&format!("owner{number}")).await;
        let code = app.code_of(&referrer).await;
        let reply = register(&app.client(), other, &format!("other{number}"), "", with_code(&code)).await;
        let stored = other.to_lowercase();
        assert_refused(&mut app, &referrer, reply, &stored, "self_referral_same_email").await;
    }
    // Dots are somebody else's elsewhere.
    let referrer = app.login("owner4").await;
    let code = app.code_of(&referrer).await;
    let reply =
        register(&app.client(), "m.ia@example.org", "another", "", with_code(&code)).await.expect(201);
    assert_eq!(reply.json()["referral"]["status"], "pending");
}

/// Why a referral is refused that comes from the referrer's own browser.
const REASON: &str = "self_referral_same_browser";

#[tokio::test(flavor = "multi_thread")]
async fn f3_the_referrers_own_browser_is_refused() {
    let mut app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;

    let reply = register(&ada, "one@example.org", "one", "", with_code(&code)).await;
    assert_refused(&mut app, &ada, reply, "one@example.org", REASON).await;

    let bearer = json!({ "identifier": "ada", "password": PASSWORD, "transport": "bearer" });
    let token = app.client().post("/api/login/", bearer).await.expect(200).json()["access_token"].clone();
    let bearer = app.client().with_header("Authorization", &format!("Bearer {}", token.as_str().unwrap()));
    let reply = register(&bearer, "two@example.org", "two", "", with_code(&code)).await;
    assert_refused(&mut app, &ada, reply, "two@example.org", REASON).await;

    // After the logout the browser still remembers whose it is; by its link as well as by the code.
    let shared = app.login("ada").await;
    shared.post_empty("/api/logout/").await.expect(204);
    assert!(shared.cookie("access_token").is_none() && shared.cookie("device").is_some());
    shared.get(&format!("/r/{code}")).await.expect(302);
    let reply = register(&shared, "three@example.org", "three", "", Value::Null).await;
    assert_refused(&mut app, &ada, reply, "three@example.org", REASON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_somebody_elses_browser_and_forged_cookies_are_not() {
    let app = quick_app().await;
    let ada = app.member("ada").await;
    let bob = app.member("bob").await;
    let code = app.code_of(&ada).await;
    let id = ada.get("/api/me/").await.json()["id"].as_str().unwrap().replace('-', "");
    let forger = app.client();
    forger.set_cookie("device", &format!("{id}.{}", "A".repeat(43)));
    let ended = ada.stolen();
    ended.set_cookie("device", "");
    ada.post_empty("/api/logout/").await.expect(204);
    for (name, browser) in [("one", &bob), ("two", &forger), ("three", &ended), ("four", &app.client())] {
        let reply =
            register(browser, &format!("{name}@example.org"), name, "", with_code(&code)).await.expect(201);
        assert_eq!(reply.json()["referral"]["status"], "pending", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_the_address_of_a_deleted_account_never_qualifies_again() {
    let mut app = quick_app().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    for (first, again) in [("bob@example.org", "bob@example.org"), ("e.ve@gmail.com", "eve+2@googlemail.com")]
    {
        let name = if first.starts_with("bob") { "bob" } else { "eve" };
        register(&app.client(), first, name, "", Value::Null).await.expect(201);
        let deleted = app.login(name).await;
        deleted.delete("/api/me/", json!({ "password": PASSWORD })).await.expect(202);
        let reply = register(&app.client(), again, &format!("{name}-again"), "", with_code(&code)).await;
        assert_refused(&mut app, &ada, reply, again, "email_of_deleted_account").await;
    }
}

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
    let documented = ["date_referred", "id", "qualifies_at", "reason", "settled_at", "status", "username"];
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
