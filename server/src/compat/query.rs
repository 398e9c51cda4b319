//! Parameters as they stand in a query string.

use std::collections::HashMap;

use axum::http::Uri;

/// The parameters of a request. Of two with one name the last one holds.
#[derive(Debug, Clone, Default)]
pub struct Params(HashMap<String, String>);

impl Params {
    /// Those of an address.
    pub fn of(uri: &Uri) -> Self {
        Self::of_form(uri.query().unwrap_or_default().as_bytes())
    }

    /// Those of a body that is written like a query string.
    pub fn of_form(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body.trim_ascii()).into_owned().collect())
    }

    /// Adds one, in place of another of its name.
    pub fn set(&mut self, name: String, value: String) {
        self.0.insert(name, value);
    }

    /// Adds those of `other`, which win.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// A parameter as it came.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }
}
