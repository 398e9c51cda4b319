//! Standard output. It holds results only; all other messages go to standard error.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use super::exit::Failure;

/// Prints a line and flushes it, so that the reader of a pipe receives it immediately.
pub fn print_line(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Failed(format!("cannot write to standard output: {error}")),
    })
}

/// Prints a JSON document on one line.
pub fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document);
    print_line(text.map_err(|error| Failure::Failed(format!("cannot write the result as JSON: {error}")))?)
}
