//! Log: one line per event on standard error. Standard output is reserved for results.

use taskcenter_server::config::{Log, LogFormat};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Starts logging. The configuration has already validated the level.
pub fn start(log: &Log) {
    let filter: Targets = log.level.parse().unwrap_or_default();
    // The filter decides; by itself the formatter would drop everything below `info`.
    let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(true).with_span_list(false);
            lines.finish().with(filter).init();
        }
        LogFormat::Text => lines.with_ansi(false).finish().with(filter).init(),
    }
}
