//! Figures of one work, by name.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// Figures of one work. The end of a name is its unit: `per_s`, `_ms`.
#[derive(Debug, Default)]
pub struct Figures(Map<String, Value>);

impl Figures {
    /// Adds one figure.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.0.insert(name.to_owned(), ((value * 1e3).round() / 1e3).into());
        self
    }

    /// Returns the rate of `count` items since `start`.
    pub fn rate(count: usize, start: Instant) -> Self {
        Self::default().with("per_s", count as f64 / start.elapsed().as_secs_f64())
    }

    /// Adds p50, p99 and p99.9 of times in milliseconds. The names begin with `prefix`.
    #[must_use]
    pub fn with_percentiles(self, prefix: &str, times_ms: &mut [f64]) -> Self {
        times_ms.sort_by(f64::total_cmp);
        let at = |fraction: f64| percentile(times_ms, fraction);
        let names = [("p50_ms", 0.5), ("p99_ms", 0.99), ("p999_ms", 0.999)];
        names
            .into_iter()
            .fold(self, |figures, (name, fraction)| figures.with(&format!("{prefix}{name}"), at(fraction)))
    }

    /// Returns the figures as one line of JSON.
    pub fn to_json(&self) -> String {
        Value::from(self.0.clone()).to_string()
    }
}

/// Returns a percentile of sorted times; 0 without times.
pub fn percentile(sorted: &[f64], fraction: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * fraction).round() as usize).copied().unwrap_or_default()
}

/// Returns the wall clock in milliseconds since the Unix epoch, with fractions.
pub fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_values_at_their_rank() {
        let mut times: Vec<f64> = (1..=1001).rev().map(f64::from).collect();
        let figures = Figures::default().with_percentiles("late_", &mut times).to_json();
        assert_eq!(figures, r#"{"late_p50_ms":501.0,"late_p999_ms":1000.0,"late_p99_ms":991.0}"#);
        assert!((percentile(&[], 0.5)).abs() < f64::EPSILON);
    }
}
