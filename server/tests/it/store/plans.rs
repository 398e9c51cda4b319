//! Query plans of MongoDB: queries read few rows that they do not return, in collections with
//! thousands of other rows.

use mongodb::bson::{Bson, Document, doc};
use taskcenter_server::adapters::mongo::{MongoStore, explained};
use taskcenter_server::core::admission::slot;
use taskcenter_server::core::run::LeaseSlots;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Moment, Run, RunId, RunState, Task, TaskId, TaskState};
use taskcenter_server::ports::{Advance, Page, RunFilter, RunPage, Store, TaskFilter};

use super::Fixture;
use super::labels::labelled;
use super::mongo::MongoFixture;
use super::run_logs::batch;
use super::samples::{PAST, due_at, ended, fire, run_until, task};

const FUTURE: Moment = Moment::from_sec(4_000_000_000);

/// Returns the number of documents that a plan read and returned, and its statistics.
async fn examined(store: &MongoStore, command: Document) -> (f64, f64, Document) {
    let command = doc! { "explain": command, "verbosity": "executionStats" };
    let answer = store.database().run_command(command).await.unwrap();
    let stats = answer.get_document("executionStats").unwrap().clone();
    (number(&stats, "totalDocsExamined"), number(&stats, "nReturned"), stats)
}

fn number(stats: &Document, name: &str) -> f64 {
    match stats.get(name) {
        Some(Bson::Int32(n)) => f64::from(*n),
        Some(Bson::Int64(n)) => *n as f64,
        other => panic!("{name}: {other:?}"),
    }
}

pub async fn assert_efficient(store: &MongoStore, command: Document, expected: f64, stage: &str) {
    let (docs, returned, stats) = examined(store, command).await;
    let returned = if returned == 0.0 { written(&stats) } else { returned };
    assert!((returned - expected).abs() < 0.5, "{returned} of {expected} rows: {stats:#?}");
    assert!(docs <= 1.05 * returned, "{docs} documents for {returned} rows: {stats:#?}");
    assert!(format!("{stats:?}").contains(stage), "no {stage}: {stats:#?}");
}

/// Returns the number of rows that an update matched: it returns none.
fn written(stats: &Document) -> f64 {
    let stage = stats.get_document("executionStages").unwrap();
    f64::from(stage.get_i32("nMatched").unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn irrelevant_rows_are_not_read() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    let (due, open) = fill(store).await;
    let many = insert_many_open_runs(store).await;
    let ids: Vec<TaskId> = due[..200].iter().map(|task| task.id.clone()).collect();
    let shards: Vec<u16> = (0..SHARDS).collect();

    assert_efficient(store, explained::due_tasks(&shards, PAST, 5_000), 500.0, "SORT_MERGE").await;
    assert_efficient(store, explained::due_tasks(&shards, PAST, 100), 100.0, "SORT_MERGE").await;
    assert_efficient(
        store,
        explained::runs_needing_attention(&shards, PAST, 5_000, false),
        500.0,
        "SORT_MERGE",
    )
    .await;
    assert_efficient(
        store,
        explained::runs_needing_attention(&shards, PAST, 100, false),
        100.0,
        "SORT_MERGE",
    )
    .await;
    assert_efficient(store, explained::open_runs(&many, None, 100), 100.0, "IXSCAN").await;
    let from = RunId::end_of(&many, 1);
    assert_efficient(store, explained::open_runs(&many, Some(&from), 1), 1.0, "IXSCAN").await;
    let advances: Vec<Advance> = due.iter().filter(|task| task.next_due_at == Some(PAST)).map(fire).collect();
    assert_efficient(store, explained::advance(&advances), 100.0, "_id_").await;
    assert_efficient(store, explained::update(&open[0]), 1.0, "_id_").await;
    let renewed: Vec<Run> =
        open.iter().map(|run| Run { attention_at: Some(FUTURE), ..run.clone() }).collect();
    let shared = explained::update_many(store, &renewed).await.unwrap();
    assert_efficient(store, shared, 500.0, "_id_").await;
    assert_efficient(store, explained::cancel(&ids, PAST), 200.0, "_id_").await;
    Box::new(fixture).close().await;
}

/// Inserts runs of one task at two revisions, half of them open.
async fn insert_many_open_runs(store: &MongoStore) -> TaskId {
    let task = task();
    let run = |n: i64| {
        let revision = Task { rev: 1 + (n % 2) as u32, ..task.clone() };
        let run = Run::firing(&revision, FUTURE.plus_ms(n), "node", "token".to_owned(), FUTURE);
        if n % 4 < 2 { run } else { ended(run, PAST) }
    };
    store.insert_runs(&(0..2_000).map(run).collect::<Vec<_>>()).await.unwrap();
    task.id
}

/// Returns a ready run with this queue and tag.
fn ready(queue: &str, tag: &str) -> Run {
    let mut run = run_until(&Task { name: tag.to_owned(), queue: Some(queue.to_owned()), ..task() }, PAST);
    run.enqueue(PAST).unwrap();
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overdue_runs_without_a_queue_are_not_read_with_queued_only() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    let queued = |n: i64| run_until(&Task { queue: Some("q".to_owned()), ..task() }, PAST.plus_ms(n));
    let bus = (0..5_000).map(|n| run_until(&task(), PAST.plus_ms(-n)));
    let runs: Vec<Run> = bus.chain((0..100).map(|n| queued(-n))).collect();
    store.insert_runs(&runs).await.unwrap();
    let shards: Vec<u16> = (0..SHARDS).collect();
    let all = explained::runs_needing_attention(&shards, PAST, 500, true);
    assert_efficient(store, all, 100.0, "SORT_MERGE").await;
    Box::new(fixture).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_runs_of_other_queues_are_not_read() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    let slots = LeaseSlots::of(&["request"]);
    let mut leased = ready("slow", "report");
    leased.lease("worker", "token".to_owned(), PAST, PAST).unwrap();
    leased.lease_slot = Some(slots.name(0));
    store.insert_runs(&[leased]).await.unwrap();
    let runs: Vec<Run> = (0..5_000)
        .map(|n| if n % 50 == 0 { ready("order.close", "order.close") } else { ready("slow", "report") })
        .collect();
    store.insert_runs(&runs).await.unwrap();
    assert_efficient(store, explained::runs_in_slots(&slots), 1.0, "IXSCAN").await;
    assert_efficient(store, explained::leased_runs(100), 1.0, "IXSCAN").await;
    assert_efficient(store, explained::ready_runs(None, 500), 100.0, "SORT_MERGE").await;
    assert_efficient(store, explained::ready_runs(None, 10), 10.0, "SORT_MERGE").await;
    assert_efficient(store, explained::ready_runs(Some(&"order.close".to_owned()), 500), 100.0, "IXSCAN")
        .await;
    Box::new(fixture).close().await;
}

/// Returns a run that waits for a limit of its queue, and for one of the key `n`.
fn waiting(n: usize, ms: i64) -> Run {
    let limits = [format!("5:queue:k{n}"), "9:queue".to_owned()];
    let concurrency = limits.iter().map(|limit| limit.parse().unwrap()).collect();
    let timing = Timing { concurrency, ..Timing::default() };
    let mut run = run_until(&Task { timing, queue: Some("q".to_owned()), ..due_at(PAST.plus_ms(ms)) }, PAST);
    run.hold().unwrap();
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_runs_of_other_groups_are_not_read() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    let runs: Vec<Run> = (0..2_000).map(|n| waiting(n % 4, n as i64)).collect();
    store.insert_runs(&runs).await.unwrap();
    let mut running = waiting(9, 0);
    (running.state, running.slots) =
        (RunState::Ready, running.limits().iter().map(|of| slot(&of.key, 3)).collect());
    store.insert_runs(&[running.clone()]).await.unwrap();
    let (group, keys) = (runs[0].wait_group().unwrap(), runs[0].slot_keys());
    assert_efficient(store, explained::held_in_group(&group, 10), 10.0, "IXSCAN").await;
    assert_efficient(store, explained::next_group(&keys[0], ""), 1.0, "IXSCAN").await;
    assert_efficient(store, explained::next_group(&keys[0], group.as_str()), 1.0, "IXSCAN").await;
    assert_efficient(store, explained::held_runs(&runs[0].task_id, 10), 1.0, "IXSCAN").await;
    assert_efficient(store, explained::slots_in_use(&keys[0]), 1.0, "IXSCAN").await;
    let (docs, keys, stats) = totals(store, explained::all_groups("", 100)).await;
    assert!(docs <= 5.0 && keys <= 20.0, "{docs} documents and {keys} keys of 2,001 runs: {stats:#?}");
    Box::new(fixture).close().await;
}

/// Checks that a list returns `expected` rows and reads no other document, without a sort.
pub async fn assert_lean(store: &MongoStore, command: Document, expected: u32) {
    let (docs, returned, stats) = examined(store, command.clone()).await;
    let [docs, returned] = [docs, returned].map(|count| count as u32);
    assert_eq!((docs, returned), (expected, expected), "{command}: {stats:#?}");
    let stages = format!("{stats:?}");
    for stage in ["COLLSCAN", "\"SORT\""] {
        assert!(!stages.contains(stage), "{stage} in {command}: {stats:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_filter_of_tasks_reads_only_the_listed_tasks() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    let (due, _) = fill(store).await;
    let rare = |n| Task { name: format!("rare {}", n % 2), state: TaskState::Paused, ..task() };
    let rare: Vec<Task> = (0..80).map(rare).collect();
    store.insert_tasks(rare.clone()).await;
    let shown: Vec<TaskId> = rare[..40].iter().map(|task| task.id.clone()).collect();
    store.cancel_tasks(&shown, None, false, PAST).await.unwrap();
    let all =
        |name: Option<&str>, state| TaskFilter { name: name.map(ToOwned::to_owned), state, label: None };
    let (rare, paused, cancelled) = ("rare 0", Some(TaskState::Paused), Some(TaskState::Cancelled));
    for (filter, rows) in [
        (all(None, None), 100),
        (all(None, paused), 100),
        (all(None, cancelled), 40),
        (all(Some(rare), None), 20),
        (all(Some(rare), paused), 20),
        (all(Some(rare), cancelled), 20),
        (all(Some(&due[0].name), paused), 100),
        (all(Some(&due[0].name), cancelled), 0),
        (all(Some(rare), Some(TaskState::Active)), 0),
    ] {
        let page = Page { limit: 100, before: None };
        assert_lean(store, explained::list_tasks(&filter, &page), rows).await;
    }
    let next = Page { limit: 100, before: Some(due[499].id.clone()) };
    for name in [None, Some(due[0].name.as_str())] {
        for state in [None, Some(TaskState::Active)] {
            assert_lean(store, explained::list_tasks(&all(name, state), &next), 100).await;
        }
    }
    Box::new(fixture).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_filter_of_runs_reads_only_the_listed_runs() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    fill(store).await;
    let many = insert_many_open_runs(store).await;
    let common = store.list_runs(&RunFilter::default(), &RunPage { limit: 1, before: None }).await.unwrap();
    let dead = |tag: &str| Run { state: RunState::Dead, tag: tag.to_owned(), ..ended(ready("q", tag), PAST) };
    let rare: Vec<Run> = (0..60).map(|n| dead(if n % 2 == 0 { "rare" } else { &common[0].tag })).collect();
    store.insert_runs(&rare).await.unwrap();
    let rare = "rare".to_owned();
    let rows = |of_task: bool, tag: Option<&String>, state| match (of_task, tag == Some(&rare), state) {
        (true, _, Some(RunState::Dead)) | (false, true, Some(RunState::Cancelled)) => 0,
        (false, true, _) => 30,
        (false, false, Some(RunState::Dead)) => 60 - 30 * u32::from(tag.is_some()),
        _ => 100,
    };
    for (task_id, tag) in [
        (None, None),
        (None, Some(&rare)),
        (None, Some(&common[0].tag)),
        (Some(&many), None),
        (Some(&many), Some(&common[0].tag)),
    ] {
        for state in [None, Some(RunState::Dead), Some(RunState::Cancelled)] {
            let filter = RunFilter { task_id: task_id.cloned(), tag: tag.cloned(), state, label: None };
            let command = explained::list_runs(&filter, &RunPage { limit: 100, before: None });
            assert_lean(store, command, rows(task_id.is_some(), tag, state)).await;
        }
    }
    // The index has all fields of the marks in the strip of a task.
    let (docs, returned, stats) = examined(store, explained::recent_runs(&many, 20)).await;
    assert_eq!([docs, returned].map(|count| count as u32), [0, 20], "{stats:#?}");
    assert!(number(&stats, "totalKeysExamined") <= 40.0, "{stats:#?}");
    // Many runs have the moment of the last row of the page before.
    let before = Some((PAST, RunId::from_text("8")));
    for tag in [None, Some(&common[0].tag)] {
        for state in [None, Some(RunState::Cancelled)] {
            let filter = RunFilter { task_id: None, tag: tag.cloned(), state, label: None };
            let page = RunPage { limit: 100, before: before.clone() };
            assert_lean(store, explained::list_runs(&filter, &page), 100).await;
        }
    }
    Box::new(fixture).close().await;
}

/// Rows with another state or another label are not read, and rows without labels are not part of the
/// indexes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_reads_only_the_listed_rows() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    fill(store).await;
    let (pay, mail) = (&[("team", "pay"), ("tier", "1")], &[("team", "mail"), ("tier", "1")]);
    let with_state = |n: usize| if n.is_multiple_of(100) { TaskState::Paused } else { TaskState::Active };
    let tasks =
        (0..2_000).map(|n| Task { state: with_state(n), ..labelled(if n % 2 == 0 { pay } else { mail }) });
    let tasks: Vec<Task> = tasks.collect();
    store.insert_tasks(tasks.clone()).await;
    let runs = tasks.iter().map(|task| run_until(task, FUTURE));
    let run = |(n, run): (usize, Run)| if n % 100 == 0 { ended(run, PAST) } else { run };
    store.insert_runs(&runs.enumerate().map(run).collect::<Vec<_>>()).await.unwrap();
    let label = |text: &str| Some(text.to_owned());
    let page = Page { limit: 100, before: None };
    for (text, state, rows) in [
        ("team=pay", None, 100),
        ("team=pay", Some(TaskState::Paused), 20),
        ("tier=1", Some(TaskState::Paused), 20),
        ("team=mail", Some(TaskState::Paused), 0),
    ] {
        let filter = TaskFilter { label: label(text), state, name: None };
        assert_lean(store, explained::list_tasks(&filter, &page), rows).await;
    }
    let next = Page { limit: 100, before: Some(tasks[1_000].id.clone()) };
    let filter = TaskFilter { label: label("tier=1"), ..TaskFilter::default() };
    assert_lean(store, explained::list_tasks(&filter, &next), 100).await;
    for (text, state, rows) in [
        ("team=pay", None, 100),
        ("tier=1", Some(RunState::Cancelled), 20),
        ("team=mail", Some(RunState::Cancelled), 0),
    ] {
        for (before, rows) in [(None, rows), (Some((PAST, RunId::from_text("~"))), rows)] {
            let filter = RunFilter { label: label(text), state, ..RunFilter::default() };
            let page = RunPage { limit: 100, before };
            assert_lean(store, explained::list_runs(&filter, &page), rows).await;
        }
    }
    Box::new(fixture).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_runs_and_pruned_rows_are_found_by_index() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    let (due, open) = fill(store).await;
    assert_efficient(store, explained::open_runs(&open[0].task_id, None, 100), 1.0, "task_id_1__id_1").await;

    let later = PAST.plus_ms(1);
    assert_efficient(store, explained::ended("runs", None, later, 100), 100.0, "ended_at_1__id_1").await;
    let cancelled = TaskFilter { state: Some(TaskState::Cancelled), ..TaskFilter::default() };
    assert!(
        store.list_tasks(&cancelled, &Page { limit: 1, before: None }).await.unwrap().is_empty(),
        "the cancelled tasks are hidden"
    );
    let last = &due[499].id;
    assert_efficient(store, explained::ended("tasks", Some((last, PAST)), later, 100), 100.0, "SORT_MERGE")
        .await;
    Box::new(fixture).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_log_reads_only_its_chunks() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    let runs: Vec<Run> = (0..20).map(|_| run_until(&task(), PAST)).collect();
    store.insert_runs(&runs).await.unwrap();
    for run in &runs {
        for _ in 0..20 {
            store.append_log(&batch(&run.id, &["a", "b"])).await.unwrap();
        }
    }
    assert_efficient(store, explained::log(&runs[7].id, 0), 20.0, "run_id_1_first_line_1").await;
    assert_efficient(store, explained::log(&runs[7].id, 30), 5.0, "run_id_1_first_line_1").await;
    Box::new(fixture).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backlog_is_counted_without_reading_documents() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    fill(store).await;
    store.insert_runs(&[ready("q", "q"), ready("q", "q")]).await.unwrap();
    let [tasks, runs] = explained::backlog(PAST);
    // Half of the other runs are open: their leases end in the future. A scan of an index reads one
    // key more per shard and per range.
    for (command, open) in [(tasks, 500.0), (runs, 5_502.0), (explained::queues(), 2.0)] {
        let (docs, keys, stats) = totals(store, command).await;
        assert!(docs == 0.0, "{docs} documents: {stats:#?}");
        assert!(keys <= 1.2 * open + 10.0 * f64::from(SHARDS), "{keys} keys for {open} rows: {stats:#?}");
        assert!(!format!("{stats:?}").contains("COLLSCAN"), "{stats:#?}");
    }
    Box::new(fixture).close().await;
}

/// Returns the numbers of documents and of index keys that an aggregation read, and its statistics.
async fn totals(store: &MongoStore, command: Document) -> (f64, f64, Document) {
    let command = doc! { "explain": command, "verbosity": "executionStats" };
    let answer = store.database().run_command(command).await.unwrap();
    let stats = match answer.get_array("stages") {
        Ok(stages) => stages[0].as_document().unwrap().get_document("$cursor").unwrap(),
        Err(_) => &answer,
    };
    let stats = stats.get_document("executionStats").unwrap().clone();
    (number(&stats, "totalDocsExamined"), number(&stats, "totalKeysExamined"), stats)
}

/// Inserts 500 due tasks and 500 runs that need attention, and 10,000 other tasks and runs.
async fn fill(store: &MongoStore) -> (Vec<Task>, Vec<Run>) {
    let due: Vec<Task> = (0..500).map(|n| due_at(PAST.plus_ms(-(n % 5)))).collect();
    let paused = |n: i64| Task { state: TaskState::Paused, ..due_at(PAST.plus_ms(-n)) };
    let others = (0..10_000).map(|n| if n % 2 == 0 { due_at(FUTURE.plus_ms(n)) } else { paused(n) });
    let all: Vec<Task> = due.iter().cloned().chain(others).collect();
    assert!(store.insert_tasks(all).await.iter().all(Result::is_ok));
    let cancelled: Vec<Task> = (0..2_000).map(|_| task()).collect();
    let ids: Vec<TaskId> = cancelled.iter().map(|task| task.id.clone()).collect();
    store.insert_tasks(cancelled).await;
    store.cancel_tasks(&ids, None, true, PAST).await.unwrap();

    let open: Vec<Run> = (0..500).map(|n| run_until(&task(), PAST.plus_ms(-n))).collect();
    let idle = (0..10_000)
        .map(|n| if n % 2 == 0 { run_until(&task(), FUTURE) } else { ended(run_until(&task(), PAST), PAST) });
    let runs: Vec<Run> = open.iter().cloned().chain(idle).collect();
    store.insert_runs(&runs).await.unwrap();
    (due, open)
}
