//! How an attempt ends: what is kept of a success, and when a failure is tried again.

use std::time::Duration;

use serde_json::json;
use taskcenter_client::{Context, HandlerError, MAX_RESULT_BYTES};

/// Longest pause that the server takes: a year.
const LONGEST_PAUSE_MS: u64 = 366 * 86_400_000;

/// Keeps `{"message": ...}` with the run.
///
/// # Errors
/// None that a message could cause.
pub fn keep<S>(context: &Context<S>, message: &str) -> Result<(), HandlerError> {
    Ok(context.set_result(&json!({ "message": fitting(message) }))?)
}

/// As much of it as can be kept: escapes make some texts longer.
fn fitting(message: &str) -> &str {
    const ENVELOPE: usize = 64;
    let mut kept = message;
    while written(kept) + ENVELOPE > MAX_RESULT_BYTES {
        // No escape is longer than six bytes for one.
        let bytes = (kept.len() * 3 / 4).min(MAX_RESULT_BYTES);
        kept = &kept[..kept.floor_char_boundary(bytes)];
    }
    kept
}

fn written(text: &str) -> usize {
    serde_json::to_string(text).map_or(usize::MAX, |json| json.len())
}

/// The end of an attempt that failed: `pauses[i]` comes after attempt i + 1, and after the last one nothing. Without a list the task's
/// policy decides. It bounds the attempts in either case.
pub fn failed(pauses: Option<&[u64]>, attempt: u32, reason: String) -> HandlerError {
    let Some(pauses) = pauses else { return HandlerError::retry(reason) };
    match pauses.get(attempt.saturating_sub(1) as usize) {
        Some(ms) => HandlerError::retry_after(Duration::from_millis((*ms).min(LONGEST_PAUSE_MS)), reason),
        None => HandlerError::dead_letter(reason),
    }
}

#[cfg(test)]
mod tests {
    use taskcenter_client::Disposition;

    use super::*;

    #[test]
    fn a_list_is_used_up_and_then_there_is_an_end() {
        let after = |attempt| failed(Some(&[60, 600]), attempt, "no".to_owned()).disposition();
        assert_eq!(after(1), Disposition::RetryAfter(Duration::from_millis(60)));
        assert_eq!(after(2), Disposition::RetryAfter(Duration::from_millis(600)));
        assert_eq!((after(3), after(4)), (Disposition::DeadLetter, Disposition::DeadLetter));
        assert_eq!(failed(Some(&[]), 1, "no".to_owned()).disposition(), Disposition::DeadLetter);
        assert_eq!(failed(None, 9, "no".to_owned()).disposition(), Disposition::Retry);
    }

    #[test]
    fn a_message_is_cut_to_what_can_be_kept() {
        for text in ["é".repeat(MAX_RESULT_BYTES), "\u{1}".repeat(MAX_RESULT_BYTES)] {
            let kept = json!({ "message": fitting(&text) }).to_string();
            assert!(kept.len() <= MAX_RESULT_BYTES && kept.len() > MAX_RESULT_BYTES / 2, "{}", kept.len());
        }
        assert_eq!(fitting("short"), "short");
    }
}
