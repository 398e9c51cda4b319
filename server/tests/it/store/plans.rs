//! Query plans of MongoDB: queries read few rows that they do not return, in collections with
//! thousands of other rows.

use mongodb::bson::{Bson, Document, doc};
use taskcenter_server::adapters::mongo::{MongoStore, explained};
use taskcenter_server::core::run::LeaseSlots;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, Run, RunId, RunState, Task, TaskId, TaskState};
use taskcenter_server::ports::{Advance, Page, RunFilter, RunPage, Store, TaskFilter};

use super::Fixture;
use super::mongo::MongoFixture;
use super::samples::{PAST, due_at, ended, fire, run_until, task};

const FUTURE: Moment = Moment::from_sec(4_000_000_000);

/// Returns the number of documents that a plan read and returned, and its statistics.
async fn examined(store: &MongoStore, command: Document) -> (f64, f64, Document) {
    let command = doc! { "explain": command, "verbosity": "executionStats" };
    let answer = store.database().run_command(command).await.unwrap();
    let stats = answer.get_document("executionStats").unwrap().clone();
    let number = |name: &str| match stats.get(name) {
        Some(Bson::Int32(n)) => f64::from(*n),
        Some(Bson::Int64(n)) => *n as f64,
        other => panic!("{name}: {other:?}"),
    };
    (number("totalDocsExamined"), number("nReturned"), stats)
}

async fn assert_efficient(store: &MongoStore, command: Document, expected: f64, stage: &str) {
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
    assert_efficient(store, explained::ready_runs(None, 500), 100.0, "SORT_MERGE").await;
    assert_efficient(store, explained::ready_runs(None, 10), 10.0, "SORT_MERGE").await;
    assert_efficient(store, explained::ready_runs(Some(&"order.close".to_owned()), 500), 100.0, "IXSCAN")
        .await;
    Box::new(fixture).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_open_runs_and_pruned_rows_are_found_by_index() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    let (due, open) = fill(store).await;
    let named = TaskFilter { name: Some(due[0].name.clone()), state: None };
    for (filter, stage) in [
        (&named, "name_1__id_-1"),
        (&TaskFilter { name: None, state: Some(TaskState::Active) }, "state_1__id_-1"),
    ] {
        let page = Page { limit: 100, before: Some(due[499].id.clone()) };
        assert_efficient(store, explained::list_tasks(filter, &page), 100.0, stage).await;
    }
    let page = RunPage { limit: 100, before: None };
    let of_state = RunFilter { state: Some(RunState::Cancelled), ..RunFilter::default() };
    assert_efficient(store, explained::list_runs(&of_state, &page), 100.0, "state_1_scheduled_at_-1__id_-1")
        .await;
    let of_task = RunFilter { task_id: Some(open[0].task_id.clone()), ..RunFilter::default() };
    assert_efficient(store, explained::list_runs(&of_task, &page), 1.0, "task_id_1_scheduled_at_-1__id_-1")
        .await;
    assert_efficient(
        store,
        explained::list_runs(&RunFilter::default(), &page),
        100.0,
        "scheduled_at_-1__id_-1",
    )
    .await;
    assert_efficient(store, explained::open_runs(&open[0].task_id, None, 100), 1.0, "task_id_1__id_1").await;

    let later = PAST.plus_ms(1);
    assert_efficient(store, explained::ended("runs", None, later, 100), 100.0, "ended_at_1__id_1").await;
    let cancelled = TaskFilter { name: None, state: Some(TaskState::Cancelled) };
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
async fn the_backlog_is_counted_from_open_rows_only() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    fill(store).await;
    store.insert_runs(&[ready("q", "q"), ready("q", "q")]).await.unwrap();
    // Half of the other runs are open: their leases end in the future.
    for (command, most) in explained::backlog(PAST).into_iter().zip([500.0, 5_502.0]) {
        let docs = docs_examined(store, command).await;
        assert!(docs <= most, "{docs} documents for {most} open rows");
    }
    let docs = docs_examined(store, explained::queues()).await;
    assert!(docs <= 2.0, "{docs} documents for 2 runs in queues");
    Box::new(fixture).close().await;
}

/// Returns the number of documents that an aggregation read. Its answer has the plan of its first
/// stage only.
async fn docs_examined(store: &MongoStore, command: Document) -> f64 {
    let command = doc! { "explain": command, "verbosity": "executionStats" };
    let answer = store.database().run_command(command).await.unwrap();
    let stats = match answer.get_array("stages") {
        Ok(stages) => stages[0].as_document().unwrap().get_document("$cursor").unwrap(),
        Err(_) => &answer,
    };
    match stats.get_document("executionStats").unwrap().get("totalDocsExamined") {
        Some(Bson::Int32(n)) => f64::from(*n),
        Some(Bson::Int64(n)) => *n as f64,
        other => panic!("{other:?}"),
    }
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
