//! Lists by label, after each kind of write.

use std::sync::Arc;

use taskcenter_server::core::calendar::{Calendar, Calendars};
use taskcenter_server::core::labels::{Labels, token_text};
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::{Outcome, PayloadChange};
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Moment, Run, RunId, RunState, Schedule, Task, TaskId, TaskState};
use taskcenter_server::ports::{
    Advance, Attached, Fire, Page, ReplacedTask, RunFilter, RunPage, Store, TaskFilter,
};

use super::Fixture;
use super::samples::{PAST, due_at, ended, fire, run_until, task, unique};

pub fn labelled(labels: &[(&str, &str)]) -> Task {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Task { labels: labels.collect(), ..task() }
}

async fn tasks(store: &Arc<dyn Store>, label: &str, state: Option<TaskState>, limit: u32) -> Vec<TaskId> {
    let filter = TaskFilter { label: Some(label.to_owned()), state, name: None };
    let page = Page { limit, before: None };
    store.list_tasks(&filter, &page).await.unwrap().into_iter().map(|task| task.id).collect()
}

async fn runs(store: &Arc<dyn Store>, label: &str, state: Option<RunState>) -> Vec<RunId> {
    let filter = RunFilter { label: Some(label.to_owned()), state, ..RunFilter::default() };
    let page = RunPage { limit: 9, before: None };
    store.list_runs(&filter, &page).await.unwrap().into_iter().map(|run| run.id).collect()
}

pub async fn tasks_are_listed_by_label_and_state(on: &dyn Fixture) {
    let (pay, mail) = (&[("team", "pay"), ("tier", "1")][..], &[("team", "mail")][..]);
    let rows = [
        labelled(pay),
        labelled(mail),
        task(),
        Task { state: TaskState::Paused, ..labelled(pay) },
        Task { name: "other".into(), ..labelled(pay) },
    ];
    on.one().insert_tasks(rows.to_vec()).await;
    let ids = |at: &[usize]| at.iter().map(|at| rows[*at].id.clone()).collect::<Vec<_>>();
    let store = &on.two();
    assert_eq!(tasks(store, "team=pay", None, 9).await, ids(&[4, 3, 0]), "newest first");
    assert_eq!(tasks(store, "tier=1", Some(TaskState::Paused), 9).await, ids(&[3]));
    assert_eq!(tasks(store, "team=mail", None, 9).await, ids(&[1]));
    assert_eq!(tasks(store, "team=pa", None, 9).await, []);
    assert_eq!(tasks(store, "team=pay", None, 2).await, ids(&[4, 3]));
    let label = Some("team=pay".to_owned());
    let next = Page { limit: 9, before: Some(rows[3].id.clone()) };
    let filter = TaskFilter { label, ..TaskFilter::default() };
    assert_eq!(store.list_tasks(&filter, &next).await.unwrap(), rows[..1]);
    let filter = TaskFilter { name: Some("other".into()), ..filter };
    assert_eq!(store.list_tasks(&filter, &Page { limit: 9, before: None }).await.unwrap(), rows[4..]);
}

pub async fn tasks_are_listed_by_calendar(on: &dyn Fixture) {
    let rows =
        [within(&["workdays"], labelled(&[("team", "pay")])), task(), within(&["workdays", "eu"], task())];
    on.one().insert_tasks(rows.to_vec()).await;
    let store = &on.two();
    assert_eq!(
        tasks(store, "calendar:workdays", Some(TaskState::Active), 9).await,
        [rows[2].id.clone(), rows[0].id.clone()]
    );
    assert_eq!(tasks(store, "team=pay", None, 9).await, [rows[0].id.clone()]);
    assert_eq!(on.two().task(&rows[0].id).await.unwrap().unwrap(), rows[0], "a calendar is no label");
    let write_id = Some(unique().to_string());
    let other = within(&["eu"], Task { rev: 2, write_id, ..rows[2].clone() });
    assert_eq!(on.one().replace_task(&rows[2], &other, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    assert_eq!(tasks(store, "calendar:workdays", None, 9).await, [rows[0].id.clone()]);
    let waits = Advance { next_due_at: None, waits: true, ..fire(&other) };
    assert_eq!(on.one().advance_tasks(&[waits]).await.unwrap(), [true]);
    assert_eq!(tasks(store, "calendar:eu", Some(TaskState::Active), 9).await, [rows[2].id.clone()]);
}

pub async fn the_live_tasks_of_a_token_are_counted(on: &dyn Fixture) {
    let (ours, others) = (unique().to_string(), unique().to_string());
    let of = |token: &str| Task { quota_token: Some(token.to_owned()), ..labelled(&[("team", "pay")]) };
    let once = Task { schedule: Schedule::Once, queue: Some("q".into()), ..of(&ours) };
    let standing = of(&ours).standing_for(once.id.clone());
    let rows =
        [of(&ours), of(&ours), once, Task { state: TaskState::Paused, ..of(&ours) }, of(&others), standing];
    on.one().insert_tasks(rows.to_vec()).await;
    let count = async |token: &str, state, limit| {
        let filter = TaskFilter { label: Some(token_text(token)), state: Some(state), name: None };
        on.two().count_tasks(&filter, &Page { limit, before: None }).await.unwrap()
    };
    let live = async |token: &str| {
        (count(token, TaskState::Active, 9).await, count(token, TaskState::Paused, 9).await)
    };
    assert_eq!((live(&ours).await, live(&others).await), ((3, 1), (1, 0)));
    assert_eq!(count(&ours, TaskState::Active, 2).await, 2, "up to the limit");
    assert_eq!(on.two().task(&rows[0].id).await.unwrap().unwrap(), rows[0], "a token is no label");
    on.one().fire(vec![Fire { task: &rows[2], run: run_until(&rows[2], PAST) }]).await.unwrap();
    assert_eq!(live(&ours).await, (2, 1), "a finished task is not live");
    on.one().cancel_tasks(std::slice::from_ref(&rows[0].id), None, false, PAST).await.unwrap();
    on.one().cancel_tasks(std::slice::from_ref(&rows[3].id), None, true, PAST).await.unwrap();
    assert_eq!((live(&ours).await, live(&others).await), ((1, 0), (1, 0)));
    assert_eq!(tasks(&on.two(), "team=pay", Some(TaskState::Active), 9).await.len(), 2);
}

fn within(calendars: &[&str], task: Task) -> Task {
    let named = calendars.iter().map(|name| Calendar { version: 1, ..Calendar::named(*name) });
    let calendars = Calendars { only: named.collect(), exclude: Vec::new() };
    Task { timing: Timing { calendars: Some(Box::new(calendars)), ..Timing::default() }, ..task }
}

pub async fn the_label_of_a_task_follows_its_changes(on: &dyn Fixture) {
    let before = labelled(&[("team", "pay"), ("tier", "1")]);
    on.one().insert_tasks(vec![before.clone()]).await;
    let labels = Labels::from([("team".into(), "mail".into()), ("tier".into(), "1".into())]);
    let write_id = Some(unique().to_string());
    let edited = Task { labels, rev: 2, state: TaskState::Paused, write_id, ..before.clone() };
    assert_eq!(on.one().replace_task(&before, &edited, Attached::NONE).await.unwrap(), ReplacedTask::Done);
    let (store, id) = (&on.two(), std::slice::from_ref(&before.id));
    assert_eq!(tasks(store, "team=pay", None, 9).await, []);
    assert_eq!(tasks(store, "team=mail", None, 9).await, id);
    assert_eq!(tasks(store, "tier=1", Some(TaskState::Active), 9).await, []);
    assert_eq!(tasks(store, "tier=1", Some(TaskState::Paused), 9).await, id);
    let state = Some(TaskState::Cancelled);
    on.one().cancel_tasks(id, None, false, PAST).await.unwrap();
    assert_eq!(
        (tasks(store, "tier=1", None, 9).await, tasks(store, "tier=1", state, 9).await),
        (vec![], id.to_vec())
    );
    on.one().cancel_tasks(id, None, true, PAST).await.unwrap();
    assert_eq!(tasks(store, "tier=1", state, 9).await, [], "a hidden task is not listed");
}

pub async fn a_step_and_a_fire_keep_the_labels(on: &dyn Fixture) {
    let stepped = labelled(&[("team", "pay")]);
    let last = Task { schedule: Schedule::Once, queue: Some("q".into()), ..labelled(&[("team", "pay")]) };
    on.one().insert_tasks(vec![stepped.clone(), last.clone()]).await;
    on.one().advance_tasks(&[fire(&stepped)]).await.unwrap();
    on.one().fire(vec![Fire { task: &last, run: run_until(&last, PAST) }]).await.unwrap();
    let store = &on.two();
    assert_eq!(tasks(store, "team=pay", Some(TaskState::Active), 9).await, [stepped.id]);
    assert_eq!(tasks(store, "team=pay", Some(TaskState::Finished), 9).await, [last.id]);
    assert_eq!(runs(store, "team=pay", None).await.len(), 1);
}

fn run_at(labels: &[(&str, &str)], ms: i64) -> Run {
    let due = due_at(PAST.plus_ms(ms));
    run_until(&Task { queue: Some("q".into()), labels: labelled(labels).labels, ..due }, PAST)
}

pub async fn runs_are_listed_by_label_and_state(on: &dyn Fixture) {
    let (pay, mail) = (&[("team", "pay"), ("tier", "1")][..], &[("team", "mail")][..]);
    let rows = [run_at(pay, 1), run_at(mail, 2), run_at(pay, 3), run_at(&[], 4)];
    let ended = ended(run_at(pay, 2), PAST);
    on.one().insert_runs(&rows).await.unwrap();
    on.one().insert_runs(std::slice::from_ref(&ended)).await.unwrap();
    let (store, id) = (&on.two(), |run: &Run| run.id.clone());
    assert_eq!(runs(store, "team=pay", None).await, [id(&rows[2]), id(&ended), id(&rows[0])], "latest first");
    assert_eq!(runs(store, "tier=1", Some(RunState::Cancelled)).await, [id(&ended)]);
    assert_eq!(runs(store, "team=mail", Some(RunState::Firing)).await, [id(&rows[1])]);
    let filter = RunFilter { label: Some("team=pay".into()), ..RunFilter::default() };
    let next = RunPage { limit: 9, before: Some((rows[2].scheduled_at, id(&rows[2]))) };
    assert_eq!(store.list_runs(&filter, &next).await.unwrap(), [ended.clone(), rows[0].clone()]);
    let first = RunPage { limit: 9, before: None };
    let of_task =
        RunFilter { task_id: Some(rows[0].task_id.clone()), tag: Some("order.close".into()), ..filter };
    assert_eq!(store.list_runs(&of_task, &first).await.unwrap(), rows[..1]);
}

pub async fn the_label_of_a_run_follows_its_states(on: &dyn Fixture) {
    let mut run = run_at(&[("team", "pay"), ("tier", "1")], 1);
    on.one().insert_runs(std::slice::from_ref(&run)).await.unwrap();
    let id = [run.id.clone()];
    let store = async |run: &mut Run| {
        assert_eq!(on.one().update_runs(std::slice::from_ref(run)).await.unwrap(), [true]);
        run.version += 1;
        for label in ["team=pay", "tier=1"] {
            assert_eq!(runs(&on.two(), label, None).await, id);
            assert_eq!(runs(&on.two(), label, Some(run.state)).await, id);
        }
    };
    run.enqueue(PAST).unwrap();
    store(&mut run).await;
    run.lease("worker", "token".into(), PAST, Moment::NEVER).unwrap();
    store(&mut run).await;
    let stale = Run { version: 1, ..ended(run.clone(), PAST) };
    assert_eq!(on.one().update_runs(&[stale]).await.unwrap(), [false]);
    assert_eq!(runs(&on.two(), "tier=1", Some(RunState::Cancelled)).await, []);
    run.report(&Outcome::Dead, None, &RetryPolicy::default(), PAST).unwrap();
    store(&mut run).await;
    run.redrive(&PayloadChange::default(), PAST).unwrap();
    store(&mut run).await;
}

pub async fn a_pruned_row_is_no_longer_listed_by_label(on: &dyn Fixture) {
    let (old, kept) = (labelled(&[("team", "pay")]), labelled(&[("team", "pay")]));
    on.one().insert_tasks(vec![old.clone(), kept.clone()]).await;
    on.one().cancel_tasks(std::slice::from_ref(&old.id), None, false, PAST).await.unwrap();
    let open = run_at(&[("team", "pay")], 1);
    on.one().insert_runs(&[ended(run_at(&[("team", "pay")], 2), PAST), open.clone()]).await.unwrap();
    let later = on.one().now().await.unwrap().plus_ms(60_000);
    on.one().prune(later, PAST, 100).await.unwrap();
    let store = &on.two();
    assert_eq!(tasks(store, "team=pay", Some(TaskState::Cancelled), 9).await, []);
    assert_eq!(tasks(store, "team=pay", None, 9).await, [kept.id]);
    assert_eq!(runs(store, "team=pay", None).await, [open.id]);
}
