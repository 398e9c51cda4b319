//! Submissions that replace the live task with their deduplication key.

use super::audit::AuditAction;
use super::submit::{Answered, Checked, no_answer};
use super::task_commands::rev_detail;
use super::{Result, Service, ServiceError, Submitted};
use crate::core::Task;
use crate::core::conflict::OnConflict;
use crate::core::submission::Submission;
use crate::core::task::TaskId;
use crate::ports::ReplacedTask;

/// Result of one attempt to replace a live task.
enum Attempt {
    /// The live task has the definition of the submission.
    Replaced(Box<Task>),
    /// The task has changed since it was read.
    Moved,
    /// The task no longer has the key.
    Ended,
    /// An equal request has its answer.
    Answered,
}

impl Service {
    /// Replaces the existing tasks of the submissions that want so. If such a task ends meanwhile, the
    /// submission creates its own task. With `keeps_answers`, the answer is stored in the write of the
    /// replacement, so that a repeated request does not replace the task again.
    pub(super) async fn replace_existing(
        &self,
        answered: Vec<Answered>,
        keeps_answers: bool,
    ) -> Vec<Answered> {
        let mut done = Vec::with_capacity(answered.len());
        // One after the other: the last submission with a key decides.
        for answered in answered {
            done.push(self.replace_if_wanted(answered, keeps_answers).await);
        }
        done
    }

    async fn replace_if_wanted(&self, answered: Answered, keeps_answer: bool) -> Answered {
        let Answered { on_conflict, task: Some(task), .. } = &answered else { return answered };
        let Some(holder) = answered.holder().filter(|_| on_conflict.replaces()) else { return answered };
        // On the heap: a create without a conflict has no use for this large future.
        let replace = Box::pin(self.replace_or_create(task, holder.clone(), *on_conflict, keeps_answer));
        let answer = replace.await;
        Answered { answer, ..answered }
    }

    async fn replace_or_create(
        &self,
        task: &Task,
        mut holder: TaskId,
        on_conflict: OnConflict,
        keeps_answer: bool,
    ) -> Result<Submitted> {
        loop {
            match self.replace_live(task, &holder, on_conflict, keeps_answer).await? {
                Attempt::Replaced(live) => {
                    let (name, stored) = (task.name.clone(), Some(live));
                    return Ok(Submitted { id: holder, name, existing: true, replaced: true, stored });
                }
                Attempt::Moved => {}
                Attempt::Answered => return self.answer_in_store(&task.id, on_conflict).await,
                Attempt::Ended => {
                    let created = self.create(task.clone()).await?;
                    if !created.existing {
                        return Ok(created);
                    }
                    holder = created.id;
                }
            }
        }
    }

    /// Edits the live task once, as [`Service::edit`] does: the due moments of a task whose times change are
    /// decided first.
    async fn replace_live(
        &self,
        task: &Task,
        holder: &TaskId,
        on_conflict: OnConflict,
        keeps_answer: bool,
    ) -> Result<Attempt> {
        let latest = self.shared.ports.store.latest_task(holder).await?;
        let Some(live) = latest.filter(|live| live.dedup_key == task.dedup_key) else {
            return Ok(Attempt::Ended);
        };
        let definition = Submission::of(task);
        let start_at = on_conflict.start_of_live(definition.start_at, live.created_at);
        let definition = Submission { start_at, ..definition };
        match self.decide_due(holder, live.rev, &definition).await {
            Err(ServiceError::RevisionMoved(_) | ServiceError::NotFound) => return Ok(Attempt::Moved),
            decided => decided?,
        }
        let (now, open) = (self.now(), self.open_revs(holder).await?);
        let edited = self.edited(&live, &definition, &open, now)?;
        let answer = keeps_answer.then(|| task.standing_for(holder.clone()));
        let (replaced, next) = self.replace(&live, edited, answer.as_ref(), now).await?;
        Ok(match replaced {
            ReplacedTask::Done => {
                let detail = rev_detail(&next);
                self.record_with(AuditAction::TaskEdit, [holder.as_str()], &detail, &Ok(())).await;
                Attempt::Replaced(Box::new(next))
            }
            ReplacedTask::Moved => Attempt::Moved,
            ReplacedTask::Answered => Attempt::Answered,
            ReplacedTask::KeyHeld(other) => return Err(ServiceError::KeyHeld(other)),
        })
    }

    async fn create(&self, task: Task) -> Result<Submitted> {
        let checked = Checked::from_iter([(OnConflict::Return, Ok(task))]);
        let answered = self.submit_all(checked, self.now()).await.pop();
        answered.map_or_else(|| Err(no_answer().into()), |answered| answered.answer)
    }

    async fn answer_in_store(&self, id: &TaskId, on_conflict: OnConflict) -> Result<Submitted> {
        let row = self.shared.ports.store.latest_task(id).await?;
        self.stored_answer(&row.ok_or(ServiceError::NotFound)?, on_conflict)
    }
}
