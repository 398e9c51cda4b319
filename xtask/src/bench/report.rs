//! The table in Markdown, for the terminal, a file, and docs/performance.md.

use std::fmt::Write;

use crate::bench::figures::format_value;
use crate::bench::machine::{Machine, processor};
use crate::bench::page_table;
use crate::bench::results::Results;
use crate::bench::work::Work;

/// A column of a table.
enum Column {
    /// One figure.
    One(&'static str, &'static str),
    /// p50, p99 and p99.9 of figures with this prefix.
    Percentiles(&'static str, &'static str),
}

use Column::{One, Percentiles};

const RATE: &[Column] = &[One("per_s", "per second")];
const BURST: &[Column] = &[
    One("per_s", "per second"),
    One("first_ms", "first handled after"),
    One("p50_ms", "half handled after"),
    One("last_ms", "last handled after"),
    One("settled_ms", "last settled after"),
];
const WATCHED: &[Column] = &[
    One("per_s", "per second"),
    One("first_ms", "first handled after"),
    One("p50_ms", "half handled after"),
    One("last_ms", "last handled after"),
    One("settled_ms", "last settled after"),
    One("refreshes", "pages read again"),
];
const STEADY: &[Column] = &[
    Percentiles("", "late: handler called"),
    Percentiles("fired_", "fired"),
    Percentiles("leased_", "leased"),
    Percentiles("settled_", "settled"),
];
const CROWD: &[Column] =
    &[Percentiles("", "late: handler called"), One("per_s", "runs of the crowd per second")];
const LIST: &[Column] = &[
    Percentiles("tasks_", "page of tasks"),
    Percentiles("runs_", "page of runs"),
    One("ready_ms", "server start"),
];
const MEMORY: Column = One("memory_mb", "peak memory");

impl Work {
    fn heading(self) -> &'static str {
        match self {
            Self::CreateOne => "Create one task a request, 64 at once",
            Self::CreateMany => "Create 100 tasks a request, 4 at once",
            Self::Run => "Create and run: tasks are due when they are created",
            Self::RunOneLimit => "Create and run, with one concurrency limit",
            Self::RunTwoLimits => "Create and run, with two concurrency limits",
            Self::Burst => "Burst: all tasks are due in one millisecond",
            Self::BurstWatched => "Burst while 20 pages of the console are open",
            Self::Steady => "Steady: 500 tasks a second are due (p50 / p99 / p99.9)",
            Self::Crowd => "One-shot tasks beside 10,000 tasks that are due every second (p50 / p99 / p99.9)",
            Self::List => "Pages of 100 (p50 / p99 / p99.9)",
            Self::Pages => "Pages of the console and of the API with a long history",
        }
    }

    fn columns(self) -> &'static [Column] {
        match self {
            Self::CreateOne | Self::CreateMany | Self::Run | Self::RunOneLimit | Self::RunTwoLimits => RATE,
            Self::Burst => BURST,
            Self::BurstWatched => WATCHED,
            Self::Steady => STEADY,
            Self::Crowd => CROWD,
            Self::List => LIST,
            Self::Pages => &[One("ready_ms", "server start")],
        }
    }

    /// Returns the figure whose ratio the table has.
    fn main_figure(self) -> &'static str {
        match self {
            Self::Steady | Self::Crowd => "p99_ms",
            Self::List => "tasks_p50_ms",
            _ => "per_s",
        }
    }
}

/// Returns all tables.
pub fn table(results: &Results, quick: bool) -> String {
    let mut text = head(results, quick);
    for work in Work::ALL {
        text.push_str(&one_table(results, work));
    }
    let _ = writeln!(text, "\n| subject | durability |\n|---|---|");
    for (subject, row) in results.rows.iter().enumerate() {
        if Work::ALL.iter().any(|work| results.has(*work, subject)) {
            let _ = writeln!(text, "| {} | {} |", row.title, row.durability);
        }
    }
    for (title, reason) in &results.omitted {
        let _ = writeln!(text, "\nNot measured: {title}. {reason}.");
    }
    for failure in &results.failures {
        let _ = writeln!(text, "\nFailed: {failure}.");
    }
    text
}

fn head(results: &Results, quick: bool) -> String {
    let rounds = results.machine.len();
    let quick = if quick { " Quick amounts: the figures mean little." } else { "" };
    let rounds_text =
        if rounds == 1 { "One round".to_owned() } else { format!("Medians of {rounds} interleaved rounds") };
    let ratio = "A ratio above 1 means that the first subject of the table is better by this factor.\n";
    let ratio = if results.rows.first().is_some_and(|row| row.is_product) { ratio } else { "" };
    let range = |of: fn(&Machine) -> f64| {
        let values = results.machine.iter().map(of);
        let (low, high) =
            values.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if rounds > 1 { format!("{low:.2} to {high:.2}") } else { format!("{high:.2}") }
    };
    format!(
        "{}. Load average before a round: {}. fdatasync p50: {} ms. {rounds_text}.{quick}\n{ratio}",
        processor(),
        range(|machine| machine.load),
        range(|machine| machine.fdatasync_ms),
    )
}

fn one_table(results: &Results, work: Work) -> String {
    let subjects: Vec<usize> =
        (0..results.rows.len()).filter(|subject| results.has(work, *subject)).collect();
    let Some(first) = subjects.first().copied() else { return String::new() };
    let columns = work.columns().iter().chain([&MEMORY]);
    let has_cells =
        |column: &&Column| subjects.iter().any(|subject| !column.cell(results, work, *subject).is_empty());
    let columns: Vec<&Column> = columns.filter(has_cells).collect();
    let with_ratio = results.rows[first].is_product && subjects.len() > 1;
    let mut titles: Vec<&str> = columns.iter().map(|column| column.title()).collect();
    titles.extend(with_ratio.then_some("ratio"));
    let mut text = format!("\n**{}**\n\n| |{}|\n|---|", work.heading(), titles.join("|"));
    text += &"---|".repeat(titles.len());
    text.push('\n');
    for subject in subjects {
        let mut cells: Vec<String> =
            columns.iter().map(|column| column.cell(results, work, subject)).collect();
        cells.extend(with_ratio.then(|| ratio(results, work, first, subject)));
        let _ = writeln!(text, "| {} | {} |", results.rows[subject].title, cells.join(" | "));
        if work == Work::Pages {
            text += &page_table::table(results, subject);
        }
    }
    text
}

/// Returns how many times as good the first subject is as another one.
fn ratio(results: &Results, work: Work, first: usize, other: usize) -> String {
    let figure = work.main_figure();
    let value = |subject| results.median(work, subject, figure);
    let (Some(mine), Some(theirs)) = (value(first), value(other)) else { return String::new() };
    let ratio = if figure == "per_s" { mine / theirs } else { theirs / mine };
    if first == other { String::new() } else { format!("{ratio:.2}") }
}

impl Column {
    fn title(&self) -> &'static str {
        match self {
            One(_, title) | Percentiles(_, title) => title,
        }
    }

    fn cell(&self, results: &Results, work: Work, subject: usize) -> String {
        let value = |name: &str| results.median(work, subject, name).map(|value| format_value(name, value));
        match self {
            One(name, _) => value(name).unwrap_or_default(),
            Percentiles(prefix, _) => {
                let names = ["p50_ms", "p99_ms", "p999_ms"].map(|name| format!("{prefix}{name}"));
                names.iter().filter_map(|name| value(name)).collect::<Vec<_>>().join(" / ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::results::Row;
    use crate::bench::subject::Subjects;

    fn results() -> Results {
        let row = |title: &str, is_product| Row {
            title: title.to_owned(),
            durability: "disk".to_owned(),
            is_product,
        };
        let mut results = Results::new(&Subjects::default());
        results.rows = vec![row("embedded", true), row("peer", false)];
        results.machine = vec![Machine { load: 0.5, fdatasync_ms: 1.25 }];
        results
    }

    fn figures<const N: usize>(figures: [(&str, f64); N]) -> BTreeMap<String, f64> {
        figures.map(|(name, value)| (name.to_owned(), value)).into()
    }

    #[test]
    fn a_table_has_medians_and_the_ratio_to_the_first_subject() {
        let mut results = results();
        for rate in [900.0, 12_000.0, 12_500.0] {
            results.add(Work::CreateOne, 0, Ok(figures([("per_s", rate), ("memory_mb", 40.0)])));
        }
        results.add(Work::CreateOne, 1, Ok(figures([("per_s", 6_000.0)])));
        let table = table(&results, false);
        assert!(table.contains("| |per second|peak memory|ratio|"), "{table}");
        assert!(table.contains("| embedded | 12,000 | 40 MB |  |"), "{table}");
        assert!(table.contains("| peer | 6,000 |  | 2.00 |"), "{table}");
        assert!(table.contains("Load average before a round: 0.50. fdatasync p50: 1.25 ms."), "{table}");
    }

    #[test]
    fn a_longer_time_is_worse() {
        let mut results = results();
        results.add(Work::Steady, 0, Ok(figures([("p50_ms", 4.0), ("p99_ms", 10.0), ("p999_ms", 1_500.0)])));
        results.add(Work::Steady, 1, Ok(figures([("p50_ms", 4.0), ("p99_ms", 100.0), ("p999_ms", 200.0)])));
        let table = table(&results, true);
        assert!(table.contains("| embedded | 4.0 ms / 10.0 ms / 1.50 s |  |"), "{table}");
        assert!(table.contains("| peer | 4.0 ms / 100 ms / 200 ms | 10.00 |"), "{table}");
        assert!(table.contains("the figures mean little"), "{table}");
    }

    #[test]
    fn a_failure_is_listed() {
        let mut results = results();
        results.add(Work::Burst, 1, Err(anyhow::anyhow!("only 3 of 9 runs arrived")));
        assert!(table(&results, false).contains("Failed: burst, peer: only 3 of 9 runs arrived."));
    }
}
