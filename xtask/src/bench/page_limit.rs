//! The limit of the time of a page.

use crate::bench::figures::Figures;

/// Longest time of a page at p95, in milliseconds.
pub const LIMIT_MS: f64 = 50.0;
/// End of the name of a figure of a page.
pub const P95: &str = " p95_ms";

/// Returns the pages that exceed the limit, each as one line.
pub fn slow_pages(figures: &Figures) -> Vec<String> {
    let pages = figures.iter().filter_map(|(name, value)| Some((name.strip_suffix(P95)?, *value)));
    let slow = pages.filter(|(_, value)| *value > LIMIT_MS);
    slow.map(|(page, value)| format!("{page}: p95 {value:.1} ms, more than {LIMIT_MS} ms")).collect()
}
