//! docs/lifecycle.md draws what the code does.

use std::collections::BTreeSet;

use taskcenter_server::core::run::{RunEvent, RunState, transition};

const STATES: &[RunState] = &[
    RunState::Firing,
    RunState::Fired,
    RunState::Ready,
    RunState::Leased,
    RunState::Retrying,
    RunState::Succeeded,
    RunState::Dead,
    RunState::Skipped,
    RunState::Cancelled,
];

fn name(state: RunState) -> String {
    format!("{state:?}").to_lowercase()
}

#[test]
fn every_transition_is_drawn_and_every_arrow_exists() {
    let in_code: BTreeSet<(String, String)> = STATES
        .iter()
        .flat_map(|from| {
            RunEvent::ALL.iter().filter_map(|event| Some((name(*from), name(transition(*from, *event)?))))
        })
        .collect();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lifecycle.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let arrows = page.lines().filter_map(|line| line.trim().split_once(" --> "));
    let drawn: BTreeSet<(String, String)> = arrows
        .map(|(from, to)| (from.to_owned(), to.split(' ').next().unwrap_or_default().to_owned()))
        .filter(|(from, to)| from != "[*]" && to != "[*]")
        .collect();
    assert_eq!(drawn, in_code);
}
