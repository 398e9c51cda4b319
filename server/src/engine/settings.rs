//! What the engine can be told.

use serde::{Deserialize, Serialize};

use crate::core::misfire::Misfire;
use crate::core::retry::RetryPolicy;

/// The engine's part of the configuration. Every value has a default that suits a small cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// IANA zone for cron expressions without one of their own.
    pub time_zone: String,
    /// How far ahead due tasks are read into memory, in milliseconds.
    pub window_ms: i64,
    /// How often that is done, in milliseconds.
    pub rescan_ms: u64,
    /// Moments fired in one batch, at most.
    pub batch: u32,
    /// How long a node is trusted with a run it hands over, in milliseconds. A run of a node that died is taken over after this.
    pub run_lease_ms: i64,
    /// How long a node is trusted with a shard, in milliseconds.
    pub shard_lease_ms: u64,
    /// How often overdue runs are looked for, in milliseconds.
    pub rescue_ms: u64,
    /// How long ended runs and tasks are kept, in hours.
    pub keep_hours: u64,
    /// How often they are cleared away, in seconds.
    pub prune_sec: u64,
    /// How often the backlog is counted, in seconds.
    pub backlog_sec: u64,
    /// Clock skew against the store, in milliseconds, that is worth a warning.
    pub skew_warn_ms: i64,
    /// Clock skew, in milliseconds, at which this node stops firing.
    pub skew_stop_ms: i64,
    /// What becomes of moments that come too late.
    pub misfire: Misfire,
    /// What becomes of attempts that fail.
    pub retry: RetryPolicy,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            time_zone: "UTC".to_owned(),
            window_ms: 3_000,
            rescan_ms: 500,
            batch: 1_000,
            run_lease_ms: 10_000,
            shard_lease_ms: 3_000,
            rescue_ms: 500,
            keep_hours: 168,
            prune_sec: 60,
            backlog_sec: 10,
            skew_warn_ms: 500,
            skew_stop_ms: 2_000,
            misfire: Misfire::default(),
            retry: RetryPolicy::default(),
        }
    }
}
