//! The diagram in docs/lifecycle.md equals the table of transitions.

use std::collections::BTreeSet;

use taskcenter_server::core::run::{RunEvent, RunState, transition};

#[test]
fn the_diagram_equals_the_table_of_transitions() {
    let in_code: BTreeSet<(String, String)> = RunState::ALL
        .iter()
        .flat_map(|from| {
            RunEvent::ALL
                .iter()
                .filter_map(|event| Some((from.to_string(), transition(*from, *event)?.to_string())))
        })
        .collect();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lifecycle.md");
    let page = std::fs::read_to_string(page).expect("docs/lifecycle.md exists");
    let arrows = page.lines().filter_map(|line| line.trim().split_once(" --> "));
    let drawn: BTreeSet<(String, String)> = arrows
        .map(|(from, to)| (from.to_owned(), to.split(' ').next().unwrap_or_default().to_owned()))
        .filter(|(from, to)| from != "[*]" && to != "[*]")
        .collect();
    assert_eq!(drawn, in_code);
}
