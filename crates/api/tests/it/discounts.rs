//! `POST /api/discounts/{code}/redeem/`: a coupon is good for one order, for the shop and for managers.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use testkit::app::TestApp;
use testkit::client::{Client, Reply};

use crate::reward_rules::{fund, manager};
use crate::support::Bearer;

const KEY: &str = "shop-key-of-thirty-two-characters-x";

async fn app() -> TestApp {
    TestApp::api_with(|settings| {
        settings.set("ARGON2_MEMORY_KIB", "64").set("ARGON2_ITERATIONS", "1").set("SHOP_API_KEY", KEY);
    })
    .await
}

/// Somebody with credits for as many coupons, and those.
async fn coupons(app: &TestApp, count: i64) -> (Client, Vec<String>) {
    app.register("ada", None).await.expect(201);
    fund(app, "ada", 30 * count).await;
    let ada = Bearer::login(app, "ada").await.client;
    let mut codes = Vec::new();
    for n in 0..count {
        let key = n.to_string();
        let headers = [("Idempotency-Key", key.as_str())];
        let body = Some(json!({ "option": "discount_10" }));
        let reply = ada.send(Method::POST, "/api/rewards/redeem/", body, &headers).await.expect(201).json();
        codes.push(reply["reward"]["code"].as_str().unwrap().to_owned());
    }
    (ada, codes)
}

async fn redeem(client: &Client, code: &str, order: &str) -> Reply {
    client.post(&format!("/api/discounts/{code}/redeem/"), json!({ "order": order })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_is_used_by_one_order_which_may_ask_again() {
    let app = app().await;
    let (ada, codes) = coupons(&app, 2).await;
    let shop = app.client().with_header("X-Shop-Key", KEY);
    let used = redeem(&shop, &codes[0], "order-1").await.expect(200);
    let reply = used.json();
    assert_eq!(
        (&reply["code"], &reply["percent"], &reply["order"]),
        (&json!(codes[0]), &json!("10.00"), &json!("order-1"))
    );
    app.clock.advance(chrono::TimeDelta::minutes(10));
    assert_eq!(redeem(&shop, &codes[0], "order-1").await.expect(200).text(), used.text());
    assert_eq!(redeem(&shop, &codes[0], "order-2").await.expect(409).code(), "discount_unavailable");
    let typed = codes[1].to_lowercase().replace('-', "");
    assert_eq!(redeem(&shop, &typed, "order-2").await.expect(200).json()["code"], codes[1].as_str());
    for unknown in ["00000-00000", "nonsense", "%00", "%F0%9F%A6%80"] {
        assert_eq!(redeem(&shop, unknown, "order-3").await.expect(404).code(), "not_found", "{unknown}");
    }
    let left = ada.get("/api/referral-stats/").await.expect(200).json();
    assert_eq!(left["rewards"]["discounts"], json!([]), "a used one is not shown as one to use");
    for (body, errors) in [
        (json!({}), vec!["/order required"]),
        (json!({ "order": "" }), vec!["/order empty"]),
        (json!({ "order": 7, "x": 1 }), vec!["/order wrong_type", "/x unknown_field"]),
        (json!({ "order": "x".repeat(256) }), vec!["/order too_long"]),
    ] {
        let reply = shop.post(&format!("/api/discounts/{}/redeem/", codes[0]), body).await.expect(422);
        assert_eq!(reply.errors(), errors);
    }
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_orders_at_once_one_gets_the_coupon() {
    let app = app().await;
    let (_, codes) = coupons(&app, 1).await;
    let shop = app.client().with_header("X-Shop-Key", KEY);
    let orders: Vec<String> = (0..20).map(|n| format!("order-{n}")).collect();
    let answers = join_all(orders.iter().map(|order| redeem(&shop, &codes[0], order))).await;
    let statuses: Vec<_> = answers.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 19, "{statuses:?}");
    let events: i64 =
        app.database.value("SELECT count(*) FROM security_events WHERE event = 'discount_redeemed'").await;
    assert_eq!(events, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_shop_and_managers_use_coupons() {
    let app = app().await;
    let (ada, codes) = coupons(&app, 2).await;
    let long = KEY.repeat(2);
    for key in ["", "x", &KEY[1..], &long, "Bearer"] {
        let other = app.client().with_header("X-Shop-Key", key);
        assert_eq!(redeem(&other, &codes[0], "o").await.expect(401).code(), "unauthenticated", "{key}");
    }
    assert_eq!(redeem(&app.client(), &codes[0], "o").await.expect(401).code(), "unauthenticated");
    assert_eq!(redeem(&ada, &codes[0], "o").await.expect(403).code(), "forbidden", "not even its holder");
    let boss = manager(&app, "boss").await;
    redeem(&boss, &codes[0], "by-hand").await.expect(200);
    let shop = app.client().with_header("X-Shop-Key", KEY);
    redeem(&shop, &codes[1], "o").await.expect(200);
    let events = boss.get("/api/admin/audit/?event=discount_redeemed").await.expect(200).json();
    let actors: Vec<_> =
        events["items"].as_array().unwrap().iter().map(|event| event["actor"].clone()).collect();
    assert_eq!(actors, [json!("system"), json!("manager")]);

    let without = app
        .replica_with(|settings| {
            settings.set("SHOP_API_KEY", "");
        })
        .await;
    let shop = Client::new(&without.base()).with_header("X-Shop-Key", KEY);
    redeem(&shop, &codes[1], "o").await.expect(401);
    let empty = Client::new(&without.base()).with_header("X-Shop-Key", "");
    redeem(&empty, &codes[1], "o").await.expect(401);
}
