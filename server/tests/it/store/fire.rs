//! Firing: runs are inserted and tasks advance, in one write or in two steps.

use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::core::run::Stretch;
use taskcenter_server::core::{Moment, Run, RunState, Schedule, Task, TaskState};
use taskcenter_server::ports::{Advance, Clock, Fire, Fired, Store};

use super::Fixture;
use super::runs::insert as insert_run;
use super::samples::{PAST, due_at, run_until, task, unique};
use super::tasks::insert;

/// Returns a task in a queue, with a tag of its own.
fn queued() -> Task {
    Task { queue: Some("q".to_owned()), name: format!("tag-{}", unique()), ..task() }
}

async fn fire_all(store: &dyn Store, tasks: &[Task]) -> Vec<Fired> {
    let moments = tasks.iter().map(|task| Fire { task, run: run_until(task, PAST) });
    let fired = store.fire(moments.collect()).await.unwrap();
    assert_eq!(fired.len(), tasks.len());
    fired
}

async fn fire(store: &dyn Store, task: &Task) -> Fired {
    fire_all(store, std::slice::from_ref(task)).await.remove(0)
}

async fn stored_task(store: &dyn Store, task: &Task) -> Task {
    store.task(&task.id).await.unwrap().unwrap()
}

/// Returns the stored row of the task's moment.
async fn stored_run(store: &dyn Store, task: &Task) -> Option<Run> {
    store.run(&run_until(task, PAST).id).await.unwrap()
}

/// Returns the counted fires of a tag since `from`, which was seconds ago.
async fn counted(store: &dyn Store, tag: &str, from: Moment) -> u64 {
    let (from, now) = (from.ms() / 60_000, SystemClock.now().ms() / 60_000);
    let mut counted = 0;
    for minute in from..=now {
        let fires = store.fires_in_minute(Moment::from_ms(minute * 60_000)).await.unwrap();
        counted += fires.iter().filter(|(name, _)| name == tag).map(|(_, fires)| fires).sum::<u64>();
    }
    counted
}

fn passed(fired: Fired) -> (Run, bool) {
    match fired {
        Fired::Passed { run, queued } => (*run, queued),
        other => panic!("{other:?}"),
    }
}

pub async fn a_fire_stores_the_run_and_advances_the_task(on: &dyn Fixture) {
    let (every, once) = (task(), Task { schedule: Schedule::Once, ..task() });
    for task in [every, once] {
        insert(&*on.one(), &task).await;
        let run = run_until(&task, PAST.plus_ms(10_000));
        let fired = on.one().fire(vec![Fire { task: &task, run: run.clone() }]).await.unwrap();
        assert_eq!(fired, [Fired::Passed { run: Box::new(run.clone()), queued: false }]);
        assert_eq!(on.two().run(&run.id).await.unwrap().as_ref(), Some(&run));
        assert_eq!(stored_task(&*on.two(), &task).await, task.stepped(&Advance::of(&task, &run)));
    }
    assert_eq!(on.one().fire(Vec::new()).await.unwrap(), []);
}

pub async fn a_fire_in_one_write_puts_the_run_into_its_queue(on: &dyn Fixture) {
    let (task, before) = (queued(), SystemClock.now());
    insert(&*on.one(), &task).await;
    let (run, in_queue) = passed(fire(&*on.one(), &task).await);
    assert_eq!(stored_run(&*on.two(), &task).await.as_ref(), Some(&run));
    assert_eq!(stored_task(&*on.two(), &task).await, task.stepped(&Advance::of(&task, &run)));
    let ready = on.two().ready_runs(&["q".to_owned()], 10).await.unwrap().rows;
    let counted = counted(&*on.two(), &task.name, before).await;
    if on.one().fires_in_one_write() {
        assert_eq!((ready, in_queue, counted), (vec![run.clone()], true, 1));
        assert_eq!((run.state, run.version, run.attempt, run.claim), (RunState::Ready, 1, 1, 1));
        assert_eq!(run.attention_at, Some(Moment::NEVER));
        assert!(run.fired_at.is_some_and(|at| at >= before), "{:?}", run.fired_at);
    } else {
        assert_eq!((ready, in_queue, counted, run.state), (Vec::new(), false, 0, RunState::Firing));
    }
}

pub async fn a_skipped_stretch_is_stored_and_not_counted(on: &dyn Fixture) {
    let (task, before) = (queued(), SystemClock.now());
    insert(&*on.one(), &task).await;
    let stretch = Stretch { to: PAST.plus_ms(120_000), count: 3 };
    let run = Run::skipped(&task, PAST, stretch, "misfire".to_owned(), "node-a", PAST.plus_ms(500_000));
    let fired = on.one().fire(vec![Fire { task: &task, run: run.clone() }]).await.unwrap();
    assert_eq!(fired, [Fired::Passed { run: Box::new(run.clone()), queued: false }]);
    assert_eq!(on.two().run(&run.id).await.unwrap(), Some(run));
    let moved = stored_task(&*on.two(), &task).await;
    assert_eq!((moved.last_due_at, moved.fired_count), (Some(stretch.to), 0));
    assert_eq!(moved.next_due_at, Some(PAST.plus_ms(180_000)));
    assert_eq!(counted(&*on.two(), &task.name, before).await, 0);
}

pub async fn an_existing_row_decides(on: &dyn Fixture) {
    let (task, other, before) = (queued(), queued(), SystemClock.now());
    let stretch = Stretch { to: PAST.plus_ms(60_000), count: 2 };
    let skipped = Run::skipped(&task, PAST, stretch, "misfire".to_owned(), "node-b", PAST);
    let firing = Run { holder: "node-b".to_owned(), ..run_until(&other, PAST) };
    for (task, row) in [(&task, skipped), (&other, firing)] {
        insert(&*on.one(), task).await;
        insert_run(&*on.one(), &row).await;
        assert_eq!(passed(fire(&*on.two(), task).await), (row.clone(), false));
        assert_eq!(stored_run(&*on.one(), task).await.as_ref(), Some(&row));
        assert_eq!(stored_task(&*on.one(), task).await, task.stepped(&Advance::of(task, &row)));
        assert_eq!(counted(&*on.two(), &task.name, before).await, 0, "its holder counts the fire");
    }
}

pub async fn a_repeated_fire_finds_the_first_row_and_counts_once(on: &dyn Fixture) {
    let (task, before) = (queued(), SystemClock.now());
    insert(&*on.one(), &task).await;
    let (first, in_queue) = passed(fire(&*on.one(), &task).await);
    let moved = stored_task(&*on.one(), &task).await;
    assert_eq!(passed(fire(&*on.two(), &task).await), (first.clone(), false));
    assert_eq!(stored_run(&*on.one(), &task).await, Some(first));
    assert_eq!(stored_task(&*on.one(), &task).await, moved);
    assert_eq!(counted(&*on.two(), &task.name, before).await, u64::from(in_queue));
}

pub async fn two_concurrent_fires_agree_on_one_row(on: &dyn Fixture) {
    for _ in 0..10 {
        let (task, before) = (queued(), SystemClock.now());
        insert(&*on.one(), &task).await;
        let (one, two) = (on.one(), on.two());
        let (a, b) = tokio::join!(fire(&*one, &task), fire(&*two, &task));
        let ((a, first), (b, second)) = (passed(a), passed(b));
        assert_eq!(a, b);
        assert_eq!(stored_task(&*on.one(), &task).await.fired_count, 1);
        assert_eq!(first ^ second, on.one().fires_in_one_write());
        assert_eq!(counted(&*on.two(), &task.name, before).await, u64::from(first ^ second));
    }
}

/// Asserts that the task is as it was stored. The row of a moment that is not passed waits for a rescue,
/// if the store fires in two steps.
async fn is_unchanged(on: &dyn Fixture, read: &Task, stored: &Task) {
    assert_eq!(stored_task(&*on.two(), read).await, *stored);
    let state = stored_run(&*on.two(), read).await.map(|run| run.state);
    let in_two_steps = !on.one().fires_in_one_write();
    assert_eq!(state, in_two_steps.then_some(RunState::Firing));
}

pub async fn a_changed_task_does_not_pass_its_moment(on: &dyn Fixture) {
    let read = [queued(), queued(), task()];
    let stored = [
        Task { state: TaskState::Paused, rev: 2, ..read[0].clone() },
        Task { data: "edited".to_owned(), rev: 2, ..read[1].clone() },
        read[2].clone(),
    ];
    for task in &stored {
        insert(&*on.one(), task).await;
    }
    on.one().cancel_tasks(std::slice::from_ref(&read[2].id), None, false, PAST).await.unwrap();
    assert_eq!(fire_all(&*on.one(), &read).await, [const { Fired::NotPassed }; 3]);
    for (read, stored) in read.iter().zip([&stored[0], &stored[1], &read[2].tombstone(false)]) {
        is_unchanged(on, read, stored).await;
    }
}

pub async fn a_future_moment_is_not_passed(on: &dyn Fixture) {
    let task = Task { queue: Some("q".to_owned()), ..due_at(SystemClock.now().plus_ms(3_600_000)) };
    insert(&*on.one(), &task).await;
    assert_eq!(fire(&*on.one(), &task).await, Fired::NotPassed);
    is_unchanged(on, &task, &task).await;
}

pub async fn the_results_of_many_fires_are_in_order(on: &dyn Fixture) {
    let later = SystemClock.now().plus_ms(3_600_000);
    let tasks: Vec<Task> = (0..30)
        .map(|n| match n % 5 {
            0 => Task { next_due_at: Some(later), ..queued() },
            _ => queued(),
        })
        .collect();
    // One of five is not stored, and one of five was fired before.
    for (n, task) in tasks.iter().enumerate().filter(|(n, _)| n % 5 != 1) {
        insert(&*on.one(), task).await;
        if n % 5 == 2 {
            passed(fire(&*on.one(), task).await);
        }
    }
    for (n, (task, fired)) in tasks.iter().zip(fire_all(&*on.two(), &tasks).await).enumerate() {
        if n % 5 < 2 {
            assert_eq!(fired, Fired::NotPassed, "{n}");
            continue;
        }
        let (run, in_queue) = passed(fired);
        assert_eq!(run.task_id, task.id);
        assert_eq!(in_queue, on.one().fires_in_one_write() && n % 5 != 2, "{n}");
        assert_eq!(stored_task(&*on.one(), task).await.fired_count, 1);
    }
}
