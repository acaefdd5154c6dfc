//! Spending credits: the catalogue, and buying from it once for a key.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::app::TestApp;
use testkit::client::{Client, Reply};

use crate::reward_rules::fund;
use crate::support::{Bearer, quick_app};

const PATH: &str = "/api/rewards/redeem/";

async fn redeem(client: &Client, option: &str, key: &str) -> Reply {
    client.send(Method::POST, PATH, Some(json!({ "option": option })), &[("Idempotency-Key", key)]).await
}

async fn member(app: &TestApp, name: &str, credits: i64) -> Client {
    app.register(name, None).await.expect(201);
    if credits > 0 {
        fund(app, name, credits).await;
    }
    Bearer::login(app, name).await.client
}

async fn stats(client: &Client) -> Value {
    client.get("/api/referral-stats/").await.expect(200).json()["rewards"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn credits_buy_premium_and_coupons_at_the_prices_of_the_catalogue() {
    let app = quick_app().await;
    let ada = member(&app, "ada", 200).await;
    let catalog = ada.get("/api/rewards/catalog/").await.expect(200).json();
    let items = catalog["items"].as_array().unwrap();
    let options: Vec<_> = items.iter().map(|item| item["option"].as_str().unwrap()).collect();
    assert_eq!(options, ["premium_7_days", "premium_30_days", "discount_10", "discount_25"]);
    assert_eq!(
        items[1],
        json!({ "option": "premium_30_days", "title": "30 days of premium", "cost": "50.00",
                "reward": { "reward_type": "premium", "amount": "30.00" } })
    );
    app.client().get("/api/rewards/catalog/").await.expect(401);
    assert_eq!(stats(&ada).await["credits"], "200.00");

    let bought = redeem(&ada, "premium_30_days", "one").await.expect(201).json();
    assert_eq!((&bought["cost"], &bought["credits"]), (&json!("50.00"), &json!("150.00")));
    assert_eq!(bought["reward"]["code"], Value::Null);
    let until = bought["reward"]["premium_until"].as_str().unwrap().to_owned();
    let figures = stats(&ada).await;
    assert_eq!(
        (&figures["credits"], &figures["premium_until"]),
        (&json!("150.00"), &json!(until)),
        "at once"
    );
    let more = redeem(&ada, "premium_7_days", "two").await.expect(201).json();
    let days = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let later = more["reward"]["premium_until"].as_str().unwrap();
    assert_eq!(days(later) - days(&until), chrono::TimeDelta::days(7), "periods add up");

    let coupon = redeem(&ada, "discount_10", "three").await.expect(201).json();
    let code = coupon["reward"]["code"].as_str().unwrap();
    assert_eq!(stats(&ada).await["discounts"], json!([{ "code": code, "percent": "10.00" }]));
    assert_eq!(coupon["credits"], "105.00");
    app.check_ledger().await;

    let poor = redeem(&ada, "discount_25", "four").await.expect(201).json();
    assert_eq!(poor["credits"], "35.00");
    let refused = redeem(&ada, "premium_30_days", "five").await.expect(409);
    assert_eq!(refused.code(), "insufficient_credits");
    assert_eq!(refused.json()["balance"], "35.00");
    app.database
        .batch_execute("UPDATE reward_catalog SET available = false WHERE option = 'discount_10'")
        .await
        .unwrap();
    assert_eq!(redeem(&ada, "discount_10", "six").await.expect(422).errors(), ["/option invalid_value"]);
    assert_eq!(
        redeem(&ada, "discount_10", "three").await.expect(201).json(),
        coupon,
        "what was bought stays bought"
    );
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_a_key_buys_once_and_is_answered_the_same() {
    let app = quick_app().await;
    let (ada, bob) = (member(&app, "ada", 100).await, member(&app, "bob", 100).await);
    let first = redeem(&ada, "discount_10", "key").await.expect(201);
    for _ in 0..3 {
        assert_eq!(redeem(&ada, "discount_10", "key").await.expect(201).text(), first.text());
    }
    let other = redeem(&ada, "premium_7_days", "key").await.expect(422);
    assert_eq!(other.code(), "idempotency_key_reused");
    let of_bob = redeem(&bob, "premium_7_days", "key").await.expect(201).json();
    assert_ne!(of_bob["id"], first.json()["id"], "a key is its holder's own");

    let answers = join_all((0..20).map(|_| redeem(&ada, "discount_10", "twenty"))).await;
    let texts: std::collections::BTreeSet<_> =
        answers.iter().map(|reply| (reply.status, reply.text())).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(answers[0].status, 201);
    assert_eq!(stats(&ada).await["credits"], "40.00");
    let mixed = join_all(
        (0..10).map(|n| redeem(&bob, if n % 2 == 0 { "premium_7_days" } else { "discount_10" }, "mixed")),
    )
    .await;
    assert_eq!(mixed.iter().filter(|reply| reply.status == 201).count(), 5);
    assert_eq!(mixed.iter().filter(|reply| reply.status == 422).count(), 5);

    // A refusal is not kept.
    let carl = member(&app, "carl", 10).await;
    redeem(&carl, "premium_7_days", "patience").await.expect(409);
    fund(&app, "carl", 10).await;
    redeem(&carl, "premium_7_days", "patience").await.expect(201);

    let body = || Some(json!({ "option": "discount_10" }));
    let long = "k".repeat(256);
    for headers in [
        &[][..],
        &[("Idempotency-Key", "")],
        &[("Idempotency-Key", "a b")],
        &[("Idempotency-Key", long.as_str())],
    ] {
        let reply = ada.send(Method::POST, PATH, body(), headers).await.expect(400);
        assert_eq!(reply.code(), "bad_request");
    }
    let longest = "k".repeat(255);
    redeem(&ada, "discount_10", &longest).await.expect(201);
    let bought: i64 = app.database.value("SELECT count(*) FROM redemptions").await;
    assert_eq!(bought, 6);
    app.check_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_of_fifty_redemptions_of_the_whole_balance_at_once_one_succeeds() {
    let app = quick_app().await;
    let ada = member(&app, "ada", 50).await;
    let (addr, other) = app.second_api().await;
    let token = Bearer::login(&app, "ada").await.access;
    let there =
        Client::new(&format!("http://{addr}")).with_header("Authorization", &format!("Bearer {token}"));
    let keys: Vec<String> = (0..50).map(|n| format!("key-{n}")).collect();
    let answers = join_all(
        keys.iter()
            .enumerate()
            .map(|(n, key)| redeem(if n % 2 == 0 { &ada } else { &there }, "premium_30_days", key)),
    )
    .await;
    let count = |status| answers.iter().filter(|reply| reply.status == status).count();
    assert_eq!((count(201), count(409)), (1, 49));
    assert_eq!(stats(&ada).await["credits"], "0.00");
    app.check_ledger().await;
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a14_a_redemption_names_an_option_and_nothing_else() {
    let app = quick_app().await;
    let ada = member(&app, "ada", 100).await;
    for (body, errors) in [
        (json!({}), vec!["/option required"]),
        (json!({ "option": 1 }), vec!["/option wrong_type"]),
        (json!({ "option": "" }), vec!["/option empty"]),
        (json!({ "option": "a\u{0}" }), vec!["/option invalid_character"]),
        (json!({ "option": "a".repeat(41) }), vec!["/option too_long"]),
        (json!({ "option": "a_house" }), vec!["/option invalid_value"]),
        (json!({ "option": "discount_10", "cost": 0 }), vec!["/cost unknown_field"]),
    ] {
        let reply =
            ada.send(Method::POST, PATH, Some(body.clone()), &[("Idempotency-Key", "k")]).await.expect(422);
        assert_eq!(reply.errors(), errors, "{body}");
    }
    let nobody = app.client();
    redeem(&nobody, "discount_10", "k").await.expect(401);
    assert_eq!(stats(&ada).await["credits"], "100.00");
}
