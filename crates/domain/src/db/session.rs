//! A session of the server for each of our connections: what PostgreSQL gives, and a pooler in between may not.
//!
//! Prepared statements, time limits and the lock of migrations belong to a session. A pooler that hands sessions from one
//! connection to another between transactions would mix them up, at moments of its own choosing: it is refused at the start.

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

/// What it fails with behind a pooler that shares sessions.
#[derive(Debug, thiserror::Error)]
#[error(
    "DATABASE_URL leads through a pooler that shares sessions between connections, such as PgBouncer with `pool_mode = \
     transaction`: it wants `pool_mode = session`, or PostgreSQL itself"
)]
pub struct SharedSessions;

/// What the statement that looks for the mark complains with.
const MARKED: &str = "the mark of another connection";

/// How often it is set and looked for. Most poolers hand out the session that was used last: what one connection leaves the other
/// gets, unless something else was under way just then.
const TURNS: usize = 5;

/// How often it is looked for besides: a pooler may hand its sessions out in turn. PgBouncer has 20 of a database, unless told
/// otherwise.
const LOOKS: usize = 20;

/// Opens a connection whose session is its own.
pub(super) async fn open_own(url: &SecretString) -> anyhow::Result<AsyncPgConnection> {
    open_beside_another(url.expose_secret())
        .await
        .map_err(|error| if tells_of_sharing(&format!("{error:#}")) { SharedSessions.into() } else { error })
}

/// What one connection sets must not be seen on the other.
async fn open_beside_another(url: &str) -> anyhow::Result<AsyncPgConnection> {
    let mark = Uuid::new_v4();
    let mut other = super::open(url).await?;
    let mut ours = super::open(url).await?;
    // Once this is answered, nothing is under way any more that opening it has left behind, and would hold a session.
    ours.batch_execute("SELECT 1").await?;
    let set = format!("SET trellis.mark = '{mark}'");
    let look = format!(
        "DO $$ BEGIN IF current_setting('trellis.mark', true) = '{mark}' THEN RAISE '{MARKED}'; END IF; END $$"
    );
    for _ in 0..TURNS {
        other.batch_execute(&set).await?;
        ours.batch_execute(&look).await?;
    }
    for _ in 0..LOOKS {
        ours.batch_execute(&look).await?;
    }
    Ok(ours)
}

/// A session of one's own has nobody's mark, and the statements that one has prepared and no others.
fn tells_of_sharing(error: &str) -> bool {
    let is_of_statements = error.contains("prepared statement") && error.contains("exist");
    is_of_statements || error.contains(MARKED)
}
