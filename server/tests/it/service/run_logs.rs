//! Logs of runs: who may write, and how a log is followed.

use std::sync::Arc;
use std::time::Duration;

use taskcenter_server::adapters::memory::MemoryRecords;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::run_log::{LATE_MS, LogBatch};
use taskcenter_server::core::{Run, RunState};
use taskcenter_server::engine::service::{LogFollower, LogPage, ServiceError};

use super::leases::{lease, report};
use super::{NOW, Stage};
use crate::store::run_logs::batch;

const LONG: Duration = Duration::from_mins(5);

fn lines_of(run: &Run, texts: &[&str]) -> LogBatch {
    LogBatch { attempt: run.attempt, ..batch(&run.id, texts) }
}

async fn write(on: &Stage, run: &Run, texts: &[&str]) {
    assert!(on.service.append_log(&lines_of(run, texts), &run.token).await.unwrap());
}

async fn is_stale(on: &Stage, run: &Run) -> bool {
    let answer = on.service.append_log(&lines_of(run, &["late"]), &run.token).await;
    matches!(answer, Err(ServiceError::Stale(_)))
}

fn texts(page: &LogPage) -> Vec<&str> {
    page.lines.iter().map(|line| line.line.text.as_str()).collect()
}

async fn next(follower: &mut LogFollower) -> LogPage {
    follower.next(LONG).await.unwrap().expect("the log goes on")
}

async fn leased(on: &Stage) -> Run {
    on.ready("a").await;
    lease(on, "w", 1).await.remove(0)
}

fn done() -> Outcome {
    Outcome::Succeeded { result: None }
}

pub async fn a_stale_worker_writes_no_line(on: &Stage) {
    let run = leased(on).await;
    write(on, &run, &["in time"]).await;
    let repeated = lines_of(&run, &["repeated"]);
    assert!(on.service.append_log(&repeated, &run.token).await.unwrap());
    assert!(!on.service.append_log(&repeated, &run.token).await.unwrap());
    for stale in
        [Run { token: "another".to_owned(), ..run.clone() }, Run { attempt: run.attempt + 1, ..run.clone() }]
    {
        assert!(is_stale(on, &stale).await, "{stale:?}");
    }
    on.clock.set(NOW.plus_ms(30_001));
    on.rescue().await;
    assert!(is_stale(on, &run).await, "the lease has expired");
    on.clock.set(on.run(&run).await.attention_at.unwrap());
    on.rescue().await;
    let second = lease(on, "w", 1).await.remove(0);
    assert!(is_stale(on, &run).await, "another attempt has begun");
    write(on, &second, &["second"]).await;
    on.service.report(&second.id, &report(&second, done())).await.unwrap();
    assert!(is_stale(on, &second).await, "the run has ended");
    let page = on.service.log(&run.id, 0).await.unwrap();
    let attempts: Vec<_> = page.lines.iter().map(|line| line.attempt).collect();
    assert_eq!((texts(&page), attempts), (vec!["in time", "repeated", "second"], vec![1, 1, 2]));
}

pub async fn a_cancelled_run_accepts_no_line(on: &Stage) {
    let run = leased(on).await;
    on.service.cancel_run(&run.id).await.unwrap();
    on.service.report(&run.id, &report(&run, Outcome::Dead)).await.unwrap();
    assert!(is_stale(on, &run).await);
    assert!(on.service.log(&run.id, 0).await.unwrap().lines.is_empty());
}

/// A message without `ack` ends its run before the handler starts.
pub async fn a_published_run_accepts_lines_for_an_hour(on: &Stage) {
    let run = on.ready("a").await;
    let fired =
        Run { state: RunState::Fired, queue: None, attention_at: None, ended_at: Some(NOW), ..run.clone() };
    assert_eq!(on.store.update_runs(&[fired]).await.unwrap(), [true]);
    on.clock.set(NOW.plus_ms(LATE_MS));
    write(on, &run, &["in time"]).await;
    on.clock.set(NOW.plus_ms(LATE_MS + 1));
    assert!(is_stale(on, &run).await);
}

pub async fn a_log_is_followed_until_the_run_ends(on: &Stage) {
    let run = leased(on).await;
    write(on, &run, &["a", "b"]).await;
    let mut follower = on.service.follow_log(&run.id, 1).await.unwrap();
    assert_eq!(texts(&next(&mut follower).await), ["b"]);
    assert_eq!(follower.next(Duration::ZERO).await.unwrap(), None, "nothing has happened");
    write(on, &run, &["c"]).await;
    let page = next(&mut follower).await;
    assert_eq!((texts(&page), page.next, page.end), (vec!["c"], 3, None));
    for n in 0..20 {
        write(on, &run, &[&n.to_string()]).await;
    }
    let mut seen = 0;
    while seen < 20 {
        let page = next(&mut follower).await;
        assert_eq!(page.lines[0].line.text, seen.to_string(), "no line is lost when the follower is slow");
        seen += page.lines.len();
    }
    on.service.report(&run.id, &report(&run, done())).await.unwrap();
    let page = next(&mut follower).await;
    assert_eq!((texts(&page), page.end), (vec![], Some(RunState::Succeeded)));
    let mut late = on.service.follow_log(&run.id, 22).await.unwrap();
    let page = next(&mut late).await;
    assert_eq!((texts(&page), page.next, page.end), (vec!["19"], 23, Some(RunState::Succeeded)));
}

/// The writer and the end of the run are on another node, whose events do not arrive here.
pub async fn a_log_of_another_node_is_followed(on: &Stage) {
    let other = Stage::on(Arc::clone(&on.store), Arc::new(MemoryRecords::default()));
    let run = leased(on).await;
    let mut follower = other.service.follow_log(&run.id, 0).await.unwrap();
    assert_eq!(follower.next(Duration::ZERO).await.unwrap(), None);
    write(on, &run, &["far"]).await;
    assert_eq!(texts(&next(&mut follower).await), ["far"]);
    on.service.report(&run.id, &report(&run, done())).await.unwrap();
    assert_eq!(next(&mut follower).await.end, Some(RunState::Succeeded));
}

pub async fn a_follower_ends_with_its_node(on: &Stage) {
    let run = leased(on).await;
    let mut follower = on.service.follow_log(&run.id, 0).await.unwrap();
    on.node.shutdown.cancel();
    assert_eq!(follower.next(LONG).await.unwrap(), None);
    assert!(follower.is_stopping());
}
