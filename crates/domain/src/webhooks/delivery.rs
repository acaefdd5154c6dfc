//! Deliveries: from an event to each endpoint that listens, and on until it is taken or given up.
//!
//! An endpoint that is down holds up no other: after a failure nothing is tried there for a while, longer each time, then one
//! delivery alone (a circuit breaker, half open). What waits meanwhile is put off, which costs neither an attempt nor a
//! connection. One that took nothing for three days is disabled, and one that says that it is gone at once.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::endpoint::{EndpointError, note};
use super::store::{self, Attempt, Delivery, Failures, Open, State};
use super::{Announced, PING, Secret, event};
use crate::audit::{self, Actor, Trace};
use crate::config::SealingKeys;
use crate::db::{self, DbError, Pool, Tx};
use crate::outbox::{self, Job, Lease, OutboxError};
use crate::page::Cursor;
use crate::seal::{self, UnknownKey};

/// How long nothing is tried after the first failure; it doubles with each further round.
const PAUSE: TimeDelta = TimeDelta::seconds(5);

/// The longest pause, unless the endpoint asks for a longer one.
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(10);

/// The longest that an endpoint may ask for (`Retry-After`).
const LONGEST_REQUEST: TimeDelta = TimeDelta::hours(1);

/// How long one delivery tries an endpoint that fails, before another may: longer than a request takes.
const PROBE: TimeDelta = TimeDelta::seconds(20);

/// How long a message waits whose endpoint has as many under way as it may have: a quarter of its age, within this.
const MOMENT: TimeDelta = TimeDelta::seconds(1);

/// The longest of them. Of a backlog that a slow receiver makes, each message costs a look a minute, and not one a second.
const LONGEST_MOMENT: TimeDelta = TimeDelta::minutes(1);

/// The longest that a delivery is put off, before it is spread up to twice that: so long after its endpoint is forgiven, it is
/// seen at the latest.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// An endpoint that took nothing for so long is disabled ..
const PATIENCE: TimeDelta = TimeDelta::days(3);

/// .. unless it is told of little: what it refused days ago does not weigh as long as this message is young.
const YOUNG: TimeDelta = TimeDelta::hours(12);

/// Why a delivery cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// No key of ours opens the endpoint's secret.
    #[error(transparent)]
    Sealed(#[from] UnknownKey),
    /// The lease is gone, or the database.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

impl From<DbError> for DeliveryError {
    fn from(error: DbError) -> Self {
        Self::Outbox(error.into())
    }
}

impl From<crate::db::QueryError> for DeliveryError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Outbox(error.into())
    }
}

/// Promises each endpoint that listens to an event that it will be told, and completes the job, in one transaction. Returns
/// how many there are. Whoever listens by now is told: one that was added since the event too.
pub async fn fan_out(
    pool: &Pool,
    now: DateTime<Utc>,
    lease: &Lease,
    announced: Announced<'_>,
    request_id: Option<&str>,
) -> Result<usize, OutboxError> {
    let mut tx = Tx::begin(pool).await?;
    let endpoints = store::listening(&mut tx, announced.event).await?;
    let data = if endpoints.is_empty() { None } else { event::data(&mut tx, announced).await? };
    let mut told = 0;
    if let Some(data) = data {
        let kind = announced.event.as_str();
        let body = event::body(kind, lease.promised_at, &data);
        for endpoint_id in endpoints {
            let id = Uuid::now_v7();
            if store::insert_delivery(&mut tx, now, id, endpoint_id, (lease.id, kind, &body)).await? {
                promise(&mut tx, id, request_id).await?;
                told += 1;
            }
        }
    }
    outbox::complete(&mut tx, lease).await?;
    tx.commit().await?;
    Ok(told)
}

async fn promise(tx: &mut Tx, delivery_id: Uuid, request_id: Option<&str>) -> Result<(), DbError> {
    let options = outbox::Options { request_id: request_id.map(str::to_owned), ..outbox::Options::default() };
    outbox::enqueue(tx, &Job::DeliverWebhook { delivery_id }, options).await
}

/// What to do about a delivery.
#[derive(Debug)]
pub enum Next {
    /// Nothing, or nothing now; the job is completed or put off.
    Nothing,
    /// Send this.
    Send(Message),
}

/// A signed request.
#[derive(Debug)]
pub struct Message {
    delivery_id: Uuid,
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// Where it is.
    pub url: String,
    /// `webhook-id`: the event's, the same at each attempt.
    pub id: Uuid,
    /// `webhook-timestamp`: this attempt's, in seconds.
    pub timestamp: i64,
    /// `webhook-signature`: one for each secret that is in force, with blanks between.
    pub signature: String,
    /// The body.
    pub body: String,
    created_at: DateTime<Utc>,
    /// Of the one that tries an endpoint which fails: until when nobody else may.
    probes_until: Option<DateTime<Utc>>,
}

/// Looks at a delivery whose turn it is, and signs it.
pub async fn prepare(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    lease: &Lease,
    delivery_id: Uuid,
) -> Result<Next, DeliveryError> {
    let mut tx = Tx::begin(pool).await?;
    let Some(open) = store::open(&mut tx, delivery_id).await? else {
        outbox::complete(&mut tx, lease).await?;
        tx.commit().await?;
        return Ok(Next::Nothing);
    };
    if open.is_disabled {
        store::give_up(&mut tx, now, delivery_id, "the endpoint is disabled").await?;
        outbox::complete(&mut tx, lease).await?;
        tx.commit().await?;
        return Ok(Next::Nothing);
    }
    // A manager who tries an endpoint does not wait.
    let is_ping = open.event == PING;
    let left =
        open.retry_at.and_then(|at| (at - now).to_std().ok()).filter(|left| !left.is_zero() && !is_ping);
    if let Some(left) = left {
        return later(tx, lease, left).await;
    }
    let mut probes_until = None;
    if open.is_failing && !is_ping {
        let until = now + PROBE;
        if !store::begin_probe(&mut tx, now, open.endpoint_id, until).await? {
            return later(tx, lease, PROBE.to_std().unwrap_or_default()).await;
        }
        probes_until = Some(until);
    }
    let secrets = unseal(&mut tx, now, keys, &open).await?;
    tx.commit().await?;
    let Open { event_id, body, endpoint_id, url, created_at, .. } = open;
    let timestamp = now.timestamp();
    let signatures: Vec<String> =
        secrets.iter().map(|secret| secret.sign(event_id, timestamp, &body)).collect();
    let signature = signatures.join(" ");
    Ok(Next::Send(Message {
        delivery_id,
        endpoint_id,
        url,
        id: event_id,
        timestamp,
        signature,
        body,
        created_at,
        probes_until,
    }))
}

/// Puts a delivery off for as long as its endpoint is left alone, and up to twice that: what waits does not come back all at
/// once, ahead of everybody else's.
async fn later(mut tx: Tx, lease: &Lease, left: Duration) -> Result<Next, DeliveryError> {
    let wait = left.min(LONGEST_WAIT).mul_f64(rand::random_range(1.0..2.0));
    outbox::put_off(&mut tx, lease, wait).await?;
    tx.commit().await.map_err(OutboxError::from)?;
    Ok(Next::Nothing)
}

/// Leaves a message for a moment that nobody has a hand free for: its endpoint has as many under way as it may have.
pub async fn wait_a_moment(
    pool: &Pool,
    now: DateTime<Utc>,
    lease: &Lease,
    message: &Message,
) -> Result<(), OutboxError> {
    let mut tx = Tx::begin(pool).await?;
    if let Some(until) = message.probes_until {
        store::end_probe(&mut tx, message.endpoint_id, until).await?;
    }
    let wait = ((now - message.created_at) / 4).clamp(MOMENT, LONGEST_MOMENT);
    outbox::put_off(&mut tx, lease, wait.to_std().unwrap_or_default()).await?;
    Ok(tx.commit().await?)
}

/// Gives up a delivery whose job is given up: managers see it among those that failed, and may tell it again. They read `why`:
/// nothing of the database may be in it.
pub async fn abandon(
    pool: &Pool,
    now: DateTime<Utc>,
    delivery_id: Uuid,
    why: &'static str,
) -> Result<(), DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::give_up(&mut connection, now, delivery_id, why).await?)
}

/// The secrets that are in force, newest first. One that a former key sealed is sealed anew.
async fn unseal(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    open: &Open,
) -> Result<Vec<Secret>, DeliveryError> {
    let opened = seal::open(keys, open.endpoint_id, &open.sealed_secret)?;
    if opened.is_stale {
        let sealed = seal::seal(keys, open.endpoint_id, &opened.secret)?;
        store::reseal(tx, open.endpoint_id, &open.sealed_secret, &sealed).await?;
    }
    let mut secrets = vec![Secret::from_bytes(&opened.secret).ok_or(UnknownKey)?];
    if let Some(previous) =
        open.previous_secret.as_ref().filter(|_| open.previous_until.is_some_and(|until| now < until))
    {
        // It has a day at most: one that cannot be opened any more is left out.
        let previous = seal::open(keys, open.endpoint_id, previous).ok();
        secrets.extend(previous.and_then(|opened| Secret::from_bytes(&opened.secret)));
    }
    Ok(secrets)
}

/// What became of a request, with the status of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was taken.
    Taken(u16),
    /// It was not, and others may be.
    Refused(u16),
    /// Nothing is taken at the moment, and for so long, if it says so.
    Unwell(u16, Option<Duration>),
    /// Nothing will ever be taken there again.
    Gone(u16),
    /// There was none: why, without an address.
    Silent(&'static str),
}

impl Answer {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Taken(status) | Self::Refused(status) | Self::Unwell(status, _) | Self::Gone(status) => {
                Some(*status)
            }
            Self::Silent(_) => None,
        }
    }

    /// What is kept of it when it was not taken.
    fn error(&self) -> Option<String> {
        match self {
            Self::Taken(_) => None,
            Self::Refused(status) | Self::Unwell(status, _) | Self::Gone(status) => {
                Some(format!("answered {status}"))
            }
            Self::Silent(why) => Some((*why).to_owned()),
        }
    }
}

/// What that means for the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was taken, and the job is completed.
    Taken,
    /// It was given up, and the job is completed: managers see it among the deliveries that failed.
    GivenUp,
    /// To be tried again.
    Again(String),
}

/// Writes down how an attempt ended, and what it tells about the endpoint, if that is still where the message went. `is_last`: it
/// will not be tried again.
pub async fn record(
    pool: &Pool,
    now: DateTime<Utc>,
    lease: &Lease,
    message: &Message,
    answer: &Answer,
    is_last: bool,
) -> Result<Recorded, OutboxError> {
    let Message { delivery_id, endpoint_id, .. } = *message;
    let error = answer.error();
    let mut tx = Tx::begin(pool).await?;
    // The endpoint before the delivery, here and wherever both are locked.
    let endpoint = store::lock_failures(&mut tx, endpoint_id).await?;
    let is_there = endpoint.is_some();
    let failures = endpoint.and_then(|(url, failures)| (url == message.url).then_some(failures));
    let state = match answer {
        Answer::Taken(_) => State::Delivered,
        Answer::Gone(_) if failures.is_some() => State::Failed,
        _ if is_last => State::Failed,
        _ => State::Waiting,
    };
    let status = answer.status().and_then(|status| i16::try_from(status).ok());
    let attempt = Attempt { status, error: error.as_deref(), state };
    store::note_attempt(&mut tx, now, delivery_id, attempt).await?;
    match (failures, answer) {
        // It was taken away meanwhile, and the delivery with it; or it is elsewhere now.
        (None, _) => {}
        (Some(failures), Answer::Taken(_)) => store::recover(&mut tx, endpoint_id, &failures).await?,
        (Some(_), Answer::Gone(_)) => disable(&mut tx, now, endpoint_id, "gone").await?,
        (Some(failures), _) => endpoint_failed(&mut tx, now, message, failures, answer).await?,
    }
    let recorded = match error {
        None => Recorded::Taken,
        Some(error) if state == State::Waiting && is_there => Recorded::Again(error),
        Some(_) => Recorded::GivenUp,
    };
    if !matches!(recorded, Recorded::Again(_)) {
        outbox::complete(&mut tx, lease).await?;
    }
    tx.commit().await?;
    Ok(recorded)
}

/// Leaves an endpoint alone for a while that takes nothing; one that only refuses this message may take others.
async fn endpoint_failed(
    tx: &mut Tx,
    now: DateTime<Utc>,
    message: &Message,
    before: Failures,
    answer: &Answer,
) -> Result<(), DbError> {
    let endpoint_id = message.endpoint_id;
    let asked = match answer {
        Answer::Unwell(_, asked) => Some(asked.unwrap_or_default()),
        Answer::Silent(_) => Some(Duration::ZERO),
        Answer::Refused(_) | Answer::Taken(_) | Answer::Gone(_) => None,
    };
    let is_probe = message.probes_until.is_some();
    let since = before.since.unwrap_or(now);
    let mut after = Failures { since: Some(since), ..before };
    if let Some(asked) = asked {
        // Those that were under way when it began to fail are one round.
        if before.rounds == 0 || is_probe {
            after.rounds = before.rounds.saturating_add(1);
        }
        let asked = TimeDelta::from_std(asked).unwrap_or(LONGEST_REQUEST).min(LONGEST_REQUEST);
        let next = now + pause(after.rounds).max(asked);
        // What the probe reserved for itself ends with it; what another was asked to wait does not.
        let reserved = message.probes_until.map(|until| until.timestamp_micros());
        let other = before.retry_at.filter(|at| Some(at.timestamp_micros()) != reserved);
        after.retry_at = Some(other.map_or(next, |at| at.max(next)));
    } else if is_probe {
        // It answers: others may be taken.
        after = Failures { rounds: 0, retry_at: None, ..after };
    }
    store::note_failures(tx, endpoint_id, &after).await?;
    if now - since >= PATIENCE && now - message.created_at >= YOUNG {
        disable(tx, now, endpoint_id, "failing").await?;
    }
    Ok(())
}

/// How long an endpoint is left alone after so many rounds of failures.
fn pause(rounds: i32) -> TimeDelta {
    let doublings = u32::try_from(rounds.saturating_sub(1)).unwrap_or(0).min(16);
    (PAUSE * 2_i32.saturating_pow(doublings)).min(LONGEST_PAUSE)
}

async fn disable(tx: &mut Tx, now: DateTime<Utc>, endpoint_id: Uuid, reason: &str) -> Result<(), DbError> {
    if store::disable(tx, now, endpoint_id, reason).await? {
        tracing::warn!(%endpoint_id, reason, "disabled an endpoint of webhooks");
        let event = audit::Event::WebhookDisabled;
        note(tx, now, endpoint_id, event, Actor::System, Some(reason), &Trace::default()).await?;
    }
    Ok(())
}

/// What an endpoint was told, newest first, after `after`; at most `limit`.
pub async fn list_deliveries(
    pool: &Pool,
    endpoint_id: Uuid,
    state: Option<State>,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Delivery>, EndpointError> {
    let mut connection = db::get(pool).await?;
    store::find(&mut connection, endpoint_id).await?.ok_or(EndpointError::NotFound)?;
    Ok(store::list_deliveries(&mut connection, endpoint_id, state, after, limit).await?)
}

/// Tells an endpoint once more what it was told, by the same id. Of what waits already the wait is over.
pub async fn redeliver(
    pool: &Pool,
    now: DateTime<Utc>,
    endpoint_id: Uuid,
    delivery_id: Uuid,
    actor: Actor,
    trace: &Trace,
) -> Result<(), EndpointError> {
    let mut tx = Tx::begin(pool).await?;
    let endpoint = store::lock(&mut tx, endpoint_id).await?.ok_or(EndpointError::NotFound)?;
    if !store::reopen(&mut tx, endpoint_id, delivery_id).await? {
        return Err(EndpointError::NotFound);
    }
    if endpoint.disabled_at.is_some() {
        return Err(EndpointError::Disabled);
    }
    // Whatever became of the job that it had; of two, the second finds nothing to do.
    promise(&mut tx, delivery_id, trace.request_id.as_deref()).await?;
    note(&mut tx, now, endpoint_id, audit::Event::WebhookRetold, actor, None, trace).await?;
    Ok(tx.commit().await?)
}

/// Tells an endpoint something that means nothing, to see whether it takes it. Returns the delivery.
pub async fn ping(
    pool: &Pool,
    now: DateTime<Utc>,
    endpoint_id: Uuid,
    actor: Actor,
    trace: &Trace,
) -> Result<Delivery, EndpointError> {
    let mut tx = Tx::begin(pool).await?;
    let endpoint = store::lock(&mut tx, endpoint_id).await?.ok_or(EndpointError::NotFound)?;
    if endpoint.disabled_at.is_some() {
        return Err(EndpointError::Disabled);
    }
    let (id, event_id) = (Uuid::now_v7(), Uuid::now_v7());
    let body = event::body(PING, now, &json!({ "endpoint_id": endpoint_id }));
    store::insert_delivery(&mut tx, now, id, endpoint_id, (event_id, PING, &body)).await?;
    promise(&mut tx, id, trace.request_id.as_deref()).await?;
    note(&mut tx, now, endpoint_id, audit::Event::WebhookTried, actor, None, trace).await?;
    let delivery = store::find_delivery(&mut tx, id).await?.ok_or(EndpointError::NotFound)?;
    tx.commit().await?;
    Ok(delivery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w5_pauses_double_up_to_the_longest() {
        let seconds = |rounds| pause(rounds).num_seconds();
        assert_eq!([1, 2, 3, 7, 8, 9, 1_000].map(seconds), [5, 10, 20, 320, 600, 600, 600]);
    }
}
