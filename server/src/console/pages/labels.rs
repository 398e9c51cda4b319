//! Labels of tasks and runs as links to the list with the same label.

use super::super::filter::{href, label_word};
use crate::core::labels::Labels;

/// Path of the list of runs.
pub const RUNS: &str = "/console/runs";
/// Labels of a row. Further ones are counted.
const MOST_IN_ROW: usize = 3;

/// A label that links to the list with this label.
pub struct LabelLink {
    pub text: String,
    pub href: String,
}

/// Returns the labels as links to the list at `path`.
pub fn links(labels: &Labels, path: &str) -> Vec<LabelLink> {
    let link = |(key, value): (&String, &String)| LabelLink {
        text: format!("{key}: {value}"),
        href: href(path, &label_word(key, value), None),
    };
    labels.iter().map(link).collect()
}

/// The labels of a row.
pub struct RowLabels {
    pub links: Vec<LabelLink>,
    /// Number of labels that are not shown.
    pub more: usize,
}

impl RowLabels {
    pub fn new(labels: &Labels, path: &str) -> Self {
        let mut links = links(labels, path);
        links.truncate(MOST_IN_ROW);
        Self { more: labels.len() - links.len(), links }
    }
}
