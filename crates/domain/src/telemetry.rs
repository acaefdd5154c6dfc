//! Logs, to standard output, and metrics, in Prometheus' text form. Both are set up once a process.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::LogFormat;

/// What is logged unless `RUST_LOG` says otherwise: our own events, and the warnings of libraries. apalis-core repeats at
/// ERROR what our own warnings say with the whole chain.
const DEFAULT_FILTER: &str =
    "warn,api=info,worker=info,domain=info,apalis_core=off,rustls_platform_verifier=off";

/// What no `RUST_LOG` brings back: at DEBUG, tokio-postgres logs what a statement is run with, addresses and hashes
/// among it, as lists of bytes.
const MUTED: &str = "tokio_postgres=info";

/// Starts logging. A second call changes nothing.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let filter = match MUTED.parse() {
        Ok(muted) => filter.add_directive(muted),
        Err(_) => filter,
    };
    let logs = fmt().with_env_filter(filter).with_target(false);
    // The error says that a subscriber is set already, which is what a second call wants.
    let _already_set = match format {
        LogFormat::Json => {
            logs.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
        }
        LogFormat::Pretty => logs.compact().try_init(),
    };
}

/// Bounds of histograms of seconds (those of OpenTelemetry's HTTP metrics).
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts collecting metrics, the first time it is called. Call it before anything is measured.
pub fn init_metrics() {
    METRICS.get_or_init(|| {
        let builder =
            PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
        builder.and_then(PrometheusBuilder::install_recorder).ok()
    });
}

/// All metrics of this process, in the text format that Prometheus scrapes.
pub fn render_metrics() -> String {
    METRICS.get().and_then(Option::as_ref).map(PrometheusHandle::render).unwrap_or_default()
}

/// Compacts what was collected; call it now and then, for a process that nobody scrapes.
pub fn upkeep_metrics() {
    if let Some(handle) = METRICS.get().and_then(Option::as_ref) {
        handle.run_upkeep();
    }
}
