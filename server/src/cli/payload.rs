//! Options with another payload for a run, for `task trigger` and `run retry`.

use std::path::{Path, PathBuf};

use clap::Args;
use taskcenter_client::resources::RunPayload;

use super::exit::Failure;

/// Value of `--data-file` for standard input.
const STDIN: &str = "-";
const HEADING: &str = "Payload";

/// Another payload. Without an option, the payload stays as it is.
#[derive(Debug, Default, Args)]
pub struct PayloadOptions {
    /// Data to deliver instead, at most 4,128,768 bytes.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, help_heading = HEADING)]
    data: Option<String>,
    /// File with the data to deliver instead, in UTF-8; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "data", help_heading = HEADING)]
    data_file: Option<PathBuf>,
    /// Header of the deliveries, such as traceparent=00-...; replaces all headers; can be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header, help_heading = HEADING)]
    headers: Vec<(String, String)>,
}

impl PayloadOptions {
    /// Returns the payload, and reads its file.
    ///
    /// # Errors
    /// [`Failure::Misused`] if the file cannot be read.
    pub fn read(self) -> Result<RunPayload, Failure> {
        let data = read_data(self.data, self.data_file.as_deref())?;
        let headers = (!self.headers.is_empty()).then(|| self.headers.into_iter().collect());
        Ok(RunPayload { data, json: None, headers })
    }
}

/// Returns the value of `--data`, or the content of `--data-file`.
///
/// # Errors
/// [`Failure::Misused`] if the file cannot be read.
pub fn read_data(data: Option<String>, file: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(file) = file else { return Ok(data) };
    let read = read_text(file).map(Some);
    read.map_err(|error| Failure::Misused(format!("--data-file {}: {error}", file.display())))
}

/// Returns the content of a file; `-` is standard input.
///
/// # Errors
/// The file cannot be read, or is not in UTF-8.
pub fn read_text(file: &Path) -> std::io::Result<String> {
    if file.as_os_str() == STDIN {
        return std::io::read_to_string(std::io::stdin());
    }
    std::fs::read_to_string(file)
}

/// Parses a header.
pub fn parse_header(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').ok_or("write NAME=VALUE, such as tenant=7")?;
    Ok((parts.0.to_owned(), parts.1.to_owned()))
}
