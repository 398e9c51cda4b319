//! Counters of fires and outcomes, and the backlog.

use taskcenter_server::core::{Moment, Run, RunState, Task};
use taskcenter_server::ports::{BacklogRow, OutcomeCount};

use super::Fixture;
use super::samples::{PAST, due_at, ended, run_until, task};

fn fires(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(tag, n)| ((*tag).to_owned(), *n)).collect()
}

pub async fn fires_add_up_by_tag_and_minute(on: &dyn Fixture) {
    let store = on.one();
    // In the future, so that a store that drops old minutes keeps the counters.
    let minute = Moment::from_sec(66_666_667 * 60);
    let in_minute = async |at| {
        let mut counts = on.two().fires_in_minute(at).await.unwrap();
        counts.sort();
        counts
    };
    store.count_fires(minute, &fires(&[("a", 1), ("b|c}", 2), ("$x.y", 3)])).await.unwrap();
    store.count_fires(minute.plus_ms(59_999), &fires(&[("a", 10)])).await.unwrap();
    store.count_fires(minute.plus_ms(60_000), &fires(&[("a", 100)])).await.unwrap();
    store.count_fires(minute, &[]).await.unwrap();
    assert_eq!(in_minute(minute.plus_ms(30_000)).await, fires(&[("$x.y", 3), ("a", 11), ("b|c}", 2)]));
    assert_eq!(in_minute(minute.plus_ms(60_000)).await, fires(&[("a", 100)]));
    assert_eq!(in_minute(minute.plus_ms(-1)).await, []);
}

pub async fn fires_counted_concurrently_by_two_nodes_add_up(on: &dyn Fixture) {
    let minute = Moment::from_sec(4_000_000_020);
    for round in 0..10 {
        let (one, two, tag) = (on.one(), on.two(), format!("t{round}"));
        let (a, b) = (fires(&[(&tag, 1)]), fires(&[(&tag, 2)]));
        let both = tokio::join!(one.count_fires(minute, &a), two.count_fires(minute, &b));
        both.0.unwrap();
        both.1.unwrap();
    }
    let counts = on.one().fires_in_minute(minute).await.unwrap();
    assert_eq!(counts.len(), 10);
    assert!(counts.iter().all(|(_, fires)| *fires == 3), "{counts:?}");
}

pub async fn the_backlog_has_due_moments_and_unreported_runs(on: &dyn Fixture) {
    let named = |name: &str, due: Moment| Task { name: name.to_owned(), ..due_at(due) };
    let (early, late) = (PAST, PAST.plus_ms(10_000));
    let now = PAST.plus_ms(5_000);
    let paused = Task { state: taskcenter_server::core::TaskState::Paused, ..named("a", early) };
    on.one().insert_tasks(vec![named("a", early), named("a", now), named("a", late), paused]).await;

    let run = |tag: &str, state, attention| {
        let task = Task { name: tag.to_owned(), ..task() };
        Run { state, ..run_until(&task, attention) }
    };
    let runs = [
        run("a", RunState::Firing, late),
        run("b", RunState::Retrying, early),
        run("b", RunState::Retrying, late),
        run("b", RunState::Fired, late),
        run("c", RunState::Fired, early),
        run("c", RunState::Ready, early),
        run("e", RunState::Ready, early),
        run("e", RunState::Ready, late),
        run("e", RunState::Held, late),
        run("f", RunState::Held, early),
        ended(run("a", RunState::Firing, early), early),
        ended(run("d", RunState::Fired, early), early),
    ];
    on.one().insert_runs(&runs).await.unwrap();
    let row = |tag: &str, due, unreported, ready, held| {
        let tag = tag.to_owned();
        BacklogRow { tag, due, unreported, ready, held }
    };
    let mut backlog = on.two().backlog(now).await.unwrap();
    backlog.sort_by(|a, b| a.tag.cmp(&b.tag));
    let wanted = [
        row("a", 3, 0, 0, 0),
        row("b", 1, 1, 0, 0),
        row("c", 0, 1, 1, 0),
        row("e", 0, 0, 2, 1),
        row("f", 0, 0, 0, 1),
    ];
    assert_eq!(backlog, wanted);
}

pub async fn outcomes_add_up_by_tag_state_and_day(on: &dyn Fixture) {
    let count = |tag: &str, state, runs| OutcomeCount { tag: tag.to_owned(), state, runs };
    // In the future, so that a store that drops old days keeps the counters.
    let day = Moment::from_sec(46_297 * 86_400);
    let on_day = async |day| {
        let mut counts = on.two().outcomes_on(day).await.unwrap();
        counts.sort_by_key(|count| (count.tag.clone(), count.runs));
        counts
    };
    let (succeeded, dead) = (RunState::Succeeded, RunState::Dead);
    let store = on.one();
    store
        .count_outcomes(day, &[count("a", succeeded, 1), count("b|c}", dead, 2), count("a", dead, 3)])
        .await
        .unwrap();
    store
        .count_outcomes(day, &[count("a", succeeded, 10), count("$x.y", RunState::Cancelled, 4)])
        .await
        .unwrap();
    store.count_outcomes(day.plus_ms(86_400_000), &[count("a", succeeded, 100)]).await.unwrap();
    store.count_outcomes(day, &[]).await.unwrap();
    store.count_fires(day, &fires(&[("a", 7)])).await.unwrap();
    let wanted = [
        count("$x.y", RunState::Cancelled, 4),
        count("a", dead, 3),
        count("a", succeeded, 11),
        count("b|c}", dead, 2),
    ];
    assert_eq!(on_day(day).await, wanted);
    assert_eq!(on_day(day.plus_ms(86_400_000)).await, [count("a", succeeded, 100)]);
    assert_eq!(on_day(day.plus_ms(-1)).await, []);
}
