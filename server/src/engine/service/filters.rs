//! Lists with labels: which filter selects the rows by an index, and which are checked row by row.
//!
//! A store has indexes of one label with a state, of a name or tag with a state, and of a task with a
//! state. So one filter selects the rows; the other labels, a name or tag beside a label, and a tag beside a
//! task are checked here. A caller bounds the number of rows that it examines, and continues after the last one.

use super::{Page, Result, RunFilter, RunPage, Service, TaskFilter};
use crate::core::access::Scope;
use crate::core::labels::{Labels, text};
use crate::core::task::{Task, TaskId};
use crate::core::{Moment, Run, RunId};

/// A filter of a list, with any number of labels. All of them must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted<F> {
    /// Filter without labels.
    pub filter: F,
    pub labels: Labels,
}

impl<F> From<F> for Wanted<F> {
    fn from(filter: F) -> Self {
        Self { filter, labels: Labels::new() }
    }
}

impl<F> Wanted<F> {
    /// Returns whether the labels select every row.
    pub fn is_selected(&self) -> bool {
        self.labels.is_empty()
    }

    fn first_label(&self) -> Option<String> {
        self.labels.first_key_value().map(|(key, value)| text(key, value))
    }

    fn matches(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// The matching rows among the rows that one read has examined.
#[derive(Debug)]
pub struct Examined<T, P> {
    pub rows: Vec<T>,
    /// Number of examined rows. 0: no further row matches.
    pub count: usize,
    /// Bytes of the payloads of the examined rows.
    pub bytes: usize,
    /// Position of the last examined row.
    pub last: Option<P>,
}

impl Service {
    /// Examines the next tasks, newest first, at most `page.limit`.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn examine_tasks(
        &self,
        wanted: &Wanted<TaskFilter>,
        page: &Page,
    ) -> Result<Examined<Task, TaskId>> {
        let mut rows = self.list_tasks(&self.task_selection(wanted), page).await?;
        let (count, last) = (rows.len(), rows.last().map(|task| task.id.clone()));
        let bytes = rows.iter().map(|task| task.data.len()).sum();
        let name = wanted.filter.name.as_ref();
        rows.retain(|task| name.is_none_or(|name| task.name == *name) && wanted.matches(&task.labels));
        Ok(Examined { rows, count, bytes, last })
    }

    /// Examines the next runs, latest moment first, at most `page.limit`.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn examine_runs(
        &self,
        wanted: &Wanted<RunFilter>,
        page: &RunPage,
    ) -> Result<Examined<Run, (Moment, RunId)>> {
        let selection = self.run_selection(wanted);
        let mut rows = match &selection.task_id {
            Some(task) if !self.selects_runs(wanted) => self.runs_of_task(task, &selection, page).await?,
            _ => self.list_runs(&selection, page).await?,
        };
        let (count, last) = (rows.len(), rows.last().map(|run| (run.scheduled_at, run.id.clone())));
        let bytes = rows.iter().map(|run| run.data.len()).sum();
        let tag = wanted.filter.tag.as_ref();
        rows.retain(|run| tag.is_none_or(|tag| run.tag == *tag) && wanted.matches(&run.labels));
        rows.retain(|run| self.allows_tag(&run.tag));
        Ok(Examined { rows, count, bytes, last })
    }

    /// Returns whether every run that the store selects is a row of the list. `false`: a caller of
    /// [`examine_runs`](Self::examine_runs) bounds the examined rows.
    pub fn selects_runs(&self, wanted: &Wanted<RunFilter>) -> bool {
        let checks_tag =
            wanted.filter.task_id.is_some() && (wanted.filter.tag.is_some() || self.is_limited());
        wanted.is_selected() && !checks_tag
    }

    /// Returns whether an index finds the matching tasks and no others.
    pub fn has_index_of_tasks(&self, wanted: &Wanted<TaskFilter>) -> bool {
        let is_one_label = wanted.labels.len() == 1 && wanted.filter.name.is_none() && !self.is_limited();
        wanted.is_selected() || is_one_label
    }

    /// Returns whether an index finds the matching runs and no others.
    pub fn has_index_of_runs(&self, wanted: &Wanted<RunFilter>) -> bool {
        let RunFilter { task_id, tag, .. } = &wanted.filter;
        let has_other = task_id.is_some() || tag.is_some();
        let is_one_label = wanted.labels.len() == 1 && !has_other && !self.is_limited();
        self.selects_runs(wanted) || is_one_label
    }

    /// Returns the next runs of a task, of any tag.
    async fn runs_of_task(&self, task: &TaskId, selection: &RunFilter, page: &RunPage) -> Result<Vec<Run>> {
        self.require(Scope::TaskRead)?;
        selection.tag.as_ref().map_or(Ok(()), |tag| self.require_tag(tag))?;
        if !self.may_list_runs_of(task).await? {
            return Ok(Vec::new());
        }
        let selection = RunFilter { tag: None, ..selection.clone() };
        Ok(self.shared.ports.store.list_runs(&selection, page).await?)
    }

    /// Returns the filter that selects tasks by an index. For a caller that is limited to tags, the tags
    /// select: the caller must not learn the positions of other tasks.
    pub(super) fn task_selection(&self, wanted: &Wanted<TaskFilter>) -> TaskFilter {
        match wanted.first_label().filter(|_| !self.is_limited()) {
            Some(label) => TaskFilter { name: None, label: Some(label), ..wanted.filter.clone() },
            None => wanted.filter.clone(),
        }
    }

    /// Same as [`task_selection`](Self::task_selection), for runs. The runs of a task usually have the same
    /// labels, so the task selects.
    pub(super) fn run_selection(&self, wanted: &Wanted<RunFilter>) -> RunFilter {
        let by_label = !self.is_limited() && wanted.filter.task_id.is_none();
        match wanted.first_label().filter(|_| by_label) {
            Some(label) => RunFilter { tag: None, label: Some(label), ..wanted.filter.clone() },
            None => wanted.filter.clone(),
        }
    }
}
