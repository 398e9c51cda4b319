//! Rules of one task about how the moments of its schedule fire.

use serde::{Deserialize, Serialize};

use super::calendar::Calendars;
use super::concurrency::Limit;
use super::invalid_timing::InvalidTiming;
use super::misfire::MisfireRule;
use super::overlap::Overlap;
use super::rate::Rate;

/// Longest jitter, in milliseconds: a day.
pub const MAX_JITTER_MS: i64 = 86_400_000;

/// Rules of one task about how the moments of its schedule fire. The default has no rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// What happens to late moments. Default: the server's setting.
    #[serde(default, skip_serializing_if = "MisfireRule::is_default")]
    pub misfire: MisfireRule,
    /// Longest delay of a moment, in milliseconds, up to [`MAX_JITTER_MS`]. `None`: no delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<i64>,
    /// What happens to a run while an earlier one has not ended. `None`: runs may overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// How many runs may have started at the same time. Empty: no limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concurrency: Vec<Limit>,
    /// Calendars that limit the moments. `None`: every moment of the schedule counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendars: Option<Box<Calendars>>,
    /// How many runs may start in a period. `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

impl Timing {
    /// Returns whether no rule is set. A stored task then has no field for the rules.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the bounds of each field.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn validate(&self) -> Result<(), InvalidTiming> {
        InvalidTiming::check("jitter_ms", self.jitter_ms, 1, MAX_JITTER_MS)?;
        self.overlap.map_or(Ok(()), Overlap::validate)?;
        self.misfire.validate()
    }
}
