//! Who brought somebody: the typed code, else the link, else the cookie; once, and by somebody who is there.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::app::PASSWORD;

use super::{brought_by, count, quick_app, register, with_code};

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
    assert_eq!(count(&app, "outbox WHERE queue = 'mail'").await, 2, "one mail for each account");
    assert_eq!(count(&app, "outbox WHERE kind = 'event.announce'").await, 3, "two accounts and a referral");
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
