//! Lists of a large SQLite store: what a page examines depends on the rows that it shows.

use rusqlite::{Connection, params};
use serde_json::Value;
use taskcenter_server::adapters::sqlite::SqliteStore;
use taskcenter_server::adapters::sqlite::explained::{self, Cost};
use taskcenter_server::core::{Moment, RunId, RunState, TaskId, TaskState};
use taskcenter_server::ports::{Page, RunFilter, RunPage, TaskFilter};
use tempfile::TempDir;

use super::samples::{PAST, ended, run_until, task};
use super::sqlite::{file, open};

const TASKS: i64 = 20_000;
const RUNS: i64 = 200_000;
/// Rows of a page.
const ROWS: u32 = 50;
/// Most rows that a page examines for each row that it shows. A step of SQLite's machine examines at most one
/// row.
const STEPS_PER_ROW: usize = 50;
/// Steps that open the indexes of a list, one for each state and source.
const STEPS_TO_BEGIN: usize = 600;

/// Inserts copies of a task. Every 100th one is paused, and every 1,000th one has a rare name.
const COPY_TASKS: &str = "
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1),
copies AS (SELECT printf('%032x', i) AS id, iif(i % 1000 = 1, 'rare', 'name ' || (i % 10)) AS name,
    iif(i % 100 = 0, 'paused', 'active') AS state, iif(i % 1000 = 4, 'rare', 'pay') AS team FROM n)
INSERT INTO tasks (id, shard, name, state, next_due_at, hidden, doc)
SELECT id, 0, name, state, 4000000000000, 0,
    json_set(?2, '$.id', id, '$.name', name, '$.state', state, '$.labels', json_object('team', team))
FROM copies";

/// Inserts copies of an ended run. Half of them belong to the first task. Every 100th one is dead, every
/// 1,000th one has a rare tag, and every 500th one is open. Many have the same moment.
const COPY_RUNS: &str = "
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1),
copies AS (SELECT i, printf('%032x', iif(i % 2 = 0, 0, i % 20000)) AS task_id, ?4 + i / 5000 AS at,
    iif(i % 1000 = 1, 'rare', 'tag ' || (i % 10)) AS tag, iif(i % 1000 = 4, 'rare', 'pay') AS team,
    CASE WHEN i % 500 = 7 THEN 'ready' WHEN i % 100 = 3 THEN 'dead' ELSE 'succeeded' END AS state FROM n),
named AS (SELECT *, printf('%s-1-%08d', task_id, i) AS id, state = 'ready' AS is_open FROM copies)
INSERT INTO runs (id, task_id, shard, tag, queue, state, scheduled_at, attention_at, ended_at, version, doc)
SELECT id, task_id, 0, tag, 'q', state, at, iif(is_open, 253402207200000, NULL), iif(is_open, NULL, at), 1,
    json_set(iif(is_open, ?2, ?3), '$.id', id, '$.task_id', task_id, '$.tag', tag, '$.state', state,
        '$.scheduled_at', at, '$.labels', json_object('team', team))
FROM named";

const LABEL_TASKS: &str = "INSERT INTO task_labels (label, state, id)
SELECT 'team=' || json_extract(doc, '$.labels.team'), state, id FROM tasks";
const LABEL_RUNS: &str = "INSERT INTO run_labels (label, state, scheduled_at, id)
SELECT 'team=' || json_extract(doc, '$.labels.team'), state, scheduled_at, id FROM runs";

fn fill(db: &Connection) {
    let doc = |of: Value| of.to_string();
    let a_task = serde_json::to_value(task()).unwrap();
    let open_run = run_until(&task(), Moment::NEVER);
    let ended_run = serde_json::to_value(ended(open_run.clone(), PAST)).unwrap();
    db.execute_batch("BEGIN").unwrap();
    db.execute(COPY_TASKS, params![TASKS, doc(a_task)]).unwrap();
    let open_run = serde_json::to_value(open_run).unwrap();
    db.execute(COPY_RUNS, params![RUNS, doc(open_run), doc(ended_run), PAST.ms()]).unwrap();
    db.execute(LABEL_TASKS, []).unwrap();
    db.execute(LABEL_RUNS, []).unwrap();
    db.execute_batch("COMMIT").unwrap();
}

/// Returns the data directory of a large store.
pub fn large_directory() -> TempDir {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()).unwrap());
    fill(&file(dir.path()));
    dir
}

/// Checks that a list examines few rows that it does not show.
#[track_caller]
fn assert_lean(cost: Cost, of: &str) {
    let Cost { rows, steps } = cost;
    let most = STEPS_TO_BEGIN + STEPS_PER_ROW * rows;
    assert!(steps <= most, "{of}: {steps} steps for {rows} rows, at most {most}");
}

#[tokio::test]
async fn a_page_of_a_large_store_examines_few_rows_for_each_row_that_it_shows() {
    let dir = large_directory();
    let store = open(dir.path()).unwrap();
    tasks_are_lean(&store).await;
    runs_are_lean(&store).await;
    let busy = TaskId::parse(&format!("{:032x}", 0)).unwrap();
    for limit in [20, 60] {
        let cost = explained::cost_of_recent(&store, &busy, limit).await.unwrap();
        assert_eq!(cost.rows, limit as usize);
        assert_lean(cost, "recent runs");
    }
    a_list_that_examines_other_rows_is_noticed(&store, busy).await;
}

async fn tasks_are_lean(store: &SqliteStore) {
    let full = ROWS as usize;
    let deep = TaskId::parse(&format!("{:032x}", 500)).unwrap();
    let text = |text: &str| Some(text.to_owned());
    let all = TaskFilter::default;
    for (filter, rows, deep_rows) in [
        (all(), full, full),
        (TaskFilter { state: Some(TaskState::Paused), ..all() }, full, 5),
        (TaskFilter { state: Some(TaskState::Cancelled), ..all() }, 0, 0),
        (TaskFilter { name: text("rare"), ..all() }, 20, 1),
        (TaskFilter { name: text("name 0"), ..all() }, full, full),
        (TaskFilter { name: text("name 1"), state: Some(TaskState::Paused), ..all() }, 0, 0),
        (TaskFilter { label: text("team=rare"), ..all() }, 20, 1),
        (TaskFilter { label: text("team=pay"), state: Some(TaskState::Paused), ..all() }, full, 5),
    ] {
        for (before, rows) in [(None, rows), (Some(deep.clone()), deep_rows)] {
            let page = Page { limit: ROWS, before };
            let cost = explained::cost_of_tasks(store, &filter, &page).await.unwrap();
            assert_eq!(cost.rows, rows, "{filter:?} {page:?}");
            assert_lean(cost, &format!("{filter:?} {page:?}"));
        }
    }
}

async fn runs_are_lean(store: &SqliteStore) {
    let full = ROWS as usize;
    let text = |text: &str| Some(text.to_owned());
    let (busy, idle) = (TaskId::parse(&format!("{:032x}", 0)), TaskId::parse(&"f".repeat(32)));
    let all = RunFilter::default;
    let dead = Some(RunState::Dead);
    // In the middle of 5,000 runs of one moment.
    let deep = (PAST.plus_ms(20), RunId::from_text(format!("{:032x}-1-5", 0)));
    for (filter, rows) in [
        (all(), full),
        (RunFilter { state: dead, ..all() }, full),
        (RunFilter { state: Some(RunState::Leased), ..all() }, 0),
        (RunFilter { tag: text("rare"), ..all() }, full),
        (RunFilter { tag: text("tag 7"), state: Some(RunState::Ready), ..all() }, full),
        (RunFilter { tag: text("tag 4"), state: dead, ..all() }, 0),
        (RunFilter { tag: text("none"), ..all() }, 0),
        (RunFilter { task_id: busy.clone(), ..all() }, full),
        (RunFilter { task_id: busy, state: dead, ..all() }, 0),
        (RunFilter { task_id: idle, ..all() }, 0),
        (RunFilter { label: text("team=rare"), ..all() }, full),
        (RunFilter { label: text("team=pay"), state: dead, ..all() }, full),
    ] {
        for before in [None, Some(deep.clone())] {
            let page = RunPage { limit: ROWS, before };
            let cost = explained::cost_of_runs(store, &filter, &page).await.unwrap();
            assert!(cost.rows == rows || page.before.is_some(), "{filter:?}: {cost:?}");
            assert_lean(cost, &format!("{filter:?} {page:?}"));
        }
    }
}

/// A tag that the task does not have: the service checks the tag of such a list itself, and bounds the page.
async fn a_list_that_examines_other_rows_is_noticed(store: &SqliteStore, busy: TaskId) {
    let filter = RunFilter { task_id: Some(busy), tag: Some("none".to_owned()), ..RunFilter::default() };
    let page = RunPage { limit: ROWS, before: None };
    let cost = explained::cost_of_runs(store, &filter, &page).await.unwrap();
    assert_eq!(cost.rows, 0);
    assert!(cost.steps > RUNS as usize / 2, "{cost:?}");
}
