//! Webhooks: what other systems are told, signed, after it has happened.
//!
//! An [`Event`] is a row of the outbox, written in the transaction of what it tells of, whether anybody listens or not. A job
//! fans it out: for each endpoint that listens, a delivery and a job that sends it. So an event is told at least once to
//! everybody who listened when it happened, whatever is killed, and by one id however often. Requests are made by the
//! worker; they are signed as Standard Webhooks 1.0.0 has it.
//!
//! What an endpoint is told holds ids, words and amounts: no address, no name, nothing that a deletion would have to chase.

mod delivery;
mod endpoint;
mod event;
mod signature;
mod store;
mod target;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::db::{self, DbError, Pool, Tx};
use crate::outbox::{self, Audience, Job};
pub use delivery::{
    Answer, DeliveryError, Message, Next, Recorded, abandon, fan_out, list_deliveries, ping, prepare, record,
    redeliver, wait_a_moment,
};
pub use endpoint::{Edit, EndpointError, NewEndpoint, create, delete, edit, find, list, rotate};
pub use event::{Announced, Event, PING};
pub use signature::Secret;
pub use store::{Delivery, Endpoint, State};
pub use target::{EndpointUrl, EndpointUrlError, Targets};

/// How many deliveries one statement removes.
const PIECE: i64 = 5_000;

/// Writes down that something happened to each of these referrals, accounts or redemptions, for whoever listens. `reason` is
/// for the eyes of those concerned.
pub(crate) async fn announce(
    tx: &mut Tx,
    event: Event,
    subjects: &[Uuid],
    reason: Option<&str>,
    request_id: Option<&str>,
) -> Result<(), DbError> {
    if subjects.is_empty() {
        return Ok(());
    }
    let audience = if store::is_heard(tx, event).await? { Audience::Some } else { Audience::Nobody };
    let announcement = |subject_id: &Uuid| Job::Announce {
        event,
        subject_id: *subject_id,
        reason: reason.map(str::to_owned),
    };
    let events: Vec<Job> = subjects.iter().map(announcement).collect();
    outbox::enqueue_events(tx, &events, audience, request_id).await
}

/// Forgets deliveries that were made before `before`, a piece at a time. Returns how many.
pub(crate) async fn purge(pool: &Pool, before: DateTime<Utc>) -> Result<usize, DbError> {
    let mut connection = db::get(pool).await?;
    let mut purged = 0;
    loop {
        let piece = store::delete_before(&mut connection, before, PIECE).await?;
        purged += piece;
        if piece == 0 {
            return Ok(purged);
        }
    }
}
