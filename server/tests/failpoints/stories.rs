//! Stories: each one passes some of the failpoints, and its node may die at any of them.

use std::time::Duration;

use taskcenter_server::core::hold::HoldScope;
use taskcenter_server::core::overlap::Overlap;
use taskcenter_server::core::rate::Rate;
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Moment, Run, RunId, RunState, Schedule, TaskId};
use taskcenter_server::engine::service::{Held, IdempotencyKey, LeaseTerms, NewHold, Report, ServiceError};

use crate::bus::REFUSED;
use crate::cancellations::cancel_a_leased_run;
use crate::judge::Verdict;
use crate::stage::{Running, Stage};
use crate::{changes, documents, logs, operations, rescues};

/// Scenario that passes a group of failpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// Tasks are submitted and fire, over the bus and into a queue.
    Fires,
    /// Requests are answered with a task that exists.
    Existing,
    /// Attempts fail, expire and are released, until they succeed.
    Retries,
    /// The broker refuses messages, and runs are too late to start.
    Refusals,
    /// Runs wait for an overlap policy and for concurrency limits.
    Waits,
    /// Runs wait for the end of a hold.
    Holds,
    /// A node died after each step of a fire, and another one rescues the rows.
    Rescues,
    /// A node died with leased runs.
    Orphans,
    /// A node died in a fire, and then a user changes the task.
    ChangedRows,
    /// Users pause, resume and edit tasks.
    Edits,
    /// Users redrive, cancel and confirm runs.
    RunChanges,
    /// Users trigger tasks.
    Triggers,
    /// Users cancel and delete tasks.
    Ends,
    /// Records beside the ledger.
    Documents,
    /// Old tasks and runs are removed.
    Prunes,
    /// Operations act on several tasks and runs.
    Operations,
    /// Ended operations are pruned.
    OldOperations,
    /// Operations redrive runs with a canary.
    Canaries,
    /// Operations create the runs of a period.
    Backfills,
}

/// Plays a story to its end, and checks it.
pub async fn play(stage: &mut Stage, story: Story) -> Verdict {
    match story {
        Story::Fires => fires(stage).await,
        Story::Existing => existing(stage).await,
        Story::Retries => retries(stage).await,
        Story::Refusals => refusals(stage).await,
        Story::Waits => waits(stage).await,
        Story::Holds => holds(stage).await,
        Story::Rescues => Box::pin(rescues::rows(stage)).await,
        Story::Orphans => Box::pin(rescues::leases(stage)).await,
        Story::ChangedRows => Box::pin(rescues::changed(stage)).await,
        Story::Edits => Box::pin(changes::edits(stage)).await,
        Story::RunChanges => Box::pin(changes::runs(stage)).await,
        Story::Triggers => Box::pin(changes::triggers(stage)).await,
        Story::Ends => Box::pin(changes::ends(stage)).await,
        Story::Documents => documents::play(stage).await,
        Story::Prunes => documents::prunes(stage).await,
        Story::Operations => Box::pin(operations::play(stage)).await,
        Story::OldOperations => operations::old(stage).await,
        Story::Canaries => Box::pin(operations::canaries(stage)).await,
        Story::Backfills => Box::pin(operations::backfills(stage)).await,
    }
    stage.disarm().await;
    let book = std::mem::take(&mut stage.book);
    book.check(&*stage.back_end.store(), &stage.broker).await
}

/// Returns a repeating task with a limited number of fires.
pub fn repeating(stage: &mut Stage, name: &str, period_ms: i64, fires: u64) -> Submission {
    Submission {
        schedule: Schedule::Every { period_ms },
        max_fires: Some(fires),
        dedup: Dedup::Nothing,
        ..one_shot(stage, name)
    }
}

/// Returns a one-shot task with unique data.
pub fn one_shot(stage: &mut Stage, name: &str) -> Submission {
    let data = format!("{:x}", stage.rng.u64(..));
    // Many attempts with short pauses, because every death may cost an attempt.
    let retry = RetryPolicy::doubling(40, 200, 400);
    Submission { retry: Some(retry), max_runtime_sec: Some(2), ..Submission::named(name, data) }
}

pub fn queued(submission: Submission) -> Submission {
    Submission { queue: Some("queue".to_owned()), ..submission }
}

/// Submits a task of which `moments` must have fired in the end. If the task exists already, an
/// earlier try of this call has stored it.
pub async fn submit(stage: &mut Stage, submission: Submission, moments: Option<usize>) -> TaskId {
    let submit = async |running: &Running| running.service.submit(submission.clone()).await;
    let id = stage.call(submit).await.expect("the task is accepted").id;
    stage.book.submitted(&id, moments);
    id
}

pub fn key(stage: &mut Stage) -> IdempotencyKey {
    IdempotencyKey { key: format!("{:x}", stage.rng.u128(..)), fingerprint: "f".to_owned() }
}

async fn fires(stage: &mut Stage) {
    let batch = vec![
        one_shot(stage, "bus"),
        Submission { ack: true, ..repeating(stage, "bus", 1_000, 8) },
        queued(repeating(stage, "queue", 700, 8)),
    ];
    let key = key(stage);
    let submit_batch = async |running: &Running| {
        let answers = running.service.submit_idempotent(batch.clone(), Some(key.clone())).await?;
        answers.into_iter().collect::<Result<Vec<_>, ServiceError>>()
    };
    let answers = stage.call(submit_batch).await.expect("all tasks are accepted");
    for (answer, moments) in answers.into_iter().zip([1, 8, 8]) {
        stage.book.submitted(&answer.id, Some(moments));
    }
    let pair = one_shot(stage, "bus");
    submit(stage, pair, Some(1)).await;
    is_answered_with_an_existing_task(stage).await;
    let mut consumer = Consumer::default();
    for _ in 0..5 {
        stage.pass(900).await;
        consumer.consume(stage, true).await;
        work(stage, true).await;
    }
    wind_up(stage, consumer).await;
}

/// Repeats a request that was answered with an existing task after the end of that task.
async fn is_answered_with_an_existing_task(stage: &mut Stage) {
    let later = Submission { start_at: Some(Moment::from_sec(4_000_000_000)), ..one_shot(stage, "later") };
    let plain = async |running: &Running| running.service.submit(later.clone()).await;
    let holder = stage.call(plain).await.expect("the task is accepted").id;
    let key = key(stage);
    let keyed = async |running: &Running| {
        let answers = running.service.submit_idempotent(vec![later.clone()], Some(key.clone())).await?;
        answers.into_iter().collect::<Result<Vec<_>, ServiceError>>()
    };
    for _ in 0..2 {
        let answers = stage.call(keyed).await.expect("the task exists");
        if answers.iter().any(|answer| answer.id != holder || !answer.existing) {
            stage.book.violation(format!("{answers:?} instead of {holder}"));
        }
        let delete = async |running: &Running| running.service.delete(std::slice::from_ref(&holder)).await;
        stage.call(delete).await.expect("the store answers");
    }
}

/// Many requests, because each one passes a point once.
async fn existing(stage: &mut Stage) {
    const REQUESTS: usize = 10;
    for _ in 0..REQUESTS {
        is_answered_with_an_existing_task(stage).await;
    }
}

async fn retries(stage: &mut Stage) {
    let bus = Submission { ack: true, ..one_shot(stage, "bus") };
    let queue = queued(one_shot(stage, "queue"));
    for submission in [bus, queue] {
        submit(stage, submission, Some(1)).await;
    }
    limited(stage, "1:all:k").await;
    struggle(stage).await;
}

async fn refusals(stage: &mut Stage) {
    const MOMENTS: u64 = 12;
    let refused = repeating(stage, REFUSED, 1_100, MOMENTS);
    submit(stage, refused, Some(MOMENTS as usize)).await;
    let late = Submission { start_within_ms: Some(1), ..repeating(stage, "bus", 1_100, MOMENTS) };
    submit(stage, late, Some(MOMENTS as usize)).await;
    wind_up(stage, Consumer::default()).await;
}

async fn waits(stage: &mut Stage) {
    let policies =
        [(Overlap::QueueAll { max: 2 }, true), (Overlap::CancelPrevious, true), (Overlap::Skip, false)];
    for (overlap, is_queued) in policies {
        let task = Submission { ack: !is_queued, ..repeating(stage, "bus", 1_100, 3) };
        let task = Submission { timing: Timing { overlap: Some(overlap), ..Timing::default() }, ..task };
        submit(stage, if is_queued { queued(task) } else { task }, Some(3)).await;
    }
    for limits in ["1:all:k", "2:queue 1:all:k"] {
        limited(stage, limits).await;
    }
    struggle(stage).await;
}

/// Each hold begins with ready runs, which a lease keeps back, and other runs fire during the hold.
async fn holds(stage: &mut Stage) {
    const MOMENTS: u64 = 16;
    let task = queued(repeating(stage, "held", 300, MOMENTS));
    submit(stage, task, Some(MOMENTS as usize)).await;
    for _ in 0..4 {
        stage.pass(600).await;
        hold(stage, "held").await;
        work(stage, true).await;
        stage.pass(600).await;
        release(stage, "held").await;
    }
    wind_up(stage, Consumer::default()).await;
}

/// Submits a task with concurrency limits and a rate limit.
async fn limited(stage: &mut Stage, limits: &str) {
    let concurrency = limits.split(' ').map(|limit| limit.parse().expect("a limit")).collect();
    let task = queued(repeating(stage, "bus", 1_100, 3));
    // MongoDB gives permits by the real time, of which a story takes little.
    let rate: Rate = "1000/1s:all:k".parse().expect("a rate limit");
    let rate = Some(Rate { burst: Some(3), ..rate });
    let timing = Timing { concurrency, rate, ..Timing::default() };
    submit(stage, Submission { timing, ..task }, Some(3)).await;
}

/// Handlers fail, are stopped and are slow for a while.
async fn struggle(stage: &mut Stage) {
    let mut consumer = Consumer::default();
    stage.pass(1_100).await;
    cancel_a_leased_run(stage).await;
    for _ in 0..6 {
        stage.pass(1_100).await;
        consumer.consume(stage, false).await;
        work(stage, false).await;
    }
    wind_up(stage, consumer).await;
}

/// Holds a tag.
async fn hold(stage: &mut Stage, tag: &str) {
    let new = NewHold { scope: HoldScope::Tag, name: tag.to_owned(), reason: String::new(), until: None };
    let hold = async |running: &Running| running.service.hold(new.clone()).await;
    stage.call(hold).await.expect("the hold is valid");
}

/// Ends the hold of a tag. An earlier try of the call may have ended it.
async fn release(stage: &mut Stage, tag: &str) {
    let release = async |running: &Running| match running.service.release_hold(HoldScope::Tag, tag).await {
        Ok(_) | Err(ServiceError::NotFound) => Ok(()),
        Err(error) => Err(error),
    };
    stage.call(release).await.expect("the store answers");
}

/// Lets all handlers succeed until every run has ended.
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

/// Consumer of the bus, with the number of messages that it has read.
#[derive(Default)]
pub struct Consumer(usize);

impl Consumer {
    /// Reports outcomes of the new messages; with `is_good`, a success for each.
    pub async fn consume(&mut self, stage: &mut Stage, is_good: bool) {
        let messages: Vec<_> = stage.broker.sent().iter().skip(self.0).cloned().collect();
        self.0 += messages.len();
        for sent in messages.into_iter().filter(|sent| sent.awaits_outcome) {
            let outcome = match stage.rng.u32(..3) {
                _ if is_good => Outcome::Succeeded { result: None },
                0 => Outcome::Failed { retry_after_ms: None },
                1 => continue,
                _ => Outcome::Succeeded { result: None },
            };
            report(stage, &sent.run, sent.attempt, &sent.token, outcome).await;
        }
    }
}

/// Leases runs and settles them; with `is_good`, each with a success.
pub async fn work(stage: &mut Stage, is_good: bool) {
    for run in lease(stage).await {
        logs::append(stage, &run).await;
        if stage.rng.bool() {
            renew(stage, &run).await;
        }
        let outcome = match stage.rng.u32(..4) {
            _ if is_good => Outcome::Succeeded { result: None },
            0 => Outcome::Failed { retry_after_ms: None },
            1 => Outcome::Released { after_ms: stage.rng.bool().then_some(100) },
            2 => continue,
            _ => Outcome::Succeeded { result: None },
        };
        report(stage, &run.id, run.attempt, &run.token, outcome).await;
    }
}

pub async fn lease(stage: &mut Stage) -> Vec<Run> {
    let terms = LeaseTerms {
        worker: format!("worker-{}", stage.rng.u32(..)),
        queues: vec!["queue".to_owned()],
        limit: 3,
        lease_ms: 1_500,
        wait: Duration::ZERO,
        request_id: None,
    };
    let runs = stage.call(async |running| running.service.lease(&terms).await).await;
    let runs = runs.expect("the store answers");
    runs.iter().for_each(|run| stage.book.leased(run));
    runs
}

pub async fn renew(stage: &mut Stage, run: &Run) {
    let held =
        Held { run_id: run.id.clone(), attempt: run.attempt, token: run.token.clone(), progress: None };
    let renew = async |running: &Running| running.service.renew(std::slice::from_ref(&held), 2_500).await;
    let answers = stage.call(renew).await.expect("the store answers");
    if let [Err(error)] = answers.as_slice()
        && !matches!(error, ServiceError::Stale(_))
    {
        stage.book.violation(format!("a lease could not be renewed: {error}"));
    }
}

pub async fn report(stage: &mut Stage, id: &RunId, attempt: u32, token: &str, outcome: Outcome) {
    let report = Report { attempt, token: token.to_owned(), outcome, message: None, started_at: None };
    match stage.call(async |running| running.service.report(id, &report).await).await {
        Ok(run) => stage.book.settled(&run),
        // During the repeated calls, another worker has taken over the run.
        Err(ServiceError::Stale(_)) => {}
        Err(error) => stage.book.violation(format!("a report on {id} was refused: {error}")),
    }
}

/// Records the runs that an acknowledged change of a task has stopped.
pub async fn note_stopped(stage: &mut Stage, task: &TaskId, rev: u32, listed: &[RunId]) {
    let runs = stage.runs(task).await;
    stage.book.stopped(&runs, rev, listed);
}

/// Returns the latest run of the task in this state.
pub async fn run_in(stage: &Stage, task: &TaskId, wanted: RunState) -> Option<Run> {
    stage.runs(task).await.into_iter().rfind(|run| run.state == wanted)
}
