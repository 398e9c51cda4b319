//! Keys between which leases are fair.

use super::Run;

/// Queue and tag of ready runs. Keys take turns at the lease: many ready runs of one key do not delay the runs of the
/// others. Keys are ordered by queue; the key of the tag with the queue's name comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FairnessKey {
    pub queue: String,
    /// Tag of the runs. `None`: the tag is the name of the queue.
    pub other_tag: Option<String>,
}

impl FairnessKey {
    /// Returns the key of the runs whose tag is the name of their queue.
    pub fn of_queue(queue: impl Into<String>) -> Self {
        Self { queue: queue.into(), other_tag: None }
    }

    /// Returns the key of the runs with this queue and this tag.
    pub fn new(queue: &str, tag: &str) -> Self {
        Self { queue: queue.to_owned(), other_tag: (tag != queue).then(|| tag.to_owned()) }
    }
}

impl Run {
    /// Returns the key with which the run takes turns at the lease. `None`: the run has no queue.
    pub fn fairness_key(&self) -> Option<FairnessKey> {
        self.queue.as_deref().map(|queue| FairnessKey::new(queue, &self.tag))
    }
}
