//! Changes of tasks, runs, queues and operations, for live views. A change names what has changed, and never
//! contains a payload.

use serde::{Deserialize, Serialize};

use super::operation::Operation;
use super::{Run, RunId, Task, TaskId};

/// State of a deleted task. The stores have no such state: they hide the task.
const DELETED: &str = "deleted";

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A task was created, edited, paused, resumed, cancelled or deleted.
    Task,
    /// A run was created or has another state.
    Run,
    /// A run has new lines in its log.
    Log,
    /// The runs of a queue have changed.
    Queue,
    /// An operation was created, has made progress or has ended.
    Operation,
}

impl ChangeKind {
    pub const ALL: [Self; 5] = [Self::Task, Self::Run, Self::Log, Self::Queue, Self::Operation];

    /// Returns the kind as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Run => "run",
            Self::Log => "log",
            Self::Queue => "queue",
            Self::Operation => "operation",
        }
    }

    /// Returns the kind that [`as_str`](Self::as_str) spells as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One change. `None`: the kind of change has no such value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub kind: ChangeKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Id of the caller that created the operation. Nodes need it to decide who may see the change; viewers do
    /// not receive it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
}

impl Change {
    const fn empty(kind: ChangeKind) -> Self {
        Self {
            kind,
            task_id: None,
            run_id: None,
            operation_id: None,
            tag: None,
            queue: None,
            state: None,
            creator: None,
        }
    }

    /// Returns the change of a task that is now in this state. The state of a hidden task is `deleted`.
    pub fn of_task(task: &Task) -> Self {
        let state = if task.hidden { DELETED } else { task.state.as_str() };
        Self {
            task_id: Some(task.id.clone()),
            tag: Some(task.name.clone()),
            state: Some(state.to_owned()),
            ..Self::empty(ChangeKind::Task)
        }
    }

    /// Returns the change of a run that is now in this state.
    pub fn of_run(run: &Run) -> Self {
        Self {
            task_id: Some(run.task_id.clone()),
            run_id: Some(run.id.clone()),
            tag: Some(run.tag.clone()),
            queue: run.queue.clone(),
            state: Some(run.state.as_str().to_owned()),
            ..Self::empty(ChangeKind::Run)
        }
    }

    /// Returns the change of the log of a run.
    pub fn of_log(run: &Run) -> Self {
        Self { kind: ChangeKind::Log, queue: None, state: None, ..Self::of_run(run) }
    }

    /// Returns the change of a queue.
    pub fn of_queue(queue: &str) -> Self {
        Self { queue: Some(queue.to_owned()), ..Self::empty(ChangeKind::Queue) }
    }

    /// Returns the change of an operation that is now in this state.
    pub fn of_operation(operation: &Operation) -> Self {
        Self {
            operation_id: Some(operation.id.clone()),
            state: Some(operation.state.as_str().to_owned()),
            creator: Some(operation.creator.id.clone()),
            ..Self::empty(ChangeKind::Operation)
        }
    }

    /// Returns what identifies the changed thing among those of its kind.
    pub fn id(&self) -> &str {
        let id = match self.kind {
            ChangeKind::Task => self.task_id.as_ref().map(TaskId::as_str),
            ChangeKind::Run | ChangeKind::Log => self.run_id.as_ref().map(RunId::as_str),
            ChangeKind::Queue => self.queue.as_deref(),
            ChangeKind::Operation => self.operation_id.as_deref(),
        };
        id.unwrap_or_default()
    }

    /// Returns the tag or the queue by which a caller is limited. `None`: the change belongs to no tag.
    pub fn limited_by(&self) -> Option<&str> {
        match self.kind {
            ChangeKind::Queue => self.queue.as_deref(),
            _ => self.tag.as_deref(),
        }
    }
}

/// Changes that a viewer wants. `None` and an empty list match everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    pub kinds: Vec<ChangeKind>,
    /// Tag of a task or a run, or name of a queue.
    pub tag: Option<String>,
    pub task_id: Option<TaskId>,
    pub run_id: Option<RunId>,
}

impl ChangeFilter {
    /// Returns whether the filter matches a change.
    pub fn matches(&self, change: &Change) -> bool {
        let is_of = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        (self.kinds.is_empty() || self.kinds.contains(&change.kind))
            && is_of(&self.tag, change.limited_by())
            && (self.task_id.is_none() || self.task_id == change.task_id)
            && (self.run_id.is_none() || self.run_id == change.run_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(tag: &str) -> Change {
        let (task, run) = (TaskId::parse(&"0".repeat(32)).unwrap(), RunId::from_text("r"));
        let (task_id, run_id, tag) = (Some(task), Some(run), Some(tag.to_owned()));
        Change { task_id, run_id, tag, ..Change::empty(ChangeKind::Run) }
    }

    #[test]
    fn a_filter_matches_all_of_its_values() {
        let (mail, queue) = (run("mail"), Change::of_queue("mail"));
        let tag = ChangeFilter { tag: Some("mail".to_owned()), ..ChangeFilter::default() };
        assert!(tag.matches(&mail) && tag.matches(&queue) && !tag.matches(&run("order")));
        let kinds = ChangeFilter { kinds: vec![ChangeKind::Queue, ChangeKind::Log], ..tag.clone() };
        assert!(kinds.matches(&queue) && !kinds.matches(&mail));
        let task = ChangeFilter { task_id: mail.task_id.clone(), ..tag.clone() };
        assert!(task.matches(&mail) && !task.matches(&queue));
        let other = ChangeFilter { run_id: Some(RunId::from_text("other")), ..ChangeFilter::default() };
        assert!(!other.matches(&mail) && ChangeFilter::default().matches(&mail));
    }

    #[test]
    fn a_kind_is_spelled_alike_everywhere() {
        for kind in ChangeKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(ChangeKind::parse(kind.as_str()), Some(kind));
        }
    }
}
