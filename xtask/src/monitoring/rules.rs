//! The rules of Prometheus, and their tests for promtool.

use std::fmt::Write as _;

use super::quote;
use super::table::{ALERTS, Alert};

const HEAD: &str = "\
# Alerts of taskcenter for Prometheus. `cargo xtask monitoring` writes this file from
# xtask/src/monitoring/table.rs. The name of the scrape job is `taskcenter`.
groups:
  - name: taskcenter
    rules:
";

/// Returns the file of rules.
pub fn rules() -> String {
    let mut text = HEAD.to_owned();
    for alert in &ALERTS {
        let _ = write!(
            text,
            "      - alert: {}\n        expr: {}\n        for: {}m\n        labels:\n          severity: {}\n        \
             annotations:\n          summary: {}\n          description: {}\n",
            alert.name,
            quote(alert.expression),
            alert.minutes,
            alert.severity,
            quote(alert.summary),
            quote(alert.action),
        );
    }
    text
}

/// Returns the tests: each alert is raised by the series that raise it, and not by the others.
pub fn tests(rules: &str) -> String {
    let mut text = format!("rule_files: [{}]\nevaluation_interval: 1m\ntests:\n", quote(rules));
    for alert in &ALERTS {
        text += &test(alert, alert.raised_by, true);
        text += &test(alert, alert.not_by, false);
    }
    text
}

fn test(alert: &Alert, series: &[(&str, &str)], raised: bool) -> String {
    let mut text = "  - interval: 1m\n    input_series:\n".to_owned();
    for (name, values) in series {
        let _ = writeln!(text, "      - {{ series: {}, values: {} }}", quote(name), quote(values));
    }
    let firing = format!("count(ALERTS{{alertname=\"{}\",alertstate=\"firing\"}})", alert.name);
    let samples = if raised { "[{ labels: '{}', value: 1 }]" } else { "[]" };
    let _ = writeln!(
        text,
        "    promql_expr_test:\n      - {{ expr: {}, eval_time: 30m, exp_samples: {samples} }}",
        quote(&firing)
    );
    text
}
