//! The table of the work `pages`: one row for each page.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::bench::figures::format_value;
use crate::bench::page_limit::P95;
use crate::bench::results::Results;
use crate::bench::work::Work;

/// Returns the table of a subject.
pub fn table(results: &Results, subject: usize) -> String {
    let pages: BTreeSet<String> = results.names(Work::Pages, subject);
    let pages = pages.iter().filter_map(|name| name.strip_suffix(P95));
    let mut text = String::from("\n| page | p50 | p95 | p99 |\n|---|---|---|---|\n");
    for page in pages {
        let cell = |name: &str| {
            let value = results.median(Work::Pages, subject, &format!("{page} {name}"));
            value.map(|value| format_value(name, value)).unwrap_or_default()
        };
        let [p50, p95, p99] = ["p50_ms", "p95_ms", "p99_ms"].map(cell);
        let _ = writeln!(text, "| `{page}` | {p50} | {p95} | {p99} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::subject::Subjects;

    #[test]
    fn a_page_above_the_limit_is_a_failure_and_every_page_is_a_row() {
        let mut results = Results::new(&Subjects::default());
        let title = "history".to_owned();
        results.rows.push(crate::bench::results::Row { title, durability: String::new(), is_product: true });
        let figures = [("/ p50_ms", 1.0), ("/ p95_ms", 2.5), ("/ p99_ms", 60.0), ("/b p95_ms", 50.1)];
        results.add(Work::Pages, 0, Ok(figures.map(|(name, value)| (name.to_owned(), value)).into()));
        assert_eq!(results.failures, ["pages, history: /b: p95 50.1 ms, more than 50 ms"]);
        let table = table(&results, 0);
        assert!(table.contains("| `/` | 1.0 ms | 2.5 ms | 60.0 ms |"), "{table}");
        assert!(table.contains("| `/b` |  | 50.1 ms |  |"), "{table}");
    }
}
