//! Fairness keys of ready runs, and the earliest runs of each key.

use taskcenter_server::core::Run;
use taskcenter_server::core::hold::HoldScope;
use taskcenter_server::core::run::FairnessKey;

use super::Fixture;
use super::lists::ready;
use super::samples::PAST;

fn keys(of: &[(&str, &str)]) -> Vec<FairnessKey> {
    of.iter().map(|(queue, tag)| FairnessKey::new(queue, tag)).collect()
}

async fn list(
    on: &dyn Fixture,
    queues: &[&str],
    after: Option<(&str, &str)>,
    limit: u32,
) -> Vec<FairnessKey> {
    let queues: Vec<String> = queues.iter().map(ToString::to_string).collect();
    let after = after.map(|(queue, tag)| FairnessKey::new(queue, tag));
    on.two().ready_keys(&queues, after.as_ref(), limit).await.unwrap()
}

/// Returns runs of three queues with the tag of their name, and of two queues with other tags.
fn runs() -> Vec<Run> {
    let own = [ready("c", "c", 1), ready("a", "a", 3), ready("a", "a", 1), ready("b", "b", 2)];
    let other =
        [ready("q", "z", 0), ready("q", "y", 0), ready("q", "q", 5), ready("r", "y", 0), ready("r", "y", 1)];
    [&own[..], &other].concat()
}

pub async fn the_keys_of_all_queues_have_the_tag_of_their_queue(on: &dyn Fixture) {
    on.one().insert_runs(&runs()).await.unwrap();
    let own = keys(&[("a", "a"), ("b", "b"), ("c", "c"), ("q", "q")]);
    assert_eq!(list(on, &[], None, 9).await, own);
    assert_eq!(list(on, &[], None, 2).await, own[..2]);
    assert_eq!(list(on, &[], Some(("a", "a")), 2).await, own[1..3]);
    assert_eq!(list(on, &[], Some(("b", "other")), 9).await, own[2..]);
    assert_eq!(list(on, &[], Some(("q", "q")), 9).await, []);
    assert_eq!(list(on, &[], None, 0).await, []);
}

pub async fn the_keys_of_named_queues_have_any_tag(on: &dyn Fixture) {
    on.one().insert_runs(&runs()).await.unwrap();
    let all = keys(&[("a", "a"), ("q", "q"), ("q", "y"), ("q", "z"), ("r", "y")]);
    assert_eq!(list(on, &["q"], None, 9).await, all[1..4]);
    let queues = ["r", "q", "unknown", "q", "a"];
    assert_eq!(list(on, &queues, None, 9).await, all);
    for at in 0..all.len() {
        let after = &all[at];
        let tag = after.other_tag.as_deref().unwrap_or(&after.queue);
        let listed = list(on, &queues, Some((&after.queue, tag)), 2).await;
        assert_eq!(listed, all[at + 1..(at + 3).min(all.len())], "after {after:?}");
    }
    assert_eq!(list(on, &queues, Some(("b", "b")), 9).await, all[1..], "a key of another queue");
    assert_eq!(list(on, &["unknown"], None, 9).await, []);
    assert_eq!(list(on, &queues, None, 0).await, []);
}

pub async fn many_keys_are_listed_in_pages(on: &dyn Fixture) {
    let name = |n: i64| format!("tag {n:02}");
    let own = (0..40).flat_map(|n| [ready(&name(n), &name(n), n), ready(&name(n), &name(n), -n)]);
    let other = (0..40).flat_map(|n| [ready("q", &name(n), n), ready("q", &name(n), -n)]);
    let runs: Vec<Run> = own.chain(other).collect();
    on.one().insert_runs(&runs).await.unwrap();
    for queues in [&[][..], &["q"]] {
        let first = list(on, queues, None, 32).await;
        let last = first.last().unwrap();
        let tag = last.other_tag.as_deref().unwrap_or(&last.queue);
        let rest = list(on, queues, Some((&last.queue, tag)), 32).await;
        assert_eq!((first.len(), rest.len()), (32, 8), "{queues:?}");
        let of = |n: i64| FairnessKey::new(queues.first().copied().unwrap_or(&name(n)), &name(n));
        assert_eq!([first, rest].concat(), (0..40).map(of).collect::<Vec<_>>());
    }
}

pub async fn only_ready_runs_have_a_turn(on: &dyn Fixture) {
    let [mut leased, mut held] = [ready("q", "q", 1), ready("q", "t", 1)];
    leased.lease("worker", "token".to_owned(), PAST, PAST.plus_ms(1_000)).unwrap();
    held.hold_by(HoldScope::Tag).unwrap();
    let mut run = ready("a", "a", 1);
    on.one().insert_runs(&[leased, held, run.clone()]).await.unwrap();
    let all = keys(&[("a", "a"), ("q", "q"), ("q", "t")]);
    assert_eq!(list(on, &["q"], None, 9).await, []);
    assert_eq!(list(on, &[], None, 9).await, all[..1]);
    assert_eq!(on.two().ready_runs_of(&all, 9).await.unwrap(), std::slice::from_ref(&run));
    run.lease("worker", "token".to_owned(), PAST, PAST.plus_ms(1_000)).unwrap();
    assert_eq!(on.two().update_runs(&[run]).await.unwrap(), [true]);
    assert_eq!(list(on, &[], None, 9).await, []);
    assert_eq!(on.one().ready_runs_of(&all, 9).await.unwrap(), []);
}

pub async fn the_runs_of_keys_are_earliest_first(on: &dyn Fixture) {
    let runs = runs();
    on.one().insert_runs(&runs).await.unwrap();
    let read = async |of: &[(&str, &str)], each| {
        let read = on.two().ready_runs_of(&keys(of), each).await.unwrap();
        read.iter().map(|read| runs.iter().position(|run| run.id == read.id).unwrap()).collect::<Vec<_>>()
    };
    let of = [("r", "y"), ("a", "a"), ("unknown", "t"), ("q", "q"), ("q", "y")];
    assert_eq!(read(&of, 9).await, [7, 8, 2, 1, 6, 5]);
    assert_eq!(read(&of, 1).await, [7, 2, 6, 5]);
    assert_eq!(read(&of, 0).await, [0_usize; 0]);
    assert_eq!(read(&[], 9).await, [0_usize; 0]);
}

pub async fn a_full_answer_says_that_more_runs_are_ready(on: &dyn Fixture) {
    on.one().insert_runs(&runs()).await.unwrap();
    for (queues, limit, more) in
        [(&["q", "r"][..], 6, false), (&["q", "r"], 4, true), (&["q"], 3, true), (&[], 6, false)]
    {
        let queues: Vec<String> = queues.iter().map(ToString::to_string).collect();
        let head = on.two().ready_runs(&queues, limit).await.unwrap();
        assert_eq!((head.rows.len().min(5), head.more), (5.min(limit as usize), more), "{queues:?} {limit}");
    }
}
