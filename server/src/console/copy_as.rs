//! Views and actions as texts to copy: requests of curl, commands of `taskcenter`, and definitions in JSON and YAML.
//!
//! No text contains a token: each one reads `TASKCENTER_TOKEN` of the shell.

mod operation;
mod shell;
mod task;
mod view;
mod yaml;

use serde_json::Value;

pub use self::operation::operate;
pub use self::shell::Shell;
pub use self::task::{create_task, spec};
pub use self::view::show;

/// A text to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// `curl`, `CLI`, `JSON` or `YAML`.
    pub kind: &'static str,
    pub text: String,
}

/// The texts of one view or action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    pub title: String,
    pub texts: Vec<Text>,
}

impl Recipe {
    /// Returns the texts of a request, and of the command with its arguments.
    pub fn new(shell: Shell, title: &str, request: &Request<'_>, command: Option<&[String]>) -> Self {
        let mut texts = vec![Text { kind: "curl", text: shell.curl(request) }];
        texts.extend(command.and_then(|words| Some(Text { kind: "CLI", text: Shell::command(words)? })));
        Self { title: title.to_owned(), texts }
    }

    /// Adds a document in JSON, and as a file in YAML that `command` reads.
    #[must_use]
    pub fn with_document(mut self, document: &Value, command: &str) -> Self {
        self.texts.push(Text { kind: "JSON", text: format!("{document:#}") });
        self.texts.push(Text { kind: "YAML", text: yaml::write(command, document) });
        self
    }
}

/// A request of the API.
pub struct Request<'a> {
    pub method: &'static str,
    /// Path and query, percent-encoded.
    pub path: &'a str,
    pub body: Option<&'a Value>,
}

impl<'a> Request<'a> {
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, body: None }
    }

    pub fn post(path: &'a str) -> Self {
        Self { method: "POST", path, body: None }
    }
}

/// Returns the arguments of a command.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Returns an option with its value, as one argument: a value may begin with `-`.
pub fn option(name: &str, value: &str) -> String {
    format!("--{name}={value}")
}
