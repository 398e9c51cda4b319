//! Headers that a task asks for, beside those that are ours to set.

use std::collections::BTreeMap;

use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};

/// What begins the names of our own headers.
pub const OURS: &str = "x-taskcenter-";

/// Reads them.
///
/// # Errors
/// Names the header that cannot be sent.
pub fn read(asked: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in asked {
        let key: HeaderName =
            name.parse().map_err(|_| format!("headers: {name:?} is no name of a header"))?;
        if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&key)
            || key.as_str().starts_with(OURS)
        {
            return Err(format!("headers: {name:?} is not for a task to set"));
        }
        headers.insert(key, value_of(name, value)?);
    }
    Ok(headers)
}

/// A header's value.
///
/// # Errors
/// Names the header when it cannot be one.
pub fn value_of(name: &str, value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value).map_err(|_| format!("headers: the value of {name:?} cannot be sent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(name: &str, value: &str) -> bool {
        read(&BTreeMap::from([(name.to_owned(), value.to_owned())])).is_err()
    }

    #[test]
    fn what_would_change_the_call_is_refused() {
        for name in
            ["Host", "content-length", "Transfer-Encoding", "connection", "X-TaskCenter-Signature", "a b", ""]
        {
            assert!(wrong(name, "x"), "{name}");
        }
        assert!(wrong("x-a", "a\r\nhost: b") && wrong("x-a", "a\0"));
        assert!(!wrong("x-a", "b"));
    }
}
