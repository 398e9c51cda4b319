//! Reads the selection of an operation, one batch at a time.

use super::operations::{end_of, snapshot_of, state_or};
use super::{Page, Result, RunFilter, RunPage, Service, TaskFilter, Wanted};
use crate::core::operation::{Action, Backfill, Item, Operation, Place, Plan, Selection};
use crate::core::run::Backfilled;
use crate::core::{Moment, Run, RunId};

/// Rows that a plan with labels examines, at least.
const EXAMINED: u32 = 200;

impl Service {
    /// Reads the next items of the selection.
    pub(super) async fn plan(&self, operation: &Operation) -> Result<Plan> {
        let (from, limit) = (operation.place.clone(), operation.batch_size());
        let (items, next) = match &operation.selection {
            Selection::Ids(ids) => self.plan_ids(operation.action, ids, &from, limit).await?,
            Selection::Moments(backfill) => plan_moments(&operation.id, backfill, &from, limit),
            Selection::Tasks { name, state, labels } => {
                let states = state_or(*state, operation.action.default_task_states());
                match states.get(from.passed) {
                    None => (Vec::new(), None),
                    Some(state) => {
                        let filter = TaskFilter { name: name.clone(), state: Some(*state), label: None };
                        let wanted = Wanted { filter, labels: labels.clone() };
                        self.plan_tasks(&operation.id, &wanted, &from, limit).await?
                    }
                }
            }
            Selection::Runs { task_id, tag, state, labels } => {
                let states = state_or(*state, operation.action.default_run_states());
                match states.get(from.passed) {
                    None => (Vec::new(), None),
                    Some(state) => {
                        let (task_id, tag) = (task_id.clone(), tag.clone());
                        let filter = RunFilter { task_id, tag, state: Some(*state), label: None };
                        let wanted = Wanted { filter, labels: labels.clone() };
                        self.plan_runs(operation, &wanted, &from, limit).await?
                    }
                }
            }
        };
        Ok(Plan { from, items, next })
    }

    async fn plan_ids(
        &self,
        action: Action,
        ids: &[String],
        from: &Place,
        limit: u32,
    ) -> Result<(Vec<Item>, Option<Place>)> {
        let rest = ids.get(from.passed..).unwrap_or_default();
        let taken = &rest[..rest.len().min(limit as usize)];
        if taken.is_empty() {
            return Ok((Vec::new(), None));
        }
        let mut items: Vec<Item> = taken.iter().map(|id| Item { id: id.clone(), version: None }).collect();
        if action == Action::Redrive {
            let ids: Vec<RunId> = taken.iter().map(RunId::from_text).collect();
            let runs = self.shared.ports.store.runs(&ids).await?.rows;
            for item in &mut items {
                let run = runs.iter().find(|run| run.id.as_str() == item.id);
                item.version = run.map(|run| run.version);
            }
        }
        let next = Place { passed: from.passed + taken.len(), ..Place::default() };
        Ok((items, Some(next)))
    }

    async fn plan_tasks(
        &self,
        operation_id: &str,
        wanted: &Wanted<TaskFilter>,
        from: &Place,
        limit: u32,
    ) -> Result<(Vec<Item>, Option<Place>)> {
        let before = from.before_task.clone().or_else(|| snapshot_of(operation_id));
        let page = Page { limit: examined(wanted, limit), before };
        let mut examined = self.examine_tasks(wanted, &page).await?;
        if examined.rows.len() > limit as usize {
            examined.rows.truncate(limit as usize);
            examined.last = examined.rows.last().map(|task| task.id.clone());
        }
        let Some(last) = examined.last else {
            return Ok((Vec::new(), Some(from.next_state())));
        };
        let items = examined.rows.into_iter().map(|task| Item { id: task.id.to_string(), version: None });
        Ok((items.collect(), Some(Place { before_task: Some(last), ..from.clone() })))
    }

    async fn plan_runs(
        &self,
        operation: &Operation,
        wanted: &Wanted<RunFilter>,
        from: &Place,
        limit: u32,
    ) -> Result<(Vec<Item>, Option<Place>)> {
        let before = from.before_run.clone().or_else(|| Some(end_of(operation.created_at)));
        let page = RunPage { limit: examined(wanted, limit), before };
        let mut examined = self.examine_runs(wanted, &page).await?;
        if examined.rows.len() > limit as usize {
            examined.rows.truncate(limit as usize);
            examined.last = examined.rows.last().map(|run| (run.scheduled_at, run.id.clone()));
        }
        let Some(last) = examined.last else {
            return Ok((Vec::new(), Some(from.next_state())));
        };
        let items = examined.rows.iter().filter(|run| is_selected(operation, run)).map(|run| Item {
            id: run.id.to_string(),
            version: (operation.action == Action::Redrive).then_some(run.version),
        });
        Ok((items.collect(), Some(Place { before_run: Some(last), ..from.clone() })))
    }
}

/// Returns the next runs of a backfill.
fn plan_moments(
    operation_id: &str,
    backfill: &Backfill,
    from: &Place,
    limit: u32,
) -> (Vec<Item>, Option<Place>) {
    let moments: Vec<Moment> = backfill.moments(from.after).take(limit as usize).collect();
    let item = |at: &Moment| {
        let of = Backfilled { operation: operation_id, at: *at, replaced: 0 };
        Item { id: RunId::of_backfill(&backfill.task_id, of).to_string(), version: None }
    };
    let next = moments.last().map(|last| Place { after: Some(*last), ..from.clone() });
    (moments.iter().map(item).collect(), next)
}

/// Returns the number of rows to examine for a batch. With labels, few of them may match.
fn examined<F>(wanted: &Wanted<F>, limit: u32) -> u32 {
    if wanted.is_selected() { limit } else { limit.max(EXAMINED) }
}

/// Returns whether a run belongs to the operation. A redrive leaves runs that died later: they may have been
/// redriven by the operation.
fn is_selected(operation: &Operation, run: &Run) -> bool {
    operation.action != Action::Redrive || run.ended_at.is_none_or(|at| at <= operation.created_at)
}
