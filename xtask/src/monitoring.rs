//! `cargo xtask monitoring`: the alert rules for Prometheus and the dashboard for Grafana, made from one table.

mod grafana;
mod live;
mod rules;
mod table;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::download::{program, run as run_program};

const RULES: &str = "deploy/prometheus/rules.yml";
const DASHBOARD: &str = "deploy/grafana/taskcenter.json";

/// Options of `cargo xtask monitoring`.
#[derive(Debug, clap::Args)]
pub struct Monitoring {
    /// Check the rules with promtool, and each query against this program and a real Prometheus
    #[arg(long, value_name = "FILE")]
    check: Option<std::path::PathBuf>,
}

/// Writes both files.
pub fn run(workspace: &Path, options: &Monitoring) -> Result<()> {
    for (path, text) in files() {
        let path = workspace.join(path);
        fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        fs::write(path, text)?;
    }
    options.check.as_ref().map_or(Ok(()), |program| check(workspace, program))
}

/// Checks the rules with promtool: their form, and for each alert that it is raised and that it is not raised. Then checks
/// that every query of the dashboard returns data of a running server.
pub fn check(workspace: &Path, server: &Path) -> Result<()> {
    let promtool = program("promtool", "prometheus")?;
    let dir = workspace.join("target/monitoring");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("rules.yml"), rules::rules())?;
    fs::write(dir.join("tests.yml"), rules::tests("rules.yml"))?;
    run_program(Command::new(&promtool).args(["check", "rules", "rules.yml"]).current_dir(&dir))?;
    run_program(Command::new(&promtool).args(["test", "rules", "tests.yml"]).current_dir(&dir))?;
    live::check(&dir, server, &promtool)
}

fn files() -> [(&'static str, String); 2] {
    [(RULES, rules::rules()), (DASHBOARD, grafana::dashboard())]
}

/// Returns the text as a string of JSON, which is a string of YAML too.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn workspace() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    #[test]
    fn the_files_are_those_of_the_table() {
        for (path, text) in files() {
            let found = fs::read_to_string(workspace().join(path)).unwrap();
            assert!(found == text, "{path} differs from the table: run `cargo xtask monitoring`");
        }
    }

    /// Names of metrics in a text, without the suffixes of a histogram.
    fn metrics(text: &str) -> BTreeSet<String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = text.split(|c| !is_name(c)).filter(|word| word.starts_with("taskcenter_"));
        let base = |word: &str| {
            let suffix =
                ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| word.strip_suffix(suffix));
            suffix.unwrap_or(word).to_owned()
        };
        words.map(base).collect()
    }

    /// A test of the server compares the table of docs/operations.md with the metrics of the server.
    fn documented() -> BTreeSet<String> {
        let page = fs::read_to_string(workspace().join("docs/operations.md")).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `taskcenter_"));
        let names: BTreeSet<String> =
            rows.filter_map(|row| Some(format!("taskcenter_{}", row.split('`').next()?))).collect();
        assert!(names.len() > 20, "the table of metrics has {names:?}");
        names
    }

    #[test]
    fn the_dashboard_shows_every_metric() {
        let shown = metrics(
            &table::PANELS
                .iter()
                .flat_map(|panel| panel.queries)
                .map(|query| query.0)
                .collect::<Vec<_>>()
                .join(" "),
        );
        assert_eq!(shown, documented());
    }

    #[test]
    fn the_rules_name_metrics_that_exist() {
        let (named, documented) = (metrics(&rules::rules()), documented());
        let unknown: Vec<_> = named.difference(&documented).collect();
        assert!(unknown.is_empty() && named.len() > 8, "the server has no {unknown:?}");
    }
}
