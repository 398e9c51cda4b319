//! Which fronts there are.

use serde::{Deserialize, Serialize};

/// The fronts' part of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compat {
    /// kingtask: scripts and RPC calls.
    pub kingtask: Front,
    /// easytask: HTTP callback services.
    pub easytask: Front,
    /// easyTask: pull workers.
    pub easytask_pull: Front,
    /// TaskDash: the claim board.
    pub taskdash: Front,
}

/// One front.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Front {
    /// Whether its routes answer.
    pub enabled: bool,
}
