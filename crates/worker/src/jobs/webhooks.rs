//! Tells other systems what happened: first each event to a delivery for each endpoint, then each delivery to its endpoint.

use domain::outbox::Lease;
use domain::webhooks::{self, Announced, DeliveryError, Next, Recorded};
use uuid::Uuid;

use super::JobError;
use crate::context::Context;

/// The metric that counts attempts, by what came of them.
const SENT: &str = "trellis_webhooks_total";

const DELIVERED: &str = "delivered";
const FAILED: &str = "failed";
const GIVEN_UP: &str = "given_up";

/// Why a delivery was given up whose endpoint has a secret that cannot be opened: managers can mend it.
const SEALED: &str =
    "no key opens the endpoint's secret: rotate it, or have the former key named in FACTOR_KEY_PREVIOUS";

/// Shows what is counted before anything is.
pub(crate) fn init_metrics() {
    for outcome in [DELIVERED, FAILED, GIVEN_UP] {
        metrics::counter!(SENT, "outcome" => outcome).increment(0);
    }
}

impl From<DeliveryError> for JobError {
    fn from(error: DeliveryError) -> Self {
        match error {
            // An operator can give the key.
            DeliveryError::Sealed(error) => Self::Retry(error.to_string()),
            DeliveryError::Outbox(error) => error.into(),
        }
    }
}

pub(super) async fn announce(
    context: &Context,
    lease: &Lease,
    announced: Announced<'_>,
    request_id: Option<&str>,
) -> Result<(), JobError> {
    let now = context.clock.now();
    let told = webhooks::fan_out(&context.pool, now, lease, announced, request_id).await?;
    if told > 0 {
        context.wake.wake();
    }
    Ok(())
}

/// A delivery goes with its job.
pub(super) async fn abandon(context: &Context, delivery_id: Uuid, why: &'static str) {
    let abandoned = webhooks::abandon(&context.pool, context.clock.now(), delivery_id, why).await;
    if let Err(error) = abandoned {
        let error = format!("{:#}", anyhow::Error::from(error));
        tracing::warn!(%delivery_id, error, "a webhook that was given up seems to wait");
    }
}

pub(super) async fn deliver(
    context: &Context,
    lease: &Lease,
    delivery_id: Uuid,
    is_last: bool,
) -> Result<(), JobError> {
    let (pool, clock) = (&context.pool, &context.clock);
    let next = webhooks::prepare(pool, clock.now(), &context.keys.factor, lease, delivery_id).await;
    if is_last && matches!(next, Err(DeliveryError::Sealed(_))) {
        abandon(context, delivery_id, SEALED).await;
    }
    let message = match next? {
        Next::Send(message) => message,
        Next::Nothing => return Ok(()),
    };
    let Some(_place) = context.courier.place(message.endpoint_id) else {
        return Ok(webhooks::wait_a_moment(pool, clock.now(), lease, &message).await?);
    };
    let answer = context.courier.send(&message).await;
    let recorded = webhooks::record(pool, clock.now(), lease, &message, &answer, is_last).await?;
    let (outcome, result) = match recorded {
        Recorded::Taken => (DELIVERED, Ok(())),
        Recorded::GivenUp => (GIVEN_UP, Ok(())),
        Recorded::Again(why) => (FAILED, Err(JobError::Retry(why))),
    };
    metrics::counter!(SENT, "outcome" => outcome).increment(1);
    result
}
