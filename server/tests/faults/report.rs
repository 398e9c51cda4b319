//! Output of the harness: a line per scenario, a table for docs/reliability.md, and one summary
//! line.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::options::Options;
use crate::verdict::{Figures, Kind, Verdict};

/// Maximum number of printed findings of a kind. The directory of the scenario has all findings.
const MAX_PRINTED: usize = 5;

/// Result of a scenario.
pub struct Line {
    pub name: String,
    pub seconds: i64,
    pub outcome: Result<Verdict>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, seconds, outcome } = self;
        match outcome {
            Ok(verdict) if verdict.is_sound() => write!(f, "passed {name:18} {seconds:>4} s | {verdict}"),
            Ok(verdict) => write!(f, "FAILED {name:18} {seconds:>4} s | {verdict}"),
            Err(error) => write!(f, "ERROR  {name:18} {seconds:>4} s | {error:#}"),
        }
    }
}

impl Line {
    fn verdict(&self) -> Option<&Verdict> {
        self.outcome.as_ref().ok()
    }

    fn is_sound(&self) -> bool {
        self.verdict().is_some_and(Verdict::is_sound)
    }

    /// Prints the line and the first findings, and stores all findings.
    pub fn print(&self, root: &Path) -> Result<()> {
        println!("{self}");
        let Some(verdict) = self.verdict() else { return Ok(()) };
        for (kind, all) in &verdict.found {
            all.iter().take(MAX_PRINTED).for_each(|what| println!("   {kind:?}: {what}"));
            if all.len() > MAX_PRINTED {
                println!("   {kind:?}: {} more", all.len() - MAX_PRINTED);
            }
        }
        Ok(fs::write(root.join(&self.name).join("verdict.json"), serde_json::to_vec_pretty(verdict)?)?)
    }

    /// Returns the row of the table.
    fn row(&self) -> String {
        let Some(verdict) = self.verdict() else {
            return format!("| {} | | | **error** | |", self.name);
        };
        let Figures {
            faults,
            calls_acknowledged,
            moments,
            deliveries,
            effects,
            copies,
            latest_quiet_ms,
            latest_healed_ms,
            latest_ms,
            ..
        } = &verdict.figures;
        let faults: Vec<String> = faults.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        format!(
            "| {} | {} | {calls_acknowledged} calls, {moments} moments, {deliveries} deliveries, {effects} effects | {} | {copies} | \
             {latest_quiet_ms} / {latest_healed_ms} / {latest_ms} |",
            self.name,
            faults.join("; "),
            result(verdict)
        )
    }
}

fn result(verdict: &Verdict) -> String {
    if verdict.is_sound() {
        return "0 findings".to_owned();
    }
    let found = Kind::ALL.iter().filter(|kind| verdict.count(**kind) > 0);
    let found: Vec<String> =
        found.map(|kind| format!("**{}: {}**", kind.name(), verdict.count(*kind))).collect();
    found.join(", ")
}

const HEAD: &str = "| scenario | faults, and their number | checked | result | duplicates | latest: no fault / recovered / all, ms |\n|---|---|---|---|---|---|\n";

/// Prints and stores the summary. Returns whether all scenarios passed.
pub fn print_summary(lines: &[Line], options: &Options, root: &Path) -> Result<bool> {
    println!("==");
    let mut texts: Vec<String> = lines.iter().map(Line::to_string).collect();
    let sound = lines.iter().filter(|line| line.is_sound()).count();
    let sum = |of: fn(&Verdict) -> usize| lines.iter().filter_map(Line::verdict).map(of).sum::<usize>();
    texts.push(format!(
        "{sound} of {} scenarios passed in {} s, seed {}: faults {}, tasks {}, runs {}, deliveries {}, effects {}, findings {}; \
         see {}",
        lines.len(),
        lines.iter().map(|line| line.seconds).sum::<i64>(),
        options.seed,
        sum(|verdict| verdict.figures.faults() as usize),
        sum(|verdict| verdict.figures.tasks),
        sum(|verdict| verdict.figures.runs),
        sum(|verdict| verdict.figures.deliveries),
        sum(|verdict| verdict.figures.effects),
        sum(|verdict| verdict.found.values().map(Vec::len).sum()),
        root.display(),
    ));
    let rows: Vec<String> = lines.iter().map(Line::row).collect();
    fs::write(root.join("table.md"), format!("{HEAD}{}\n", rows.join("\n")))?;
    fs::write(root.join("summary.txt"), texts.join("\n") + "\n")?;
    texts.iter().for_each(|text| println!("{text}"));
    Ok(sound == lines.len())
}
