//! Standard output, which belongs to what was asked for.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use super::exit::Failure;

/// Prints a line, and hands it over at once: somebody may be waiting at the other end of a pipe.
pub fn line(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::Failed(format!("cannot write to standard output: {error}")),
    })
}

/// Prints a document in one line.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(document);
    line(text.map_err(|error| Failure::Failed(format!("the answer cannot be written as JSON: {error}")))?)
}
