//! Settings of the built-in workers.

use serde::{Deserialize, Serialize};

/// Settings of all built-in workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// Workers that run inside the server: `callback`, `rpc`, `script`.
    pub queues: Vec<String>,
    /// Maximum number of concurrent runs of each worker.
    pub concurrency: usize,
    /// Lease of a run in milliseconds. Workers renew it.
    pub lease_ms: u64,
    /// Grace period of runs in progress at a shutdown, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Workers {
    fn default() -> Self {
        let queues = super::QUEUES.iter().map(|queue| (*queue).to_owned()).collect();
        Self { queues, concurrency: 32, lease_ms: 30_000, drain_ms: 10_000 }
    }
}

/// Settings of scripts. Disabled by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// Whether scripts are run.
    pub enabled: bool,
    /// Directory of the programs.
    pub bin_path: String,
    /// Default timeout of a script in milliseconds.
    pub timeout_ms: u64,
    /// Maximum size of stored output, and of stored standard error, in bytes.
    pub output_bytes: usize,
    /// CPU time in seconds. 0: unlimited.
    pub cpu_sec: u64,
    /// Address space in bytes. 0: unlimited.
    pub memory_bytes: u64,
    /// Maximum size of a written file in bytes. 0: unlimited.
    pub file_bytes: u64,
    /// Number of open files. 0: the limit of the server.
    pub open_files: u64,
    /// Number of processes of the user that the server runs as, including other processes. 0: the limit of the
    /// user.
    pub processes: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            enabled: false,
            bin_path: String::new(),
            timeout_ms: 60_000,
            output_bytes: 32 * 1024,
            cpu_sec: 600,
            memory_bytes: 2 * 1024 * 1024 * 1024,
            file_bytes: 256 * 1024 * 1024,
            open_files: 256,
            processes: 0,
        }
    }
}

/// Settings of callbacks and RPC calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Callback {
    /// Allowed address ranges besides public addresses.
    pub allow: Vec<String>,
    /// Denied address ranges. They take precedence over `allow`.
    pub deny: Vec<String>,
    /// Default timeout of a call in milliseconds.
    pub timeout_ms: u64,
    /// Maximum size of a read response in bytes.
    pub answer_bytes: usize,
    /// Default time for the confirmation of an accepted callback, in milliseconds.
    pub confirm_within_ms: u64,
    /// Default interval between two health checks of the nodes of a service, in milliseconds.
    pub health_interval_ms: u64,
    /// Directory with the secrets of services, one file each, for `taskcenter worker`. Empty: no secrets.
    pub secrets_dir: String,
}

impl Default for Callback {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            timeout_ms: 10_000,
            answer_bytes: 32 * 1024,
            confirm_within_ms: 3_600_000,
            health_interval_ms: 5_000,
            secrets_dir: String::new(),
        }
    }
}

/// All settings of the workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub workers: Workers,
    pub script: Script,
    pub callback: Callback,
}
