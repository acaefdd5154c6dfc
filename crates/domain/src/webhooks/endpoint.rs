//! Endpoints: adding them, changing them, exchanging their secrets.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::store::{self, Endpoint, Failures};
use super::{EndpointUrl, Event, Secret};
use crate::audit::{self, Actor, Entry, Trace};
use crate::config::SealingKeys;
use crate::db::{self, DbError, Pool, Tx};
use crate::page::Cursor;
use crate::seal::{self, UnknownKey};

/// How many there may be: each event is written down once for each.
pub(super) const MOST_ENDPOINTS: i64 = 20;

/// How long a secret signs on beside the one that took its place.
const OVERLAP: TimeDelta = TimeDelta::hours(24);

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// No such endpoint, or no such delivery of it.
    #[error("there is no such endpoint")]
    NotFound,
    /// As many as there may be.
    #[error("there are {MOST_ENDPOINTS} endpoints already, as many as there may be")]
    TooMany,
    /// Nothing is sent there.
    #[error("the endpoint is disabled")]
    Disabled,
    /// The secret cannot be sealed or opened.
    #[error(transparent)]
    Sealed(#[from] UnknownKey),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<crate::db::QueryError> for EndpointError {
    fn from(error: crate::db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// An endpoint to be added.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Where it is.
    pub url: EndpointUrl,
    /// What managers call it.
    pub description: String,
    /// What it is told of; none: everything, what is yet to come included.
    pub events: Vec<Event>,
}

/// What changes of an endpoint; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Where it is.
    pub url: Option<EndpointUrl>,
    /// What managers call it.
    pub description: Option<String>,
    /// What it is told of.
    pub events: Option<Vec<Event>>,
    /// Whether anything is sent there.
    pub enabled: Option<bool>,
}

/// Adds an endpoint, and makes the secret that it and we share: only now can it be read.
pub async fn create(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    new: &NewEndpoint,
    actor: Actor,
    trace: &Trace,
) -> Result<(Endpoint, Secret), EndpointError> {
    let (id, secret) = (Uuid::now_v7(), Secret::random());
    let sealed = seal::seal(keys, id, secret.bytes())?;
    let mut tx = Tx::begin(pool).await?;
    store::lock_all(&mut tx).await?;
    if store::count(&mut tx).await? >= MOST_ENDPOINTS {
        return Err(EndpointError::TooMany);
    }
    let change = store::Change {
        url: Some(new.url.as_str()),
        description: Some(&new.description),
        events: Some(words(&new.events)),
    };
    let endpoint = store::insert(&mut tx, now, id, change, &sealed).await?;
    note(&mut tx, now, id, audit::Event::WebhookAdded, actor, None, trace).await?;
    tx.commit().await?;
    Ok((endpoint, secret))
}

/// Endpoints, newest first, after `after`; at most `limit`.
pub async fn list(pool: &Pool, after: Option<Cursor>, limit: i64) -> Result<Vec<Endpoint>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::list(&mut connection, after, limit).await?)
}

/// One endpoint.
pub async fn find(pool: &Pool, id: Uuid) -> Result<Endpoint, EndpointError> {
    let mut connection = db::get(pool).await?;
    store::find(&mut connection, id).await?.ok_or(EndpointError::NotFound)
}

/// Changes an endpoint. With another address, or told that it is enabled, it is forgiven what failed before; what waits for it is
/// tried when its turn comes, and what was given up stays so.
pub async fn edit(
    pool: &Pool,
    now: DateTime<Utc>,
    id: Uuid,
    edit: &Edit,
    actor: Actor,
    trace: &Trace,
) -> Result<Endpoint, EndpointError> {
    let mut tx = Tx::begin(pool).await?;
    // Of who hears less nothing falls between.
    if edit.enabled == Some(true) || edit.events.is_some() {
        store::lock_all(&mut tx).await?;
    }
    let stands = store::lock(&mut tx, id).await?.ok_or(EndpointError::NotFound)?;
    let change = store::Change {
        url: edit.url.as_ref().map(EndpointUrl::as_str),
        description: edit.description.as_deref(),
        events: edit.events.as_deref().map(words),
    };
    store::change(&mut tx, id, change).await?;
    if edit.enabled == Some(true) || edit.url.as_ref().is_some_and(|url| url.as_str() != stands.url) {
        store::note_failures(&mut tx, id, &Failures::default()).await?;
    }
    match edit.enabled {
        Some(true) if stands.disabled_at.is_some() => {
            store::enable(&mut tx, id).await?;
            note(&mut tx, now, id, audit::Event::WebhookEnabled, actor, None, trace).await?;
        }
        Some(false) if store::disable(&mut tx, now, id, "manager").await? => {
            note(&mut tx, now, id, audit::Event::WebhookDisabled, actor, Some("manager"), trace).await?;
        }
        _ => {}
    }
    let endpoint = store::find(&mut tx, id).await?.ok_or(EndpointError::NotFound)?;
    if (&endpoint.url, &endpoint.description, &endpoint.events)
        != (&stands.url, &stands.description, &stands.events)
    {
        note(&mut tx, now, id, audit::Event::WebhookChanged, actor, None, trace).await?;
    }
    tx.commit().await?;
    Ok(endpoint)
}

/// Takes an endpoint away, with all that it was told. From the first moment nothing is sent there any more.
pub async fn delete(
    pool: &Pool,
    now: DateTime<Utc>,
    id: Uuid,
    actor: Actor,
    trace: &Trace,
) -> Result<(), EndpointError> {
    let off = Edit { enabled: Some(false), ..Edit::default() };
    edit(pool, now, id, &off, actor, trace).await?;
    // Its deliveries a piece at a time: however many there are, no statement takes long.
    let mut connection = db::get(pool).await?;
    while store::delete_of(&mut connection, id, super::PIECE).await? > 0 {}
    drop(connection);
    let mut tx = Tx::begin(pool).await?;
    if !store::delete(&mut tx, id).await? {
        return Err(EndpointError::NotFound);
    }
    note(&mut tx, now, id, audit::Event::WebhookDeleted, actor, None, trace).await?;
    Ok(tx.commit().await?)
}

/// Makes a new secret. For a day the former one signs beside it, so that a receiver changes over without missing anything.
pub async fn rotate(
    pool: &Pool,
    now: DateTime<Utc>,
    keys: &SealingKeys,
    id: Uuid,
    actor: Actor,
    trace: &Trace,
) -> Result<(Secret, DateTime<Utc>), EndpointError> {
    let secret = Secret::random();
    let sealed = seal::seal(keys, id, secret.bytes())?;
    let mut tx = Tx::begin(pool).await?;
    let until =
        store::rotate(&mut tx, now, id, &sealed, now + OVERLAP).await?.ok_or(EndpointError::NotFound)?;
    note(&mut tx, now, id, audit::Event::WebhookSecretRotated, actor, None, trace).await?;
    tx.commit().await?;
    Ok((secret, until))
}

fn words(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.as_str()).collect()
}

/// Writes what was done to an endpoint into the record. It names the endpoint, and never its address.
pub(super) async fn note(
    tx: &mut Tx,
    now: DateTime<Utc>,
    id: Uuid,
    event: audit::Event,
    actor: Actor,
    reason: Option<&str>,
    trace: &Trace,
) -> Result<(), DbError> {
    let entry = Entry { user_id: None, actor, event, subject_id: Some(id), reason };
    audit::record(tx, now, entry, trace).await
}
