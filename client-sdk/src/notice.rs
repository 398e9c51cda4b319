//! Notices on standard error, for programs without a log.

use std::fmt;

use tracing::Dispatch;
use tracing::dispatcher::get_default;
use tracing::subscriber::NoSubscriber;

/// Prints a notice on standard error if the program has no `tracing` subscriber. The caller logs
/// the same event.
#[allow(clippy::print_stderr, reason = "the only output of a program without a log")]
pub(crate) fn print_without_log(notice: fmt::Arguments<'_>) {
    if get_default(Dispatch::is::<NoSubscriber>) {
        eprintln!("taskcenter: {notice}");
    }
}
