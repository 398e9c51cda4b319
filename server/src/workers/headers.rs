//! Headers of a job, apart from reserved ones.

use std::collections::BTreeMap;

use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};

/// Prefix of reserved header names.
pub const RESERVED_PREFIX: &str = "x-taskcenter-";

/// Reads the headers of a job.
///
/// # Errors
/// The header that cannot be sent.
pub fn read(job_headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in job_headers {
        let key: HeaderName = name.parse().map_err(|_| format!("headers: {name:?} is not a header name"))?;
        if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(&key)
            || key.as_str().starts_with(RESERVED_PREFIX)
        {
            return Err(format!("headers: {name:?} is reserved"));
        }
        headers.insert(key, value_of(name, value)?);
    }
    Ok(headers)
}

/// Reads the headers of a job and adds those of its task. A header of the job replaces one of the task.
///
/// # Errors
/// As [`read`].
pub fn read_with_task(
    task_headers: &BTreeMap<String, String>,
    job_headers: &BTreeMap<String, String>,
) -> Result<HeaderMap, String> {
    let mut headers = read(task_headers)?;
    headers.extend(read(job_headers)?);
    Ok(headers)
}

/// Returns a header value.
///
/// # Errors
/// The header whose value is invalid.
pub fn value_of(name: &str, value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value).map_err(|_| format!("headers: the value of {name:?} is invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(name: &str, value: &str) -> bool {
        read(&BTreeMap::from([(name.to_owned(), value.to_owned())])).is_err()
    }

    #[test]
    fn reserved_and_invalid_headers_are_refused() {
        for name in
            ["Host", "content-length", "Transfer-Encoding", "connection", "X-TaskCenter-Signature", "a b", ""]
        {
            assert!(is_refused(name, "x"), "{name}");
        }
        assert!(is_refused("x-a", "a\r\nhost: b") && is_refused("x-a", "a\0"));
        assert!(!is_refused("x-a", "b"));
    }
}
