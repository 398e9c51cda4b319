use serde::{Deserialize, Serialize};

use super::{Run, RunId};
use crate::core::Moment;

/// A leased run, without payload: what a worker holds, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedRun {
    pub id: RunId,
    pub tag: String,
    pub queue: Option<String>,
    /// Name of the worker.
    pub holder: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// When the worker leased the attempt. `None`: leased by an earlier release.
    #[serde(default)]
    pub leased_at: Option<Moment>,
    /// When the lease ends.
    pub attention_at: Option<Moment>,
}

impl LeasedRun {
    /// Returns the queue, or the queue with the name of the tag.
    pub fn queue(&self) -> &str {
        self.queue.as_deref().unwrap_or(&self.tag)
    }
}

impl Run {
    /// Returns the run as what its worker holds.
    pub fn as_leased(&self) -> LeasedRun {
        LeasedRun {
            id: self.id.clone(),
            tag: self.tag.clone(),
            queue: self.queue.clone(),
            holder: self.holder.clone(),
            attempt: self.attempt,
            leased_at: self.leased_at,
            attention_at: self.attention_at,
        }
    }
}
