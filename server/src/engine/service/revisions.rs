//! Definitions of a task over time.

use super::{Result, Service, ServiceError};
use crate::core::revision::FIRST_REV;
use crate::core::{Task, TaskId};

impl Service {
    /// Returns the definitions of a task that began before the revision `before`, latest first: for each, the
    /// task as it was when the definition began. The first page (`before` is `None`) begins with the current
    /// definition. A page may hold fewer rows than its limit; only an empty page is the last one.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn definitions(&self, id: &TaskId, before: Option<u32>, limit: u32) -> Result<Vec<Task>> {
        let task = self.shown_task(id).await?;
        let current = task.defined_at_rev();
        let begins = limit > 0 && before.is_none_or(|before| before > current);
        let mut definitions = if begins { vec![task.as_defined()] } else { Vec::new() };
        let rest = limit - definitions.len() as u32;
        if rest > 0 {
            let before = before.unwrap_or(current).min(current);
            definitions.extend(self.past_definitions(id, before, rest).await?);
        }
        Ok(definitions)
    }

    /// Returns the definition that was in force at a revision of a task, as the task was when the definition
    /// began.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::NotFound`] also for a revision that never was, or whose
    /// definition is no longer kept; or a port's error.
    pub async fn definition_at(&self, id: &TaskId, rev: u32) -> Result<Task> {
        let task = self.shown_task(id).await?;
        if !(FIRST_REV..=task.rev).contains(&rev) {
            return Err(ServiceError::NotFound);
        }
        if rev >= task.defined_at_rev() {
            return Ok(task.as_defined());
        }
        let past = self.shared.ports.store.past_definitions(id, rev + 1, 1).await?;
        past.into_iter().next().filter(|past| self.allows_tag(&past.name)).ok_or(ServiceError::NotFound)
    }

    /// Leaves out the definitions under names that the caller may not see.
    async fn past_definitions(&self, id: &TaskId, mut before: u32, limit: u32) -> Result<Vec<Task>> {
        loop {
            let mut past = self.shared.ports.store.past_definitions(id, before, limit).await?;
            let Some(last) = past.last() else { return Ok(past) };
            before = last.rev;
            past.retain(|task| self.allows_tag(&task.name));
            if !past.is_empty() {
                return Ok(past);
            }
        }
    }
}
