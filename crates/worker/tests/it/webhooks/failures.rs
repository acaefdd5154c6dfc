//! Receivers that refuse, hang or are not there: what is tried again, and when it is given up.

use std::time::Duration;

use chrono::TimeDelta;
use domain::audit::{Actor, Trace};
use domain::outbox::{self, Claim, Job};
use domain::webhooks::{self, Edit, Event, Next, Recorded};
use futures_util::future::join_all;
use testkit::receiver::{Answer, Receiver};
use uuid::Uuid;

use super::super::desk::Desk;
use super::{delivery, job_of, listens, move_to, ping, redeliver, try_endpoint};

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

/// Why an endpoint is disabled, if it is.
async fn disabled(desk: &Desk, endpoint: Uuid) -> Option<String> {
    webhooks::find(&desk.pool, endpoint).await.unwrap().disabled_reason
}

/// How many seconds an endpoint is left alone, from the last attempt on.
async fn pause(desk: &Desk, endpoint: Uuid) -> i64 {
    let sql = format!(
        "SELECT coalesce(extract(epoch FROM retry_at - (SELECT max(last_attempt_at) FROM webhook_deliveries d
                                                        WHERE d.endpoint_id = e.id)), 0)::bigint
         FROM webhook_endpoints e WHERE id = '{endpoint}'"
    );
    desk.database.value(&sql).await
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
    let (first, second) =
        tokio::join!(redeliver(&desk, endpoint, given_up), redeliver(&desk, endpoint, given_up));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    let before = receiver.received().len();
    desk.run_queue("webhooks").await;
    let received = receiver.received();
    assert_eq!(received.len(), before + 1);
    assert_eq!(received[before].id(), received[before - 1].id());
    assert!(delivery(&desk, given_up).await.2);
    let unknown = redeliver(&desk, endpoint, Uuid::now_v7()).await;
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
        assert_eq!(pause(&desk, endpoint).await, expected);
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
    assert_eq!(pause(&desk, endpoint).await, 900);
    desk.clock.advance(TimeDelta::seconds(901));
    receiver.answer(Answer::Status(503, vec![("retry-after", "86400".to_owned())]));
    desk.let_leases_end().await;
    desk.run(job).await;
    assert_eq!(pause(&desk, endpoint).await, 3_600);
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
    let refused = try_endpoint(&desk, endpoint).await;
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
    move_to(&desk, endpoint, &mended.url()).await;
    assert_eq!(pause(&desk, endpoint).await, 0);
    desk.let_leases_end().await;
    desk.run(job).await;
    assert_eq!(mended.received().len(), 1);
    assert!(delivery(&desk, waiting).await.2);
}

#[tokio::test]
async fn w5_what_the_former_address_answers_is_not_held_against_the_new_one() {
    let desk = Desk::new().await;
    let (former, new) = (Receiver::start().await, Receiver::start().await);
    let (endpoint, _) = listens(&desk, &former.url(), &[]).await;
    let told = told(&desk, endpoint).await;
    let job = job_of(&desk, told).await;
    let (now, keys) = (desk.clock.now(), &desk.config.common.keys.factor);
    let Ok(Claim::Job { lease, .. }) = outbox::claim(&desk.pool, job).await else { panic!("it is promised") };
    let Ok(Next::Send(message)) = webhooks::prepare(&desk.pool, now, keys, &lease, told).await else {
        panic!("it waits")
    };
    // While the request is under way.
    move_to(&desk, endpoint, &new.url()).await;
    let gone = webhooks::Answer::Gone(410);
    let recorded = webhooks::record(&desk.pool, now, &lease, &message, &gone, false).await.unwrap();
    assert_eq!(recorded, Recorded::Again("answered 410".to_owned()));
    assert_eq!(disabled(&desk, endpoint).await, None);
    assert_eq!(pause(&desk, endpoint).await, 0);
    desk.let_leases_end().await;
    desk.run(job).await;
    assert_eq!((former.received().len(), new.received().len()), (0, 1));
    assert!(delivery(&desk, told).await.2);
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
