//! People who hand in tasks, change them and call them off.

use std::sync::Arc;
use std::time::Duration;

use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::{Run, RunState, TaskId};
use taskcenter_server::engine::service::{
    Changed, Confirmation, IdempotencyKey, Result, ServiceError, definition,
};
use taskcenter_server::ports::{Page, RunFilter, RunPage, TaskFilter};

use super::checker::Kind;
use super::time::sleep_ms;
use super::words::{self, once_in};
use super::world::{Running, World};

/// How long a caller waits for its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// One user, for as long as it is rough.
pub async fn live(world: Arc<World>) {
    let mut user = User { lots: world.lots(), known: Vec::new(), asked: Vec::new(), world };
    while user.world.is_rough() {
        sleep_ms(user.lots.u64(1..1_500)).await;
        if let Some(node) = user.world.any_node(&mut user.lots) {
            user.act(&node).await;
        }
    }
}

/// Waits for an answer. `None`: the caller will never know, because the node died or took too long.
pub async fn ask<T>(node: &Running, question: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = node.life.dead.cancelled() => None,
        answer = tokio::time::timeout(PATIENCE, question) => answer.ok(),
    }
}

struct User {
    world: Arc<World>,
    lots: fastrand::Rng,
    known: Vec<TaskId>,
    asked: Vec<(IdempotencyKey, Vec<Submission>)>,
}

impl User {
    async fn act(&mut self, node: &Running) {
        match self.lots.u32(..21) {
            0..6 => self.submit(node).await,
            6..8 => self.submit_once(node).await,
            8 => self.delete(node).await,
            9 => self.cancel(node).await,
            10..12 => self.hold(node).await,
            12..14 => self.go_on(node).await,
            14..16 => self.edit(node).await,
            16 => self.trigger(node).await,
            17 => self.touch_a_run(node).await,
            18 => self.delete_by_name(node).await,
            19 => self.confirm(node).await,
            _ => self.look(node).await,
        }
    }

    fn some_task(&mut self) -> Option<TaskId> {
        // Mostly one of the latest: changes should meet fires.
        let recent = self.known.len().saturating_sub(8);
        let from = if once_in(&mut self.lots, 4) { 0 } else { recent };
        (from < self.known.len()).then(|| self.known[self.lots.usize(from..self.known.len())].clone())
    }

    fn submission(&mut self) -> Submission {
        let now = self.world.now();
        words::submission(&mut self.lots, now)
    }

    async fn submit(&mut self, node: &Running) {
        let submission = self.submission();
        let Some(Ok(answer)) = ask(node, node.service.submit(submission.clone())).await else { return };
        self.world.checker.log(|| format!("submitted {answer:?}"));
        if answer.existing {
            self.world.checker.existing(&answer.id);
        } else {
            self.world.checker.submitted(&answer.id, &submission);
        }
        self.known.push(answer.id);
    }

    /// With an idempotency key; often it is the request of before again.
    async fn submit_once(&mut self, node: &Running) {
        let repeats = !self.asked.is_empty() && self.lots.bool();
        if !repeats {
            let key = IdempotencyKey { key: format!("{}", self.lots.u64(..)), fingerprint: "f".to_owned() };
            let plain = |submission| Submission { dedup: Dedup::Nothing, ..submission };
            let batch = (0..self.lots.usize(1..4)).map(|_| plain(self.submission())).collect();
            self.asked.push((key, batch));
        }
        let at = if repeats { self.lots.usize(..self.asked.len()) } else { self.asked.len() - 1 };
        let (key, batch) = self.asked[at].clone();
        let Some(Ok(answers)) = ask(node, node.service.submit_idempotent(batch, Some(key.clone()))).await
        else {
            return;
        };
        let stored: Result<Vec<TaskId>> =
            answers.into_iter().map(|answer| answer.map(|answer| answer.id)).collect();
        if let Ok(ids) = stored {
            self.world.checker.answered_once(&key.key, &ids);
            ids.iter().for_each(|id| self.world.checker.existing(id));
            self.known.extend(ids);
        }
    }

    async fn delete(&mut self, node: &Running) {
        let ids: Vec<TaskId> = (0..self.lots.usize(1..3)).filter_map(|_| self.some_task()).collect();
        if let Some(Ok(deleted)) = ask(node, node.service.delete(&ids)).await {
            deleted.iter().for_each(|answer| self.world.checker.deleted(answer));
        }
    }

    async fn delete_by_name(&mut self, node: &Running) {
        if !once_in(&mut self.lots, 8) {
            return;
        }
        let name = words::name(&mut self.lots);
        if let Some(Ok(deleted)) = ask(node, node.service.delete_by_name(&name)).await {
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
        self.changed(Kind::Cancel, ask(node, node.service.cancel(&id, None)).await);
    }

    async fn hold(&mut self, node: &Running) {
        let Some(id) = self.some_task() else { return };
        self.changed(Kind::Pause, ask(node, node.service.pause(&id, None)).await);
    }

    async fn go_on(&mut self, node: &Running) {
        let Some(id) = self.some_task() else { return };
        self.changed(Kind::Resume, ask(node, node.service.resume(&id, None)).await);
    }

    async fn edit(&mut self, node: &Running) {
        let Some(id) = self.some_task() else { return };
        let Some(Ok(task)) = ask(node, node.service.shown_task(&id)).await else { return };
        self.world.checker.seen(&task);
        let wish = if self.lots.bool() {
            Submission { data: format!("edited {}", self.lots.u32(..1_000)), ..definition(&task) }
        } else {
            self.submission()
        };
        let rev = if once_in(&mut self.lots, 6) { task.rev + 1 } else { task.rev };
        self.changed(Kind::Edit, ask(node, node.service.edit(&id, rev, wish)).await);
    }

    async fn trigger(&mut self, node: &Running) {
        let Some(id) = self.some_task() else { return };
        let key = self
            .lots
            .bool()
            .then(|| IdempotencyKey { key: format!("{}", self.lots.u32(..50)), fingerprint: id.to_string() });
        if let Some(Ok(run)) = ask(node, node.service.trigger(&id, key)).await {
            self.world.checker.acknowledged_run(&run);
        }
    }

    async fn runs_of_some_task(&mut self, node: &Running) -> Vec<Run> {
        let Some(task_id) = self.some_task() else { return Vec::new() };
        let filter = RunFilter { task_id: Some(task_id), ..RunFilter::default() };
        let page = RunPage { limit: 5, before: None };
        ask(node, node.service.list_runs(&filter, &page)).await.and_then(Result::ok).unwrap_or_default()
    }

    async fn touch_a_run(&mut self, node: &Running) {
        for id in self.runs_of_some_task(node).await.into_iter().map(|run| run.id) {
            let answer = match self.lots.u32(..5) {
                0 => ask(node, node.service.cancel_run(&id)).await,
                1..4 => ask(node, node.service.retry_run(&id)).await,
                _ => ask(node, node.service.run(&id)).await,
            };
            if let Some(Ok(run)) = answer {
                self.world.checker.acknowledged_run(&run);
            }
        }
    }

    /// Puts outcomes on record as a front does whose clients know no token; mostly of what has not succeeded.
    async fn confirm(&mut self, node: &Running) {
        let mut runs = self.runs_of_some_task(node).await;
        runs.retain(|run| run.state != RunState::Succeeded || once_in(&mut self.lots, 4));
        for run in runs {
            let succeeded = !once_in(&mut self.lots, 3);
            let word = Confirmation { succeeded, message: None, result: None };
            self.world.checker.about_to_confirm(&run.id, &word);
            if let Some(Ok(run)) = ask(node, node.service.confirm(&run.id, &word)).await {
                self.world.checker.log(|| format!("confirmed {} as {:?}", run.id, run.state));
                self.world.checker.confirmation_taken(&word, &run);
            }
        }
    }

    /// Reads what the pages show.
    async fn look(&mut self, node: &Running) {
        let page = Page { limit: 5, before: None };
        let tasks = ask(node, node.service.list_tasks(&TaskFilter::default(), &page)).await;
        if let Some(Ok(tasks)) = tasks {
            tasks.iter().for_each(|task| self.world.checker.seen(task));
        }
        let unknown = TaskId::new(uuid::Uuid::from_u128(u128::from(self.lots.u64(..))));
        if let Some(Ok(_)) = ask(node, node.service.pause(&unknown, None)).await {
            self.world.checker.existing(&unknown);
        }
        let _: Option<Result<u32>> = ask(node, async {
            Ok::<u32, ServiceError>(
                node.service.backlog().await?.len() as u32 + node.service.queues().await?.len() as u32,
            )
        })
        .await;
    }
}
