//! Runs: one row per moment, replaced by compare-and-set.

use taskcenter_server::core::admission::slot;
use taskcenter_server::core::concurrency::Limit;
use taskcenter_server::core::headers::Headers;
use taskcenter_server::core::overlap::Overlap;
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::{LeaseSlots, OpenRun, Outcome, PayloadChange, key_of_task, slot_of_task};
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::wait_group::WaitGroup;
use taskcenter_server::core::{Moment, Run, RunId, RunState, Task};
use taskcenter_server::ports::{InsertedRun, Store};

use super::Fixture;
use super::samples::{PAST, due_at, ended, full_run, run, run_until, task, unique};

pub async fn insert(store: &dyn Store, run: &Run) -> InsertedRun {
    store.insert_runs(std::slice::from_ref(run)).await.unwrap().pop().unwrap()
}

pub async fn update(store: &dyn Store, run: &Run) -> bool {
    let answers = store.update_runs(std::slice::from_ref(run)).await.unwrap();
    assert_eq!(answers.len(), 1);
    answers[0]
}

pub async fn a_run_is_read_back_as_it_was_stored(on: &dyn Fixture) {
    for run in [run(), full_run(), ended(run(), PAST)] {
        assert_eq!(insert(&*on.one(), &run).await, InsertedRun::New);
        assert_eq!(on.two().run(&run.id).await.unwrap(), Some(run));
    }
    assert_eq!(on.one().run(&run().id).await.unwrap(), None);
    assert_eq!(on.one().insert_runs(&[]).await.unwrap(), []);
}

pub async fn a_second_run_of_a_moment_gets_the_first_run(on: &dyn Fixture) {
    let task = task();
    let (first, other) = (run_until(&task, PAST), run());
    let second = Run { holder: "node-b".to_owned(), ..run_until(&task, PAST.plus_ms(1)) };
    insert(&*on.one(), &first).await;
    let answers = on.two().insert_runs(&[other, second]).await.unwrap();
    assert_eq!(answers, [InsertedRun::New, InsertedRun::Existing(Box::new(first.clone()))]);
    // An equal row is a repeated insert after a lost answer.
    assert_eq!(insert(&*on.one(), &first).await, InsertedRun::New);
    assert_eq!(on.one().run(&first.id).await.unwrap(), Some(first));
}

pub async fn a_run_is_replaced_at_its_version(on: &dyn Fixture) {
    let mut run = run();
    insert(&*on.one(), &run).await;
    run.mark_fired(PAST.plus_ms(3)).unwrap();
    run.reason = Some("because".to_owned());
    assert!(update(&*on.one(), &run).await);
    run.version += 1;
    assert_eq!(on.two().run(&run.id).await.unwrap(), Some(run.clone()));
    run.reason = None;
    run.attention_at = Some(PAST);
    run.ended_at = None;
    assert!(update(&*on.two(), &run).await);
    run.version += 1;
    assert_eq!(on.one().run(&run.id).await.unwrap(), Some(run));
}

pub async fn an_edited_payload_is_stored_and_kept(on: &dyn Fixture) {
    let mut run = Run { queue: Some("q".to_owned()), data: "$first".to_owned(), ..run() };
    insert(&*on.one(), &run).await;
    let store = async |run: &mut Run| {
        assert!(update(&*on.one(), run).await);
        run.version += 1;
        assert_eq!(on.two().run(&run.id).await.unwrap().as_ref(), Some(&*run));
    };
    let headers = [("x.$a".to_owned(), "1".to_owned())].into();
    let second = PayloadChange { data: Some("{\"$set\": 2}".to_owned()), headers: Some(headers) };
    let third = PayloadChange { data: Some(String::new()), headers: Some(Headers::new()) };
    for (at, change) in [second, third, PayloadChange::default()].into_iter().enumerate() {
        let now = PAST.plus_ms(10 * at as i64);
        if run.state == RunState::Firing {
            run.enqueue(now).unwrap();
        }
        run.lease("w", "token".to_owned(), now, now.plus_ms(5)).unwrap();
        run.report(&Outcome::Dead, None, &RetryPolicy::default(), now).unwrap();
        store(&mut run).await;
        run.redrive(&change, now).unwrap();
        let stale = run.clone();
        store(&mut run).await;
        assert!(!update(&*on.one(), &stale).await, "another call has written this version");
        run.start_next_attempt(format!("token {at}")).unwrap();
        store(&mut run).await;
    }
    assert_eq!((run.data.as_str(), run.edited.as_ref().unwrap().edits.len()), ("", 2));
}

pub async fn a_replacement_of_a_stale_version_is_false(on: &dyn Fixture) {
    let stale = run();
    insert(&*on.one(), &stale).await;
    let mut current = stale.clone();
    current.claim("node-b", PAST.plus_ms(9));
    assert!(update(&*on.one(), &current).await);
    // Not even an equal replacement: another call has written it.
    assert!(!update(&*on.two(), &current).await);
    assert!(!update(&*on.two(), &stale).await);
    current.version += 1;
    assert_eq!(on.one().run(&stale.id).await.unwrap(), Some(current));
    assert!(!update(&*on.one(), &run()).await, "the run does not exist");
    assert_eq!(on.one().update_runs(&[]).await.unwrap(), [] as [bool; 0]);
}

pub async fn one_of_two_concurrent_claims_wins(on: &dyn Fixture) {
    let mut run = run();
    insert(&*on.one(), &run).await;
    for _ in 0..20 {
        let claim = |holder: &str| {
            let mut claimed = run.clone();
            claimed.claim(holder, PAST);
            claimed
        };
        let (one, two, a, b) = (on.one(), on.two(), claim("node-a"), claim("node-b"));
        let results = tokio::join!(update(&*one, &a), update(&*two, &b));
        run = on.one().run(&run.id).await.unwrap().unwrap();
        assert_eq!(results, (run.holder == "node-a", run.holder == "node-b"));
    }
    assert_eq!(run.claim, 21);
}

pub async fn the_results_of_many_replacements_are_in_order(on: &dyn Fixture) {
    let runs: Vec<Run> = (0..2_300).map(|_| run()).collect();
    on.one().insert_runs(&runs).await.unwrap();
    let expected: Vec<bool> = (0..runs.len()).map(|n| n % 3 != 0).collect();
    let replacements: Vec<Run> = runs
        .into_iter()
        .zip(&expected)
        .map(|(run, is_current)| Run { version: if *is_current { 1 } else { 2 }, ..ended(run, PAST) })
        .collect();
    assert_eq!(on.two().update_runs(&replacements).await.unwrap(), expected);
}

pub async fn an_ended_run_is_no_longer_open(on: &dyn Fixture) {
    let task = task();
    let open = run_until(&task, PAST);
    insert(&*on.one(), &open).await;
    insert(&*on.one(), &run()).await;
    assert_eq!(on.two().open_runs(&task.id, None, 9).await.unwrap(), [open.open()]);
    assert!(update(&*on.one(), &ended(open, PAST)).await);
    assert_eq!(on.two().open_runs(&task.id, None, 9).await.unwrap(), []);
    // The other run may be in the same shard.
    let overdue = on.two().runs_needing_attention(&[task.id.shard()], PAST, 10, false).await.unwrap().rows;
    assert!(overdue.iter().all(|run| run.task_id != task.id), "{overdue:?}");
}

pub async fn runs_needing_attention_are_longest_overdue_first(on: &dyn Fixture) {
    let at = |n: i64| PAST.plus_ms(n * 7 % 200);
    let runs: Vec<Run> = (0..200).map(|n| run_until(&task(), at(n))).collect();
    on.one().insert_runs(&runs).await.unwrap();
    on.one().insert_runs(&[ended(run(), PAST)]).await.unwrap();

    let shards: Vec<u16> = (0..SHARDS).filter(|shard| shard % 3 != 0).collect();
    let now = PAST.plus_ms(150);
    let mut expected: Vec<Moment> = runs
        .iter()
        .filter(|run| shards.contains(&run.task_id.shard()))
        .filter_map(|run| run.attention_at.filter(|at| *at <= now))
        .collect();
    expected.sort();
    let found = async |limit| {
        let runs = on.two().runs_needing_attention(&shards, now, limit, false).await.unwrap().rows;
        runs.into_iter().filter_map(|run| run.attention_at).collect::<Vec<_>>()
    };
    assert_eq!(found(1_000).await, expected);
    assert_eq!(found(10).await, expected[..10]);
    assert!(found(0).await.is_empty());
    assert_eq!(on.two().runs_needing_attention(&[], now, 10, false).await.unwrap().rows, []);
}

pub async fn open_runs_are_listed_in_pages(on: &dyn Fixture) {
    let task = task();
    let run_at = |n: i64| run_until(&Task { rev: 1 + n as u32 % 2, ..task.clone() }, PAST.plus_ms(n));
    let at = |n: i64, run: Run| Run {
        id: RunId::derive(&task.id, run.rev, PAST.plus_ms(n)),
        scheduled_at: PAST.plus_ms(n),
        ..run
    };
    let triggered = Run::triggered(&task, "mark", "token".to_owned(), PAST);
    let fired = Run { fired_at: Some(PAST), attempt: 2, state: RunState::Fired, ..at(9, run_at(9)) };
    let mut open: Vec<Run> = (0..5).map(|n| at(n, run_at(n))).chain([triggered, fired]).collect();
    let ended = ended(at(20, run_at(20)), PAST);
    on.one().insert_runs(&open).await.unwrap();
    on.one().insert_runs(&[ended, run()]).await.unwrap();
    open.sort_by(|a, b| a.id.cmp(&b.id));
    let open: Vec<OpenRun> = open.iter().map(Run::open).collect();
    assert_eq!(on.two().open_runs(&task.id, None, 100).await.unwrap(), open);
    let (mut pages, mut after) = (Vec::new(), None);
    for expected in [3, 3, 1, 0] {
        let page = on.two().open_runs(&task.id, after.as_ref(), 3).await.unwrap();
        assert_eq!(page.len(), expected);
        after = page.last().map(|run| run.id.clone()).or(after);
        pages.extend(page);
    }
    assert_eq!(pages, open);
    let second = on.two().open_runs(&task.id, Some(&RunId::end_of(&task.id, 1)), 1).await.unwrap();
    assert_eq!(second[0].rev, 2);
    assert_eq!(on.two().open_runs(&task.id, None, 0).await.unwrap(), []);
}

pub async fn a_lease_slot_belongs_to_one_leased_run(on: &dyn Fixture) {
    let slots = LeaseSlots::of(&["worker", "request"]);
    let mut runs: Vec<Run> = (0..3)
        .map(|_| {
            let mut run = run_until(&Task { queue: Some("q".to_owned()), ..task() }, PAST);
            run.enqueue(PAST).unwrap();
            run
        })
        .collect();
    on.one().insert_runs(&runs).await.unwrap();
    let lease = |run: &mut Run, position| {
        run.lease("worker", "token".to_owned(), PAST, PAST.plus_ms(1)).unwrap();
        run.lease_slot = Some(slots.name(position));
    };
    let mut late = runs.split_off(2).remove(0);
    lease(&mut runs[0], 1);
    lease(&mut runs[1], 0);
    assert_eq!(on.one().update_runs(&runs).await.unwrap(), [true, true]);
    runs.iter_mut().for_each(|run| run.version += 1);
    runs.reverse();
    assert_eq!(on.two().runs_in_slots(&slots).await.unwrap(), runs);
    assert_eq!(on.two().runs_in_slots(&LeaseSlots::of(&["other"])).await.unwrap(), []);

    let ready = late.clone();
    lease(&mut late, 0);
    let mut renewed = runs[1].clone();
    renewed.attention_at = Some(PAST.plus_ms(2));
    assert_eq!(on.two().update_runs(&[late.clone(), renewed.clone()]).await.unwrap(), [false, true]);
    assert_eq!(on.one().run(&late.id).await.unwrap(), Some(ready));
    renewed.version += 1;
    assert_eq!(on.one().runs_in_slots(&slots).await.unwrap(), [runs[0].clone(), renewed]);

    let mut released = runs.remove(0);
    released.report(&Outcome::Released { after_ms: None }, None, &RetryPolicy::default(), PAST).unwrap();
    assert!(update(&*on.one(), &released).await);
    assert!(update(&*on.two(), &late).await, "the end of the lease frees its slot");
    assert_eq!(on.one().runs_in_slots(&slots).await.unwrap()[0].id, late.id);
}

pub async fn leased_runs_are_listed_with_their_workers(on: &dyn Fixture) {
    let leased_at = |ms: i64| {
        let task = Task { queue: Some("q".to_owned()), ..due_at(PAST.plus_ms(ms)) };
        let mut run = run_until(&task, PAST);
        run.enqueue(PAST).unwrap();
        run.lease(&format!("worker {ms}"), "token".to_owned(), PAST.plus_ms(ms), PAST.plus_ms(99)).unwrap();
        run
    };
    let runs = [leased_at(1), leased_at(3), leased_at(2)];
    on.one().insert_runs(&runs).await.unwrap();
    on.one().insert_runs(&[run(), ended(leased_at(4), PAST)]).await.unwrap();
    let all = on.two().leased_runs(9).await.unwrap();
    assert_eq!(all.rows, [&runs[1], &runs[2], &runs[0]].map(Run::as_leased), "latest first");
    assert!(!all.more);
    let first = on.two().leased_runs(1).await.unwrap();
    assert_eq!((first.rows, first.more), (vec![runs[1].as_leased()], true));
    let newest = &all.rows[0];
    assert_eq!((newest.queue(), &*newest.holder, newest.leased_at), ("q", "worker 3", Some(PAST.plus_ms(3))));
}

/// Returns a run of a task with an overlap policy.
fn gated(task: &Task, ms: i64) -> Run {
    let timing = Timing { overlap: Some(Overlap::Skip), ..Timing::default() };
    let task = Task { timing, queue: Some("q".to_owned()), ..task.clone() };
    Run::firing(&task, PAST.plus_ms(ms), "node", "token".to_owned(), PAST)
}

pub async fn a_slot_belongs_to_one_run_until_it_ends(on: &dyn Fixture) {
    let task = task();
    let slot = slot_of_task(&task.id);
    let (mut first, mut second) = (gated(&task, 1), gated(&task, 2));
    on.one().insert_runs(&[first.clone(), second.clone()]).await.unwrap();
    let keys = [key_of_task(&task.id), "other".to_owned()];
    assert_eq!(on.two().slots_in_use(&keys).await.unwrap(), []);
    for run in [&mut first, &mut second] {
        run.admit(vec![slot.clone()], "node", PAST).unwrap();
    }
    assert_eq!(on.one().update_runs(&[first.clone(), second.clone()]).await.unwrap(), [true, false]);
    first.version += 1;
    let held_by = |run: &Run| vec![(slot.clone(), run.id.clone())];
    assert_eq!(on.two().slots_in_use(&keys).await.unwrap(), held_by(&first));
    first.enqueue(PAST).unwrap();
    assert!(update(&*on.two(), &first).await, "the run keeps its slot");
    first.version += 1;
    assert!(!update(&*on.one(), &second).await);
    assert!(update(&*on.one(), &ended(first, PAST)).await);
    assert!(update(&*on.two(), &second).await, "the end of the run frees its slot");
    assert_eq!(on.one().slots_in_use(&keys).await.unwrap(), held_by(&second));
}

pub async fn held_runs_are_listed_earliest_first(on: &dyn Fixture) {
    let (task, other) = (task(), task());
    let mut runs = [gated(&task, 2), gated(&task, 1), gated(&other, 3), gated(&task, 0)];
    on.one().insert_runs(&runs).await.unwrap();
    runs[..3].iter_mut().for_each(|run| run.hold().unwrap());
    assert_eq!(on.one().update_runs(&runs[..3]).await.unwrap(), [true; 3]);
    assert_eq!(on.two().held_runs(&task.id, 9).await.unwrap(), [runs[1].open(), runs[0].open()]);
    assert_eq!(on.two().held_runs(&task.id, 1).await.unwrap(), [runs[1].open()]);
    let mut expected = [&task, &other].map(|task| WaitGroup::of_task(key_of_task(&task.id)));
    expected.sort();
    assert_eq!(on.two().held_groups(None, "", 9).await.unwrap(), expected);
    assert_eq!(on.two().held_groups(None, expected[0].as_str(), 9).await.unwrap(), expected[1..]);
    let of_task = WaitGroup::of_task(key_of_task(&task.id));
    assert_eq!(on.two().held_in_group(&of_task, 1).await.unwrap(), [runs[1].open()]);
}

/// Returns a run of a task with limits: `all` for all runs with a key, and one for the queue.
pub fn limited(task: &Task, key: &str, ms: i64) -> Run {
    let limit = |text: &str| text.parse::<Limit>().unwrap();
    let concurrency = vec![limit(&format!("2:all:{key}")), limit("3:queue")];
    let timing = Timing { concurrency, ..Timing::default() };
    let task = Task { timing, queue: Some(format!("q {}", task.id)), ..task.clone() };
    Run::firing(&task, PAST.plus_ms(ms), "node", "token".to_owned(), PAST)
}

pub async fn waiting_runs_are_listed_by_their_groups_and_keys(on: &dyn Fixture) {
    let (task, names) = (task(), [unique(), unique()].map(|n| format!("k{n}")));
    let [first, second] = &names;
    let mut runs = [(first, 2), (first, 1), (second, 3), (first, 0)].map(|(key, ms)| limited(&task, key, ms));
    on.one().insert_runs(&runs).await.unwrap();
    runs[..3].iter_mut().for_each(|run| run.hold().unwrap());
    assert_eq!(on.one().update_runs(&runs[..3]).await.unwrap(), [true; 3]);
    let group = |run: &Run| run.wait_group().unwrap();
    let key = |run: &Run, at: usize| group(run).keys().swap_remove(at);
    let groups = [group(&runs[0]), group(&runs[2])];
    assert!(groups.is_sorted() && groups[0] != groups[1], "{groups:?}");
    let of_key = async |key: &str, after: &str| on.two().held_groups(Some(key), after, 9).await.unwrap();
    assert_eq!(of_key(&key(&runs[0], 0), "").await, groups[..1]);
    assert_eq!(of_key(&key(&runs[0], 1), "").await, groups, "both groups wait for the queue");
    assert_eq!(of_key(&key(&runs[0], 1), groups[0].as_str()).await, groups[1..]);
    assert_eq!(on.two().held_groups(Some(&key(&runs[0], 1)), "", 1).await.unwrap(), groups[..1]);
    let count = async |key: &str, limit: u32| on.two().count_held(key, limit).await.unwrap();
    assert_eq!(count(&key(&runs[0], 0), 9).await, 2);
    assert_eq!((count(&key(&runs[0], 1), 9).await, count(&key(&runs[0], 1), 2).await), (3, 2));
    assert_eq!(count("limit:all:none", 9).await, 0);
    let all = on.two().held_groups(None, "", 9).await.unwrap();
    assert_eq!(all, groups, "a group with two keys is listed once");
    let in_group = async |at: usize| on.two().held_in_group(&groups[at], 9).await.unwrap();
    assert_eq!(in_group(0).await, [runs[1].open(), runs[0].open()], "earliest first");
    assert_eq!(on.two().held_in_group(&groups[0], 1).await.unwrap(), [runs[1].open()]);
    assert_eq!(on.two().held_runs(&task.id, 9).await.unwrap().len(), 3);
    // A run that gets its slots, or ends, does not wait.
    runs.iter_mut().take(3).for_each(|run| run.version += 1);
    let slots = group(&runs[1]).keys().iter().map(|key| format!("{key}#0")).collect();
    runs[1].admit(slots, "node", PAST).unwrap();
    let second = ended(runs[2].clone(), PAST);
    assert_eq!(on.one().update_runs(&[runs[1].clone(), second]).await.unwrap(), [true, true]);
    assert_eq!((in_group(0).await, in_group(1).await), (vec![runs[0].open()], vec![]));
    assert_eq!(on.two().held_groups(None, "", 9).await.unwrap(), groups[..1]);
}

pub async fn all_slots_of_a_run_are_taken_in_one_write_or_none(on: &dyn Fixture) {
    let (task, name) = (task(), format!("k{}", unique()));
    let mut runs = [1, 2].map(|ms| limited(&task, &name, ms));
    on.one().insert_runs(&runs).await.unwrap();
    let keys: Vec<String> = runs[0].limits().into_iter().map(|limit| limit.key).collect();
    let slots = |numbers: [u32; 2]| keys.iter().zip(numbers).map(|(key, n)| slot(key, n)).collect::<Vec<_>>();
    runs[0].admit(slots([0, 7]), "node", PAST).unwrap();
    assert!(update(&*on.one(), &runs[0]).await);
    let mut both = runs[1].clone();
    both.admit(slots([1, 7]), "node", PAST).unwrap();
    assert!(!update(&*on.two(), &both).await, "one of the slots is in use");
    let in_use = async || {
        let mut used = on.two().slots_in_use(&keys).await.unwrap();
        used.sort();
        used
    };
    let of = |run: &Run, numbers| {
        slots(numbers).into_iter().map(|slot| (slot, run.id.clone())).collect::<Vec<_>>()
    };
    assert_eq!(in_use().await, of(&runs[0], [0, 7]));
    runs[1].admit(slots([1, 0]), "node", PAST).unwrap();
    assert!(update(&*on.two(), &runs[1]).await);
    let mut used = [of(&runs[0], [0, 7]), of(&runs[1], [1, 0])].concat();
    used.sort();
    assert_eq!(in_use().await, used);
}
