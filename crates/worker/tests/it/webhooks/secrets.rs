//! Secrets: sealed where they lie, exchanged while messages go out, and kept when the key that seals them changes.

use base64::Engine as _;
use domain::audit::{Actor, Trace};
use domain::config::SealingKeys;
use domain::webhooks;
use testkit::receiver::Receiver;
use uuid::Uuid;

use super::super::desk::Desk;
use super::{delivery, job_of, listens, ping, redeliver};

async fn rotate(desk: &Desk, endpoint: Uuid, keys: &SealingKeys) -> String {
    let now = desk.clock.now();
    let rotated = webhooks::rotate(&desk.pool, now, keys, endpoint, Actor::Operator, &Trace::default()).await;
    rotated.unwrap().0.expose().to_string()
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
    redeliver(&desk, endpoint, told).await.unwrap();
    desk.run_queue("webhooks").await;
    assert!(receiver.received().pop().unwrap().is_signed_by(&secret));
}
