//! The workers' part of the configuration.

use serde::{Deserialize, Serialize};

/// The built-in workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// Which run inside the server: `callback`, `rpc`, `script`.
    pub queues: Vec<String>,
    /// Runs that each of them works on at a time.
    pub concurrency: usize,
    /// How long a worker is trusted with a run between two signs of life.
    pub lease_ms: u64,
    /// How long runs that are under way may go on at the end.
    pub drain_ms: u64,
}

impl Default for Workers {
    fn default() -> Self {
        let queues = super::QUEUES.iter().map(|queue| (*queue).to_owned()).collect();
        Self { queues, concurrency: 32, lease_ms: 30_000, drain_ms: 10_000 }
    }
}

/// Scripts. Off until there is a directory that they may come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// Whether scripts are run at all.
    pub enabled: bool,
    /// The directory that holds every program that may be run.
    pub bin_path: String,
    /// How long one may take where its task does not say.
    pub timeout_ms: u64,
    /// What is kept of its output, and as much of what it writes to standard error.
    pub output_bytes: usize,
    /// Processor time, in seconds; 0: as long as it takes.
    pub cpu_sec: u64,
    /// Address space, in bytes; 0: as much as there is.
    pub memory_bytes: u64,
    /// The largest file that it can write, in bytes; 0: as large as there is room.
    pub file_bytes: u64,
    /// Open files; 0: as the server.
    pub open_files: u64,
    /// Processes of the user that the server runs as, those of others included; 0: as many as the user may have.
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

/// Calls to the outside: those of callbacks and of RPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Callback {
    /// Ranges of addresses that are allowed beside the public ones.
    pub allow: Vec<String>,
    /// Ranges of addresses that are denied; they win over `allow`.
    pub deny: Vec<String>,
    /// How long a call may take where its task does not say.
    pub timeout_ms: u64,
    /// What is read of an answer.
    pub answer_bytes: usize,
    /// How long a callback that was accepted may take to be confirmed, where its task does not say.
    pub confirm_within_ms: u64,
    /// Pause between two looks at the health of a service's nodes, where the service does not say.
    pub health_interval_ms: u64,
    /// A directory with the secrets of services, a file each, for workers elsewhere; empty: none.
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

/// Everything that the workers are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which, and how many at a time.
    pub workers: Workers,
    /// Scripts.
    pub script: Script,
    /// Callbacks and RPC.
    pub callback: Callback,
}
