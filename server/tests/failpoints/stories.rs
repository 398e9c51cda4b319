//! What happens on the stage: each story passes a part of the failpoints, at each of which its node may die.

use std::time::Duration;

use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::{Run, RunId, RunState, Schedule, TaskId};
use taskcenter_server::engine::service::{Held, IdempotencyKey, LeaseTerms, Report, ServiceError};

use crate::bus::REFUSED;
use crate::judge::Verdict;
use crate::stage::{Running, Stage};
use crate::{changes, documents, rescues};

/// A story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// Tasks are submitted and fire, over the bus and into a queue.
    Fires,
    /// Attempts fail, lapse, are given back and refused, until they succeed.
    Retries,
    /// A node has left rows behind at each step of a fire.
    Rescues,
    /// People change tasks and runs.
    Changes,
    /// Documents beside the ledger.
    Documents,
    /// What ended long ago goes.
    Prunes,
}

/// Plays a story to its end, and judges it.
pub async fn play(stage: &mut Stage, story: Story) -> Verdict {
    match story {
        Story::Fires => fires(stage).await,
        Story::Retries => retries(stage).await,
        Story::Rescues => rescues::play(stage).await,
        Story::Changes => changes::play(stage).await,
        Story::Documents => documents::play(stage).await,
        Story::Prunes => documents::prunes(stage).await,
    }
    stage.calm().await;
    let book = std::mem::take(&mut stage.book);
    book.judge(&*stage.back_end.store(), &stage.post).await
}

/// A loop that ends by itself.
pub fn looped(stage: &mut Stage, name: &str, period_ms: i64, fires: u64) -> Submission {
    Submission {
        schedule: Schedule::Every { period_ms },
        max_fires: Some(fires),
        dedup: Dedup::Nothing,
        ..one_shot(stage, name)
    }
}

/// A one-shot with data of its own.
pub fn one_shot(stage: &mut Stage, name: &str) -> Submission {
    let data = format!("{:x}", stage.lots.u64(..));
    // Often, and soon again.
    let retry = RetryPolicy { max_attempts: 40, backoff_ms: 200, max_backoff_ms: 400 };
    Submission { retry: Some(retry), max_runtime_sec: Some(2), ..Submission::named(name, data) }
}

pub fn queued(submission: Submission) -> Submission {
    Submission { queue: Some("queue".to_owned()), ..submission }
}

/// Submits a task; `moments` of it must have fired in the end. Where it stands already, an earlier try of this call has stored it.
pub async fn submit(stage: &mut Stage, submission: Submission, moments: Option<usize>) -> TaskId {
    let ask = async |running: &Running| running.service.submit(submission.clone()).await;
    let id = stage.ask(ask).await.expect("it is accepted").id;
    stage.book.submitted(&id, moments);
    id
}

pub fn key(stage: &mut Stage) -> IdempotencyKey {
    IdempotencyKey { key: format!("{:x}", stage.lots.u128(..)), fingerprint: "f".to_owned() }
}

async fn fires(stage: &mut Stage) {
    let batch = vec![
        one_shot(stage, "bus"),
        Submission { ack: true, ..looped(stage, "bus", 1_000, 3) },
        queued(looped(stage, "queue", 700, 2)),
    ];
    let key = key(stage);
    let ask = async |running: &Running| {
        let answers = running.service.submit_idempotent(batch.clone(), Some(key.clone())).await?;
        answers.into_iter().collect::<Result<Vec<_>, ServiceError>>()
    };
    let answers = stage.ask(ask).await.expect("all of them are accepted");
    for (answer, moments) in answers.into_iter().zip([1, 3, 2]) {
        stage.book.submitted(&answer.id, Some(moments));
    }
    let pair = one_shot(stage, "bus");
    submit(stage, pair, Some(1)).await;
    let mut consumer = Consumer::default();
    for _ in 0..5 {
        stage.pass(900).await;
        consumer.consume(stage, true).await;
        work(stage, true).await;
    }
    wind_up(stage, consumer).await;
}

async fn retries(stage: &mut Stage) {
    let bus = Submission { ack: true, ..one_shot(stage, "bus") };
    let queue = queued(one_shot(stage, "queue"));
    for submission in [bus, queue] {
        submit(stage, submission, Some(1)).await;
    }
    let refused = looped(stage, REFUSED, 1_100, 3);
    submit(stage, refused, Some(3)).await;
    let mut consumer = Consumer::default();
    for _ in 0..6 {
        stage.pass(1_100).await;
        consumer.consume(stage, false).await;
        work(stage, false).await;
    }
    wind_up(stage, consumer).await;
}

/// Everybody does well until every run has come to its end.
pub async fn wind_up(stage: &mut Stage, mut consumer: Consumer) {
    const ROUNDS: usize = 40;
    let tasks = stage.book.tasks();
    for _ in 0..ROUNDS {
        stage.pass(1_000).await;
        consumer.consume(stage, true).await;
        work(stage, true).await;
        if stage.are_over(&tasks).await {
            return;
        }
    }
}

/// A consumer of the bus, and how far it has read.
#[derive(Default)]
pub struct Consumer(usize);

impl Consumer {
    /// Reports on what has come; a good one reports on all, and that it went well.
    pub async fn consume(&mut self, stage: &mut Stage, is_good: bool) {
        let come: Vec<_> = stage.post.sent().iter().skip(self.0).cloned().collect();
        self.0 += come.len();
        for sent in come.into_iter().filter(|sent| sent.awaits_outcome) {
            let outcome = match stage.lots.u32(..3) {
                _ if is_good => Outcome::Succeeded { result: None },
                0 => Outcome::Failed { retry_after_ms: None },
                1 => continue,
                _ => Outcome::Succeeded { result: None },
            };
            report(stage, &sent.run, sent.attempt, &sent.token, outcome).await;
        }
    }
}

/// A worker takes what there is, and settles it; a good one settles all, and that it went well.
pub async fn work(stage: &mut Stage, is_good: bool) {
    for run in lease(stage).await {
        if stage.lots.bool() {
            renew(stage, &run).await;
        }
        let outcome = match stage.lots.u32(..4) {
            _ if is_good => Outcome::Succeeded { result: None },
            0 => Outcome::Failed { retry_after_ms: None },
            1 => Outcome::Released,
            2 => continue,
            _ => Outcome::Succeeded { result: None },
        };
        report(stage, &run.id, run.attempt, &run.token, outcome).await;
    }
}

pub async fn lease(stage: &mut Stage) -> Vec<Run> {
    let terms = LeaseTerms {
        worker: format!("worker-{}", stage.lots.u32(..)),
        queues: vec!["queue".to_owned()],
        limit: 3,
        lease_ms: 1_500,
        wait: Duration::ZERO,
    };
    let runs = stage.ask(async |running| running.service.lease(&terms).await).await;
    let runs = runs.expect("the store answers");
    runs.iter().for_each(|run| stage.book.handed(run));
    runs
}

async fn renew(stage: &mut Stage, run: &Run) {
    let held = Held { run_id: run.id.clone(), attempt: run.attempt, token: run.token.clone() };
    let ask = async |running: &Running| running.service.renew(std::slice::from_ref(&held), 2_500).await;
    let answers = stage.ask(ask).await.expect("the store answers");
    if let [Err(error)] = answers.as_slice()
        && !matches!(error, ServiceError::Stale(_))
    {
        stage.book.wrong(format!("a lease could not be renewed: {error}"));
    }
}

async fn report(stage: &mut Stage, id: &RunId, attempt: u32, token: &str, outcome: Outcome) {
    let report = Report { attempt, token: token.to_owned(), outcome, message: None };
    match stage.ask(async |running| running.service.report(id, &report).await).await {
        Ok(run) => stage.book.settled(&run),
        // While it was told again and again, somebody else has taken over.
        Err(ServiceError::Stale(_)) => {}
        Err(error) => stage.book.wrong(format!("a report on {id} was refused: {error}")),
    }
}

/// Notes what an acknowledged change of a task has stopped.
pub async fn note_stopped(stage: &mut Stage, task: &TaskId, rev: u32, listed: &[RunId]) {
    let runs = stage.runs(task).await;
    stage.book.stopped(&runs, rev, listed);
}

/// A run in that state, if the task has one.
pub async fn run_in(stage: &Stage, task: &TaskId, wanted: RunState) -> Option<Run> {
    stage.runs(task).await.into_iter().rfind(|run| run.state == wanted)
}
