//! Words, links and progress of operations.

use super::super::filter::{href, label_word};
use super::super::filter_line;
use super::super::html::{self, Markup, count};
use super::super::words::{Words, fill};
use super::labels::RUNS;
use super::tasks;
use crate::core::operation::{Action, Count, Operation, OperationState, Selection};
use crate::core::{Moment, RunState, TaskId, TaskState};

/// Returns the path of an operation's page.
pub fn operation_href(id: &str) -> String {
    format!("/console/operations/{id}")
}

/// Returns the word of an action.
pub fn action_word(action: Action, t: &Words) -> &str {
    match action {
        Action::Pause => &t.op_pause,
        Action::Resume => &t.op_resume,
        Action::Cancel => &t.op_cancel,
        Action::Delete => &t.op_delete,
        Action::Trigger => &t.op_trigger,
        Action::Edit => &t.op_edit,
        Action::Redrive => &t.op_redrive,
        Action::CancelRuns => &t.op_cancel_runs,
        Action::Backfill => &t.backfill,
    }
}

fn state_pill(state: OperationState, t: &Words) -> Markup {
    let (class, icon, word) = match state {
        OperationState::Running => ("run", "play", &t.op_state_running),
        OperationState::Held => ("retry", "hold", &t.op_state_held),
        OperationState::Completed => ("ok", "check", &t.op_state_completed),
        OperationState::Aborted => ("none", "slash", &t.op_state_aborted),
        OperationState::Failed => ("dead", "x", &t.op_state_failed),
    };
    html::pill(class, icon, word)
}

/// Returns a selection as a filter line, or the number of its ids.
pub fn selection_text(selection: &Selection, t: &Words) -> String {
    let state = match selection {
        Selection::Ids(ids) => return fill(&t.op_ids, &[&count(ids.len() as u64)]),
        Selection::Moments(backfill) => {
            let [from, to] = [backfill.from, backfill.to].map(|at| at.to_string());
            return fill(&t.op_moments, &[backfill.task_id.as_str(), &from, &to]);
        }
        Selection::Tasks { state, .. } => state.map(TaskState::as_str),
        Selection::Runs { state, .. } => state.map(RunState::as_str),
    };
    let line = line(selection, state);
    if line.is_empty() { t.op_all.clone() } else { line }
}

/// Returns the filter line of a selection, with this state.
fn line(selection: &Selection, state: Option<&str>) -> String {
    let (pairs, labels) = match selection {
        Selection::Ids(_) => return String::new(),
        Selection::Moments(backfill) => return filter_line::write("task", backfill.task_id.as_str()),
        Selection::Tasks { name, labels, .. } => {
            ([("name", name.as_deref()), ("state", state), ("", None)], labels)
        }
        Selection::Runs { task_id, tag, labels, .. } => {
            let task_id = task_id.as_ref().map(TaskId::as_str);
            ([("task", task_id), ("tag", tag.as_deref()), ("state", state)], labels)
        }
    };
    let pairs = pairs.into_iter().filter_map(|(key, value)| Some(filter_line::write(key, value?)));
    let labels = labels.iter().map(|(key, value)| label_word(key, value));
    pairs.chain(labels).collect::<Vec<_>>().join(" ")
}

/// Returns the path of the list with the items of an operation, in all states. `None`: no list has them all.
pub fn items_href(operation: &Operation) -> Option<String> {
    let (selection, action) = (&operation.selection, operation.action);
    // The list without a state has no cancelled tasks, and no list has deleted ones.
    let state = (action == Action::Cancel).then_some(TaskState::Cancelled.as_str());
    let path = if action.is_for_runs() { RUNS } else { tasks::PATH };
    let has_list = selection.ids().is_none() && action != Action::Delete;
    has_list.then(|| href(path, &line(selection, state), None))
}

/// Returns a count that ends at a limit, such as `10,000+`.
pub fn count_text(number: Count) -> String {
    let more = if number.more { "+" } else { "" };
    format!("{}{more}", count(number.rows))
}

/// Returns the rate of an operation.
pub fn rate_text(rate_per_sec: Option<u32>, t: &Words) -> String {
    let limited = |rate: u32| fill(&t.rate_per_sec, &[&count(u64::from(rate))]);
    rate_per_sec.map_or_else(|| t.rate_unlimited.clone(), limited)
}

/// An operation in a list.
pub struct OperationRow {
    pub id: String,
    pub href: String,
    pub action: String,
    pub selection: String,
    pub reason: String,
    pub creator: String,
    pub created_at: Moment,
    pub pill: Markup,
    pub done: u64,
    pub failed: u64,
    pub skipped: u64,
    /// Processed items.
    pub value: u64,
    /// Items in all, as far as they are known. At least 1.
    pub max: u64,
    pub progress: String,
}

impl OperationRow {
    pub fn new(operation: &Operation, t: &Words) -> Self {
        let value = operation.done + operation.failed + operation.skipped;
        let has_all = operation.state == OperationState::Completed;
        let expected = if has_all {
            Count { rows: value, more: false }
        } else {
            Count { rows: operation.expected.rows.max(operation.matched), more: operation.expected.more }
        };
        Self {
            id: operation.id.clone(),
            href: operation_href(&operation.id),
            action: action_word(operation.action, t).to_owned(),
            selection: selection_text(&operation.selection, t),
            reason: operation.reason.clone().unwrap_or_default(),
            creator: creator(operation),
            created_at: operation.created_at,
            pill: state_pill(operation.state, t),
            done: operation.done,
            failed: operation.failed,
            skipped: operation.skipped,
            // An operation without items is done, too.
            value: if has_all { value.max(1) } else { value },
            max: expected.rows.max(1),
            progress: fill(&t.progress_of, &[&count(value), &count_text(expected)]),
        }
    }
}

/// Returns the name of the creator, or else the id.
fn creator(operation: &Operation) -> String {
    let creator = &operation.creator;
    if creator.name.is_empty() { creator.id.clone() } else { creator.name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::words::Lang;
    use crate::core::labels::Labels;
    use crate::core::operation::COUNT_LIMIT;

    #[test]
    fn a_selection_is_shown_as_its_filter_line() {
        let text = |selection| selection_text(&selection, Lang::En.words());
        let all = Selection::Tasks { name: None, state: None, labels: Labels::new() };
        assert_eq!(text(all), "all");
        let labels = Labels::from([("team".to_owned(), "pay 1".to_owned())]);
        let tasks = Selection::Tasks { name: Some("mail".into()), state: Some(TaskState::Paused), labels };
        assert_eq!(text(tasks), "name:mail state:paused label.team:\"pay 1\"");
        let (tag, state) = (Some("mail".into()), Some(RunState::Dead));
        let runs = Selection::Runs { task_id: None, tag, state, labels: Labels::new() };
        assert_eq!(text(runs), "tag:mail state:dead");
        assert_eq!(text(Selection::Ids(vec![String::new(); 3])), "3 selected");
    }

    #[test]
    fn a_count_that_has_reached_its_limit_says_that_there_are_more() {
        assert_eq!(count_text(Count::default().plus(COUNT_LIMIT)), "10,000");
        assert_eq!(count_text(Count::default().plus(COUNT_LIMIT + 1)), "10,000+");
    }
}
