//! Settings of the engine.

use serde::{Deserialize, Serialize};

use crate::core::misfire::Misfire;
use crate::core::retry::{self, RetryPolicy};

impl Settings {
    /// Returns [`wait_hours`](Self::wait_hours) in milliseconds.
    pub fn wait_ms(&self) -> i64 {
        i64::try_from(self.wait_hours).unwrap_or(i64::MAX).saturating_mul(3_600_000)
    }
}

/// The engine's part of the configuration. The defaults suit a small cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// IANA zone of cron expressions that name no zone. Also the zone in which outcomes are counted by
    /// day.
    pub time_zone: String,
    /// How far ahead due tasks are read into memory, in milliseconds.
    pub window_ms: i64,
    /// Time between two scans for due tasks, in milliseconds.
    pub rescan_ms: u64,
    /// Maximum number of moments fired in one batch.
    pub batch: u32,
    /// Lease of a node on a run that it hands over, in milliseconds. Another node takes over the runs of a
    /// dead node after this time.
    pub run_lease_ms: i64,
    /// Lease of a node on a shard, in milliseconds.
    pub shard_lease_ms: u64,
    /// Time between two searches for overdue runs, in milliseconds.
    pub rescue_ms: u64,
    /// How long ended runs and tasks are kept, in hours.
    pub keep_hours: u64,
    /// How long a run may wait that its worker postpones, such as a callback without a node of its service, in
    /// hours from the nominal moment. Then the run is dead.
    pub wait_hours: u64,
    /// How long a worker may take to stop after it has received the request to cancel its run, in
    /// milliseconds. Then the run ends as cancelled.
    pub cancel_grace_ms: i64,
    /// Time between two prunes, in seconds.
    pub prune_sec: u64,
    /// Time between two counts of the backlog, in seconds.
    pub backlog_sec: u64,
    /// Difference to the store's clock that causes a warning, in milliseconds.
    pub skew_warn_ms: i64,
    /// Difference to the store's clock at which the node stops firing, in milliseconds.
    pub skew_stop_ms: i64,
    /// What happens to moments that are found too late.
    pub misfire: Misfire,
    /// Default retry policy.
    #[serde(serialize_with = "retry::serialize_in_full")]
    pub retry: RetryPolicy,
    /// Windows of the alerts. Section `alerts` of the configuration sets them.
    #[serde(skip)]
    pub alert_windows: AlertWindows,
}

/// Times of the alert checks, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertWindows {
    /// Window of the dead runs of a tag.
    pub dead_ms: i64,
    /// Time without a dead run of a tag, after which the next one is the first.
    pub quiet_ms: i64,
    /// Window of the expired leases of a tag.
    pub expired_leases_ms: i64,
    /// How late a moment must be to count as overdue.
    pub undecided_ms: i64,
    /// How long a run waits in a queue without a worker.
    pub no_worker_ms: i64,
    /// Window of the lateness of a node, counted in whole minutes.
    pub lateness_ms: i64,
}

impl Default for AlertWindows {
    fn default() -> Self {
        Self {
            dead_ms: 300_000,
            quiet_ms: 3_600_000,
            expired_leases_ms: 300_000,
            undecided_ms: 60_000,
            no_worker_ms: 60_000,
            lateness_ms: 300_000,
        }
    }
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
            wait_hours: 24,
            cancel_grace_ms: 10_000,
            prune_sec: 60,
            backlog_sec: 10,
            skew_warn_ms: 500,
            skew_stop_ms: 2_000,
            misfire: Misfire::default(),
            retry: RetryPolicy::default(),
            alert_windows: AlertWindows::default(),
        }
    }
}
