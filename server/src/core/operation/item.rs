use serde::{Deserialize, Serialize};

/// An item of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub id: String,
    /// Version of the run. A redrive is a compare-and-set on the version, so that a repeated batch does not
    /// redrive a run again that has died since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}
