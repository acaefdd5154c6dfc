//! Whether a session lives.

use domain::clock::Clock;
use domain::db::Pool;
use uuid::Uuid;

use crate::problem::Problem;

/// Answers whether sessions live.
#[derive(Clone)]
pub struct Sessions {
    pool: Pool,
    clock: Clock,
}

impl Sessions {
    /// Looks sessions up in the database.
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// Whether this session of this user lives.
    pub async fn is_live(&self, session_id: Uuid, user_id: Uuid) -> Result<bool, Problem> {
        let found = domain::sessions::find_live(&self.pool, self.clock.now(), session_id).await;
        Ok(found.map_err(Problem::unavailable)?.is_some_and(|session| session.user_id == user_id))
    }

    /// Forgets what is cached of sessions that ended, so that they are refused at once.
    pub async fn forget(&self, _session_ids: &[Uuid]) {}
}
