//! Alerts that have ended lately, for display.

use std::collections::VecDeque;

use super::{AlertKey, Severity};
use crate::core::Moment;

/// Maximum number of resolved alerts that are kept. The oldest ones go first.
const MAX_KEPT: usize = 50;
/// How long a resolved alert is kept, in milliseconds.
const KEPT_MS: i64 = 86_400_000;

/// An alert that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedAlert {
    pub key: AlertKey,
    pub severity: Severity,
    /// When the value exceeded the threshold.
    pub since: Moment,
    /// When the value was low again.
    pub resolved_at: Moment,
}

/// The alerts that ended last.
#[derive(Debug, Default)]
pub struct ResolvedAlerts(VecDeque<ResolvedAlert>);

impl ResolvedAlerts {
    /// Adds an alert that has ended now.
    pub fn push(&mut self, alert: ResolvedAlert) {
        self.0.truncate(MAX_KEPT - 1);
        self.0.push_front(alert);
    }

    /// Returns the alerts that ended within a day before `now`, latest first.
    pub fn recent(&self, now: Moment) -> Vec<ResolvedAlert> {
        let is_recent = |alert: &&ResolvedAlert| now.since(alert.resolved_at) < KEPT_MS;
        self.0.iter().filter(is_recent).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::alert::Measure;

    fn resolved(resolved_at: Moment) -> ResolvedAlert {
        let key = AlertKey { measure: Measure::DeadRuns, subject: Some("mail".to_owned()) };
        ResolvedAlert { key, severity: Severity::Warning, since: Moment::from_sec(0), resolved_at }
    }

    #[test]
    fn the_latest_alerts_of_a_day_are_kept() {
        let mut alerts = ResolvedAlerts::default();
        for sec in 0..60 {
            alerts.push(resolved(Moment::from_sec(sec)));
        }
        let recent = alerts.recent(Moment::from_sec(60));
        assert_eq!((recent.len(), recent[0].resolved_at), (MAX_KEPT, Moment::from_sec(59)));
        let later = alerts.recent(Moment::from_sec(58).plus_ms(KEPT_MS));
        assert_eq!(later, [resolved(Moment::from_sec(59))]);
    }
}
