//! Requests and responses.

use std::borrow::Cow;
use std::str::FromStr;

use bytes::Bytes;

use super::codes;
use crate::Error;

/// Flag of a response.
const RESPONSE: i32 = 1;
/// Flag of a request that gets no response.
const ONE_WAY: i32 = 2;

/// A request or a response (`RemotingCommand.java`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Code of the request, or of the response.
    pub code: i32,
    /// Id of the request within its connection. The response has the id of its request.
    pub opaque: i32,
    /// Bit 0: response. Bit 1: no response wanted.
    pub flag: i32,
    /// Reason of a refusal.
    pub remark: Option<String>,
    /// Named fields of the header.
    pub fields: Fields,
    /// Body. Empty: none.
    pub body: Bytes,
}

impl Command {
    /// Creates a request. The connection sets `opaque`.
    pub fn request(code: i32) -> Self {
        Self { code, ..Self::default() }
    }

    /// Creates the response to a request.
    pub fn response(code: i32, opaque: i32) -> Self {
        Self { code, opaque, flag: RESPONSE, ..Self::default() }
    }

    /// Adds a field.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "callers pass numbers as well as references")]
    pub fn field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push(name, value.to_string());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Marks the request as one that gets no response.
    #[must_use]
    pub fn one_way(mut self) -> Self {
        self.flag |= ONE_WAY;
        self
    }

    /// Returns whether the command is a response.
    pub fn is_response(&self) -> bool {
        self.flag & RESPONSE != 0
    }

    /// Returns whether the request gets no response.
    pub fn is_one_way(&self) -> bool {
        self.flag & ONE_WAY != 0
    }

    /// Returns the response if its code is `SUCCESS`, otherwise [`Error::Refused`].
    pub fn success(self, address: &str) -> Result<Self, Error> {
        if self.code == codes::SUCCESS { Ok(self) } else { Err(self.refusal(address)) }
    }

    /// Returns the response as a refusal.
    pub fn refusal(self, address: &str) -> Error {
        let remark = self.remark.unwrap_or_else(|| "no reason given".to_owned());
        Error::Refused { address: address.to_owned(), code: self.code, remark }
    }

    /// Returns the value of a required field.
    pub fn parse<T: FromStr>(&self, name: &str, address: &str) -> Result<T, Error> {
        self.fields.get(name).and_then(|value| value.parse().ok()).ok_or_else(|| Error::Protocol {
            address: address.to_owned(),
            reason: format!("field {name:?} is missing or invalid"),
        })
    }
}

/// Named fields of a header, in the order of their addition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(Cow<'static, str>, String)>);

impl Fields {
    /// Adds a field.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: String) {
        self.0.push((name.into(), value));
    }

    /// Returns the value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns all fields as pairs of name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
