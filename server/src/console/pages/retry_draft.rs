//! The fields of a retry policy in the form for tasks.

use serde::{Deserialize, Serialize};

use super::super::visit::Fields;
use super::super::words::{Words, fill};
use super::field_text::{Refusal, decimal, milliseconds, positive, seconds};
use crate::core::retry::RetryPolicy;

/// The fields as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryDraft {
    pub max_attempts: String,
    pub backoff_sec: String,
    pub max_backoff_sec: String,
    pub factor_percent: String,
    pub jitter_percent: String,
    /// Pauses in seconds, separated by commas.
    pub intervals_sec: String,
}

impl RetryDraft {
    /// Reads a sent form.
    pub fn read(fields: &Fields) -> Self {
        let text = |name| fields.get(name).unwrap_or_default().to_owned();
        Self {
            max_attempts: text("max_attempts"),
            backoff_sec: text("backoff_sec"),
            max_backoff_sec: text("max_backoff_sec"),
            factor_percent: text("factor_percent"),
            jitter_percent: text("jitter_percent"),
            intervals_sec: text("intervals_sec"),
        }
    }

    /// Returns the draft that edits a policy.
    pub fn of(retry: &RetryPolicy) -> Self {
        let default = RetryPolicy::default();
        let unless =
            |value: u32, default: u32| if value == default { String::new() } else { value.to_string() };
        let jitter_percent = unless(retry.jitter_percent, default.jitter_percent);
        if !retry.intervals_ms.is_empty() {
            let pauses: Vec<_> = retry.intervals_ms.iter().copied().map(seconds).collect();
            return Self { intervals_sec: pauses.join(", "), jitter_percent, ..Self::default() };
        }
        Self {
            max_attempts: retry.max_attempts.to_string(),
            backoff_sec: seconds(retry.backoff_ms),
            max_backoff_sec: seconds(retry.max_backoff_ms),
            factor_percent: unless(retry.factor_percent, default.factor_percent),
            jitter_percent,
            intervals_sec: String::new(),
        }
    }

    /// Returns whether no field has a text.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the policy. Without a number of attempts and a list of pauses, the policy of the server applies.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn policy(&self, t: &Words) -> Result<Option<RetryPolicy>, Refusal> {
        let default = RetryPolicy::default();
        let jitter_percent = percent("jitter_percent", &self.jitter_percent, default.jitter_percent, t)?;
        if !self.intervals_sec.is_empty() {
            let list = RetryPolicy::intervals(self.intervals(t)?);
            return Ok(Some(RetryPolicy { jitter_percent, ..list }));
        }
        let Some(attempts) = positive("max_attempts", &self.max_attempts, t)? else { return Ok(None) };
        let ms = |field, text: &str, default| match text {
            "" => Ok(default),
            text => milliseconds(field, text, t),
        };
        let growing = RetryPolicy::doubling(
            u32::try_from(attempts).unwrap_or(u32::MAX),
            ms("backoff_sec", &self.backoff_sec, default.backoff_ms)?,
            ms("max_backoff_sec", &self.max_backoff_sec, default.max_backoff_ms)?,
        );
        let factor_percent = percent("factor_percent", &self.factor_percent, default.factor_percent, t)?;
        Ok(Some(RetryPolicy { factor_percent, jitter_percent, ..growing }))
    }

    fn intervals(&self, t: &Words) -> Result<Vec<u64>, Refusal> {
        let others = [&self.max_attempts, &self.backoff_sec, &self.max_backoff_sec, &self.factor_percent];
        if others.iter().any(|field| !field.is_empty()) {
            return Err(Refusal { field: "intervals_sec", why: t.intervals_exclusive.clone() });
        }
        self.intervals_sec
            .split([',', '，'])
            .map(|text| milliseconds("intervals_sec", text.trim(), t))
            .collect()
    }
}

fn percent(field: &'static str, text: &str, default: u32, t: &Words) -> Result<u32, Refusal> {
    if text.is_empty() {
        return Ok(default);
    }
    let number = decimal(field, text, t)?;
    let is_whole = number.fract() == 0.0 && number <= f64::from(u32::MAX);
    let wrong = || Refusal { field, why: fill(&t.wrong_number, &[text]) };
    is_whole.then_some(number as u32).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::words::Lang;

    #[test]
    fn an_unchanged_draft_keeps_the_policy() {
        for policy in [
            RetryPolicy::doubling(2, 1_500, 60_000),
            RetryPolicy { factor_percent: 100, jitter_percent: 7, ..RetryPolicy::doubling(9, 0, 1) },
            RetryPolicy { jitter_percent: 50, ..RetryPolicy::intervals(vec![0, 1_500, 600_000]) },
        ] {
            let draft = RetryDraft::of(&policy);
            assert_eq!(draft.policy(Lang::En.words()).unwrap(), Some(policy));
        }
        assert_eq!(RetryDraft::default().policy(Lang::En.words()).unwrap(), None);
    }

    #[test]
    fn a_wrong_field_is_named() {
        let list = || RetryDraft { intervals_sec: "1, 2".into(), ..RetryDraft::default() };
        let growing = || RetryDraft { max_attempts: "2".into(), ..RetryDraft::default() };
        for (draft, field) in [
            (RetryDraft { max_attempts: "1.5".into(), ..growing() }, "max_attempts"),
            (RetryDraft { backoff_sec: "x".into(), ..growing() }, "backoff_sec"),
            (RetryDraft { factor_percent: "1.5".into(), ..growing() }, "factor_percent"),
            (RetryDraft { jitter_percent: "-1".into(), ..list() }, "jitter_percent"),
            (RetryDraft { intervals_sec: "1;2".into(), ..list() }, "intervals_sec"),
            (RetryDraft { max_attempts: "2".into(), ..list() }, "intervals_sec"),
        ] {
            assert_eq!(draft.policy(Lang::En.words()).unwrap_err().field, field);
        }
    }
}
