//! Actions on many rows of a list: the bar of the list, and the words of the actions.

use super::super::filter::Filter;
use super::super::frame::Frame;
use super::super::words::{Words, fill};
use super::confirm::ActionWords;
use crate::core::TaskState;
use crate::core::operation::Action;

/// Actions that the console offers.
pub const ACTIONS: [Action; 5] =
    [Action::Pause, Action::Resume, Action::Trigger, Action::Cancel, Action::Redrive];

/// A button of the bar.
pub struct BulkAction {
    pub name: &'static str,
    pub icon: &'static str,
    pub label: String,
    /// The action on all rows that match the filter.
    pub all_label: String,
    pub is_danger: bool,
}

/// The bar with the actions on the rows of a list.
pub struct BulkBar {
    pub actions: Vec<BulkAction>,
    /// Whether all rows that match the filter can be selected, also those of other pages.
    pub has_all: bool,
}

impl BulkBar {
    /// Returns the bar of a list. `None`: the reader may change nothing, or no action fits.
    pub fn new(f: &Frame, filter: &Filter, actions: &[Action]) -> Option<Self> {
        // A filter that is not applied shows rows that its words do not name.
        let is_offered = f.rights.write && filter.problem.is_none() && !actions.is_empty();
        let button = |action: &Action| {
            let ActionWords { label, icon, is_danger, .. } = words(*action, f.t)?;
            let all_label = fill(&f.t.bulk_all_of, &[label]);
            Some(BulkAction { name: action.as_str(), icon, label: label.to_owned(), all_label, is_danger })
        };
        is_offered.then(|| Self { actions: actions.iter().filter_map(button).collect(), has_all: true })
    }

    /// Returns the actions on tasks that a filter with this state allows.
    pub fn task_actions(state: Option<TaskState>) -> Vec<Action> {
        let fits = |action: &Action| state.is_none_or(|state| action.task_states().contains(&state));
        ACTIONS.into_iter().filter(|action| !action.is_for_runs()).filter(fits).collect()
    }
}

/// Returns the words of an action on many rows. `None`: the console does not offer the action.
pub fn words(action: Action, t: &Words) -> Option<ActionWords<'_>> {
    let (label, effect, leaves, icon): (&str, &str, &str, _) = match action {
        Action::Pause => (&t.op_pause, &t.op_pause_effect, &t.op_pause_leaves, "pause"),
        Action::Resume => (&t.op_resume, &t.op_resume_effect, &t.op_resume_leaves, "play"),
        Action::Trigger => (&t.op_trigger, &t.op_trigger_effect, &t.op_trigger_leaves, "bolt"),
        Action::Cancel => (&t.op_cancel, &t.op_cancel_effect, &t.op_cancel_leaves, "slash"),
        Action::Redrive => (&t.op_redrive, &t.op_redrive_effect, &t.op_redrive_leaves, "retry"),
        Action::Delete | Action::Edit | Action::CancelRuns | Action::Backfill => return None,
    };
    Some(ActionWords { label, effect, leaves, done: "", icon, is_danger: action == Action::Cancel })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_one_state_offers_the_actions_that_fit() {
        let names = |state| BulkBar::task_actions(state).into_iter().map(Action::as_str).collect::<Vec<_>>();
        assert_eq!(names(None), ["pause", "resume", "trigger", "cancel"]);
        assert_eq!(names(Some(TaskState::Paused)), ["resume", "trigger", "cancel"]);
        assert!(names(Some(TaskState::Cancelled)).is_empty());
    }
}
