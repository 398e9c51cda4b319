//! A file that defines a task or an operation, in YAML or JSON.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use taskcenter_client::Error;

use super::client::Client;
use super::exit::Failure;
use super::payload::read_text;
use super::yaml::{self, Document};

/// A definition that was read from a file.
#[derive(Debug)]
pub struct DefinitionFile {
    path: PathBuf,
    document: Document,
}

impl DefinitionFile {
    /// Reads a file; `-` is standard input.
    ///
    /// # Errors
    /// [`Failure::Misused`] if the file cannot be read, or is not an object in YAML or JSON.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let misused = |why: String| Failure::Misused(format!("{}: {why}", path.display()));
        let text = read_text(path).map_err(|error| misused(error.to_string()))?;
        let document = yaml::read(&text).map_err(|invalid| {
            let field = if invalid.field.is_empty() { String::new() } else { format!("{}: ", invalid.field) };
            misused(format!("line {}: {field}{}", invalid.line, invalid.message))
        })?;
        if !document.value.is_object() {
            return Err(misused("line 1: the document should have fields, such as `name: mail`".to_owned()));
        }
        Ok(Self { path: path.to_owned(), document })
    }

    /// Returns the fields.
    pub fn fields(&self) -> Map<String, Value> {
        self.document.value.as_object().cloned().unwrap_or_default()
    }

    /// Converts a definition that has the fields of this file, and perhaps others.
    ///
    /// # Errors
    /// [`Failure::Misused`] names the line and the field.
    pub fn typed<T: DeserializeOwned>(&self, definition: Value) -> Result<T, Failure> {
        serde_path_to_error::deserialize(definition).map_err(|error| {
            let (path, message) = (error.path().to_string(), error.inner().to_string());
            let field = if path == "." { String::new() } else { path };
            let field = self.unknown_field(&field, &message).unwrap_or(field);
            let place = self.place(&field).map(|place| format!("{place}: ")).unwrap_or_default();
            let name = if field.is_empty() { field } else { format!("{field}: ") };
            Failure::Misused(format!("{}: {place}{name}{message}", self.path.display()))
        })
    }

    /// Returns the path of the field that a message calls unknown.
    fn unknown_field(&self, parent: &str, message: &str) -> Option<String> {
        let name = message.strip_prefix("unknown field `")?.split('`').next()?;
        let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        self.document.lines.contains_key(&path).then_some(path)
    }

    /// Returns the line of a field, or else that of the field around it.
    fn place(&self, field: &str) -> Option<String> {
        let parents = std::iter::successors(Some(field), |path| path.rfind(['.', '[']).map(|at| &path[..at]));
        let line = parents.filter(|path| !path.is_empty()).find_map(|path| self.document.lines.get(path))?;
        Some(format!("line {line}"))
    }

    /// Waits for a call that sends the definition. The error of a refusal names the line of the field.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call<T>(
        file: Option<&Self>,
        client: &Client,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        call.await.map_err(|error| {
            let failure = Failure::from_call(&error, &client.address);
            let Error::Refused { field: Some(field), .. } = &error else { return failure };
            let place =
                file.and_then(|file| Some(format!("{}, {}", file.path.display(), file.place(field)?)));
            place.map_or(failure.clone(), |place| failure.at(&place))
        })
    }
}
