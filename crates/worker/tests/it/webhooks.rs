//! Webhooks, from what happens to what arrives: told once and for all, signed, to whom may be called, and whatever fails.

use std::time::Duration;

use base64::Engine as _;
use chrono::TimeDelta;
use domain::accounts::{self, Account};
use domain::audit::{Actor, Trace};
use domain::config::SealingKeys;
use domain::outbox::Job;
use domain::referrals::Verdict;
use domain::webhooks::{self, Edit, Event, NewEndpoint};
use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::app::PATIENCE;
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

/// Tells an endpoint a `ping`; returns the delivery. Nothing is sent yet.
async fn ping(desk: &Desk, endpoint: Uuid) -> Uuid {
    webhooks::ping(&desk.pool, desk.clock.now(), endpoint, None).await.unwrap().id
}

/// Something happens that an endpoint is told of; returns the delivery. Nothing is sent yet.
async fn told(desk: &Desk, endpoint: Uuid) -> Uuid {
    let subject_id = Uuid::now_v7();
    let happened = Job::Announce { event: Event::UserVerified, subject_id, reason: None };
    desk.run(desk.promise(&happened).await).await;
    desk.id(&format!(
        "SELECT id FROM webhook_deliveries WHERE endpoint_id = '{endpoint}' AND body LIKE '%{subject_id}%'"
    ))
    .await
}

async fn rotate(desk: &Desk, endpoint: Uuid, keys: &SealingKeys) -> String {
    let now = desk.clock.now();
    let rotated = webhooks::rotate(&desk.pool, now, keys, endpoint, Actor::Operator, &Trace::default()).await;
    rotated.unwrap().0.expose().to_string()
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

/// Why an endpoint is disabled, if it is.
async fn disabled(desk: &Desk, endpoint: Uuid) -> Option<String> {
    webhooks::find(&desk.pool, endpoint).await.unwrap().disabled_reason
}

/// How many seconds an endpoint is left alone.
async fn pause(desk: &Desk, endpoint: Uuid) -> i64 {
    let sql = format!(
        "SELECT coalesce(extract(epoch FROM retry_at), 0)::bigint FROM webhook_endpoints WHERE id = '{endpoint}'"
    );
    let until: i64 = desk.database.value(&sql).await;
    (chrono::DateTime::from_timestamp(until, 0).unwrap() - desk.clock.now()).num_seconds().max(0)
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
async fn o1_every_move_has_an_event_in_the_outbox_whether_anybody_listens_or_not() {
    let desk = Desk::new().await;
    let (ada, bob) = two_people(&desk).await;
    let carol = desk.friend("carol", &ada).await;
    let dora = desk.friend("dora", &ada).await;
    let eve = desk.friend_at(&super::desk::Place::default(), "eve", "eve@yopmail.com", &ada).await;
    desk.confirm(bob.id).await;
    desk.run_queue("rewards").await;
    rule(&desk, bob.referral, Verdict::Reverse).await.unwrap();
    rule(&desk, carol.referral, Verdict::Reject).await.unwrap();
    rule(&desk, eve.referral, Verdict::Approve).await.unwrap();
    desk.sql(&format!(
        "UPDATE referrals SET date_referred = date_referred - interval '31 days' WHERE id = '{}'",
        dora.referral
    ))
    .await;
    desk.run(desk.promise(&Job::ExpireReferrals {}).await).await;

    // By referral: what the record says and what the outbox says are the same, but for how it began.
    let recorded = "SELECT subject_id::text || ' ' || replace(event, '_', '.') FROM security_events
                    WHERE event LIKE 'referral\\_%' ORDER BY 1";
    let announced = "SELECT (payload ->> 'subject_id') || ' ' || (payload ->> 'event') FROM outbox
                     WHERE kind = 'event.announce' AND payload ->> 'event' LIKE 'referral.%' ORDER BY 1";
    let lines = async |sql: &str| -> Vec<String> {
        desk.database.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let mut expected: Vec<String> = lines(recorded)
        .await
        .into_iter()
        .map(|line| {
            line.replace("referral.held", "referral.review").replace("referral.released", "referral.pending")
        })
        .collect();
    expected.extend([bob, carol, dora].map(|friend| format!("{} referral.pending", friend.referral)));
    expected.sort();
    assert_eq!(lines(announced).await, expected);
    assert_eq!(expected.len(), 9, "{expected:?}");
    let open = desk.count("outbox WHERE kind = 'event.announce' AND (done_at IS NULL OR attempts > 0)").await;
    assert_eq!(open, 0, "nobody listens: they are on record, and cost no delivery");
}

#[tokio::test]
async fn w2_an_event_reaches_an_endpoint_by_one_id_however_often_its_jobs_run() {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    let (all, _) = listens(&desk, &receiver.url(), &[]).await;
    listens(&desk, &format!("{}?second", receiver.url()), &[Event::UserDeleted]).await;
    let ada = desk.person("ada").await;
    let event = desk.id("SELECT id FROM outbox WHERE kind = 'event.announce'").await;
    for _ in 0..3 {
        desk.run(event).await;
        desk.sql(&format!("UPDATE outbox SET done_at = NULL WHERE id = '{event}'")).await;
    }
    assert_eq!(desk.count(&format!("webhook_deliveries WHERE endpoint_id = '{all}'")).await, 1);
    assert_eq!(desk.count("webhook_deliveries").await, 1, "the other listens for something else");
    let jobs = desk.ids("SELECT id FROM outbox WHERE kind = 'webhook.deliver'").await;
    assert_eq!(jobs.len(), 1);
    for _ in 0..3 {
        desk.run(jobs[0]).await;
    }
    let received = receiver.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].id(), event.to_string());
    assert_eq!(received[0].json()["data"], json!({ "user_id": ada.id }));

    // A job whose worker died after the answer runs again, and what it sends is known by its id.
    desk.sql("UPDATE webhook_deliveries SET delivered_at = NULL").await;
    desk.sql(&format!("UPDATE outbox SET done_at = NULL WHERE id = '{}'", jobs[0])).await;
    desk.run(jobs[0]).await;
    let received = receiver.received();
    assert_eq!(
        (received.len(), received[1].id(), &received[1].body),
        (2, received[0].id(), &received[0].body)
    );
}

#[tokio::test]
async fn w3_what_is_not_taken_is_tried_again_and_given_up_after_its_last_attempt() {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    let (endpoint, _) = listens(&desk, &receiver.url(), &[]).await;
    receiver.answer(Answer::status(400));
    let refused = told(&desk, endpoint).await;
    let job = job_of(&desk, refused).await;
    desk.run(job).await;
    assert_eq!(delivery(&desk, refused).await, (1, Some(400), false, false, "answered 400".to_owned()));
    assert!(desk.job(job).await.waits > 3.0);
    assert_eq!(pause(&desk, endpoint).await, 0, "it answers: others may be taken");

    // Another is taken, and the first too once its receiver is mended.
    receiver.answer(Answer::status(200));
    let taken = told(&desk, endpoint).await;
    desk.run(job_of(&desk, taken).await).await;
    assert_eq!(delivery(&desk, taken).await, (1, Some(200), true, false, String::new()));
    desk.let_leases_end().await;
    desk.run(job).await;
    assert_eq!(delivery(&desk, refused).await, (2, Some(200), true, false, String::new()));

    receiver.answer(Answer::status(400));
    let given_up = told(&desk, endpoint).await;
    let job = job_of(&desk, given_up).await;
    for _ in 0..30 {
        desk.let_leases_end().await;
        desk.run(job).await;
    }
    assert_eq!(delivery(&desk, given_up).await, (30, Some(400), false, true, "answered 400".to_owned()));
    let stands = desk.job(job).await;
    assert_eq!(
        (stands.attempts, stands.done),
        (30, true),
        "what is given up is among the deliveries, not the dead jobs"
    );

    // Told again by a manager, twice at once: one more job, the same id.
    receiver.answer(Answer::status(204));
    let (first, second) = tokio::join!(
        webhooks::redeliver(&desk.pool, endpoint, given_up, None),
        webhooks::redeliver(&desk.pool, endpoint, given_up, None)
    );
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    let before = receiver.received().len();
    desk.run_queue("webhooks").await;
    let received = receiver.received();
    assert_eq!(received.len(), before + 1);
    assert_eq!(received[before].id(), received[before - 1].id());
    assert!(delivery(&desk, given_up).await.2);
    let unknown = webhooks::redeliver(&desk.pool, endpoint, Uuid::now_v7(), None).await;
    assert!(matches!(unknown, Err(webhooks::EndpointError::NotFound)), "{unknown:?}");
}

#[tokio::test]
async fn w5_an_endpoint_that_is_down_is_left_alone_longer_each_time_and_costs_others_nothing() {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    let (endpoint, _) = listens(&desk, &receiver.url(), &[]).await;
    receiver.answer(Answer::status(503));
    let first = told(&desk, endpoint).await;
    let job = job_of(&desk, first).await;
    for expected in [5, 10, 20, 40] {
        desk.let_leases_end().await;
        desk.run(job).await;
        assert!((expected - 1..=expected).contains(&pause(&desk, endpoint).await), "{expected}");
        // What comes meanwhile is put off without an attempt.
        let second = told(&desk, endpoint).await;
        let other = job_of(&desk, second).await;
        desk.run(other).await;
        assert_eq!(delivery(&desk, second).await, (0, None, false, false, String::new()));
        let stands = desk.job(other).await;
        assert_eq!(stands.attempts, 0);
        assert!(stands.waits > f64::from(i32::try_from(expected).unwrap()) - 2.0, "{stands:?}");
        desk.clock.advance(TimeDelta::seconds(expected + 1));
    }
    assert_eq!(receiver.received().len(), 4);

    // A manager who tries it does not wait.
    let before = receiver.received().len();
    desk.clock.advance(TimeDelta::seconds(-2));
    let tried = ping(&desk, endpoint).await;
    let trying = job_of(&desk, tried).await;
    desk.run(trying).await;
    assert_eq!(receiver.received().len(), before + 1);
    desk.sql(&format!("DELETE FROM webhook_deliveries WHERE id = '{tried}'")).await;
    desk.let_leases_end().await;
    desk.run(trying).await;
    assert!(desk.job(trying).await.done, "there is nothing to tell any more");
    desk.clock.advance(TimeDelta::seconds(60));

    // It asks for more time, within reason.
    receiver.answer(Answer::Status(429, vec![("retry-after", "900".to_owned())]));
    desk.let_leases_end().await;
    desk.run(job).await;
    assert!((890..=900).contains(&pause(&desk, endpoint).await));
    desk.clock.advance(TimeDelta::seconds(901));
    receiver.answer(Answer::Status(503, vec![("retry-after", "86400".to_owned())]));
    desk.let_leases_end().await;
    desk.run(job).await;
    assert!((3_590..=3_600).contains(&pause(&desk, endpoint).await));
    desk.clock.advance(TimeDelta::seconds(3_601));

    // One of all that wait tries whether it is back, and the others not even when they run at once.
    receiver.answer(Answer::Stall);
    desk.let_leases_end().await;
    let before = receiver.received().len();
    let waiting = desk.ids("SELECT id FROM outbox WHERE kind = 'webhook.deliver' AND done_at IS NULL").await;
    assert_eq!(waiting.len(), 5);
    join_all(waiting.iter().map(|job| desk.run(*job))).await;
    assert_eq!(receiver.received().len(), before + 1);
    desk.clock.advance(TimeDelta::hours(1));

    // It is back: everything that waited arrives.
    receiver.answer(Answer::status(200));
    let before = receiver.received().len();
    desk.let_leases_end().await;
    desk.run_queue("webhooks").await;
    assert_eq!(receiver.received().len(), before + 5);
    let stands = webhooks::find(&desk.pool, endpoint).await.unwrap();
    assert_eq!(stands.failing_since, None);
    assert_eq!(desk.count("webhook_deliveries WHERE delivered_at IS NULL").await, 0);
}

#[tokio::test]
async fn w5_an_endpoint_that_is_gone_or_takes_nothing_for_three_days_is_disabled_and_comes_back_when_it_is_told_to()
 {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    let (endpoint, _) = listens(&desk, &receiver.url(), &[]).await;
    receiver.answer(Answer::status(410));
    let gone = told(&desk, endpoint).await;
    desk.run(job_of(&desk, gone).await).await;
    assert_eq!(disabled(&desk, endpoint).await.as_deref(), Some("gone"));
    assert_eq!(delivery(&desk, gone).await, (1, Some(410), false, true, "answered 410".to_owned()));
    desk.person("ada").await;
    assert_eq!(
        desk.count("outbox WHERE kind = 'event.announce' AND done_at IS NULL").await,
        0,
        "it is told nothing"
    );
    let refused = webhooks::ping(&desk.pool, desk.clock.now(), endpoint, None).await;
    assert!(matches!(refused, Err(webhooks::EndpointError::Disabled)), "{refused:?}");

    let enable = Edit { enabled: Some(true), ..Edit::default() };
    let (now, actor, trace) = (desk.clock.now(), Actor::Operator, Trace::default());
    webhooks::edit(&desk.pool, now, endpoint, &enable, actor, &trace).await.unwrap();
    receiver.answer(Answer::status(404));
    let (failing, waiting) = (told(&desk, endpoint).await, told(&desk, endpoint).await);
    let job = job_of(&desk, failing).await;
    desk.run(job).await;
    desk.clock.advance(TimeDelta::days(3) - TimeDelta::minutes(1));
    desk.let_leases_end().await;
    desk.run(job).await;
    assert_eq!(disabled(&desk, endpoint).await, None);
    desk.clock.advance(TimeDelta::minutes(1));
    desk.let_leases_end().await;
    desk.run(job).await;
    assert_eq!(disabled(&desk, endpoint).await.as_deref(), Some("failing"));
    // What waits for it is given up without a request.
    let before = receiver.received().len();
    desk.let_leases_end().await;
    desk.run(job_of(&desk, waiting).await).await;
    assert_eq!(receiver.received().len(), before);
    assert_eq!(delivery(&desk, waiting).await, (0, None, false, true, "the endpoint is disabled".to_owned()));
    let record = desk.count("security_events WHERE event = 'webhook_disabled' AND actor = 'system'").await;
    assert_eq!(record, 2);
}

#[tokio::test]
async fn w5_what_an_endpoint_refused_long_ago_does_not_disable_it_at_the_next_hiccup() {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    let (endpoint, _) = listens(&desk, &receiver.url(), &[]).await;
    receiver.answer(Answer::status(400));
    let refused = told(&desk, endpoint).await;
    desk.run(job_of(&desk, refused).await).await;
    desk.clock.advance(TimeDelta::days(4));
    receiver.answer(Answer::status(503));
    let later = told(&desk, endpoint).await;
    let job = job_of(&desk, later).await;
    desk.run(job).await;
    assert_eq!(disabled(&desk, endpoint).await, None);
    desk.clock.advance(TimeDelta::hours(12));
    desk.let_leases_end().await;
    desk.run(job).await;
    assert_eq!(disabled(&desk, endpoint).await.as_deref(), Some("failing"), "nothing was taken since");
}

#[tokio::test]
async fn w5_with_another_address_an_endpoint_is_forgiven_what_failed_before() {
    let desk = Desk::new().await;
    let (broken, mended) = (Receiver::start().await, Receiver::start().await);
    let (endpoint, _) = listens(&desk, &broken.url(), &[]).await;
    broken.answer(Answer::Status(503, vec![("retry-after", "3600".to_owned())]));
    let waiting = told(&desk, endpoint).await;
    let job = job_of(&desk, waiting).await;
    desk.run(job).await;
    assert!(pause(&desk, endpoint).await > 3_000);
    let url = webhooks::EndpointUrl::parse(&mended.url(), &desk.config.common.webhook_targets).unwrap();
    let edit = Edit { url: Some(url), ..Edit::default() };
    let (now, trace) = (desk.clock.now(), Trace::default());
    webhooks::edit(&desk.pool, now, endpoint, &edit, Actor::Operator, &trace).await.unwrap();
    assert_eq!(pause(&desk, endpoint).await, 0);
    desk.let_leases_end().await;
    desk.run(job).await;
    assert_eq!(mended.received().len(), 1);
    assert!(delivery(&desk, waiting).await.2);
}

#[tokio::test]
async fn w1_an_endpoint_is_added_after_what_is_under_way_and_is_told_of_all_that_comes() {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    // Somebody has looked whether anybody listens, and has not committed yet.
    let under_way = desk.database.connect().await;
    under_way.batch_execute("BEGIN; SELECT FROM webhook_endpoints").await.unwrap();
    let url = receiver.url();
    let mut adding = std::pin::pin!(listens(&desk, &url, &[]));
    let waits = testkit::app::eventually("whoever adds the endpoint waits", async || {
        match desk.count("pg_locks WHERE NOT granted AND relation = 'webhook_endpoints'::regclass").await {
            0 => Err("nobody waits".to_owned()),
            _ => Ok(()),
        }
    });
    tokio::select! {
        _ = &mut adding => panic!("it is there before what is under way is over"),
        () = waits => {}
    }
    under_way.batch_execute("COMMIT").await.unwrap();
    adding.await;
    desk.person("zoe").await;
    desk.run_queue("webhooks").await;
    assert_eq!(events_of(&receiver.received()), ["user.registered"]);
}

#[tokio::test]
async fn w1_an_account_is_verified_once_however_many_links_were_mailed() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let first = desk.token_of(ada.id).await;
    accounts::request_verification(&desk.pool, desk.clock.now(), ada.id, None).await.unwrap();
    let second = desk.token_of(ada.id).await;
    assert_ne!(first, second);
    for token in [second, first] {
        accounts::verify_email(&desk.pool, desk.clock.now(), &token, &Trace::default()).await.unwrap();
    }
    assert_eq!(desk.count("outbox WHERE payload ->> 'event' = 'user.verified'").await, 1);
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

#[tokio::test]
async fn w5_a_receiver_that_never_answers_is_given_fifteen_seconds() {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    let (endpoint, _) = listens(&desk, &receiver.url(), &[]).await;
    receiver.answer(Answer::Stall);
    let told = told(&desk, endpoint).await;
    let job = job_of(&desk, told).await;
    let began = std::time::Instant::now();
    desk.run(job).await;
    let took = began.elapsed();
    assert!((Duration::from_secs(14)..Duration::from_secs(25)).contains(&took), "{took:?}");
    assert_eq!(delivery(&desk, told).await, (1, None, false, false, "no answer within 15 s".to_owned()));
    assert!(pause(&desk, endpoint).await > 0);
}

#[tokio::test]
async fn w6_a_secret_is_exchanged_without_a_message_that_the_receiver_cannot_verify() {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    let (endpoint, first) = listens(&desk, &receiver.url(), &[]).await;
    let keys = desk.config.common.keys.factor.clone();
    let second = rotate(&desk, endpoint, &keys).await;
    assert_ne!(first, second);
    let tell = async || {
        let told = ping(&desk, endpoint).await;
        desk.run(job_of(&desk, told).await).await;
        receiver.received().pop().unwrap()
    };
    let message = tell().await;
    assert!(message.is_signed_by(&first) && message.is_signed_by(&second));
    assert_eq!(message.header("webhook-signature").split(' ').count(), 2);
    // Somebody lost the answer, and exchanges it again: the one that the receiver has still signs.
    let third = rotate(&desk, endpoint, &keys).await;
    let message = tell().await;
    assert!(message.is_signed_by(&first) && message.is_signed_by(&third));
    assert!(!message.is_signed_by(&second));
    desk.sql("UPDATE webhook_endpoints SET previous_until = now() - interval '1 second'").await;
    let message = tell().await;
    assert!(!message.is_signed_by(&first) && message.is_signed_by(&third));

    let dump = testkit::dump::tables(&desk.database, &[]).await;
    let dump = format!("{dump:?}");
    let sealed: String =
        desk.database.value("SELECT encode(sealed_secret, 'hex') FROM webhook_endpoints").await;
    assert!(dump.contains(&sealed), "what would be found is found");
    for secret in [&first, &third] {
        let text = secret.trim_start_matches("whsec_");
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        for open in [text, &domain::token::hex(&bytes)] {
            assert!(!dump.contains(open), "a secret lies open in the database");
        }
    }
}

#[tokio::test]
async fn w6_secrets_outlive_the_key_that_seals_them() {
    const OLD: &str = "Q7wE2rT9yU4iO1pA6sD3fG8hJ5kL0zXc";
    const NEW: &str = "n5Bv8Cx1Zl4Kj7Hg0Fd3Sa6Pq9Ow2IeU";
    let mut desk = Desk::with(|settings| {
        settings.set("FACTOR_KEY", OLD);
    })
    .await;
    let receiver = Receiver::start().await;
    let (endpoint, secret) = listens(&desk, &receiver.url(), &[]).await;
    for (key, previous) in [(NEW, Some(OLD)), (NEW, None)] {
        desk.change_settings(|settings| {
            settings.set("FACTOR_KEY", key).set("FACTOR_KEY_PREVIOUS", previous.unwrap_or_default());
        });
        let told = ping(&desk, endpoint).await;
        desk.run(job_of(&desk, told).await).await;
        assert!(receiver.received().pop().unwrap().is_signed_by(&secret), "{previous:?}");
    }
    // Without the key that seals it nothing is sent, until a new secret is made.
    desk.change_settings(|settings| {
        settings.set("FACTOR_KEY", OLD);
    });
    let before = receiver.received().len();
    let told = ping(&desk, endpoint).await;
    let job = job_of(&desk, told).await;
    for _ in 0..30 {
        desk.let_leases_end().await;
        desk.run(job).await;
    }
    assert_eq!(receiver.received().len(), before);
    let (_, _, taken, given_up, error) = delivery(&desk, told).await;
    assert!(!taken && given_up && error.contains("FACTOR_KEY_PREVIOUS"), "{error}");
    let keys = desk.config.common.keys.factor.clone();
    let secret = rotate(&desk, endpoint, &keys).await;
    webhooks::redeliver(&desk.pool, endpoint, told, None).await.unwrap();
    desk.run_queue("webhooks").await;
    assert!(receiver.received().pop().unwrap().is_signed_by(&secret));
}

#[tokio::test]
async fn v3_what_endpoints_were_told_goes_after_thirty_days_and_with_them() {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    let (endpoint, _) = listens(&desk, &receiver.url(), &[]).await;
    let told = ping(&desk, endpoint).await;
    desk.run(job_of(&desk, told).await).await;
    receiver.wait_for(1, PATIENCE).await;
    let purge = async || desk.run(desk.promise(&Job::Purge {}).await).await;
    desk.clock.advance(TimeDelta::days(29));
    purge().await;
    assert_eq!(desk.count("webhook_deliveries").await, 1);
    desk.clock.advance(TimeDelta::days(2));
    purge().await;
    assert_eq!(desk.count("webhook_deliveries").await, 0);
    let last = ping(&desk, endpoint).await;
    let job = job_of(&desk, last).await;
    webhooks::delete(&desk.pool, desk.clock.now(), endpoint, Actor::Operator, &Trace::default())
        .await
        .unwrap();
    assert_eq!(desk.count("webhook_deliveries").await, 0);
    desk.run(job).await;
    assert!(desk.job(job).await.done);
    assert_eq!(receiver.received().len(), 1);
}
