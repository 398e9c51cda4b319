//! The request for an operation, and its rules.

use super::{Action, MAX_CANARY, MAX_IDS, MAX_PATCH_BYTES, MAX_RATE_PER_SEC, MAX_REASON_BYTES, Selection};
use crate::core::labels::{self, Labels};
use crate::core::{TaskId, payload_patch, tag};

/// Longest id of a run, in bytes.
const MAX_RUN_ID_BYTES: usize = 256;

/// An operation to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOperation {
    pub action: Action,
    pub selection: Selection,
    /// JSON merge patch: of the task for [`Action::Edit`], of the payload for [`Action::Redrive`].
    pub patch: Option<String>,
    pub reason: Option<String>,
    pub rate_per_sec: Option<u32>,
    /// Number of runs that [`Action::Redrive`] tries first.
    pub canary: Option<u32>,
}

impl NewOperation {
    /// Creates an operation on all rows of a selection, as fast as the server allows.
    pub const fn new(action: Action, selection: Selection) -> Self {
        Self { action, selection, patch: None, reason: None, rate_per_sec: None, canary: None }
    }
}

/// Why an operation cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidOperation {
    /// Path of the invalid field.
    pub field: String,
    pub message: String,
}

impl InvalidOperation {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

type Checked = Result<(), InvalidOperation>;

fn require(condition: bool, field: &str, message: impl FnOnce() -> String) -> Checked {
    if condition { Ok(()) } else { Err(InvalidOperation::new(field, message())) }
}

impl NewOperation {
    /// Checks the rules that need no store. Removes repeated ids.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn check(&mut self) -> Checked {
        let action = self.action;
        match &mut self.selection {
            Selection::Ids(ids) => check_ids(action, ids)?,
            Selection::Tasks { name, state, labels } => {
                require(!action.is_for_runs(), "select.filter", || wrong_kind(action, "runs"))?;
                check_tag("select.filter.name", name.as_deref())?;
                check_labels(labels)?;
                check_state(action, *state, action.task_states())?;
            }
            Selection::Runs { tag, state, labels, .. } => {
                require(action.is_for_runs(), "select.filter", || wrong_kind(action, "tasks"))?;
                check_tag("select.filter.tag", tag.as_deref())?;
                check_labels(labels)?;
                check_state(action, *state, action.run_states())?;
            }
            Selection::Moments(_) => {}
        }
        let is_backfill = matches!(self.selection, Selection::Moments(_));
        require((action == Action::Backfill) == is_backfill, "action", || {
            "only a backfill has moments: use POST /v1/tasks/{task_id}/backfill".to_owned()
        })?;
        self.check_patch()?;
        self.check_canary()?;
        let rate_fits = self.rate_per_sec.is_none_or(|rate| (1..=MAX_RATE_PER_SEC).contains(&rate));
        let rate = || format!("rate_per_sec should be between 1 and {MAX_RATE_PER_SEC}");
        require(rate_fits, "rate_per_sec", rate)?;
        let reason_fits = self.reason.as_deref().is_none_or(is_reason);
        let reason =
            || format!("reason should have 1 to {MAX_REASON_BYTES} bytes, and no control characters");
        require(reason_fits, "reason", reason)
    }

    fn check_patch(&self) -> Checked {
        match &self.patch {
            None => {
                require(self.action != Action::Edit, "patch", || "patch is missing: edit needs it".to_owned())
            }
            Some(patch) => {
                let other =
                    || format!("{} takes no patch: use the action edit or redrive", self.action.as_str());
                require(matches!(self.action, Action::Edit | Action::Redrive), "patch", other)?;
                let size = || format!("patch should have at most {MAX_PATCH_BYTES} bytes");
                require(patch.len() <= MAX_PATCH_BYTES, "patch", size)?;
                let is_payload = self.action == Action::Redrive;
                let object = || "patch should be a JSON object with at least one field".to_owned();
                require(!is_payload || payload_patch::is_patch(patch), "patch", object)
            }
        }
    }

    fn check_canary(&self) -> Checked {
        let Some(canary) = self.canary else { return Ok(()) };
        let other = || format!("{} takes no canary: only redrive does", self.action.as_str());
        require(self.action == Action::Redrive, "canary", other)?;
        let bounds = || format!("canary should be between 1 and {MAX_CANARY}");
        require((1..=MAX_CANARY).contains(&canary), "canary", bounds)
    }
}

fn is_reason(text: &str) -> bool {
    (1..=MAX_REASON_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn wrong_kind(action: Action, kind: &str) -> String {
    format!("{} acts on {kind}: use a filter of {kind}", action.as_str())
}

fn check_ids(action: Action, ids: &mut Vec<String>) -> Checked {
    let bounds = || format!("select.ids should have between 1 and {MAX_IDS} items");
    require((1..=MAX_IDS).contains(&ids.len()), "select.ids", bounds)?;
    let is_valid = if action.is_for_runs() { is_run_id } else { is_task_id };
    for (at, id) in ids.iter().enumerate() {
        let malformed = || format!("the id is malformed: {} acts on {}", action.as_str(), items_of(action));
        require(is_valid(id), &format!("select.ids[{at}]"), malformed)?;
    }
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    Ok(())
}

fn items_of(action: Action) -> &'static str {
    if action.is_for_runs() { "runs" } else { "tasks" }
}

fn is_task_id(id: &str) -> bool {
    TaskId::parse(id).is_some()
}

fn is_run_id(id: &str) -> bool {
    (1..=MAX_RUN_ID_BYTES).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn check_tag(field: &str, tag: Option<&str>) -> Checked {
    let Some(tag) = tag else { return Ok(()) };
    tag::check(tag).map_err(|invalid| InvalidOperation::new(field, format!("invalid name: {invalid}")))
}

fn check_labels(labels: &Labels) -> Checked {
    labels::check(labels)
        .map_err(|invalid| InvalidOperation::new("select.filter.labels", invalid.to_string()))
}

fn check_state<S: Copy + PartialEq + ToString>(action: Action, state: Option<S>, allowed: &[S]) -> Checked {
    let words = || allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let wrong = || format!("{} acts on these states: {}", action.as_str(), words());
    require(state.is_none_or(|state| allowed.contains(&state)), "select.filter.state", wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{RunState, TaskState};

    const TASK: &str = "019aa4c81b7a7c3e8a51f3d6c2b90417";

    fn tasks(state: Option<TaskState>) -> Selection {
        Selection::Tasks { name: Some("mail".into()), state, labels: Labels::new() }
    }

    fn ids(ids: &[&str]) -> Selection {
        Selection::Ids(ids.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_error_names_the_field() {
        let pause = |selection| NewOperation::new(Action::Pause, selection);
        let named =
            |name: &str| Selection::Tasks { name: Some(name.into()), state: None, labels: Labels::new() };
        let run = |state| Selection::Runs { task_id: None, tag: None, state, labels: Labels::new() };
        let redrive = |state| NewOperation::new(Action::Redrive, run(state));
        let (runs, succeeded) = (run(None), run(Some(RunState::Succeeded)));
        let labels = Labels::from([("Team".to_owned(), "pay".to_owned())]);
        let wrong_label = Selection::Tasks { name: None, state: None, labels };
        let edit = NewOperation::new(Action::Edit, tasks(None));
        for (mut request, field) in [
            (pause(ids(&[])), "select.ids"),
            (pause(ids(&[TASK, "x"])), "select.ids[1]"),
            (pause(Selection::Ids(vec![TASK.to_owned(); MAX_IDS + 1])), "select.ids"),
            (pause(tasks(Some(TaskState::Paused))), "select.filter.state"),
            (pause(runs), "select.filter"),
            (NewOperation::new(Action::Redrive, tasks(None)), "select.filter"),
            (NewOperation::new(Action::Redrive, succeeded), "select.filter.state"),
            (pause(wrong_label), "select.filter.labels"),
            (NewOperation::new(Action::Redrive, ids(&["a b"])), "select.ids[0]"),
            (pause(named("a|b")), "select.filter.name"),
            (edit.clone(), "patch"),
            (NewOperation { patch: Some("x".repeat(MAX_PATCH_BYTES + 1)), ..edit.clone() }, "patch"),
            (NewOperation { patch: Some("{}".into()), ..pause(tasks(None)) }, "patch"),
            (NewOperation { rate_per_sec: Some(0), ..pause(tasks(None)) }, "rate_per_sec"),
            (NewOperation { rate_per_sec: Some(1_001), ..pause(tasks(None)) }, "rate_per_sec"),
            (NewOperation { patch: Some("{}".into()), ..redrive(None) }, "patch"),
            (NewOperation { patch: Some("7".into()), ..redrive(None) }, "patch"),
            (NewOperation { canary: Some(1), ..pause(tasks(None)) }, "canary"),
            (NewOperation { canary: Some(0), ..redrive(None) }, "canary"),
            (NewOperation { canary: Some(MAX_CANARY + 1), ..redrive(None) }, "canary"),
            (NewOperation { reason: Some(String::new()), ..pause(tasks(None)) }, "reason"),
            (NewOperation { reason: Some("a\nb".into()), ..pause(tasks(None)) }, "reason"),
        ] {
            assert_eq!(request.check().unwrap_err().field, field, "{request:?}");
        }
    }

    #[test]
    fn repeated_ids_are_one_item() {
        let mut request = NewOperation::new(Action::Pause, ids(&[TASK, TASK]));
        request.check().unwrap();
        assert_eq!(request.selection, ids(&[TASK]));
    }

    #[test]
    fn every_action_has_states_and_a_word() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
            assert_eq!(action.is_for_runs(), action.task_states().is_empty());
            assert_eq!(action.is_for_runs(), !action.run_states().is_empty());
        }
    }
}
