//! Makes the requests of webhooks: within limits of time, to admitted addresses only, and no redirect is followed.
//!
//! A name is looked up here, and the connection goes to an address that was looked at: whoever's name server answers something
//! else a moment later (DNS rebinding) leads us nowhere.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::webhooks::{Answer, Message, Targets};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, redirect};
use url::Url;
use uuid::Uuid;

/// How long an answer may take, with the connection. Standard Webhooks advises 15 to 30 s; a job has less than its lease.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How long a connection is kept for the next message. Its address was looked at.
const KEPT: Duration = Duration::from_secs(30);

/// Sends webhooks.
pub struct Courier {
    targets: Targets,
    over_tls: Client,
    plain: Client,
    places: Places,
}

/// How many messages are under way to each endpoint, so that one that is slow does not take every hand.
#[derive(Clone)]
struct Places {
    taken: Arc<Mutex<HashMap<Uuid, usize>>>,
    most: usize,
}

/// A message under way to an endpoint.
pub struct Place {
    places: Places,
    endpoint_id: Uuid,
}

impl Places {
    fn change(&self, endpoint_id: Uuid, by: impl FnOnce(usize) -> Option<usize>) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match by(taken.get(&endpoint_id).copied().unwrap_or(0)) {
            Some(0) => taken.remove(&endpoint_id).is_some(),
            Some(count) => {
                taken.insert(endpoint_id, count);
                true
            }
            None => false,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.change(self.endpoint_id, |count| Some(count.saturating_sub(1)));
    }
}

/// Looks names up, and leaves out what may not be called.
struct Admitted {
    targets: Targets,
    over_tls: bool,
}

impl Resolve for Admitted {
    fn resolve(&self, name: Name) -> Resolving {
        let (targets, over_tls) = (self.targets.clone(), self.over_tls);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let admitted: Vec<SocketAddr> = found.filter(|addr| targets.admit(addr.ip(), over_tls)).collect();
            if admitted.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NotAdmitted).into());
            }
            let addrs: Addrs = Box::new(admitted.into_iter());
            Ok(addrs)
        })
    }
}

/// What is kept of an address that may not be called.
const NOT_ADMITTED: &str = "the address may not be called (WEBHOOK_PRIVATE_NETWORKS)";

#[derive(Debug, thiserror::Error)]
#[error("{NOT_ADMITTED}")]
struct NotAdmitted;

impl Courier {
    /// Of `hands`, how many messages may be under way in all, an endpoint takes a quarter at most. Reads the certificates of the
    /// system, and contacts nobody.
    pub fn new(targets: Targets, hands: usize) -> anyhow::Result<Self> {
        let client = |over_tls| {
            Client::builder()
                .redirect(redirect::Policy::none())
                // A proxy would look names up by itself, and reach what may not be called.
                .no_proxy()
                .timeout(ANSWER_WITHIN)
                .https_only(over_tls)
                .pool_idle_timeout(KEPT)
                .dns_resolver(Admitted { targets: targets.clone(), over_tls })
                .user_agent(concat!("Trellis/", env!("CARGO_PKG_VERSION")))
                .build()
        };
        let places = Places { taken: Arc::default(), most: (hands / 4).max(1) };
        Ok(Self { over_tls: client(true)?, plain: client(false)?, places, targets })
    }

    /// A place for a message to this endpoint, until it is dropped. `None` when as many as may be are under way.
    pub fn place(&self, endpoint_id: Uuid) -> Option<Place> {
        let most = self.places.most;
        let taken = self.places.change(endpoint_id, |count| (count < most).then_some(count + 1));
        taken.then(|| Place { places: self.places.clone(), endpoint_id })
    }

    /// Sends a message, and tells what came of it. Of the answer only the status counts, and how long it asks to be left alone:
    /// its body is not read.
    pub async fn send(&self, message: &Message) -> Answer {
        let Ok(url) = Url::parse(&message.url) else { return Answer::Silent("the address cannot be read") };
        // The networks may have changed since it was typed.
        if !self.targets.admit_url(&url) {
            return Answer::Silent(NOT_ADMITTED);
        }
        let client = if url.scheme() == "https" { &self.over_tls } else { &self.plain };
        let request = client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id.to_string())
            .header("webhook-timestamp", message.timestamp.to_string())
            .header("webhook-signature", &message.signature)
            .body(message.body.clone());
        match request.send().await {
            Ok(response) => answer(&response),
            Err(error) => Answer::Silent(why(&error)),
        }
    }
}

/// What a status means: 410 as Standard Webhooks 1.0.0 has it, the others as RFC 9110 does.
fn answer(response: &Response) -> Answer {
    let status = response.status().as_u16();
    match status {
        200..=299 => Answer::Taken(status),
        410 => Answer::Gone(status),
        429 | 500..=599 => {
            let seconds =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Answer::Unwell(status, seconds.map(Duration::from_secs))
        }
        _ => Answer::Refused(status),
    }
}

/// Why there was no answer, in words of a closed set: what the errors say names hosts, and repeats what the other side wrote.
fn why(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        return "no answer within 15 s";
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if text.contains(NOT_ADMITTED) {
            return NOT_ADMITTED;
        }
        if text.contains("certificate") {
            return "its certificate is not one that the system trusts for that name";
        }
        cause = error.source();
    }
    if error.is_connect() { "no connection" } else { "the connection ended without an answer" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w5_an_endpoint_takes_a_quarter_of_all_hands_and_one_at_least() {
        for (hands, most) in [(8, 2), (3, 1), (1, 1)] {
            let courier = Courier::new(Targets::default(), hands).unwrap();
            let (slow, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
            let mut places: Vec<Place> = (0..most).filter_map(|_| courier.place(slow)).collect();
            assert_eq!(places.len(), most);
            assert!(courier.place(slow).is_none() && courier.place(other).is_some(), "{hands}");
            places.pop();
            assert!(courier.place(slow).is_some());
            places.clear();
            assert!(
                courier.places.taken.lock().unwrap().is_empty(),
                "nothing is kept of those that are done"
            );
        }
    }
}
