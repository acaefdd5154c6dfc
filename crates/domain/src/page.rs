//! Places in lists.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A place in a list that is ordered by time, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The time of the last item seen.
    pub at: DateTime<Utc>,
    /// Its id, which orders items of one instant.
    pub id: Uuid,
}
