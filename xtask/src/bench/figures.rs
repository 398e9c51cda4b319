//! The figures of one measurement: how they are read and shown.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// Figures of one measurement, by name. The end of a name is its unit: `per_s`, `_ms`, `_mb`.
pub type Figures = BTreeMap<String, f64>;

/// Reads the line of JSON that a load generator prints last.
pub fn parse(output: &str) -> Result<Figures> {
    let line = output.lines().last().unwrap_or_default();
    serde_json::from_str(line)
        .with_context(|| format!("the load generator printed {line:?} instead of figures"))
}

/// Formats a figure with its unit.
pub fn format_value(name: &str, value: f64) -> String {
    match name.rsplit('_').next() {
        Some("ms") if value >= 1e3 => format!("{:.2} s", value / 1e3),
        Some("ms") if value >= 100.0 => format!("{value:.0} ms"),
        Some("ms") => format!("{value:.1} ms"),
        Some("mb") => format!("{value:.0} MB"),
        _ => with_separators(value),
    }
}

/// Formats a number such as `12,000`.
pub fn with_separators(value: f64) -> String {
    let digits = format!("{value:.0}");
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    grouped.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_last_line() {
        let figures = parse("starting\n{\"per_s\":12.5,\"first_ms\":3}\n").unwrap();
        assert_eq!((figures["per_s"], figures["first_ms"]), (12.5, 3.0));
        assert!(parse("").unwrap_err().to_string().contains("instead of figures"));
    }

    #[test]
    fn figures_are_shown_with_their_units() {
        let shown =
            [("per_s", 1_234_567.0), ("per_s", 12.0), ("a_ms", 9.94), ("a_ms", 99_500.0), ("b_mb", 70.4)]
                .map(|(name, value)| format_value(name, value));
        assert_eq!(shown, ["1,234,567", "12", "9.9 ms", "99.50 s", "70 MB"]);
    }
}
