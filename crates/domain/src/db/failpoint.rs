//! Places to die at, for tests: with `FAIL_POINT=kind:n` the process is gone, as if it had been killed, right after the n-th
//! statement of a job of that kind, and with n = 0 before the first.
//!
//! Only the feature `failpoints` brings this module in: no program that is shipped has it, or knows the setting.

use std::cell::Cell;
use std::str::FromStr;
use std::sync::OnceLock;

use diesel::connection::InstrumentationEvent;
use diesel_async::AsyncConnection as _;

use super::Connection;
use crate::config::Settings;

static ARMED: OnceLock<FailPoint> = OnceLock::new();

tokio::task_local! {
    /// How many statements the job that runs here has behind it, if it is of the armed kind.
    static STATEMENTS: Cell<u32>;
}

/// A statement of a job.
#[derive(Clone, Debug)]
pub struct FailPoint {
    /// The kind of the job.
    kind: String,
    /// How many statements it gets; its BEGIN and its COMMIT are two of them.
    statements: u32,
}

impl FailPoint {
    /// `FAIL_POINT`
    pub fn read(settings: &mut Settings) -> Option<Self> {
        settings.optional(
            "FAIL_POINT",
            "the kind of a job and a number of statements, such as `referral.settle:7`",
        )
    }

    /// From now on this process dies there. The first one counts.
    pub fn arm(self) {
        ARMED.get_or_init(|| self);
    }

    /// Ends the process if so many statements are all that it gets. Nothing is unwound, closed or written back.
    fn visit(&self, statements: u32, last: &str) {
        if statements == self.statements {
            tracing::error!(statements, last, "dies at its fail point");
            std::process::abort();
        }
    }
}

impl FromStr for FailPoint {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, statements) = text.split_once(':').ok_or(())?;
        Ok(Self { kind: kind.to_owned(), statements: statements.parse().map_err(|_| ())? })
    }
}

/// Runs a job of this kind, with its statements counted if that is where the process is to die.
pub async fn within<F: Future>(kind: &str, job: F) -> F::Output {
    let Some(point) = ARMED.get().filter(|point| point.kind == kind) else { return job.await };
    point.visit(0, "");
    STATEMENTS.scope(Cell::new(0), job).await
}

/// Counts the statements of a connection that run within a job.
pub(super) fn watch(connection: &mut Connection) {
    connection.set_instrumentation(|event: InstrumentationEvent<'_>| {
        let InstrumentationEvent::FinishQuery { query, .. } = event else { return };
        // Outside of such a job there is nothing to count.
        let _ = STATEMENTS.try_with(|statements| {
            statements.set(statements.get() + 1);
            if let Some(point) = ARMED.get() {
                let query = query.to_string();
                // Never what a statement is run with, which Diesel shows behind it.
                point.visit(statements.get(), query.split(" -- binds").next().unwrap_or_default());
            }
        });
    });
}
