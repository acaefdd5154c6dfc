//! Which events are told: each once, to whoever listens by then; and when they are forgotten.

use chrono::TimeDelta;
use domain::accounts;
use domain::audit::{Actor, Trace};
use domain::outbox::Job;
use domain::referrals::Verdict;
use domain::webhooks::{self, Event};
use serde_json::json;
use testkit::app::PATIENCE;
use testkit::receiver::Receiver;

use super::super::desk::Desk;
use super::super::review::rule;
use super::{events_of, job_of, listens, ping, two_people};

#[tokio::test]
async fn o1_every_move_has_an_event_in_the_outbox_whether_anybody_listens_or_not() {
    let desk = Desk::new().await;
    let (ada, bob) = two_people(&desk).await;
    let carol = desk.friend("carol", &ada).await;
    let dora = desk.friend("dora", &ada).await;
    let eve = desk.friend_at(&super::super::desk::Place::default(), "eve", "eve@yopmail.com", &ada).await;
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
async fn w1_an_endpoint_is_added_after_what_is_under_way_and_is_told_of_all_that_comes() {
    let desk = Desk::new().await;
    let receiver = Receiver::start().await;
    // Somebody has looked whether anybody listens, as who announces something does, and has not committed yet.
    let under_way = desk.database.connect().await;
    let looking = "BEGIN; SELECT EXISTS (SELECT FROM webhook_endpoints WHERE false FOR KEY SHARE)";
    under_way.batch_execute(looking).await.unwrap();
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
async fn w1_an_endpoint_is_added_while_a_backup_reads_everything() {
    let desk = Desk::new().await;
    let mut backup = desk.database.connect().await;
    let reading = backup.transaction().await.unwrap();
    reading.batch_execute("LOCK TABLE webhook_endpoints IN ACCESS SHARE MODE").await.unwrap();
    let receiver = Receiver::start().await;
    listens(&desk, &receiver.url(), &[]).await;
    desk.person("ada").await;
    desk.run_queue("webhooks").await;
    assert_eq!(events_of(&receiver.received()), ["user.registered"]);
    drop(reading);
}

#[tokio::test]
async fn w1_an_account_is_verified_once_however_many_links_were_mailed() {
    let desk = Desk::new().await;
    let ada = desk.person("ada").await;
    let first = desk.token_of(ada.id).await;
    accounts::request_verification(
        &desk.pool,
        desk.clock.now(),
        chrono::TimeDelta::hours(48),
        desk.config.common.mail_limits.confirmation,
        ada.id,
        None,
    )
    .await
    .unwrap();
    let second = desk.token_of(ada.id).await;
    assert_eq!(first, second, "the link that is good is mailed again");
    // Most of its life is over: another one is mailed, and both are good.
    desk.clock.advance(chrono::TimeDelta::hours(40));
    accounts::request_verification(
        &desk.pool,
        desk.clock.now(),
        chrono::TimeDelta::hours(48),
        desk.config.common.mail_limits.confirmation,
        ada.id,
        None,
    )
    .await
    .unwrap();
    let third = desk.token_of(ada.id).await;
    assert_ne!(first, third);
    let policy = desk.config.common.referrals;
    for token in [third, first] {
        accounts::verify_email(&desk.pool, desk.clock.now(), policy, &token, None, &Trace::default())
            .await
            .unwrap();
    }
    assert_eq!(desk.count("outbox WHERE payload ->> 'event' = 'user.verified'").await, 1);
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
