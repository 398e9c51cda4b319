//! Pages of tasks and runs, and queues.

use taskcenter_server::core::{Moment, Run, RunId, RunState, Task, TaskState};
use taskcenter_server::ports::{Order, Page, QueueRow, RunFilter, RunPage, Store, TaskFilter};

use super::Fixture;
use super::samples::{PAST, due_at, ended, run_until, task, unique};

const FIRST: Page = Page { limit: 100, before: None };

fn first(limit: u32) -> RunPage {
    RunPage { limit, before: None }
}

fn task_ids(tasks: Vec<Task>) -> Vec<String> {
    tasks.into_iter().map(|task| task.id.to_string()).collect()
}

fn run_ids(runs: &[Run]) -> Vec<RunId> {
    runs.iter().map(|run| run.id.clone()).collect()
}

pub async fn tasks_are_listed_by_name_and_state(on: &dyn Fixture) {
    let name = format!("n{}", unique());
    let named = |state| Task { name: name.clone(), state, ..task() };
    let tasks = [named(TaskState::Active), named(TaskState::Paused), named(TaskState::Paused), task()];
    on.one().insert_tasks(tasks.to_vec()).await;
    let list = async |name: Option<&String>, state| {
        let filter = TaskFilter { name: name.cloned(), state, label: None };
        task_ids(on.two().list_tasks(&filter, &FIRST).await.unwrap())
    };
    let ids = |at: &[usize]| at.iter().map(|at| tasks[*at].id.to_string()).collect::<Vec<_>>();
    assert_eq!(list(Some(&name), None).await, ids(&[2, 1, 0]), "newest first");
    assert_eq!(list(Some(&name), Some(TaskState::Paused)).await, ids(&[2, 1]));
    assert_eq!(list(None, Some(TaskState::Paused)).await, ids(&[2, 1]));
    assert_eq!(list(None, None).await, ids(&[3, 2, 1, 0]));
    let page = Page { limit: 2, before: Some(tasks[3].id.clone()) };
    assert_eq!(task_ids(on.two().list_tasks(&TaskFilter::default(), &page).await.unwrap()), ids(&[2, 1]));
}

pub async fn a_page_is_counted_up_to_its_limit(on: &dyn Fixture) {
    let name = format!("n{}", unique());
    let named = |state| Task { name: name.clone(), state, ..task() };
    let tasks = [named(TaskState::Active), named(TaskState::Paused), named(TaskState::Paused), task()];
    on.one().insert_tasks(tasks.to_vec()).await;
    let count = async |name: Option<&String>, state, limit| {
        let filter = TaskFilter { name: name.cloned(), state, label: None };
        on.two().count_tasks(&filter, &Page { limit, before: None }).await.unwrap()
    };
    assert_eq!(count(None, None, 100).await, 4);
    assert_eq!(count(Some(&name), None, 100).await, 3);
    assert_eq!(count(Some(&name), Some(TaskState::Paused), 100).await, 2);
    assert_eq!((count(None, None, 3).await, count(None, None, 0).await), (3, 0));
    let rest = Page { limit: 100, before: Some(tasks[2].id.clone()) };
    assert_eq!(on.two().count_tasks(&TaskFilter::default(), &rest).await.unwrap(), 2);

    let mut runs = runs_at(&tasks[0], &[1, 2, 3]);
    runs[2] = ended(runs[2].clone(), PAST);
    on.one().insert_runs(&runs).await.unwrap();
    let count = async |filter: RunFilter, page: RunPage| on.two().count_runs(&filter, &page).await.unwrap();
    let by_tag = || RunFilter { tag: Some(name.clone()), ..RunFilter::default() };
    assert_eq!(count(RunFilter::default(), first(100)).await, 3);
    assert_eq!((count(by_tag(), first(100)).await, count(by_tag(), first(2)).await), (3, 2));
    assert_eq!(count(RunFilter { state: Some(RunState::Firing), ..by_tag() }, first(100)).await, 2);
    assert_eq!(count(by_tag(), first(0)).await, 0);
    let before = Some((runs[1].scheduled_at, runs[1].id.clone()));
    assert_eq!(count(by_tag(), RunPage { limit: 100, before }).await, 1);
}

pub async fn a_cancelled_task_is_listed_only_by_its_state(on: &dyn Fixture) {
    let task = task();
    on.one().insert_tasks(vec![task.clone()]).await;
    on.one().cancel_tasks(std::slice::from_ref(&task.id), None, false, PAST).await.unwrap();
    let all = on.two().list_tasks(&TaskFilter::default(), &FIRST).await.unwrap();
    assert_eq!(all, []);
    let cancelled = TaskFilter { state: Some(TaskState::Cancelled), ..TaskFilter::default() };
    assert_eq!(task_ids(on.two().list_tasks(&cancelled, &FIRST).await.unwrap()), [task.id.to_string()]);
}

/// Returns runs of one task, at these milliseconds after [`PAST`].
fn runs_at(task: &Task, ms: &[i64]) -> Vec<Run> {
    let at = |ms: &i64| run_until(&Task { next_due_at: Some(PAST.plus_ms(*ms)), ..task.clone() }, PAST);
    ms.iter().map(at).collect()
}

pub async fn runs_are_listed_in_pages_latest_first(on: &dyn Fixture) {
    let mut runs = runs_at(&task(), &[1, 2, 3]);
    runs.extend(runs_at(&task(), &[2]));
    on.one().insert_runs(&runs).await.unwrap();
    runs.sort_by(|a, b| (b.scheduled_at, &b.id).cmp(&(a.scheduled_at, &a.id)));
    let mut seen = Vec::new();
    let mut page = first(1);
    loop {
        let rows = on.two().list_runs(&RunFilter::default(), &page).await.unwrap();
        let Some(last) = rows.last() else { break };
        page.before = Some((last.scheduled_at, last.id.clone()));
        seen.extend(rows);
    }
    assert_eq!(seen, runs);
    assert_eq!(on.two().list_runs(&RunFilter::default(), &first(0)).await.unwrap(), []);
}

pub async fn runs_are_listed_by_task_tag_and_state(on: &dyn Fixture) {
    let (a, b) = (task(), Task { name: "other".to_owned(), ..task() });
    let mut runs = runs_at(&a, &[1, 2]);
    runs.extend(runs_at(&b, &[3, 4]));
    runs[1] = ended(runs[1].clone(), PAST);
    runs[3] = ended(runs[3].clone(), PAST);
    on.one().insert_runs(&runs).await.unwrap();
    let list = async |filter: RunFilter| run_ids(&on.two().list_runs(&filter, &first(9)).await.unwrap());
    let ids = |at: &[usize]| at.iter().map(|at| runs[*at].id.clone()).collect::<Vec<_>>();
    let of = |task: &Task| RunFilter { task_id: Some(task.id.clone()), ..RunFilter::default() };
    assert_eq!(list(of(&a)).await, ids(&[1, 0]));
    let tagged = RunFilter { tag: Some("other".to_owned()), ..RunFilter::default() };
    assert_eq!(list(tagged.clone()).await, ids(&[3, 2]));
    let cancelled = RunFilter { state: Some(RunState::Cancelled), ..RunFilter::default() };
    assert_eq!(list(cancelled.clone()).await, ids(&[3, 1]));
    assert_eq!(list(RunFilter { state: Some(RunState::Cancelled), ..tagged }).await, ids(&[3]));
    assert_eq!(list(RunFilter { task_id: Some(b.id.clone()), ..cancelled }).await, ids(&[3]));
}

pub async fn the_latest_runs_of_tasks_are_listed_by_task(on: &dyn Fixture) {
    let (a, b, idle) = (task(), task(), task());
    let mut runs = runs_at(&a, &[1, 4, 2, 3]);
    runs[1] = ended(runs[1].clone(), PAST);
    let same_moment = Run { id: RunId::of_trigger(&a.id, "x"), ..runs[2].clone() };
    runs.push(same_moment);
    runs.extend(runs_at(&b, &[9]));
    on.one().insert_runs(&runs).await.unwrap();
    let marks = |at: &[usize]| at.iter().map(|at| runs[*at].as_mark()).collect::<Vec<_>>();
    let ids = [b.id.clone(), idle.id.clone(), a.id.clone()];
    let recent = on.two().recent_runs(&ids, 4).await.unwrap();
    assert_eq!(recent, [marks(&[5]), vec![], marks(&[1, 3, 4, 2])], "the greatest id of a moment is first");
    assert_eq!(on.two().recent_runs(&ids, 0).await.unwrap(), [vec![], vec![], vec![]]);
    assert!(on.two().recent_runs(&[], 4).await.unwrap().is_empty());
}

pub async fn runs_are_read_by_their_ids(on: &dyn Fixture) {
    let runs = runs_at(&task(), &[1, 2]);
    on.one().insert_runs(&runs).await.unwrap();
    let ids = [runs[1].id.clone(), RunId::from_text("unknown"), runs[0].id.clone()];
    let mut read = on.two().runs(&ids).await.unwrap().rows;
    read.sort_by_key(|run| run.scheduled_at);
    assert_eq!(read, runs);
    assert_eq!(on.two().runs(&[]).await.unwrap().rows, []);
}

/// Returns a run that waits in a queue, due `ms` milliseconds after [`PAST`].
pub fn ready(queue: &str, tag: &str, ms: i64) -> Run {
    let task = Task { queue: Some(queue.to_owned()), name: tag.to_owned(), ..due_at(PAST.plus_ms(ms)) };
    let mut run = run_until(&task, PAST);
    run.enqueue(PAST).unwrap();
    run
}

pub async fn ready_runs_of_queues_are_earliest_first(on: &dyn Fixture) {
    let runs = [ready("a", "a", 3), ready("a", "a", 1), ready("b", "b", 2), ready("c", "c", 0)];
    on.one().insert_runs(&runs).await.unwrap();
    let list = async |queues: &[&str], limit| {
        let queues: Vec<String> = queues.iter().map(ToString::to_string).collect();
        run_ids(&on.two().ready_runs(&queues, limit).await.unwrap().rows)
    };
    let ids = |at: &[usize]| at.iter().map(|at| runs[*at].id.clone()).collect::<Vec<_>>();
    assert_eq!(list(&["a"], 9).await, ids(&[1, 0]));
    assert_eq!(list(&["a", "b"], 9).await, ids(&[1, 2, 0]));
    assert_eq!(list(&["b", "a", "b"], 2).await, ids(&[1, 2]));
    assert_eq!(list(&["unknown"], 9).await, []);
    assert_eq!(list(&["a"], 0).await, []);
    assert_eq!(list(&[], 3).await, ids(&[3, 1, 2]));
}

pub async fn ready_runs_of_all_queues_are_those_of_queues_named_after_their_tag(on: &dyn Fixture) {
    let runs = [ready("order.close", "order.close", 2), ready("special", "order.close", 1)];
    on.one().insert_runs(&runs).await.unwrap();
    assert_eq!(run_ids(&on.two().ready_runs(&[], 9).await.unwrap().rows), [runs[0].id.clone()]);
}

pub async fn a_leased_run_is_no_longer_ready(on: &dyn Fixture) {
    let mut run = ready("a", "a", 1);
    on.one().insert_runs(std::slice::from_ref(&run)).await.unwrap();
    run.lease("worker", "token".to_owned(), PAST, PAST.plus_ms(1_000)).unwrap();
    assert_eq!(on.two().update_runs(std::slice::from_ref(&run)).await.unwrap(), [true]);
    assert_eq!(on.one().ready_runs(&["a".to_owned()], 9).await.unwrap().rows, []);
    let stored = on.one().run(&run.id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.holder.as_str(), stored.claim), (RunState::Leased, "worker", 2));
}

pub async fn runs_without_a_queue_can_be_excluded(on: &dyn Fixture) {
    let bus = run_until(&task(), PAST);
    let queued = run_until(&Task { queue: Some("q".to_owned()), ..task() }, PAST);
    on.one().insert_runs(&[bus.clone(), queued.clone()]).await.unwrap();
    let shards = [bus.task_id.shard(), queued.task_id.shard()];
    let queued_only = on.two().runs_needing_attention(&shards, PAST, 9, true).await.unwrap().rows;
    assert_eq!(queued_only, [queued]);
    assert_eq!(on.two().runs_needing_attention(&shards, PAST, 9, false).await.unwrap().rows.len(), 2);
}

pub async fn queues_count_their_runs_by_state(on: &dyn Fixture) {
    let mut leased = ready("a", "a", 1);
    leased.lease("worker", "token".to_owned(), PAST, PAST).unwrap();
    let mut retrying = ready("b", "b", 1);
    retrying.lease("worker", "token".to_owned(), PAST, PAST).unwrap();
    retrying.fail_overdue(&taskcenter_server::core::retry::RetryPolicy::default(), PAST).unwrap();
    let ended = ended(ready("c", "c", 1), Moment::from_ms(1));
    let queued = |queue: &str| Task { queue: Some(queue.to_owned()), ..task() };
    let [mut first, mut second] = ["a", "d"].map(|queue| run_until(&queued(queue), PAST));
    first.hold().unwrap();
    second.hold().unwrap();
    let held = [first, second];
    let runs = [ready("a", "a", 3), ready("a", "x", 2), leased, retrying, ended, run_until(&task(), PAST)];
    let oldest = runs[1].scheduled_at;
    assert!(oldest < runs[0].scheduled_at);
    on.one().insert_runs(&[&runs[..], &held].concat()).await.unwrap();
    let row = |queue: &str, [held, ready, leased, retrying]: [u64; 4], oldest_ready_at| {
        let queue = queue.to_owned();
        QueueRow { queue, held, ready, leased, retrying, oldest_ready_at }
    };
    let wanted =
        [row("a", [1, 2, 1, 0], Some(oldest)), row("b", [0, 0, 0, 1], None), row("d", [1, 0, 0, 0], None)];
    assert_eq!(on.two().queues().await.unwrap(), wanted);
}

/// Number of tasks, and bytes of each: more than a store returns at a time.
pub const LARGE: [usize; 2] = [18, taskcenter_server::core::submission::MAX_DATA_BYTES];

/// Returns the data of one of the [`LARGE`] tasks.
pub fn large_data(n: usize) -> String {
    let number = n.to_string();
    "x".repeat(LARGE[1] - number.len()) + &number
}

pub async fn large_rows_are_listed_in_pages(on: &dyn Fixture) {
    let [count, _] = LARGE;
    let tasks: Vec<Task> = (0..count).map(|n| Task { data: large_data(n), ..task() }).collect();
    assert!(on.one().insert_tasks(tasks.clone()).await.iter().all(Result::is_ok));
    let runs: Vec<Run> = tasks.iter().map(|task| run_until(task, PAST)).collect();
    on.one().insert_runs(&runs).await.unwrap();
    assert_eq!(on_all_pages(&*on.two(), 100).await.len(), count);
    let (mut page, mut listed) = (first(100), 0);
    loop {
        let runs = on.two().list_runs(&RunFilter::default(), &page).await.unwrap();
        let Some(last) = runs.last() else { break };
        page.before = Some((last.scheduled_at, last.id.clone()));
        listed += runs.len();
    }
    assert_eq!(listed, count);
    let shards: Vec<u16> = (0..taskcenter_server::core::task::SHARDS).collect();
    let due = on.two().due_tasks(&shards, PAST, 100, Order::Earliest).await.unwrap();
    assert_eq!(due.more, due.rows.len() < count, "a result that was cut says so");
    let overdue = on.two().runs_needing_attention(&shards, PAST, 100, false).await.unwrap();
    assert_eq!(overdue.more, overdue.rows.len() < count, "a result that was cut says so");
}

/// Returns every task: reads pages until one is empty.
async fn on_all_pages(store: &dyn Store, limit: u32) -> Vec<String> {
    let mut page = Page { limit, before: None };
    let mut seen = Vec::new();
    loop {
        let tasks = store.list_tasks(&TaskFilter::default(), &page).await.unwrap();
        let Some(last) = tasks.last() else { return seen };
        page.before = Some(last.id.clone());
        seen.extend(task_ids(tasks));
    }
}

/// Inserts three tasks and three ready runs. Callers make the first and the last of them
/// unreadable.
pub async fn insert_three_of_each(store: &dyn Store) -> ([Task; 3], [Run; 3]) {
    let (tasks, runs) =
        ([task(), task(), task()], [ready("q", "q", 1), ready("q", "q", 2), ready("q", "q", 3)]);
    assert!(store.insert_tasks(tasks.to_vec()).await.iter().all(Result::is_ok));
    store.insert_runs(&runs).await.unwrap();
    (tasks, runs)
}

/// Checks lists and heads of queues after the first and the last row of `insert_three_of_each` were
/// made unreadable.
pub async fn unreadable_rows_are_skipped_in_lists(store: &dyn Store, readable: (&Task, &Run)) {
    assert_eq!(on_all_pages(store, 1).await, [readable.0.id.to_string()]);
    let runs = store.list_runs(&RunFilter::default(), &first(1)).await.unwrap();
    assert_eq!(runs, std::slice::from_ref(readable.1));
    for queues in [&[][..], &["q".to_owned()]] {
        let heads = store.ready_runs(queues, 1).await.unwrap().rows;
        assert_eq!(heads, std::slice::from_ref(readable.1), "{queues:?}");
    }
}
