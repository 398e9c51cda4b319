//! A node dies many times at every failpoint, on each store, and the next node continues.
//!
//! `docs/simulator.md` explains these tests.

mod back_end;
mod bus;
mod cancellations;
mod changes;
mod documents;
mod judge;
mod life;
mod logs;
mod operations;
mod points;
mod rescues;
mod source;
mod stage;
mod stories;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use back_end::Kind;
use life::Armed;
use points::{POINTS, Point};
use stage::Stage;
use taskcenter_server::core::{Run, RunState};

/// Required number of deaths at each failpoint. `FAILPOINT_HITS` overrides it.
const HITS: u32 = 100;
/// Maximum number of stories for a point.
const MAX_STORIES: u64 = 1_000;

/// Result of one failpoint on one store.
struct Row {
    point: &'static str,
    hits: u32,
    stories: u64,
    doubled: usize,
    took: Duration,
    wrong: Vec<String>,
}

impl Row {
    fn line(&self) -> String {
        let Self { point, hits, stories, doubled, took, wrong } = self;
        let result = match wrong.first() {
            Some(first) => first.as_str(),
            None if *hits < required_hits() => "too few hits",
            None => "ok",
        };
        let seconds = took.as_secs_f32();
        format!("{point:<28} {hits:>5} {stories:>8} {doubled:>8} {seconds:>8.1}  {result}")
    }

    fn is_good(&self) -> bool {
        self.wrong.is_empty() && self.hits >= required_hits()
    }
}

/// Returns a number that is unique over all test runs.
#[allow(clippy::disallowed_methods, reason = "each run needs a new database")]
fn unique() -> u128 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_nanos() << 16 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed) & 0xffff)
}

fn required_hits() -> u32 {
    let Ok(text) = std::env::var("FAILPOINT_HITS") else { return HITS };
    text.parse().unwrap_or_else(|_| panic!("FAILPOINT_HITS is {text:?}: use a number"))
}

/// Returns the points that a store can reach; `FAILPOINT` selects those with a prefix.
fn points_on(kind: Kind) -> Vec<&'static Point> {
    let prefix = std::env::var("FAILPOINT").unwrap_or_default();
    POINTS.iter().filter(|point| kind.has(point.name) && point.name.starts_with(&prefix)).collect()
}

#[allow(clippy::disallowed_methods, reason = "the table shows which points take long")]
async fn die_at(stage: &mut Stage, point: &Point) -> Row {
    let armed = Arc::new(Armed::at(point.name, stage.rng.u64(..)));
    let start = Instant::now();
    let mut row =
        Row { point: point.name, hits: 0, stories: 0, doubled: 0, took: Duration::ZERO, wrong: Vec::new() };
    while row.hits < required_hits() && row.stories < MAX_STORIES && row.wrong.is_empty() {
        armed.rearm();
        stage.arm(&armed).await;
        let verdict = Box::pin(stories::play(stage, point.story)).await;
        row.hits = armed.hits();
        row.stories += 1;
        row.doubled += verdict.doubled;
        row.wrong.extend(verdict.wrong);
    }
    row.took = start.elapsed();
    row
}

/// Tests one point after another, until the threads together have tested all points.
fn test_points(kind: Kind, seed: u64, next: &AtomicUsize, rows: &Mutex<Vec<(usize, Row)>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the runtime starts").block_on(async {
        let mut stage = Stage::new(kind, &format!("fp{:032x}", unique()), seed).await;
        let points = points_on(kind);
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(point) = points.get(at) else { break };
            // A small ledger is fast. In MongoDB, a new database would take longer than it saves.
            if kind != Kind::Mongo {
                stage = Stage::new(kind, "", seed + at as u64).await;
            }
            let row = die_at(&mut stage, point).await;
            println!("{}: {}", kind.name(), row.line());
            rows.lock().unwrap_or_else(PoisonError::into_inner).push((at, row));
        }
        stage.close().await;
    });
}

fn die_everywhere(kind: Kind, threads: u64) {
    life::watch_failpoints();
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for seed in 0..threads {
            let (next, rows) = (&next, &rows);
            scope.spawn(move || test_points(kind, seed, next, rows));
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(at, _)| *at);
    println!("{}", table(kind, &rows));
    let bad: Vec<&str> = rows.iter().filter(|(_, row)| !row.is_good()).map(|(_, row)| row.point).collect();
    assert!(bad.is_empty(), "{}: {bad:?}", kind.name());
    assert_eq!(rows.len(), points_on(kind).len(), "every point has a row");
}

fn table(kind: Kind, rows: &[(usize, Row)]) -> String {
    let head = format!(
        "{:<28} {:>5} {:>8} {:>8} {:>8}  {}",
        "point",
        "hits",
        "stories",
        "doubled",
        "seconds",
        kind.name()
    );
    std::iter::once(head).chain(rows.iter().map(|(_, row)| row.line())).collect::<Vec<_>>().join("\n")
}

/// Tests the check itself: it finds every acknowledged outcome that is not stored.
#[test]
fn an_acknowledged_outcome_that_is_not_stored_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the runtime starts").block_on(async {
        for state in [RunState::Succeeded, RunState::Dead, RunState::Skipped, RunState::Retrying] {
            let mut stage = Stage::new(Kind::Memory, "", 1).await;
            let submission = stories::queued(stories::one_shot(&mut stage, "queue"));
            stories::submit(&mut stage, submission, Some(1)).await;
            stage.pass(1_000).await;
            let run = stories::lease(&mut stage).await.pop().expect("the run is ready");
            let attention_at = run.attention_at.filter(|_| state == RunState::Retrying);
            stage.book.settled(&Run { state, attention_at, version: run.version + 1, ..run });
            let book = std::mem::take(&mut stage.book);
            let wrong = book.check(&*stage.back_end.store(), &stage.broker).await.wrong;
            assert!(
                wrong.iter().any(|line| line.contains("an acknowledged outcome is lost")),
                "{state:?}: {wrong:?}"
            );
        }
    });
}

#[test]
fn a_node_dies_at_every_failpoint_in_memory() {
    die_everywhere(Kind::Memory, 1);
}

/// One thread: all SQLite stories share the writer thread's failpoints.
#[test]
fn a_node_dies_at_every_failpoint_on_sqlite() {
    die_everywhere(Kind::Sqlite, 1);
}

/// Many threads, because they mostly wait for MongoDB.
#[test]
fn a_node_dies_at_every_failpoint_on_mongodb() {
    die_everywhere(Kind::Mongo, 16);
}
