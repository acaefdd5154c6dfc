//! Whether a session lives.
//!
//! PostgreSQL knows; the cache may say yes for a second after it was asked, counted from before the question. So a session
//! that ended is refused by every replica within that second even when the word of its end never arrives, be Redis up,
//! emptied or down. Ending a session also takes its copy away, which makes it immediate. A no is never cached.

use actix_web::web::Bytes;
use chrono::TimeDelta;
use domain::cache::{Entry, Kind, SESSION_ENDED};
use domain::clock::Clock;
use domain::db::Pool;
use uuid::Uuid;

use super::Caller;
use crate::cache::{Cache, Prefetched};
use crate::problem::Problem;

/// A session has no versions: it lives, and then it does not, for ever.
const LIVING: domain::cache::Version = 0;

/// Answers whether sessions live.
#[derive(Clone)]
pub struct Sessions {
    pool: Pool,
    clock: Clock,
    cache: Cache,
    idle: TimeDelta,
}

impl Sessions {
    /// Sessions in the database, with copies in the cache. One that nobody used for `idle` lives no more.
    pub fn new(pool: Pool, clock: Clock, cache: Cache, idle: TimeDelta) -> Self {
        Self { pool, clock, cache, idle }
    }

    /// Whether the caller's session lives, and is theirs.
    pub async fn is_live(&self, caller: Caller) -> Result<bool, Problem> {
        let [copy] = self.cache.read([entry(caller.session_id)]).await;
        self.decide(caller, copy).await
    }

    /// As [`Sessions::is_live`]; in the same round trip, the copy that the handler will want.
    pub async fn is_live_and(&self, caller: Caller, wanted: Entry) -> Result<(bool, Prefetched), Problem> {
        let [copy, prefetched] = self.cache.read([entry(caller.session_id), wanted]).await;
        let live = self.decide(caller, copy).await?;
        Ok((live, prefetched.map_or(Prefetched::Missing, Prefetched::Copy)))
    }

    /// Forgets what is cached of sessions that ended, so that they are refused at once. To be called after the commit.
    pub async fn forget(&self, session_ids: &[Uuid]) {
        for id in session_ids {
            self.cache.invalidate(entry(*id), SESSION_ENDED).await;
        }
    }

    async fn decide(&self, caller: Caller, copy: Option<Bytes>) -> Result<bool, Problem> {
        let copy = copy.map_or(Prefetched::Missing, Prefetched::Copy);
        let load = async || {
            let (now, id) = (self.clock.now(), caller.session_id);
            let found = domain::sessions::find_live(&self.pool, now, self.idle, id).await;
            let session = found?.ok_or_else(Problem::unauthenticated)?;
            Ok((LIVING, Bytes::copy_from_slice(session.user_id.as_bytes())))
        };
        let owner = self.cache.get_or_load(entry(caller.session_id), copy, load).await?;
        Ok(*owner == *caller.user_id.as_bytes())
    }
}

fn entry(session_id: Uuid) -> Entry {
    Entry { kind: Kind::Session, id: session_id }
}
