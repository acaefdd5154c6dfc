//! Whether a session lives.
//!
//! PostgreSQL knows.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::problem::Problem;

/// Where sessions are looked up.
pub trait SessionSource: Send + Sync {
    /// The user of a session that lives, or `None`.
    fn find_live(&self, session_id: Uuid) -> BoxFuture<'_, anyhow::Result<Option<Uuid>>>;
}

/// Answers whether sessions live.
#[derive(Clone)]
pub struct Sessions {
    source: Arc<dyn SessionSource>,
}

impl Sessions {
    /// Looks sessions up in `source`.
    pub fn new(source: Arc<dyn SessionSource>) -> Self {
        Self { source }
    }

    /// Whether this session of this user lives.
    pub async fn is_live(&self, session_id: Uuid, user_id: Uuid) -> Result<bool, Problem> {
        let owner = self.source.find_live(session_id).await.map_err(Problem::unavailable)?;
        Ok(owner == Some(user_id))
    }
}

/// Knows no session.
pub struct Nobody;

impl SessionSource for Nobody {
    fn find_live(&self, _: Uuid) -> BoxFuture<'_, anyhow::Result<Option<Uuid>>> {
        Box::pin(async { Ok(None) })
    }
}
