//! Users who create, change and cancel tasks.

use std::sync::Arc;
use std::time::Duration;

use taskcenter_server::core::access::Grant;
use taskcenter_server::core::quota::Quota;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Run, RunState, Task, TaskId};
use taskcenter_server::engine::service::{
    Caller, Changed, Confirmation, IdempotencyKey, Result, Service, ServiceError, definition,
};
use taskcenter_server::ports::{Page, RunFilter, RunPage, TaskFilter};

use super::checker::{Kind, QUOTA};
use super::random_input::{self, one_in};
use super::time::sleep_ms;
use super::world::{Running, World};

/// Time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Runs one user while faults happen.
pub async fn run(world: Arc<World>) {
    let mut user = User { rng: world.fork_rng(), known: Vec::new(), requests: Vec::new(), world };
    while user.world.has_faults() {
        sleep_ms(user.rng.u64(1..1_500)).await;
        if let Some(node) = user.world.any_node(&mut user.rng) {
            user.act(&node).await;
        }
    }
}

/// Waits for the answer of a node. `None`: the node died, or took too long, and the caller never
/// knows the answer.
pub async fn call<T>(node: &Running, request: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = node.life.dead.cancelled() => None,
        answer = tokio::time::timeout(TIMEOUT, request) => answer.ok(),
    }
}

/// Returns the commands for the holder of a token with quotas.
fn holder(node: &Running) -> Service {
    let quota = Quota { max_live_tasks: Some(QUOTA), max_creates_per_sec: Some(5) };
    let (id, grant) = ("quota".to_owned(), Grant::everything());
    node.service.for_caller(Caller { id, grant, quota, ..Caller::anonymous() })
}

struct User {
    world: Arc<World>,
    rng: fastrand::Rng,
    known: Vec<TaskId>,
    requests: Vec<Request>,
}

/// Request with an idempotency key.
#[derive(Clone)]
struct Request {
    key: IdempotencyKey,
    batch: Vec<Submission>,
    has_quota: bool,
}

impl User {
    async fn act(&mut self, node: &Running) {
        match self.rng.u32(..22) {
            0..6 => self.submit(node).await,
            21 => self.replace(node).await,
            6..8 => self.submit_idempotent(node).await,
            8 => self.delete(node).await,
            9 => self.cancel(node).await,
            10..12 => self.pause(node).await,
            12..14 => self.resume(node).await,
            14..16 => Box::pin(self.edit(node)).await,
            16 => self.trigger(node).await,
            17 => self.change_a_run(node).await,
            18 => self.delete_by_name(node).await,
            19 => self.confirm(node).await,
            _ => self.read(node).await,
        }
    }

    fn some_task(&mut self) -> Option<TaskId> {
        // Mostly one of the latest tasks, so that changes coincide with fires.
        let recent = self.known.len().saturating_sub(8);
        let from = if one_in(&mut self.rng, 4) { 0 } else { recent };
        (from < self.known.len()).then(|| self.known[self.rng.usize(from..self.known.len())].clone())
    }

    fn submission(&mut self) -> Submission {
        let now = self.world.now();
        random_input::submission(&mut self.rng, now)
    }

    async fn submit(&mut self, node: &Running) {
        let submission = self.submission();
        let service = if one_in(&mut self.rng, 4) { holder(node) } else { node.service.clone() };
        let Some(Ok(answer)) = call(node, service.submit(submission.clone())).await else { return };
        self.world.checker.log(|| format!("submitted {answer:?}"));
        if answer.existing {
            self.world.checker.existing(&answer.id);
        } else {
            self.world.checker.submitted(&answer.id, &submission);
        }
        self.known.push(answer.id);
    }

    /// Submits a task that replaces the live task with its key.
    async fn replace(&mut self, node: &Running) {
        let now = self.world.now();
        let submission = random_input::replacement(&mut self.rng, now);
        let Some(Ok(answer)) = call(node, node.service.submit(submission.clone())).await else { return };
        self.world.checker.log(|| format!("replaced {answer:?}"));
        match &answer.stored {
            Some(task) if answer.replaced => self.world.checker.replaced(task, &submission),
            _ if answer.existing => self.world.checker.existing(&answer.id),
            _ => self.world.checker.submitted(&answer.id, &submission),
        }
        self.known.push(answer.id);
    }

    /// Submits with an idempotency key; often repeats an earlier request.
    async fn submit_idempotent(&mut self, node: &Running) {
        let repeats = !self.requests.is_empty() && self.rng.bool();
        if !repeats {
            let key = IdempotencyKey { key: format!("{}", self.rng.u64(..)), fingerprint: "f".to_owned() };
            let batch = (0..self.rng.usize(1..4)).map(|_| self.submission()).collect();
            let has_quota = one_in(&mut self.rng, 4);
            self.requests.push(Request { key, batch, has_quota });
        }
        let at = if repeats { self.rng.usize(..self.requests.len()) } else { self.requests.len() - 1 };
        let Request { key, batch, has_quota } = self.requests[at].clone();
        let service = if has_quota { holder(node) } else { node.service.clone() };
        let answers = match call(node, service.submit_idempotent(batch, Some(key.clone()))).await {
            Some(Ok(answers)) => answers,
            Some(Err(ServiceError::Quota(_))) => return self.world.checker.refused_by_quota(&key.key),
            _ => return,
        };
        let stored: Result<Vec<TaskId>> =
            answers.into_iter().map(|answer| answer.map(|answer| answer.id)).collect();
        if let Ok(ids) = stored {
            self.world.checker.answered_idempotent(&key.key, &ids);
            ids.iter().for_each(|id| self.world.checker.existing(id));
            self.known.extend(ids);
        }
    }

    async fn delete(&mut self, node: &Running) {
        let ids: Vec<TaskId> = (0..self.rng.usize(1..3)).filter_map(|_| self.some_task()).collect();
        if let Some(Ok(deleted)) = call(node, node.service.delete(&ids)).await {
            deleted.iter().for_each(|answer| self.world.checker.deleted(answer));
        }
    }

    async fn delete_by_name(&mut self, node: &Running) {
        if !one_in(&mut self.rng, 8) {
            return;
        }
        let name = random_input::name(&mut self.rng);
        if let Some(Ok((deleted, _))) = call(node, node.service.delete_by_name(&name)).await {
            deleted.iter().for_each(|answer| self.world.checker.deleted(answer));
        }
    }

    fn changed(&self, kind: Kind, answer: Option<Result<Changed>>) {
        match answer {
            Some(Ok(answer)) => {
                self.world.checker.log(|| {
                    format!("{kind:?} {} rev {} open {:?}", answer.task.id, answer.task.rev, answer.open_runs)
                });
                self.world.checker.changed(kind, &answer);
            }
            Some(Err(error)) => self.world.checker.log(|| format!("{kind:?} {error}")),
            None => {}
        }
    }

    async fn cancel(&mut self, node: &Running) {
        let Some(id) = self.some_task() else { return };
        self.changed(Kind::Cancel, call(node, node.service.cancel(&id, None)).await);
    }

    async fn pause(&mut self, node: &Running) {
        let Some(id) = self.some_task() else { return };
        self.changed(Kind::Pause, call(node, node.service.pause(&id, None)).await);
    }

    async fn resume(&mut self, node: &Running) {
        let Some(id) = self.some_task() else { return };
        self.changed(Kind::Resume, call(node, node.service.resume(&id, None)).await);
    }

    async fn edit(&mut self, node: &Running) {
        let Some(id) = self.some_task() else { return };
        let Some(Ok(task)) = call(node, node.service.shown_task(&id)).await else { return };
        self.world.checker.seen(&task);
        let edited = if self.rng.bool() {
            Submission { data: format!("edited {}", self.rng.u32(..1_000)), ..definition(&task) }
        } else {
            continue_with_calendars(self.submission(), &task)
        };
        let rev = if one_in(&mut self.rng, 6) { task.rev + 1 } else { task.rev };
        self.changed(Kind::Edit, call(node, node.service.edit(&id, rev, edited)).await);
    }

    async fn trigger(&mut self, node: &Running) {
        let Some(id) = self.some_task() else { return };
        let key = self
            .rng
            .bool()
            .then(|| IdempotencyKey { key: format!("{}", self.rng.u32(..50)), fingerprint: id.to_string() });
        if let Some(Ok(run)) = call(node, node.service.trigger(&id, key)).await {
            self.world.checker.acknowledged_run(&run);
        }
    }

    async fn runs_of_some_task(&mut self, node: &Running) -> Vec<Run> {
        let Some(task_id) = self.some_task() else { return Vec::new() };
        let filter = RunFilter { task_id: Some(task_id), ..RunFilter::default() };
        let page = RunPage { limit: 5, before: None };
        call(node, node.service.list_runs(&filter, &page)).await.and_then(Result::ok).unwrap_or_default()
    }

    async fn change_a_run(&mut self, node: &Running) {
        for Run { id, state, .. } in self.runs_of_some_task(node).await {
            let answer = match self.rng.u32(..5) {
                at if at == 0 || at >= 3 && state == RunState::Leased => {
                    call(node, node.service.cancel_run(&id)).await
                }
                1..4 => call(node, node.service.retry_run(&id)).await,
                _ => call(node, node.service.run(&id)).await,
            };
            if let Some(Ok(run)) = answer {
                self.world.checker.acknowledged_run(&run);
            }
        }
    }

    /// Confirms outcomes as the legacy APIs do, without a token; mostly of runs that have not
    /// succeeded.
    async fn confirm(&mut self, node: &Running) {
        let mut runs = self.runs_of_some_task(node).await;
        runs.retain(|run| run.state != RunState::Succeeded || one_in(&mut self.rng, 4));
        for run in runs {
            let succeeded = !one_in(&mut self.rng, 3);
            let confirmation = Confirmation { succeeded, message: None, result: None };
            self.world.checker.about_to_confirm(&run.id, &confirmation);
            if let Some(Ok(run)) = call(node, node.service.confirm(&run.id, &confirmation)).await {
                self.world.checker.log(|| format!("confirmed {} as {:?}", run.id, run.state));
                self.world.checker.confirmation_accepted(&confirmation, &run);
            }
        }
    }

    /// Reads lists and counters.
    async fn read(&mut self, node: &Running) {
        let page = Page { limit: 5, before: None };
        let tasks = call(node, node.service.list_tasks(&TaskFilter::default(), &page)).await;
        if let Some(Ok(tasks)) = tasks {
            tasks.iter().for_each(|task| self.world.checker.seen(task));
        }
        let unknown = TaskId::new(uuid::Uuid::from_u128(u128::from(self.rng.u64(..))));
        if let Some(Ok(_)) = call(node, node.service.pause(&unknown, None)).await {
            self.world.checker.existing(&unknown);
        }
        let _: Option<Result<u32>> = call(node, async {
            Ok::<u32, ServiceError>(
                node.service.backlog().await?.len() as u32 + node.service.queues().await?.len() as u32,
            )
        })
        .await;
    }
}

/// Returns the edit with the calendars of the task, if only these differ: the checker does not know the exact time of
/// an edit that continues the schedule.
fn continue_with_calendars(edited: Submission, task: &Task) -> Submission {
    let current = definition(task);
    let times = |of: &Submission| (of.schedule.clone(), of.start_at, of.end_at, of.max_fires);
    let calendars =
        if times(&edited) == times(&current) { current.timing.calendars } else { edited.timing.calendars };
    Submission { timing: Timing { calendars, ..edited.timing }, ..edited }
}
