//! Log: one line per event on standard error. Standard output is reserved for results.

use taskcenter_server::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts logging. The configuration has already validated the level.
pub fn start(log: &Log) {
    let lines = tracing_subscriber::fmt().with_env_filter(filter(&log.level)).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
        }
        LogFormat::Text => lines.with_ansi(false).init(),
    }
}

/// The RocketMQ client logs its internals at `info`, and at `warn` the failures that this program
/// logs itself. Only its errors are kept, unless the level names the client.
fn filter(level: &str) -> EnvFilter {
    let level = if level.contains("rocketmq") { level.to_owned() } else { format!("{level},rocketmq=error") };
    EnvFilter::new(level)
}
