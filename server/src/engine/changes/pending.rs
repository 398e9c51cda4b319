//! The changes since the last tick, each thing once, in a bounded number.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::core::Run;
use crate::core::change::{Change, ChangeKind};

/// Maximum number of changes in a tick. A person cannot follow more, and a program reads the lists instead.
pub const MAX_CHANGES: usize = 256;
/// Maximum number of tags of missed changes. Beyond them, every viewer has missed changes.
const MAX_MISSED_TAGS: usize = 256;

/// Changes that did not fit into a tick.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missed {
    #[default]
    None,
    /// Changes with these tags or queues, and perhaps changes without a tag.
    Tags(BTreeSet<String>),
    All,
}

impl Missed {
    fn add(&mut self, tag: &str) {
        match self {
            Self::None => *self = Self::Tags(BTreeSet::from([tag.to_owned()])),
            Self::Tags(tags) if tags.contains(tag) => {}
            Self::Tags(tags) if tags.len() < MAX_MISSED_TAGS => {
                tags.insert(tag.to_owned());
            }
            Self::Tags(_) => *self = Self::All,
            Self::All => {}
        }
    }

    /// Returns whether one of the tags for which the condition holds has missed changes.
    pub fn any(&self, is_wanted: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::None => false,
            Self::Tags(tags) => tags.iter().any(|tag| is_wanted(tag)),
            Self::All => true,
        }
    }
}

/// Changes that viewers receive together.
#[derive(Debug)]
pub struct Tick {
    changes: Vec<(Change, String)>,
    missed: Missed,
    /// Whether the changes happened on this node.
    is_own: bool,
}

/// A tick as nodes send it to each other.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    node: String,
    changes: Vec<Change>,
    missed: Missed,
}

impl Tick {
    fn new(changes: Vec<Change>, missed: Missed, is_own: bool) -> Self {
        let with_text = |change: Change| {
            let text = event(&change);
            (change, text)
        };
        Self { changes: changes.into_iter().map(with_text).collect(), missed, is_own }
    }

    /// Returns a tick that says that changes were missed.
    pub fn resync() -> Self {
        Self::new(Vec::new(), Missed::All, false)
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.missed == Missed::None
    }

    /// Returns the changes, each with its text as a server-sent event.
    pub fn changes(&self) -> impl Iterator<Item = (&Change, &str)> {
        self.changes.iter().map(|(change, text)| (change, text.as_str()))
    }

    pub fn missed(&self) -> &Missed {
        &self.missed
    }

    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Returns the message about the changes of `node`, for other nodes.
    pub fn to_message(&self, node: &str) -> String {
        let changes = self.changes.iter().map(|(change, _)| change.clone()).collect();
        let message = Message { node: node.to_owned(), changes, missed: self.missed.clone() };
        // The message consists of strings, so the encoding cannot fail.
        serde_json::to_string(&message).unwrap_or_default()
    }

    /// Returns the tick of a message. `None`: the message comes from `node` itself. A message that this release
    /// cannot read means that changes were missed.
    pub fn of_message(message: &str, node: &str) -> Option<Self> {
        match serde_json::from_str::<Message>(message) {
            Ok(message) if message.node == node => None,
            Ok(message) => Some(Self::new(message.changes, message.missed, false)),
            Err(_) => Some(Self::resync()),
        }
    }
}

/// Returns a change as a server-sent event. JSON has no line ends.
fn event(change: &Change) -> String {
    let shown = Change { creator: None, ..change.clone() };
    let data = serde_json::to_string(&shown).unwrap_or_default();
    format!("event: {}\ndata: {data}\n\n", change.kind.as_str())
}

/// Changes that are not sent yet.
#[derive(Debug, Default)]
pub struct Pending {
    changes: Vec<Change>,
    positions: HashMap<(ChangeKind, String), usize>,
    missed: Missed,
}

impl Pending {
    /// Adds a change with this tag, in place of an earlier one of the same thing.
    pub fn add(&mut self, tag: &str, change: impl FnOnce() -> Change) {
        // A burst pays for its first changes only.
        if self.changes.len() >= MAX_CHANGES {
            return self.missed.add(tag);
        }
        let change = change();
        let next = self.changes.len();
        let at = *self.positions.entry((change.kind, change.id().to_owned())).or_insert(next);
        match self.changes.get_mut(at) {
            Some(earlier) => *earlier = change,
            None => self.changes.push(change),
        }
    }

    /// Adds the change of a run and of its queue.
    pub fn add_run(&mut self, run: &Run) {
        self.add(&run.tag, || Change::of_run(run));
        if let Some(queue) = &run.queue {
            self.add(queue, || Change::of_queue(queue));
        }
    }

    pub fn into_tick(self) -> Tick {
        Tick::new(self.changes, self.missed, true)
    }
}
