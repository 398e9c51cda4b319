//! Creating tasks.

use std::collections::BTreeSet;

use super::audit::AuditAction;
use super::{PortError, Result, Service, ServiceError};
use crate::core::Moment;
use crate::core::access::Scope;
use crate::core::conflict::OnConflict;
use crate::core::submission::Submission;
use crate::core::task::{Task, TaskId};
use crate::ports::InsertedTask;

/// The answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    pub id: TaskId,
    pub name: String,
    /// Whether a live task with the same key existed, so that no task was created.
    pub existing: bool,
    /// Whether the existing task has got the definition of the submission.
    pub replaced: bool,
    /// The task as this request has stored it. `None`: an earlier request has stored it.
    pub stored: Option<Box<Task>>,
}

impl Submitted {
    /// Returns the answer, unless the submission refuses an existing task.
    pub(super) fn checked(self, on_conflict: OnConflict) -> Result<Self> {
        if self.existing && on_conflict == OnConflict::Reject {
            return Err(ServiceError::KeyHeld(self.id));
        }
        Ok(self)
    }
}

/// Submissions that were accepted or refused, in order.
#[derive(Default)]
pub(super) struct Checked {
    /// The tasks of the accepted submissions.
    pub tasks: Vec<Task>,
    /// For each submission, what it does on a conflict, and why it was refused.
    pub verdicts: Vec<(OnConflict, Result<()>)>,
}

impl FromIterator<(OnConflict, Result<Task>)> for Checked {
    fn from_iter<I: IntoIterator<Item = (OnConflict, Result<Task>)>>(accepted: I) -> Self {
        let mut checked = Self::default();
        for (on_conflict, task) in accepted {
            checked.verdicts.push((on_conflict, task.map(|task| checked.tasks.push(task))));
        }
        checked
    }
}

impl Checked {
    /// Returns the tasks and the refusals.
    pub fn into_results(self) -> impl Iterator<Item = (OnConflict, Result<Task>)> {
        let mut tasks = self.tasks.into_iter();
        self.verdicts.into_iter().map(move |(on_conflict, verdict)| {
            (on_conflict, verdict.and_then(|()| tasks.next().ok_or_else(|| no_answer().into())))
        })
    }
}

/// The answer to one submission, with its task if it was accepted.
pub(super) struct Answered {
    pub on_conflict: OnConflict,
    pub task: Option<Task>,
    /// Whether an equal request, or the end of a live task, may have led to another answer.
    pub is_contested: bool,
    pub answer: Result<Submitted>,
}

impl Answered {
    /// Returns the task if it was created.
    fn created(&self) -> Option<&Task> {
        self.task.as_ref().filter(|_| matches!(&self.answer, Ok(answer) if !answer.existing))
    }

    /// Returns whether the stored row with the task's id decides on the answer.
    pub fn is_open(&self) -> bool {
        self.is_contested && self.answer.as_ref().is_ok_and(|answer| !answer.replaced)
    }

    /// Returns the task that has the dedup key of this task, if one exists.
    pub fn holder(&self) -> Option<&TaskId> {
        self.answer.as_ref().ok().filter(|answer| answer.existing).map(|answer| &answer.id)
    }
}

/// Returns the answers, with the tasks that were created.
pub(super) fn answers(answered: Vec<Answered>) -> Vec<Result<Submitted>> {
    let answer = |Answered { on_conflict, task, answer, .. }: Answered| {
        let answer = answer?;
        let created = task.filter(|_| !answer.existing).map(Box::new);
        Submitted { stored: answer.stored.or(created), ..answer }.checked(on_conflict)
    };
    answered.into_iter().map(answer).collect()
}

impl Service {
    /// Creates a task. If a live task has the same dedup key, [`Submission::on_conflict`] decides.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::Invalid`] names the broken rule;
    /// [`ServiceError::KeyHeld`] if the submission refuses a live task with its key; [`ServiceError::Quota`];
    /// [`ServiceError::Port`]: the task may or may not be stored, so repeat the call.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted> {
        let submission = self.with_calendars(submission).await?;
        let now = self.now();
        let accepted = self.accept(self.fresh_id(now), submission, now);
        let checked = Checked::from_iter([accepted]);
        let places = self.take_quotas(&checked.tasks).await?;
        let answered = self.submit_all(checked, now).await;
        drop(places);
        let answered = self.replace_existing(answered, false).await;
        answers(answered).pop().unwrap_or_else(|| Err(no_answer().into()))
    }

    /// Stores the tasks that were accepted at `now`, each on its own. Returns one answer for each
    /// submission, in order.
    pub(super) async fn submit_all(&self, checked: Checked, now: Moment) -> Vec<Answered> {
        crate::failpoint!("submit::before_insert");
        let inserted = self.shared.ports.store.insert_tasks(checked.tasks.clone()).await;
        crate::failpoint!("submit::inserted");
        self.answer(checked, inserted, now).await
    }

    /// Wakes the nodes, and adds the stored tasks to the audit log. `inserted` has one result for each
    /// accepted task.
    pub(super) async fn answer(
        &self,
        checked: Checked,
        inserted: Vec<crate::ports::Result<InsertedTask>>,
        now: Moment,
    ) -> Vec<Answered> {
        let (mut tasks, mut inserted) = (checked.tasks.into_iter(), inserted.into_iter());
        let answered = |(on_conflict, verdict): (OnConflict, Result<()>)| {
            let task = verdict.as_ref().ok().and_then(|()| tasks.next());
            let answer = verdict.and_then(|()| {
                let inserted = inserted.next().unwrap_or_else(|| Err(no_answer()))?;
                Ok(submitted(task.as_ref().ok_or_else(no_answer)?, inserted))
            });
            let is_contested = answer.as_ref().is_ok_and(|answer| answer.existing);
            Answered { on_conflict, task, is_contested, answer }
        };
        let answers: Vec<Answered> = checked.verdicts.into_iter().map(answered).collect();
        let created: Vec<&Task> = answers.iter().filter_map(Answered::created).collect();
        self.shared.hints.changes.tasks(created.iter().copied());
        let due: Vec<_> = created.iter().map(|task| (task.id.shard(), task.next_due_at)).collect();
        self.wake_if_soon(&due, now).await;
        let refused = answers.iter().filter(|answered| answered.answer.is_err()).count();
        let ids = created.iter().map(|task| task.id.as_str());
        self.record_batch(AuditAction::TaskCreate, ids, refused).await;
        answers
    }

    /// Returns the task to store, and what to do if a live task has its key.
    pub(super) fn accept(
        &self,
        id: TaskId,
        submission: Submission,
        now: Moment,
    ) -> (OnConflict, Result<Task>) {
        (submission.on_conflict, self.accepted(id, submission, now))
    }

    fn accepted(&self, id: TaskId, submission: Submission, now: Moment) -> Result<Task> {
        self.require(Scope::TaskWrite)?;
        let submission = self.with_queue(submission);
        self.require_task(&submission)?;
        let created_by = Some(self.caller.shown_name().to_owned());
        let quota_token = self.caller.quota.max_live_tasks.map(|_| self.caller.id.clone());
        Ok(Task { created_by, quota_token, ..submission.accept(id, now)? })
    }

    /// Returns the submission with a queue if there is no bus.
    pub(super) fn with_queue(&self, submission: Submission) -> Submission {
        let by_name = || (!self.shared.ports.has_bus).then(|| submission.name.clone());
        Submission { queue: submission.queue.or_else(by_name), ..submission }
    }

    pub(super) fn fresh_id(&self, now: Moment) -> TaskId {
        TaskId::new(self.shared.ids.uuid(now))
    }

    /// Wakes the nodes that watch the shards of tasks that are due before the next scan. A lost wake-up
    /// delays a task until that scan.
    pub(super) async fn wake_if_soon(&self, tasks: &[(u16, Option<Moment>)], now: Moment) {
        let is_soon =
            |due: &Option<Moment>| due.is_some_and(|due| due.since(now) <= self.shared.settings.window_ms);
        let shards: BTreeSet<u16> =
            tasks.iter().filter(|(_, due)| is_soon(due)).map(|(shard, _)| *shard).collect();
        let shards: Vec<u16> = shards.into_iter().collect();
        if !shards.is_empty()
            && let Err(error) = self.shared.ports.lock.wake(&shards).await
        {
            tracing::debug!(%error, "no wake-up was sent; the next scan finds the tasks");
        }
    }
}

pub(super) fn no_answer() -> PortError {
    PortError::Corrupt("store", "it returned no answer for a task".into())
}

fn submitted(task: &Task, inserted: InsertedTask) -> Submitted {
    let (id, existing) = match inserted {
        InsertedTask::New => (task.id.clone(), false),
        InsertedTask::Existing(id) => (id, true),
    };
    Submitted { id, name: task.name.clone(), existing, replaced: false, stored: None }
}
