//! Conversion of retry policies: pauses as a list, or as a first pause that grows.

use serde_json::Value;
use taskcenter_client::resources::Retry;

use super::error::ApiError;
use crate::core::retry::RetryPolicy;

/// Fields of a policy of growing pauses.
const GROWING: [&str; 4] = ["max_attempts", "backoff_ms", "max_backoff_ms", "factor_percent"];
/// Field of a policy with a list of pauses.
const INTERVALS: &str = "intervals_ms";
/// Fields of a policy.
pub const FIELDS: &[&str] =
    &["max_attempts", "backoff_ms", "max_backoff_ms", "factor_percent", "jitter_percent", INTERVALS];

/// Converts the retry policy of a request. The service checks its bounds later.
///
/// # Errors
/// An error that names a missing field, or a field that the list of pauses excludes.
pub fn policy(retry: &Retry) -> Result<RetryPolicy, ApiError> {
    let jitter_percent = retry.jitter_percent.unwrap_or_default();
    if let Some(intervals_ms) = retry.intervals_ms.clone() {
        refuse_growing(retry)?;
        return Ok(RetryPolicy { jitter_percent, ..RetryPolicy::intervals(intervals_ms) });
    }
    let growing = RetryPolicy::doubling(
        present("retry.max_attempts", retry.max_attempts)?,
        present("retry.backoff_ms", retry.backoff_ms)?,
        present("retry.max_backoff_ms", retry.max_backoff_ms)?,
    );
    let factor_percent = retry.factor_percent.unwrap_or(growing.factor_percent);
    Ok(RetryPolicy { factor_percent, jitter_percent, ..growing })
}

fn present<T>(field: &'static str, value: Option<T>) -> Result<T, ApiError> {
    value.ok_or_else(|| ApiError::field(field, format!("{field} is missing")))
}

/// Refuses a list of pauses that is empty or has a second rule beside it.
fn refuse_growing(retry: &Retry) -> Result<(), ApiError> {
    let Retry { max_attempts, backoff_ms, max_backoff_ms, factor_percent, .. } = retry;
    let is_growing = max_attempts.is_some() || backoff_ms.is_some();
    if is_growing || max_backoff_ms.is_some() || factor_percent.is_some() {
        let others = GROWING.join(", ");
        let why = format!("intervals_ms sets the pauses and the number of attempts: leave out {others}");
        return Err(ApiError::field("retry.intervals_ms", why));
    }
    if retry.intervals_ms.as_ref().is_some_and(Vec::is_empty) {
        let why = "intervals_ms should have between 1 and 100 pauses";
        return Err(ApiError::field("retry.intervals_ms", why));
    }
    Ok(())
}

/// Converts a retry policy. The fields that are not set are those that the policy does not need.
pub fn resource(policy: RetryPolicy) -> Retry {
    let default = RetryPolicy::default();
    let unless = |value: u32, default: u32| (value != default).then_some(value);
    let jitter_percent = unless(policy.jitter_percent, default.jitter_percent);
    if !policy.intervals_ms.is_empty() {
        return Retry { jitter_percent, ..Retry::intervals(policy.intervals_ms) };
    }
    Retry {
        factor_percent: unless(policy.factor_percent, default.factor_percent),
        jitter_percent,
        ..Retry::doubling(policy.max_attempts, policy.backoff_ms, policy.max_backoff_ms)
    }
}

/// Returns whether a patch of a policy changes fields of the same form. A patch of the other form replaces the
/// policy.
pub fn has_form(base: &Retry, patch: Option<&Value>) -> bool {
    let names = |field: &str| patch.and_then(|patch| patch.get(field)).is_some_and(|value| !value.is_null());
    match base.intervals_ms {
        Some(_) => !GROWING.into_iter().any(names),
        None => !names(INTERVALS),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(retry: Value) -> Result<RetryPolicy, ApiError> {
        policy(&serde_json::from_value(retry).unwrap())
    }

    #[test]
    fn a_policy_has_one_of_two_forms() {
        let doubling = json!({"max_attempts": 3, "backoff_ms": 1, "max_backoff_ms": 2});
        assert_eq!(read(doubling).unwrap(), RetryPolicy::doubling(3, 1, 2));
        let list = json!({"intervals_ms": [1, 5], "jitter_percent": 10});
        let expected = RetryPolicy { jitter_percent: 10, ..RetryPolicy::intervals(vec![1, 5]) };
        assert_eq!(read(list).unwrap(), expected);
        for (retry, field) in [
            (json!({"max_attempts": 3, "backoff_ms": 1}), "retry.max_backoff_ms"),
            (json!({}), "retry.max_attempts"),
            (json!({"intervals_ms": []}), "retry.intervals_ms"),
            (json!({"intervals_ms": [1], "max_attempts": 2}), "retry.intervals_ms"),
            (json!({"intervals_ms": [1], "factor_percent": 100}), "retry.intervals_ms"),
        ] {
            match read(retry) {
                Err(ApiError::Field { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{other:?}"),
            }
        }
    }
}
