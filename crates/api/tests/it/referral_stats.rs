//! The figures of a referrer, from nothing to every milestone.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use testkit::app::{PASSWORD, TestApp};
use testkit::client::Client;

use crate::crowd::Crowd;

async fn stats(client: &Client) -> Value {
    client.get("/api/referral-stats/").await.expect(200).json()
}

/// The figures that count referrals: total, pending, in review, successful, rejected.
fn counts(stats: &Value) -> [i64; 5] {
    ["total", "pending", "in_review", "successful", "rejected"].map(|name| stats[name].as_i64().unwrap())
}

async fn app_with_worker() -> TestApp {
    let mut app = TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1");
    })
    .await;
    app.start_worker();
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_somebody_who_brought_nobody() {
    let app = TestApp::api_only().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let reply = ada.get("/api/referral-stats/").await.expect(200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(
        reply.json(),
        json!({
            "referral_code": code, "referral_url": format!("http://trellis.test/r/{code}"), "clicks": 0,
            "total": 0, "pending": 0, "in_review": 0, "successful": 0, "rejected": 0, "conversion_rate": 0.0,
            "rewards": { "credits": "0.00", "premium_until": null, "discounts": [] },
            "next_milestone": { "at": 5, "remaining": 5, "reward": { "reward_type": "premium", "amount": "30.00" } },
        })
    );
    app.client().get("/api/referral-stats/").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn f8_figures_follow_each_referral_up_to_the_last_milestone() {
    let app = app_with_worker().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    let crowd = Crowd::at(&app);
    let friends = crowd.bring("friend", 12, &code).await;
    let begun = app.clock.now();
    app.stats_when(&ada, |stats| stats["pending"] == 12).await;

    crowd.confirm(&friends[..4]).await;
    let at_four = app.stats_when(&ada, |stats| stats["successful"] == 4).await;
    assert_eq!(counts(&at_four), [12, 8, 0, 4, 0]);
    assert_eq!(at_four["conversion_rate"], 0.3333);
    assert_eq!(at_four["rewards"], json!({ "credits": "40.00", "premium_until": null, "discounts": [] }));
    assert_eq!(at_four["next_milestone"]["remaining"], 1);

    crowd.confirm(&friends[4..5]).await;
    let at_five = app.stats_when(&ada, |stats| stats["successful"] == 5).await;
    let until: DateTime<Utc> = at_five["rewards"]["premium_until"].as_str().unwrap().parse().unwrap();
    let premium = until - TimeDelta::days(30);
    assert!(premium >= begun && premium <= app.clock.now(), "thirty days from the fifth: {until}");
    assert_eq!(at_five["rewards"]["credits"], "50.00");
    assert_eq!(
        at_five["next_milestone"],
        json!({ "at": 10, "remaining": 5, "reward": { "reward_type": "discount", "amount": "20.00" } })
    );

    crowd.confirm(&friends[5..11]).await;
    let at_eleven = app.stats_when(&ada, |stats| stats["successful"] == 11).await;
    assert_eq!(counts(&at_eleven), [12, 1, 0, 11, 0]);
    assert_eq!(at_eleven["conversion_rate"], 0.9167);
    assert_eq!(at_eleven["rewards"]["credits"], "110.00");
    assert_eq!(at_eleven["rewards"]["premium_until"], at_five["rewards"]["premium_until"], "once");
    let discounts = at_eleven["rewards"]["discounts"].as_array().unwrap();
    assert_eq!((discounts.len(), &discounts[0]["percent"]), (1, &json!("20.00")));
    assert_eq!(discounts[0]["code"].as_str().unwrap().len(), 11);
    assert_eq!(at_eleven["next_milestone"], Value::Null);

    // Premium runs out by itself; the session is renewed, because it is a month later.
    app.clock.advance(TimeDelta::days(30) + TimeDelta::minutes(1));
    let ada = app.login("ada").await;
    assert_eq!(stats(&ada).await["rewards"]["premium_until"], Value::Null);
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_count_what_was_refused_and_what_expired() {
    let app = app_with_worker().await;
    let ada = app.member("ada").await;
    let code = app.code_of(&ada).await;
    Crowd::at(&app).bring("friend", 2, &code).await;
    let body = json!({ "email": "ada+me@example.org", "username": "ada-too", "password": PASSWORD, "referral_code": code });
    app.client().post("/api/register/", body).await.expect(201);
    let before = app.stats_when(&ada, |stats| stats["rejected"] == 1).await;
    assert_eq!(counts(&before), [3, 2, 0, 0, 1]);

    app.clock.advance(TimeDelta::days(31));
    app.database
        .batch_execute("INSERT INTO outbox (id, queue, kind, version, payload, due_at)
                        VALUES (gen_random_uuid(), 'maintenance', 'maintenance.expire_referrals', 1, '{}', now())")
        .await
        .unwrap();
    let ada = app.login("ada").await;
    let after = app.stats_when(&ada, |stats| stats["pending"] == 0).await;
    assert_eq!(counts(&after), [3, 0, 0, 0, 1], "the expired are in the total alone");
    let expired = ada.get("/api/referrals/?status=expired").await.expect(200).json();
    assert_eq!(expired["items"].as_array().unwrap().len(), 2);
    assert_eq!(expired["items"][0]["reason"], "not_verified_in_time");
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_f11_everybody_sees_their_own_figures() {
    let app = TestApp::api_only().await;
    let (ada, bob) = (app.member("ada").await, app.member("bob").await);
    Crowd::at(&app).bring("friend", 3, &app.code_of(&ada).await).await;
    app.stats_when(&ada, |stats| stats["total"] == 3).await;
    assert_eq!(counts(&stats(&bob).await), [0; 5]);
    assert_eq!(stats(&bob).await["referral_code"], app.code_of(&bob).await);
    let id = ada.get("/api/me/").await.json()["id"].as_str().unwrap().to_owned();
    let asked = bob.get(&format!("/api/referral-stats/?user_id={id}")).await.expect(200).json();
    assert_eq!(asked, stats(&bob).await, "whom one asks for changes nothing");
    bob.get(&format!("/api/referral-stats/{id}/")).await.expect(404);
    assert!(!ada.get("/api/referral-stats/").await.text().contains('@'));
}
