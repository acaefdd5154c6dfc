//! Webhooks, from what happens to what arrives: told once and for all, signed, to whom may be called, and whatever fails.

mod events;
mod failures;
mod secrets;

use domain::accounts::Account;
use domain::audit::{Actor, Trace};
use domain::referrals::Verdict;
use domain::webhooks::{self, Delivery, Edit, EndpointError, Event, NewEndpoint};
use serde_json::{Value, json};
use testkit::receiver::{Answer, Received, Receiver};
use uuid::Uuid;

use super::desk::{Desk, Friend};
use super::review::rule;

/// Adds an endpoint that is told of these events, or of all; returns it with its secret.
async fn listens(desk: &Desk, url: &str, events: &[Event]) -> (Uuid, String) {
    let common = &desk.config.common;
    let new = NewEndpoint {
        url: webhooks::EndpointUrl::parse(url, &common.webhook_targets).unwrap(),
        description: String::new(),
        events: events.to_vec(),
    };
    let (now, keys) = (desk.clock.now(), &common.keys.factor);
    let added = webhooks::create(&desk.pool, now, keys, &new, Actor::Operator, &Trace::default()).await;
    let (endpoint, secret) = added.unwrap();
    (endpoint.id, secret.expose().to_string())
}

/// A manager tries an endpoint. Nothing is sent yet.
async fn try_endpoint(desk: &Desk, endpoint: Uuid) -> Result<Delivery, EndpointError> {
    webhooks::ping(&desk.pool, desk.clock.now(), endpoint, Actor::Operator, &Trace::default()).await
}

/// The same, where that can be; returns the delivery.
async fn ping(desk: &Desk, endpoint: Uuid) -> Uuid {
    try_endpoint(desk, endpoint).await.unwrap().id
}

/// A manager lets an endpoint be told again. Nothing is sent yet.
async fn redeliver(desk: &Desk, endpoint: Uuid, delivery: Uuid) -> Result<(), EndpointError> {
    let (now, actor) = (desk.clock.now(), Actor::Operator);
    webhooks::redeliver(&desk.pool, now, endpoint, delivery, actor, &Trace::default()).await
}

/// An endpoint is at another address from now on.
async fn move_to(desk: &Desk, endpoint: Uuid, url: &str) {
    let url = webhooks::EndpointUrl::parse(url, &desk.config.common.webhook_targets).unwrap();
    let edit = Edit { url: Some(url), ..Edit::default() };
    let (now, trace) = (desk.clock.now(), Trace::default());
    webhooks::edit(&desk.pool, now, endpoint, &edit, Actor::Operator, &trace).await.unwrap();
}

/// The open job that sends a delivery.
async fn job_of(desk: &Desk, delivery: Uuid) -> Uuid {
    desk.id(&format!(
        "SELECT id FROM outbox WHERE payload ->> 'delivery_id' = '{delivery}' AND done_at IS NULL"
    ))
    .await
}

/// How a delivery stands: attempts, the last status, whether it was taken, whether it was given up, and the last error.
async fn delivery(desk: &Desk, id: Uuid) -> (i32, Option<i16>, bool, bool, String) {
    let sql = format!(
        "SELECT attempts, last_status, delivered_at IS NOT NULL, failed_at IS NOT NULL, coalesce(last_error, '')
         FROM webhook_deliveries WHERE id = '{id}'"
    );
    let row = desk.database.query_one(&sql, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))
}

fn events_of(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::event).collect()
}

/// Two people, whose names are no digits of an id.
async fn two_people(desk: &Desk) -> (Account, Friend) {
    let ada = desk.person("zoe").await;
    let bob = desk.friend("tom", &ada).await;
    (ada, bob)
}

#[tokio::test]
async fn w1_what_happens_is_told_in_order_signed_and_without_anybodys_name_or_address() {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    let (_, secret) = listens(&desk, &receiver.url(), &[]).await;
    let (ada, bob) = two_people(&desk).await;
    desk.run_queue("webhooks").await;
    desk.confirm(bob.id).await;
    desk.run_queue("webhooks").await;
    desk.run_queue("rewards").await;
    desk.run_queue("webhooks").await;
    desk.redeem_after_gift(ada.id, "premium_7_days").await;
    desk.run_queue("webhooks").await;
    rule(&desk, bob.referral, Verdict::Reverse).await.unwrap();
    desk.run_queue("webhooks").await;
    desk.delete(bob.id).await;
    desk.run_queue("webhooks").await;

    let received = receiver.received();
    let mut told = events_of(&received);
    told[..3].sort();
    let wanted = [
        "referral.pending",
        "user.registered",
        "user.registered",
        "user.verified",
        "referral.successful",
        "reward.redeemed",
        "referral.reversed",
        "user.deleted",
    ];
    assert_eq!(told, wanted);
    for message in &received {
        assert!(message.is_signed_by(&secret), "{message:?}");
        assert!(!message.is_signed_by("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        assert_eq!(message.header("content-type"), "application/json");
        for name in ["zoe", "tom", "@", "example.org"] {
            assert!(!message.body.contains(name), "{name} is in {}", message.body);
        }
    }
    let of = |event: &str| {
        received.iter().find(|message| message.event() == event).unwrap().json()["data"].clone()
    };
    let sides = json!({ "referral_id": bob.referral, "referrer_id": ada.id, "referred_user_id": bob.id });
    let expect = |event: &str, status: &str, reason: &str| {
        let data = of(event);
        for (name, value) in sides.as_object().unwrap() {
            assert_eq!(&data[name], value, "{event}");
        }
        assert_eq!((&data["status"], &data["reason"]), (&json!(status), &json!(reason)), "{event}");
        data
    };
    expect("referral.pending", "pending", "awaiting_verification");
    let earned = expect("referral.successful", "successful", "qualified");
    let rewards: Vec<(Value, Value)> = earned["rewards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reward| (reward["user_id"].clone(), reward["amount"].clone()))
        .collect();
    assert_eq!(rewards.len(), 2);
    assert!(
        rewards.contains(&(json!(ada.id), json!("10.00")))
            && rewards.contains(&(json!(bob.id), json!("5.00")))
    );
    let reversed = expect("referral.reversed", "reversed", "reversed_by_manager");
    let shortfalls: Vec<_> =
        reversed["rewards"].as_array().unwrap().iter().map(|r| r["shortfall"].clone()).collect();
    assert!(shortfalls.contains(&json!("0.00")) && shortfalls.contains(&json!("5.00")), "{reversed}");
    assert_eq!(of("user.deleted"), json!({ "user_id": bob.id }));
    let bought = of("reward.redeemed");
    assert_eq!((&bought["user_id"], &bought["cost"]), (&json!(ada.id), &json!("15.00")));
}

#[tokio::test]
async fn w4_no_request_leaves_for_an_address_that_may_not_be_called() {
    let receiver = Receiver::start().await;
    let port = receiver.url().rsplit(':').next().unwrap().to_owned();
    let mut desk = Desk::new().await;
    let mut endpoints = Vec::new();
    for url in [receiver.url(), format!("http://localhost:{port}"), format!("https://localhost:{port}")] {
        endpoints.push(listens(&desk, &url, &[]).await.0);
    }
    // They were typed when it was allowed.
    desk.change_settings(|settings| {
        settings.set("WEBHOOK_PRIVATE_NETWORKS", "none");
    });
    for endpoint in endpoints {
        let told = ping(&desk, endpoint).await;
        desk.run(job_of(&desk, told).await).await;
        let (attempts, status, taken, _, error) = delivery(&desk, told).await;
        assert_eq!((attempts, status, taken), (1, None, false));
        assert!(error.contains("WEBHOOK_PRIVATE_NETWORKS"), "{error}");
        assert!(!error.contains("localhost") && !error.contains(&port), "no address: {error}");
    }
    assert_eq!(receiver.received().len(), 0);

    // Nor where a receiver sends us on to.
    desk.change_settings(|settings| {
        settings.set("WEBHOOK_PRIVATE_NETWORKS", "127.0.0.0/8");
    });
    let other = Receiver::start().await;
    receiver.answer(Answer::Status(307, vec![("location", other.url())]));
    let (endpoint, _) = listens(&desk, &receiver.url(), &[]).await;
    let told = ping(&desk, endpoint).await;
    desk.run(job_of(&desk, told).await).await;
    assert_eq!(delivery(&desk, told).await, (1, Some(307), false, false, "answered 307".to_owned()));
    assert_eq!((receiver.received().len(), other.received().len()), (1, 0));
}
