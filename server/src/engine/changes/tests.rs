use futures_util::FutureExt as _;

use super::pending::MAX_CHANGES;
use super::*;
use crate::core::change::ChangeKind;
use crate::core::submission::Submission;
use crate::core::{Moment, TaskId};

fn task(name: &str, number: usize) -> Task {
    let id = TaskId::parse(&format!("{number:032x}")).unwrap();
    Submission::named(name, "").accept(id, Moment::from_sec(0)).unwrap()
}

fn ids(tick: &Tick) -> Vec<String> {
    tick.changes().map(|(change, _)| change.id().to_owned()).collect()
}

#[test]
fn without_a_viewer_nothing_is_collected() {
    let feed = ChangeFeed::default();
    feed.tasks([&task("a", 1)]);
    assert!(std::mem::take(&mut *feed.0.pending()).into_tick().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_thing_that_changes_twice_in_a_tick_is_sent_once_with_its_last_state() {
    let feed = ChangeFeed::default();
    let mut watched = feed.watch().unwrap();
    let (mut one, two) = (task("a", 1), task("b", 2));
    feed.tasks([&one, &two]);
    one.hidden = true;
    feed.tasks([&one]);
    let tick = watched.next().await;
    assert_eq!(ids(&tick), [one.id.as_str(), two.id.as_str()]);
    let (change, text) = tick.changes().next().unwrap();
    assert_eq!((change.kind, change.state.as_deref()), (ChangeKind::Task, Some("deleted")));
    let data = format!(r#"{{"kind":"task","task_id":"{}","tag":"a","state":"deleted"}}"#, one.id);
    assert_eq!(text, format!("event: task\ndata: {data}\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_burst_names_the_tags_that_it_missed() {
    let feed = ChangeFeed::default();
    let mut watched = feed.watch().unwrap();
    let tasks: Vec<Task> = (0..MAX_CHANGES).map(|number| task("a", number)).collect();
    feed.tasks(&tasks);
    feed.tasks([&task("b", MAX_CHANGES)]);
    let tick = watched.next().await;
    assert_eq!(tick.changes().count(), MAX_CHANGES);
    assert!(tick.missed().any(|tag| tag == "b") && !tick.missed().any(|tag| tag == "a"));
    for number in 0..2 * MAX_CHANGES {
        feed.tasks([&task(&number.to_string(), number)]);
    }
    feed.tasks([&task("more", 0)]);
    let tick = watched.next().await;
    assert_eq!(*tick.missed(), Missed::All, "the number of tags is bounded");
}

#[tokio::test(start_paused = true)]
async fn a_slow_viewer_is_told_that_it_missed_changes_and_costs_no_memory() {
    let feed = ChangeFeed::default();
    let (mut slow, mut fast) = (feed.watch().unwrap(), feed.watch().unwrap());
    for number in 0..=TICKS_KEPT {
        feed.tasks([&task("a", number)]);
        fast.next().await;
    }
    assert!(feed.0.ticks.len() <= TICKS_KEPT);
    assert_eq!(*slow.next().await.missed(), Missed::All);
    assert_eq!(ids(&*slow.next().await), [task("a", 1).id.as_str()], "then the changes that are kept");
}

#[tokio::test(start_paused = true)]
async fn the_number_of_viewers_is_limited_and_the_loop_ends_with_the_last_one() {
    let feed = ChangeFeed::default();
    feed.limit_viewers(2);
    let (one, two) = (feed.watch(), feed.watch());
    assert!(one.is_some() && two.is_some() && feed.watch().is_none());
    drop(one);
    assert!(feed.watch().is_some());
    drop(two);
    assert!(!feed.is_watched());
    tokio::time::sleep(2 * IDLE).await;
    assert!(!feed.0.is_running.load(Ordering::SeqCst));
    let mut again = feed.watch().unwrap();
    feed.tasks([&task("a", 1)]);
    assert_eq!(again.next().await.changes().count(), 1);
}

#[allow(clippy::disallowed_methods, reason = "the time of the test is paused")]
#[tokio::test(start_paused = true)]
async fn changes_are_sent_at_once_and_then_a_few_times_a_second() {
    let feed = ChangeFeed::default();
    let mut watched = feed.watch().unwrap();
    tokio::task::yield_now().await;
    let start = tokio::time::Instant::now();
    feed.tasks([&task("a", 1)]);
    watched.next().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    feed.tasks([&task("a", 2)]);
    watched.next().await;
    assert_eq!(start.elapsed(), TICK);
}

#[tokio::test(start_paused = true)]
async fn a_tick_reaches_another_node_and_not_its_own() {
    let (feed, other) = (ChangeFeed::default(), ChangeFeed::default());
    feed.set_watched_elsewhere(true);
    let (mut sent, mut watched) = (feed.ticks(), other.watch().unwrap());
    feed.tasks([&task("a", 1)]);
    let tick = sent.recv().await.unwrap();
    let message = tick.to_message("one");
    assert!(tick.is_own() && Tick::of_message(&message, "one").is_none());
    other.pass_on(Tick::of_message(&message, "two").unwrap());
    let arrived = watched.next().await;
    assert!(!arrived.is_own());
    assert_eq!(ids(&arrived), ids(&tick));
    let unreadable = Tick::of_message("{}", "two").unwrap();
    assert!(unreadable.missed().any(|_| false), "a newer release sends another form");
    assert!(watched.next().now_or_never().is_none());
}
