//! The fields of a rate limit in the form for tasks, and a rate limit in words.

use serde::{Deserialize, Serialize};

use super::super::visit::Fields;
use super::super::words::{Words, fill};
use super::field_text::{Refusal, positive};
use crate::core::concurrency::Scope;
use crate::core::rate::{OnExcess, Rate, period_text};

/// The fields as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateDraft {
    /// `LIMIT/PERIOD:SCOPE:KEY`. Empty: no limit.
    #[serde(rename = "rate")]
    pub limit: String,
    #[serde(rename = "rate_burst")]
    pub burst: String,
    /// `drop`, or empty: the run waits.
    #[serde(rename = "rate_excess")]
    pub excess: String,
}

impl RateDraft {
    /// Reads a sent form.
    pub fn read(fields: &Fields) -> Self {
        let text = |name| fields.get(name).unwrap_or_default().to_owned();
        Self { limit: text("rate"), burst: text("rate_burst"), excess: text("rate_excess") }
    }

    /// Returns the draft that edits a limit.
    pub fn of(rate: &Rate) -> Self {
        let excess = if rate.on_excess == OnExcess::Drop { "drop" } else { "" };
        Self {
            limit: rate.to_string(),
            burst: rate.burst.map(|burst| burst.to_string()).unwrap_or_default(),
            excess: excess.to_owned(),
        }
    }

    /// Returns whether no field has a text.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the limit.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn rate(&self, t: &Words) -> Result<Option<Rate>, Refusal> {
        let text = self.limit.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = |_| Refusal { field: "rate", why: fill(&t.wrong_rate, &[text]) };
        let rate: Rate = text.parse().map_err(wrong)?;
        let burst = positive("rate_burst", &self.burst, t)?;
        let burst = burst.map(|burst| u32::try_from(burst).unwrap_or(u32::MAX));
        let on_excess = if self.excess == "drop" { OnExcess::Drop } else { OnExcess::Wait };
        Ok(Some(Rate { burst, on_excess, ..rate }))
    }
}

/// Returns the choices for a run that exceeds the limit, with their labels.
pub fn choices(t: &Words) -> [(&'static str, &str); 2] {
    [("", &t.rate_wait), ("drop", &t.rate_drop)]
}

/// Returns a limit in words.
pub fn in_words(rate: &Rate, t: &Words) -> String {
    let text = match rate.scope {
        Scope::Task => &t.rate_of_task,
        Scope::Tag => &t.rate_of_tag,
        Scope::Queue => &t.rate_of_queue,
        Scope::All => &t.rate_of_all,
    };
    let mut text = fill(text, &[&rate.limit.to_string(), &period_text(rate.period_ms)]);
    if let Some(key) = &rate.key {
        text = fill(&t.limit_with_key, &[&text, key]);
    }
    if let Some(burst) = rate.burst {
        text = fill(&t.rate_with_burst, &[&text, &burst.to_string()]);
    }
    if rate.on_excess == OnExcess::Drop { fill(&t.rate_with_drop, &[&text]) } else { text }
}
