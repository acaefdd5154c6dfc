//! `GET /api/referral-stats/stream/`: the caller's figures as they change, as server-sent events (HTML Living Standard,
//! 9.2).
//!
//! Each stream asks once a second whether its session lives and what the figures are, in one round trip to the cache: so
//! it is as fresh as the figures themselves on every replica, needs no channel of its own between them, and ends with its
//! session.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::Bytes;
use domain::cache::{Entry, Kind};
use futures_util::stream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::referral_stats;
use crate::app::Shared;
use crate::auth::Caller;
use crate::problem::{Code, Problem};
use crate::streams::Seat;

/// How often the figures are looked at.
const TICK: Duration = Duration::from_secs(1);

/// After how long without an event a comment is sent: so that no proxy takes the stream for dead, and that a client that hung
/// up is noticed. Only writing shows that, and the first write to a closed connection still succeeds, so a seat comes back
/// after two beats at the latest.
const BEAT: Duration = Duration::from_secs(5);

/// How long a stream lasts: as long as an access token. The client opens the next one by itself.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What the stream begins with: how long the client waits before it opens the next one.
const HELLO: &[u8] = b"retry: 2000\n\n";

/// One's figures, as they change
///
/// Server-sent events named `stats`, each with the reply of `/api/referral-stats/`: one at once, the others within three
/// seconds of a change. The stream ends with its session, and after 15 minutes; an `EventSource` then opens the next one.
#[utoipa::path(
    get, path = "/api/referral-stats/stream/", tag = "referrals",
    responses((status = 200, description = "The events", body = String, content_type = "text/event-stream"),
              (status = 503, description = "`overloaded`: too many streams are open", body = crate::problem::Schema,
               content_type = "application/problem+json")),
)]
pub(super) async fn get(state: Shared, caller: Caller) -> Result<HttpResponse, Problem> {
    let seat = state.streams.take(caller.user_id);
    let seat = seat.ok_or_else(|| Problem::new(Code::Overloaded).retry_after(Duration::from_secs(30)))?;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let now = Instant::now();
    let stream =
        Stream { state, caller, tick, opened: now, spoke: now, greeted: false, last: None, _seat: seat };
    let events = stream::unfold(stream, async |mut stream| {
        let event = stream.next().await?;
        Some((Ok::<_, actix_web::Error>(event), stream))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        // nginx would gather events into buffers.
        .insert_header((HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")))
        .streaming(events))
}

struct Stream {
    state: Shared,
    caller: Caller,
    tick: Interval,
    opened: Instant,
    /// When anything was last sent.
    spoke: Instant,
    greeted: bool,
    /// The figures that the client has.
    last: Option<Bytes>,
    _seat: Seat,
}

impl Stream {
    /// What to send next; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            return Some(Bytes::from_static(HELLO));
        }
        loop {
            self.tick.tick().await;
            if self.state.is_draining() || self.opened.elapsed() > LIFETIME {
                return None;
            }
            match self.figures().await {
                Ok(Some(figures)) if self.last.as_ref() != Some(&figures) => {
                    self.spoke = Instant::now();
                    let event = [b"event: stats\ndata: ", &*figures, b"\n\n"].concat();
                    self.last = Some(figures);
                    return Some(event.into());
                }
                Ok(None) => return None,
                Err(problem) if problem.code() == Code::Unauthenticated => return None,
                // Nothing is new, or the database is away for a moment: the client keeps what it has.
                Ok(Some(_)) | Err(_) => {}
            }
            if self.spoke.elapsed() >= BEAT {
                self.spoke = Instant::now();
                return Some(Bytes::from_static(b": still here\n\n"));
            }
        }
    }

    /// The figures; `None` once the session has ended.
    async fn figures(&self) -> Result<Option<Bytes>, Problem> {
        let entry = Entry { kind: Kind::ReferralStats, id: self.caller.user_id };
        let (live, copy) = self.state.sessions.is_live_and(self.caller, entry).await?;
        if !live {
            return Ok(None);
        }
        referral_stats::body(&self.state, self.caller.user_id, copy).await.map(Some)
    }
}
