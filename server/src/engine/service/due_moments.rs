//! Decides the moments of a task that are due, before an edit of its times.

use std::collections::BTreeSet;

use super::{Result, Service};
use crate::core::submission::Submission;
use crate::core::task_change::moves_times;
use crate::core::{Moment, Run, RunState, Task, TaskId, TaskState};
use crate::ports::{Fire, Fired};

/// Steps of the task that one edit makes. Further due moments are stored as skipped, with the edit.
const MAX_STEPS: usize = 100;

impl Service {
    /// Decides the due moments of an active task as its definition says, if `definition` has other times. So
    /// an edit drops no moment that was due before it.
    ///
    /// # Errors
    /// As [`Service::task_at`].
    pub(super) async fn decide_due(&self, id: &TaskId, rev: u32, definition: &Submission) -> Result<()> {
        for _ in 0..MAX_STEPS {
            let (task, now) = (self.task_at(id, Some(rev)).await?, self.now());
            let is_due = task.state == TaskState::Active && task.next_due_at.is_some_and(|due| due <= now);
            if !is_due || !moves_times(&task, definition) || !self.decide_moment(&task, now).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Decides the next moment of a task. The run is handed over by its queue or by the rescue. Returns
    /// whether the task has passed the moment.
    async fn decide_moment(&self, task: &Task, now: Moment) -> Result<bool> {
        let Some(due) = task.nominal_due() else { return Ok(false) };
        let misfire = task.timing.misfire.over(self.shared.settings.misfire);
        let step = misfire.step(task, due, now);
        let run = Run::decided(task, step, "", self.shared.ids.token(now), (now, now));
        crate::failpoint!("edit::before_fire");
        let fired = self.shared.ports.store.fire(vec![Fire { task, run }]).await?;
        crate::failpoint!("edit::fired");
        self.tell_fired(&fired, now);
        Ok(matches!(fired.first(), Some(Fired::Passed { .. })))
    }

    fn tell_fired(&self, fired: &[Fired], now: Moment) {
        let mut queues = BTreeSet::new();
        for fired in fired {
            let Fired::Passed { run, queued } = fired else { continue };
            if *queued {
                self.shared.metrics.fired(&run.tag, run.effective_at(), now);
            }
            if run.state == RunState::Ready {
                queues.extend(run.queue.clone());
            }
        }
        self.shared.hints.ready(queues);
        self.shared.hints.changes.fired(fired);
        self.shared.hints.attention();
    }
}
