//! The figures of all measurements.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::figures::Figures;
use crate::bench::machine::Machine;
use crate::bench::page_limit;
use crate::bench::subject::Subjects;
use crate::bench::work::Work;

/// A subject in the table.
pub struct Row {
    /// Name.
    pub title: String,
    /// What an acknowledged write survives.
    pub durability: String,
    /// Whether the subject is this product.
    pub is_product: bool,
}

/// Everything that was measured.
pub struct Results {
    /// The subjects.
    pub rows: Vec<Row>,
    /// Subjects that this machine cannot measure, each with the reason.
    pub omitted: Vec<(String, String)>,
    /// The machine before each round.
    pub machine: Vec<Machine>,
    /// Measurements that failed, each as one line.
    pub failures: Vec<String>,
    /// Figures of each round, by work and index of the subject.
    measured: BTreeMap<(Work, usize), Vec<Figures>>,
}

impl Results {
    /// Results without measurements.
    pub fn new(subjects: &Subjects<'_>) -> Self {
        let rows = subjects.measured.iter().map(|subject| Row {
            title: subject.title(),
            durability: subject.durability(),
            is_product: subject.is_product(),
        });
        Self {
            rows: rows.collect(),
            omitted: subjects.omitted.clone(),
            machine: Vec::new(),
            failures: Vec::new(),
            measured: BTreeMap::new(),
        }
    }

    /// Adds one measurement, and prints its figures.
    pub fn add(&mut self, work: Work, subject: usize, measured: Result<Figures>) {
        match measured {
            Ok(figures) => {
                eprintln!("{}", line(&figures));
                let title = &self.rows[subject].title;
                let slow = page_limit::slow_pages(&figures).into_iter();
                self.failures.extend(slow.map(|slow| format!("{}, {title}: {slow}", work.name())));
                self.measured.entry((work, subject)).or_default().push(figures);
            }
            Err(error) => {
                eprintln!("FAILED: {error:#}");
                let title = &self.rows[subject].title;
                self.failures.push(format!("{}, {title}: {error:#}", work.name()));
            }
        }
    }

    /// Returns the median of a figure over the rounds.
    pub fn median(&self, work: Work, subject: usize, figure: &str) -> Option<f64> {
        let rounds = self.measured.get(&(work, subject))?;
        median(rounds.iter().filter_map(|figures| figures.get(figure).copied()).collect())
    }

    /// Returns the names of the figures of a subject.
    pub fn names(&self, work: Work, subject: usize) -> BTreeSet<String> {
        let rounds = self.measured.get(&(work, subject)).into_iter().flatten();
        rounds.flat_map(|figures| figures.keys().cloned()).collect()
    }

    /// Returns whether the subject has figures of this work.
    pub fn has(&self, work: Work, subject: usize) -> bool {
        self.measured.contains_key(&(work, subject))
    }

    /// Returns all figures of all rounds.
    pub fn to_json(&self) -> String {
        let measured = |((work, subject), rounds): (&(Work, usize), &Vec<Figures>)| json!({"work": work.name(), "subject": self.rows[*subject].title, "rounds": rounds});
        let machine: Vec<Value> = self.machine.iter().map(Machine::to_json).collect();
        let measured: Vec<Value> = self.measured.iter().map(measured).collect();
        format!("{:#}\n", json!({"machine": machine, "measured": measured, "failures": self.failures}))
    }
}

fn line(figures: &Figures) -> String {
    let of_stage = |name: &str| name.contains("fired_") || name.contains("leased_");
    // A page has one figure in this line: its limit is for p95.
    let of_page = |name: &str| name.starts_with('/') && !name.ends_with("p95_ms");
    let shown = figures.iter().filter(|(name, _)| !of_stage(name) && !of_page(name));
    shown.map(|(name, value)| format!("{name} {value:.1}")).collect::<Vec<_>>().join("  ")
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![1.0, 2.0]), Some(1.5));
        assert_eq!(median(vec![]), None);
    }
}
