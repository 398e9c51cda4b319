//! Workers with the runs that they hold, and nodes.

use askama::Template;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::problem::Result;
use super::super::time::duration;
use super::super::visit::Visit;
use super::super::words::{Words, fill};
use super::rows::run_href_of;
use crate::core::Moment;
use crate::core::run::LeasedRun;
use crate::engine::service::{Listing, NodeDescription, WorkerRow};

/// Workers of the page. The API lists more.
const MOST_WORKERS: usize = 200;
/// Runs of a worker that are shown at once. The others are folded.
const OPEN_RUNS: usize = 3;
/// Clock difference that is not worth a word, in milliseconds.
const SMALL_SKEW_MS: u64 = 5;

struct HeldRun {
    href: String,
    tag: String,
    attempt: u32,
    since: Option<Moment>,
}

struct WorkerLine {
    name: String,
    is_built_in: bool,
    queues: Vec<String>,
    is_waiting: bool,
    last_seen_at: Option<Moment>,
    held: u64,
    oldest_at: Option<Moment>,
    runs: Vec<HeldRun>,
    /// Further runs, folded, with their words.
    folded: Vec<HeldRun>,
    folded_text: String,
    /// Words about runs that are not listed. Empty: all are.
    missing: String,
}

struct NodeLine {
    name: String,
    version: String,
    zones: String,
    role: Markup,
    started_at: Moment,
    last_seen_at: Moment,
    clock: String,
    shards: String,
    /// Checks that are not in order, with the reasons.
    faults: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "workers.html")]
struct Page {
    f: Frame,
    is_complete: bool,
    workers: Vec<WorkerLine>,
    nodes: Vec<NodeLine>,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let t = visit.lang.words();
    let mut workers = visit.service.workers().await?;
    workers.is_complete &= workers.rows.len() <= MOST_WORKERS;
    // Busy workers first, those that work longest at the top.
    workers.rows.sort_by(|one, other| order(one).cmp(&order(other)));
    let f = Frame::new(visit, Section::Workers, &t.workers_and_nodes).live().api("/v1/workers", &[]);
    let nodes = if f.rights.all_tags {
        visit.service.nodes().await?
    } else {
        Listing { rows: Vec::new(), is_complete: true }
    };
    let page = Page {
        f,
        is_complete: workers.is_complete && nodes.is_complete,
        workers: workers.rows.into_iter().take(MOST_WORKERS).map(|row| worker(row, t)).collect(),
        nodes: nodes.rows.into_iter().map(|row| node(row, t)).collect(),
    };
    Ok(page.render())
}

fn order(row: &WorkerRow) -> (bool, Option<Moment>, &str) {
    (row.held == 0, row.oldest_lease_at, &row.name)
}

fn worker(row: WorkerRow, t: &Words) -> WorkerLine {
    let listed = row.runs.len() as u64;
    let mut runs: Vec<HeldRun> = row.runs.into_iter().map(held_run).collect();
    let folded = runs.split_off(runs.len().min(OPEN_RUNS));
    let missing = row.held.saturating_sub(listed);
    let number = |text: &str, number: u64| fill(text, &[&h::count(number)]);
    WorkerLine {
        name: row.name,
        is_built_in: row.is_built_in,
        queues: row.queues,
        is_waiting: row.waiting > 0,
        last_seen_at: row.last_seen_at,
        held: row.held,
        oldest_at: row.oldest_lease_at,
        runs,
        folded_text: number(&t.worker_more_runs, folded.len() as u64),
        folded,
        missing: if missing > 0 { number(&t.worker_not_listed, missing) } else { String::new() },
    }
}

fn held_run(run: LeasedRun) -> HeldRun {
    HeldRun { href: run_href_of(&run.id), tag: run.tag, attempt: run.attempt, since: run.leased_at }
}

fn node(row: NodeDescription, t: &Words) -> NodeLine {
    let role = if row.leads {
        h::pill("run", "check", &t.node_leader)
    } else {
        h::pill("none", "ring", &t.node_member)
    };
    let faults = row.checks.into_iter().filter(|(_, text)| text != "ok");
    NodeLine {
        name: row.name,
        zones: fill(&t.node_zones, &[&row.zone_database]),
        version: row.version,
        role,
        started_at: row.started_at,
        last_seen_at: row.at,
        clock: clock_text(row.clock_ahead_ms, t),
        shards: ranges(&row.shards),
        faults: faults.map(|(name, text)| (check_word(&name, t), fault_text(text, t))).collect(),
    }
}

fn check_word(name: &str, t: &Words) -> String {
    let word = match name {
        "store" => &t.back_end_store,
        "lock" => &t.back_end_lock,
        "bus" => &t.back_end_bus,
        "rows" => &t.back_end_rows,
        "clock" => &t.back_end_clock,
        other => other,
    };
    word.to_owned()
}

fn fault_text(text: String, t: &Words) -> String {
    if text == "unknown" { t.health_unknown.clone() } else { text }
}

fn clock_text(ahead_ms: Option<i64>, t: &Words) -> String {
    let Some(ahead_ms) = ahead_ms else { return t.node_clock_unknown.clone() };
    let distance = i64::try_from(ahead_ms.unsigned_abs()).unwrap_or(i64::MAX);
    let words = if ahead_ms < 0 { &t.node_behind } else { &t.node_ahead };
    match ahead_ms.unsigned_abs() {
        ..SMALL_SKEW_MS => t.node_in_step.clone(),
        _ => fill(words, &[&duration(distance, t)]),
    }
}

/// Returns shards in the order of their numbers as ranges, such as `0–15, 20`.
fn ranges(shards: &[u16]) -> String {
    let mut shards = shards.to_vec();
    shards.sort_unstable();
    let runs = shards.chunk_by(|one, next| *next == *one + 1);
    let text = |run: &[u16]| match run {
        [one] => one.to_string(),
        run => format!("{}–{}", run[0], run[run.len() - 1]),
    };
    let text = runs.map(text).collect::<Vec<_>>().join(", ");
    if text.is_empty() { "–".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::words::Lang;

    #[test]
    fn neighbouring_shards_are_one_range() {
        assert_eq!(ranges(&[3, 0, 1, 2, 7, 9, 10]), "0–3, 7, 9–10");
        assert_eq!((ranges(&[5]).as_str(), ranges(&[]).as_str()), ("5", "–"));
    }

    #[test]
    fn a_clock_difference_has_a_direction() {
        let text = |ahead_ms| clock_text(ahead_ms, Lang::En.words());
        assert_eq!(text(Some(1_500)), "1.5 s ahead of the store");
        assert_eq!(text(Some(-20)), "20 ms behind the store");
        assert_eq!((text(Some(-4)).as_str(), text(None).as_str()), ("in step", "not measured"));
        assert!(text(Some(i64::MIN)).ends_with("behind the store"));
    }
}
