//! Runs that wait for the end of a hold.

use taskcenter_server::core::hold::HoldScope;
use taskcenter_server::core::wait_group::WaitGroup;
use taskcenter_server::core::{Run, Task};

use super::Fixture;
use super::runs::{limited, update};
use super::samples::{PAST, ended, task, unique};

pub async fn runs_that_wait_for_the_end_of_a_hold_are_a_group(on: &dyn Fixture) {
    let tag = format!("t{}", unique());
    let plain = Task { name: tag.clone(), queue: Some("q".to_owned()), ..task() };
    let at = |ms| Run::firing(&plain, PAST.plus_ms(ms), "node", "token".to_owned(), PAST);
    let mut limited = limited(&plain, "k", 3);
    limited.tag.clone_from(&tag);
    let mut runs = [at(2), at(1), limited];
    on.one().insert_runs(&runs).await.unwrap();
    runs[1].enqueue(PAST).unwrap();
    assert!(update(&*on.one(), &runs[1]).await);
    runs[1].version += 1;
    runs.iter_mut().for_each(|run| run.hold_by(HoldScope::Tag).unwrap());
    assert_eq!(on.one().update_runs(&runs).await.unwrap(), [true; 3]);
    let group = WaitGroup::of_hold(HoldScope::Tag, &tag);
    let waiting = async || {
        let waiting = on.two().held_in_group(&group, 9).await.unwrap();
        waiting.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    assert_eq!(waiting().await, [&runs[1], &runs[0], &runs[2]].map(|run| run.id.clone()), "earliest first");
    let groups = async || on.two().held_groups(Some(&group.first_key()), "", 9).await.unwrap();
    assert_eq!(groups().await, std::slice::from_ref(&group));
    assert_eq!(on.two().ready_runs(&["q".to_owned()], 9).await.unwrap().rows, []);
    runs.iter_mut().for_each(|run| run.version += 1);
    assert_eq!(on.two().run(&runs[1].id).await.unwrap().as_ref(), Some(&runs[1]));
    runs[0].end_hold("node", PAST).unwrap();
    runs[2].end_hold("node", PAST).unwrap();
    assert_eq!(on.two().update_runs(&[runs[0].clone(), runs[2].clone()]).await.unwrap(), [true; 2]);
    assert_eq!(waiting().await, [runs[1].id.clone()]);
    let of_limits = runs[2].wait_group().unwrap();
    assert_eq!(on.one().held_in_group(&of_limits, 9).await.unwrap(), [next(&runs[2]).open()]);
    assert!(update(&*on.one(), &ended(runs[1].clone(), PAST)).await);
    assert_eq!(groups().await, []);
}

fn next(run: &Run) -> Run {
    run.clone().next_version()
}
