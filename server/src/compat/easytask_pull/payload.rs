//! The payload of this API's tasks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The payload of a task: its number and what the client sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Payload {
    pub id: i64,
    pub tid: String,
    pub rid: String,
    pub task_type: String,
    pub task_info: Value,
}

impl Payload {
    /// Reads a run's payload. `None`: another API put the run into this queue.
    pub fn read(data: &str) -> Option<Self> {
        serde_json::from_str(data).ok()
    }
}
