//! Calendars: stored, given to tasks, and edited.
//!
//! A task has a copy of its calendars, so a fire reads none. A new version of a calendar is one write of its
//! document. Then the tasks get the version one by one, first those that one call can change. The leading node
//! gives it to the rest, also after a crash: until then the document is not settled.

use std::collections::BTreeMap;

use super::audit::AuditAction;
use super::record_kind::RecordKind;
use super::task_commands::dropped_row;
use super::{Page, Result, Service, ServiceError, TaskFilter};
use crate::core::access::Scope;
use crate::core::calendar::{Calendar, InvalidCalendar, MAX_DESCRIPTION_BYTES, MAX_STORED, StoredCalendar};
use crate::core::labels::calendar_text;
use crate::core::submission::Submission;
use crate::core::{Moment, Task, TaskId, TaskState};

/// Kind of the calendars.
const CALENDARS: RecordKind = RecordKind::audited("calendar");
/// Index of the calendars that tasks may have in an earlier version.
const UNSETTLED: &str = "unsettled";
/// Time after a change within which a create that has read the version before may still store its task, in
/// milliseconds. A request ends earlier.
const SETTLES_AFTER_MS: i64 = 120_000;
/// Tasks that the call which stores a version changes itself.
const CHANGED_PER_CALL: usize = 200;
/// Tasks read at a time.
const PAGE: u32 = 100;
/// Tasks that the refusal of a delete names.
const MAX_NAMED: usize = 10;

/// The tasks of a calendar that were examined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Replanned {
    /// Tasks that have got the current version.
    changed: usize,
    /// Whether some tasks were left.
    more: bool,
}

impl Service {
    /// Returns every calendar by name.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn calendars(&self) -> Result<Vec<StoredCalendar>> {
        self.require(Scope::TaskRead)?;
        let stored = self.shared.all_documents(CALENDARS).await?;
        Ok(stored.into_iter().map(|(_, calendar)| calendar).collect())
    }

    /// Returns a calendar.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn calendar(&self, name: &str) -> Result<StoredCalendar> {
        self.require(Scope::TaskRead)?;
        self.shared.read_document(CALENDARS, name).await?.ok_or(ServiceError::NotFound)
    }

    /// Stores a calendar, and replaces the one with the same name. Its tasks get the new version: some of them
    /// before the call returns, the rest soon after.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::Calendar`] for a broken rule, or a port's error.
    pub async fn put_calendar(&self, calendar: &Calendar, description: &str) -> Result<StoredCalendar> {
        self.require_unlimited(Scope::TaskWrite)?;
        calendar.check()?;
        check_description(description)?;
        self.check_room_for(&calendar.name).await?;
        let now = self.now();
        let put = |stored: Option<StoredCalendar>| {
            let next = next_version(stored.as_ref(), calendar, description, self.caller.shown_name(), now);
            let index = (!next.is_settled).then(|| UNSETTLED.to_owned());
            let changes = stored.as_ref() != Some(&next);
            Ok::<_, ServiceError>((changes.then(|| (next.clone(), index)), next))
        };
        let stored = self.change_document(CALENDARS, &calendar.name, put).await?;
        if let Err(error) = self.replan_tasks(&stored, CHANGED_PER_CALL).await {
            tracing::warn!(calendar = calendar.name, %error, "the leading node changes the tasks of a calendar");
        }
        Ok(stored)
    }

    async fn check_room_for(&self, name: &str) -> Result<()> {
        let stored = self.shared.all_documents::<StoredCalendar>(CALENDARS).await?;
        if stored.len() < MAX_STORED || stored.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        let message = format!("{MAX_STORED} calendars exist: delete one first");
        Err(InvalidCalendar { field: "name".to_owned(), message }.into())
    }

    /// Removes a calendar that no live task has.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], [`ServiceError::CalendarInUse`], or a port's error.
    pub async fn remove_calendar(&self, name: &str) -> Result<StoredCalendar> {
        self.require_unlimited(Scope::TaskWrite)?;
        let stored: Option<StoredCalendar> = self.shared.read_document(CALENDARS, name).await?;
        let stored = stored.ok_or(ServiceError::NotFound)?;
        let mut tasks = self.live_tasks_of(name, MAX_NAMED + 1).await?;
        if !tasks.is_empty() {
            let more = tasks.len() > MAX_NAMED;
            tasks.truncate(MAX_NAMED);
            let error = ServiceError::CalendarInUse { tasks, more };
            self.record_document(AuditAction::RecordRemove, CALENDARS, name, Err(&error)).await;
            return Err(error);
        }
        if self.remove_document(CALENDARS, name).await? { Ok(stored) } else { Err(ServiceError::NotFound) }
    }

    /// Returns ids of live tasks with the calendar, at most `limit`.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn tasks_of_calendar(&self, name: &str, limit: usize) -> Result<Vec<TaskId>> {
        self.require(Scope::TaskRead)?;
        self.live_tasks_of(name, limit).await
    }

    async fn live_tasks_of(&self, name: &str, limit: usize) -> Result<Vec<TaskId>> {
        let mut found = Vec::new();
        for state in TaskState::LIVE {
            let filter = TaskFilter { state: Some(state), label: Some(calendar_text(name)), name: None };
            let page = Page { limit: u32::try_from(limit).unwrap_or(PAGE), before: None };
            found.extend(self.list_allowed_tasks(&filter, &page).await?.into_iter().map(|task| task.id));
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Returns a definition with the current content of its calendars.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error. A calendar that does not exist stays without content: the
    /// rules of the definition refuse it.
    pub async fn preview_definition(&self, definition: Submission) -> Result<Submission> {
        self.require(Scope::TaskRead)?;
        self.with_calendars(definition).await
    }

    /// Same as [`preview_definition`](Self::preview_definition), for a caller whose rights were checked.
    pub(super) async fn with_calendars(&self, definition: Submission) -> Result<Submission> {
        let resolved = self.with_calendars_of_all(vec![definition]).await?;
        resolved.into_iter().next().ok_or(ServiceError::NotFound)
    }

    /// Same as [`with_calendars`](Self::with_calendars), for several definitions. Definitions without calendars
    /// cost no read.
    pub(super) async fn with_calendars_of_all(&self, mut all: Vec<Submission>) -> Result<Vec<Submission>> {
        let mut current = BTreeMap::new();
        for calendars in all.iter().filter_map(|definition| definition.timing.calendars.as_ref()) {
            for Calendar { name, .. } in calendars.all() {
                if !current.contains_key(name) {
                    let stored = self.shared.read_document::<StoredCalendar>(CALENDARS, name).await?;
                    current.insert(name.clone(), stored.map(|stored| stored.calendar));
                }
            }
        }
        for calendars in all.iter_mut().filter_map(|definition| definition.timing.calendars.as_mut()) {
            calendars.update(|name| current.get(name)?.as_ref());
        }
        Ok(all)
    }

    /// Gives the tasks of changed calendars the current versions. The loop of the leading node calls the command.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error: the next call continues with the rest.
    pub async fn settle_calendars(&self) -> Result<()> {
        self.require_unlimited(Scope::Admin)?;
        let limit = u32::try_from(MAX_STORED).unwrap_or(PAGE);
        let unsettled = self.shared.list_documents::<StoredCalendar>(CALENDARS, Some(UNSETTLED), None, limit);
        for (_, stored) in unsettled.await? {
            let begun = self.now();
            let replanned = self.replan_tasks(&stored, usize::MAX).await?;
            if !replanned.more && begun.since(stored.changed_at) > SETTLES_AFTER_MS {
                self.mark_settled(&stored).await?;
            }
        }
        Ok(())
    }

    /// Notes that every task has the version.
    async fn mark_settled(&self, settled: &StoredCalendar) -> Result<()> {
        let settle = |stored: Option<StoredCalendar>| {
            let stored = stored.filter(|stored| stored == settled);
            let next = stored.map(|stored| (StoredCalendar { is_settled: true, ..stored }, None));
            Ok::<_, ServiceError>((next, ()))
        };
        self.change_document(CALENDARS, &settled.calendar.name, settle).await
    }

    /// Gives the live tasks of a calendar its current version, at most `most` of them.
    async fn replan_tasks(&self, stored: &StoredCalendar, most: usize) -> Result<Replanned> {
        let mut replanned = Replanned::default();
        for state in TaskState::LIVE {
            let label = Some(calendar_text(&stored.calendar.name));
            let filter = TaskFilter { state: Some(state), label, name: None };
            let mut before = None;
            loop {
                let page = self.shared.ports.store.list_tasks(&filter, &Page { limit: PAGE, before }).await?;
                // Large tasks shorten a page: only an empty page is the last.
                let Some(last) = page.last() else { break };
                before = Some(last.id.clone());
                for task in page {
                    if replanned.changed >= most {
                        return Ok(Replanned { more: true, ..replanned });
                    }
                    self.replan_one(&task, &stored.calendar, &mut replanned).await?;
                }
            }
        }
        Ok(replanned)
    }

    async fn replan_one(&self, task: &Task, calendar: &Calendar, replanned: &mut Replanned) -> Result<()> {
        match Box::pin(self.replan(task, calendar)).await {
            Ok(is_changed) => replanned.changed += usize::from(is_changed),
            // Another caller was faster, or the task has ended.
            Err(ServiceError::RevisionMoved(_)) => replanned.more = true,
            Err(ServiceError::NotFound | ServiceError::Over(_)) => {}
            Err(error @ ServiceError::Port(_)) => return Err(error),
            Err(error) => {
                replanned.more = true;
                tracing::warn!(task = %task.id, %error, "a task has an earlier version of its calendar");
            }
        }
        Ok(())
    }

    /// Gives a task the current version of a calendar. The moments that are due are decided under the version
    /// before, as an edit decides them. Returns whether the task has changed.
    async fn replan(&self, task: &Task, calendar: &Calendar) -> Result<bool> {
        let current = |name: &str| (name == calendar.name).then_some(calendar);
        let mut definition = Submission::of(task);
        let is_current = definition.timing.calendars.as_mut().is_none_or(|calendars| {
            calendars.update(current);
            Some(&**calendars) == task.timing.calendars.as_deref()
        });
        if is_current {
            return Ok(false);
        }
        self.decide_due(&task.id, task.rev, &definition).await?;
        let decide = |task: &Task, open: &[u32], now| {
            let Some(next) = task.replan(current, open, now) else { return Ok(None) };
            let row = dropped_row(task, &next, now);
            Ok(Some((next.defined_by(self.caller.shown_name()), row)))
        };
        self.change(AuditAction::TaskEdit, &task.id, Some(task.rev), decide).await.map(|_| true)
    }
}

fn check_description(description: &str) -> Result<()> {
    if description.len() <= MAX_DESCRIPTION_BYTES {
        return Ok(());
    }
    let length = description.len();
    let message = format!("description has {length} bytes: shorten it to at most {MAX_DESCRIPTION_BYTES}");
    Err(InvalidCalendar { field: "description".to_owned(), message }.into())
}

/// Returns the calendar to store: the stored one if nothing changes, and a new version for another content.
fn next_version(
    stored: Option<&StoredCalendar>,
    calendar: &Calendar,
    description: &str,
    caller: &str,
    now: Moment,
) -> StoredCalendar {
    let version = stored.map_or(0, |stored| stored.calendar.version);
    let same = Calendar { version, ..calendar.clone() };
    let description = description.to_owned();
    match stored {
        Some(stored) if stored.calendar == same => StoredCalendar { description, ..stored.clone() },
        _ => StoredCalendar {
            calendar: Calendar { version: version + 1, ..same },
            description,
            changed_at: now,
            changed_by: caller.to_owned(),
            is_settled: false,
        },
    }
}
