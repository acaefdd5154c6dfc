//! Logs: set up once a process, to standard output.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::LogFormat;

/// What is logged unless `RUST_LOG` says otherwise: our own events, and the warnings of libraries.
const DEFAULT_FILTER: &str = "warn,api=info,worker=info,domain=info";

/// Starts logging. A second call changes nothing.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let logs = fmt().with_env_filter(filter).with_target(false);
    // The error says that a subscriber is set already, which is what a second call wants.
    let _already_set = match format {
        LogFormat::Json => {
            logs.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
        }
        LogFormat::Pretty => logs.compact().try_init(),
    };
}
