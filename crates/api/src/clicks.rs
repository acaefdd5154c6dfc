//! Clicks and views on their way out of a request: the handler notes what it saw and answers, a task does the rest.
//!
//! Noting neither waits nor fails. What was noted waits in bounded memory; [`Flusher`] makes events of it, in which there is
//! no address and no user agent any more, and brings them to Redis within 50 ms. What finds no room is lost, and counted:
//! `trellis_clicks_lost_total{reason}`.

mod flusher;
mod inbox;
mod seen;

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap};
use chrono::SubsecRound as _;
use domain::clicks::{Kind, Mark};
use domain::clock::Clock;
use domain::pages::Destination;
use uuid::Uuid;

use crate::app::State;
use crate::config::Config;
use crate::{auth, client_ip};
pub use flusher::Flusher;
use inbox::Inbox;
use seen::Seen;

/// The longest user agent and `Referer` that are kept until they are read, in bytes.
const LONGEST: usize = 2_048;

/// Why clicks are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// More came than the process could look at.
    Buffer,
    /// Redis does not take them, and there is no more room here.
    Redis,
    /// The stream in Redis has all the memory that it may have, and there is no more room here.
    Stream,
    /// The process ended.
    Shutdown,
}

impl Loss {
    const ALL: [Self; 4] = [Self::Buffer, Self::Redis, Self::Stream, Self::Shutdown];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Buffer => "buffer",
            Self::Redis => "redis",
            Self::Stream => "stream",
            Self::Shutdown => "shutdown",
        }
    }
}

fn lose(loss: Loss, count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    metrics::counter!("trellis_clicks_lost_total", "reason" => loss.as_str()).increment(count);
}

/// Where handlers note clicks and views.
pub struct Clicks {
    noted: Arc<Inbox>,
    clock: Clock,
    /// For the server to run.
    flusher: Mutex<Option<Flusher>>,
}

impl Clicks {
    /// What a configuration describes; nothing is brought anywhere before [`Clicks::flusher`] runs.
    pub fn new(config: &Config, clock: Clock, pool: domain::db::Pool, redis: domain::redis::Redis) -> Self {
        for loss in Loss::ALL {
            lose(loss, 0);
        }
        let noted = Arc::<Inbox>::default();
        let flusher = Flusher::new(config, clock.clone(), pool, redis, Arc::clone(&noted));
        Self { noted, clock, flusher: Mutex::new(Some(flusher)) }
    }

    /// What brings them to Redis, the first time.
    pub fn flusher(&self) -> Option<Flusher> {
        self.flusher.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes that somebody followed a link.
    pub fn click(&self, state: &State, request: &HttpRequest, link_id: Uuid, destination: &Destination) {
        self.note(state, request, Kind::Click, link_id, destination.owner);
    }

    /// Notes that somebody saw the page of `owner`.
    pub fn view(&self, state: &State, request: &HttpRequest, owner: Uuid) {
        self.note(state, request, Kind::View, owner, owner);
    }

    fn note(&self, state: &State, request: &HttpRequest, kind: Kind, subject: Uuid, owner: Uuid) {
        let headers = request.headers();
        let seen = Seen {
            kind,
            mark: mark(state, request, owner),
            at: self.clock.now().trunc_subsecs(3),
            subject,
            owner,
            address: client_ip::of(request, &state.config.trusted_proxies),
            user_agent: text(headers, &header::USER_AGENT),
            referer: text(headers, &header::REFERER),
        };
        if !self.noted.put(seen) {
            lose(Loss::Buffer, 1);
        }
    }
}

/// What the request itself tells of who made it; the user agent is read later.
fn mark(state: &State, request: &HttpRequest, owner: Uuid) -> Mark {
    let headers = request.headers();
    if request.method() == Method::HEAD {
        return Mark::Head;
    }
    if is_prefetch(headers) {
        return Mark::Prefetch;
    }
    // Whose session it is, and not whether it still lives: that would be a question to Redis or PostgreSQL.
    if auth::claimed(state, headers).is_some_and(|caller| caller.user_id == owner) {
        return Mark::Owner;
    }
    if is_part_of_a_page(headers) { Mark::Robot } else { Mark::Person }
}

/// Whether a browser says that nobody asked for this yet: Chromium and Safari by `Sec-Purpose` or `Purpose`, older Safaris by
/// `X-Purpose`, Firefox by `X-Moz`.
fn is_prefetch(headers: &HeaderMap) -> bool {
    let says = |name: &str, words: &[&str]| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let value = value.to_ascii_lowercase();
        words.iter().any(|word| value.contains(word))
    };
    says("sec-purpose", &["prefetch", "prerender"])
        || says("purpose", &["prefetch", "preview"])
        || says("x-purpose", &["preview", "prefetch"])
        || says("x-moz", &["prefetch"])
}

/// Whether a browser says that it fetches this as an image, from a script or the like, and so for no person who clicked.
fn is_part_of_a_page(headers: &HeaderMap) -> bool {
    let mode = headers.get("sec-fetch-mode");
    mode.is_some_and(|mode| !mode.as_bytes().eq_ignore_ascii_case(b"navigate"))
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Arc<str> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Text of a header is ASCII.
    value.get(..LONGEST).unwrap_or(value).into()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn browsers_that_fetch_ahead_say_so() {
        for (name, value, expected) in [
            ("Sec-Purpose", "prefetch", true),
            ("Sec-Purpose", "prefetch;prerender", true),
            ("Sec-Purpose", "prefetch;anonymous-client-ip", true),
            ("Purpose", "prefetch", true),
            ("X-Purpose", "preview", true),
            ("X-Moz", "prefetch", true),
            ("Sec-Purpose", "", false),
            ("Purpose", "navigation", false),
            ("X-Other", "prefetch", false),
        ] {
            let request = TestRequest::get().insert_header((name, value)).to_http_request();
            assert_eq!(is_prefetch(request.headers()), expected, "{name}: {value}");
        }
    }

    #[test]
    fn what_is_no_navigation_is_nobodys_click() {
        for (mode, expected) in
            [("navigate", false), ("no-cors", true), ("cors", true), ("same-origin", true)]
        {
            let request = TestRequest::get().insert_header(("Sec-Fetch-Mode", mode)).to_http_request();
            assert_eq!(is_part_of_a_page(request.headers()), expected, "{mode}");
        }
        assert!(!is_part_of_a_page(TestRequest::get().to_http_request().headers()));
    }
}
