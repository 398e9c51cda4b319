//! Parameters in the format of a query string.

use std::collections::HashMap;

use axum::http::Uri;

/// The parameters of a request. The last of several with the same name wins.
#[derive(Debug, Clone, Default)]
pub struct Params(HashMap<String, String>);

impl Params {
    /// Returns the parameters of a URI.
    pub fn of(uri: &Uri) -> Self {
        Self::of_form(uri.query().unwrap_or_default().as_bytes())
    }

    /// Returns the parameters of an urlencoded body.
    pub fn of_form(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body.trim_ascii()).into_owned().collect())
    }

    /// Sets a parameter.
    pub fn set(&mut self, name: String, value: String) {
        self.0.insert(name, value);
    }

    /// Adds the parameters of `other`, which take precedence.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Returns a parameter, possibly empty.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns a parameter that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }
}
