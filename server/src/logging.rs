//! The log: one line an event, on standard error, so that standard output belongs to the verbs.

use taskcenter_server::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts it. The level has been checked with the configuration.
pub fn start(log: &Log) {
    let lines = tracing_subscriber::fmt().with_env_filter(filter(&log.level)).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
        }
        LogFormat::Text => lines.with_ansi(false).init(),
    }
}

/// The RocketMQ client tells its whole life at `info`, and each failure at `warn`, which this program tells in its own words. A
/// level that names it is taken as it is.
fn filter(level: &str) -> EnvFilter {
    let quiet = if level.contains("rocketmq") { level.to_owned() } else { format!("{level},rocketmq=error") };
    EnvFilter::new(quiet)
}
