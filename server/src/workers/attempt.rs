//! The end of an attempt: the result of a success, and the retry after a failure.

use std::time::Duration;

use serde_json::json;
use taskcenter_client::{Context, HandlerError, MAX_RESULT_BYTES};

/// Maximum pause that the server accepts: a year.
const MAX_PAUSE_MS: u64 = 366 * 86_400_000;

/// Sets the result `{"message": ...}`, with the message cut to the maximum size.
///
/// # Errors
/// Never for a message.
pub fn set_message<S>(context: &Context<S>, message: &str) -> Result<(), HandlerError> {
    Ok(context.set_result(&json!({ "message": truncate(message) }))?)
}

/// Cuts a message so that its JSON, with escapes, fits into a result.
fn truncate(message: &str) -> &str {
    const ENVELOPE: usize = 64;
    let mut kept = message;
    while json_len(kept) + ENVELOPE > MAX_RESULT_BYTES {
        // An escape takes at most six bytes for one.
        let bytes = (kept.len() * 3 / 4).min(MAX_RESULT_BYTES);
        kept = &kept[..kept.floor_char_boundary(bytes)];
    }
    kept
}

fn json_len(text: &str) -> usize {
    serde_json::to_string(text).map_or(usize::MAX, |json| json.len())
}

/// Returns the failure of an attempt. `pauses[i]` is the pause after attempt i + 1, and there is no retry after
/// the last pause. Without a list the retry policy of the task applies. The policy limits the attempts in both
/// cases.
pub fn failed(pauses: Option<&[u64]>, attempt: u32, reason: String) -> HandlerError {
    let Some(pauses) = pauses else { return HandlerError::retry(reason) };
    match pauses.get(attempt.saturating_sub(1) as usize) {
        Some(ms) => HandlerError::retry_after(Duration::from_millis((*ms).min(MAX_PAUSE_MS)), reason),
        None => HandlerError::dead_letter(reason),
    }
}

#[cfg(test)]
mod tests {
    use taskcenter_client::Disposition;

    use super::*;

    #[test]
    fn there_is_no_retry_after_the_last_pause() {
        let after = |attempt| failed(Some(&[60, 600]), attempt, "no".to_owned()).disposition();
        assert_eq!(after(1), Disposition::RetryAfter(Duration::from_millis(60)));
        assert_eq!(after(2), Disposition::RetryAfter(Duration::from_millis(600)));
        assert_eq!((after(3), after(4)), (Disposition::DeadLetter, Disposition::DeadLetter));
        assert_eq!(failed(Some(&[]), 1, "no".to_owned()).disposition(), Disposition::DeadLetter);
        assert_eq!(failed(None, 9, "no".to_owned()).disposition(), Disposition::Retry);
    }

    #[test]
    fn a_message_is_cut_to_the_maximum_size() {
        for text in ["é".repeat(MAX_RESULT_BYTES), "\u{1}".repeat(MAX_RESULT_BYTES)] {
            let kept = json!({ "message": truncate(&text) }).to_string();
            assert!(kept.len() <= MAX_RESULT_BYTES && kept.len() > MAX_RESULT_BYTES / 2, "{}", kept.len());
        }
        assert_eq!(truncate("short"), "short");
    }
}
