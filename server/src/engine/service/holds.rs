//! Holds: a person pauses a queue or a tag, and ends the pause.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::record_kind::RecordKind;
use super::{Result, Service, ServiceError};
use crate::core::access::Scope;
use crate::core::hold::{self, Hold, HoldScope, NewHold};
use crate::core::wait_group::WaitGroup;
use crate::core::{Run, RunState, Task};
use crate::engine::holds::{KIND, MAX_HOLDS, find, find_for};

const HOLDS: RecordKind = RecordKind::audited(KIND);

impl Service {
    /// Pauses a queue or a tag, or changes reason and end of the pause. This node obeys the hold at once, the other
    /// nodes within a second. Attempts in progress continue.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::Hold`] names the broken rule; [`ServiceError::TooManyHolds`]; or a
    /// port's error.
    pub async fn hold(&self, new: NewHold) -> Result<Hold> {
        self.require_unlimited(Scope::TaskWrite)?;
        let now = self.now();
        new.check(now)?;
        let stored = self.read_holds().await?;
        let NewHold { scope, name, reason, until } = new;
        let created_by = self.caller.shown_name().to_owned();
        let hold = Hold { scope, name, reason, created_by, created_at: now, until };
        let (mut others, key) = (0, hold.key());
        for old in stored.iter().filter(|old| old.key() != key) {
            let has_ended = |stored: &Hold| stored.has_ended(now);
            if !has_ended(old) || !self.shared.remove_if(HOLDS, &old.key(), has_ended).await? {
                others += 1;
            }
        }
        if others >= MAX_HOLDS {
            return Err(ServiceError::TooManyHolds);
        }
        let put = |_: Option<Hold>| Ok::<_, ServiceError>((Some((hold.clone(), None)), ()));
        self.change_document(HOLDS, &key, put).await?;
        self.read_holds().await?;
        self.hint_hold(&hold);
        Ok(hold)
    }

    /// Ends a hold: the waiting runs go on, in order. Returns the hold.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn release_hold(&self, scope: HoldScope, name: &str) -> Result<Hold> {
        self.require_unlimited(Scope::TaskWrite)?;
        let key = hold::key(scope, name);
        let stored = self.shared.read_document::<Hold>(HOLDS, &key).await?;
        let hold = stored.filter(|hold| !hold.has_ended(self.now())).ok_or(ServiceError::NotFound)?;
        self.remove_document(HOLDS, &key).await?;
        self.read_holds().await?;
        self.hint_hold(&hold);
        Ok(hold)
    }

    /// Wakes what waits for a change of the hold: workers, and the admission.
    fn hint_hold(&self, hold: &Hold) {
        let group = WaitGroup::of_hold(hold.scope, &hold.name);
        self.shared.hints.free(std::iter::once(group.first_key()));
        if hold.scope == HoldScope::Queue {
            self.shared.hints.ready(BTreeSet::from([hold.name.clone()]));
        }
    }

    /// Returns the holds that have not ended, by scope and name. A caller that is limited to tags gets those of its tags
    /// and queues.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn holds(&self) -> Result<Vec<Hold>> {
        self.require(Scope::TaskRead)?;
        let (stored, now) = (self.read_holds().await?, self.now());
        let is_shown = |hold: &&Hold| !hold.has_ended(now) && self.allows_tag(&hold.name);
        let mut holds: Vec<Hold> = stored.iter().filter(is_shown).cloned().collect();
        holds.sort_by(|one, other| (one.scope, &one.name).cmp(&(other.scope, &other.name)));
        Ok(holds)
    }

    /// Returns the hold of a queue. `None`: the queue is not on hold, or the caller may not see the queue.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn hold_of_queue(&self, queue: &str) -> Result<Option<Hold>> {
        self.require(Scope::TaskRead)?;
        let holds = self.current_holds().await?;
        let hold = find(&holds, HoldScope::Queue, queue, self.now());
        Ok(hold.filter(|_| self.allows_tag(queue)).cloned())
    }

    /// Returns the hold because of which a run waits. `None`: nothing holds the run, or it waits for something else
    /// first.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn hold_of_run(&self, run: &Run) -> Result<Option<Hold>> {
        self.require(Scope::TaskRead)?;
        if matches!(run.state, RunState::Held | RunState::Ready) {
            self.hold_of(&run.tag, run.queue.as_deref()).await
        } else {
            Ok(None)
        }
    }

    /// Returns the hold because of which the runs of a task wait. `None`: nothing holds them, or the task has ended.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn hold_of_task(&self, task: &Task) -> Result<Option<Hold>> {
        self.require(Scope::TaskRead)?;
        if task.state.has_ended() { Ok(None) } else { self.hold_of(&task.name, task.queue.as_deref()).await }
    }

    async fn hold_of(&self, tag: &str, queue: Option<&str>) -> Result<Option<Hold>> {
        let holds = self.current_holds().await?;
        Ok(find_for(&holds, tag, queue, self.now()).cloned())
    }

    async fn read_holds(&self) -> Result<Arc<[Hold]>> {
        Ok(self.shared.hints.holds.refresh(self.shared.ports.clock.steady_ms()).await?)
    }

    pub(super) async fn current_holds(&self) -> Result<Arc<[Hold]>> {
        Ok(self.shared.hints.holds.current(self.shared.ports.clock.steady_ms()).await?)
    }

    /// Returns the queues of a lease request that are not on hold. `None`: all of them are. No queues mean every queue
    /// that has the name of its runs' tag.
    pub(super) fn open_queues(&self, queues: &[String], holds: &[Hold]) -> Option<Vec<String>> {
        let now = self.now();
        let is_open = |queue: &&String| find(holds, HoldScope::Queue, queue, now).is_none();
        let open: Vec<String> = queues.iter().filter(is_open).cloned().collect();
        (queues.is_empty() || !open.is_empty()).then_some(open)
    }

    /// Lets the ready runs wait whose tags are on hold, or whose queues are. Returns the other runs.
    pub(super) async fn keep_back(&self, ready: Vec<Run>, holds: &[Hold]) -> Result<Vec<Run>> {
        let now = self.now();
        let (mut open, mut waiting) = (Vec::with_capacity(ready.len()), Vec::new());
        for mut run in ready {
            match find_for(holds, &run.tag, run.queue.as_deref(), now) {
                None => open.push(run),
                Some(hold) => waiting.extend(run.hold_by(hold.scope).is_ok().then_some(run)),
            }
        }
        if !waiting.is_empty() {
            crate::failpoint!("hold::before_keep");
            self.replace_runs(waiting).await?;
            crate::failpoint!("hold::kept");
        }
        Ok(open)
    }
}
