//! Real brokers and Apache's own clients, for tests.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod apache;
pub mod cluster;
pub mod secure;
pub mod server;

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use taskcenter_rocketmq::{Client, ClientConfig};
use tokio::time::{interval, timeout};

/// Time limit of a condition. Means "never", so it is long.
pub const DEADLINE: Duration = Duration::from_mins(3);
/// Time between two checks of a condition.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Version of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RocketMQ 4.9.
    Four,
    /// RocketMQ 5.5.
    Five,
}

impl Version {
    /// Returns the address of the name server that `cargo xtask services up --profile secure`
    /// started.
    pub fn name_server(self) -> String {
        match self {
            Self::Four => setting("TASKCENTER_TEST_ROCKETMQ_4_NAMESRV", "127.0.0.1:19879"),
            Self::Five => setting("TASKCENTER_TEST_ROCKETMQ_NAMESRV", "127.0.0.1:19876"),
        }
    }

    /// Returns the directory with the jars of this version.
    pub fn jars(self) -> PathBuf {
        let cached = |name| workspace().join("target/services/cache").join(name).join("lib");
        let (variable, name) = match self {
            Self::Four => ("TASKCENTER_TEST_ROCKETMQ_4_JARS", "rocketmq-4.9.7"),
            Self::Five => ("TASKCENTER_TEST_ROCKETMQ_JARS", "rocketmq-5.5.0"),
        };
        let jars = std::env::var_os(variable).map_or_else(|| cached(name), PathBuf::from);
        assert!(
            jars.is_dir(),
            "{} is missing: run `cargo xtask services up --profile secure`",
            jars.display()
        );
        jars
    }

    /// Returns a client of the shared broker of this version.
    pub fn client(self) -> Client {
        Client::new(ClientConfig::new(self.name_server())).expect("the configuration is valid")
    }
}

/// Returns the directory of the workspace.
pub fn workspace() -> PathBuf {
    let mut directories = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    directories.find(|directory| directory.join("Cargo.lock").is_file()).expect("the workspace exists").into()
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Returns a name that no other test run uses: brokers keep topics and groups.
pub fn unique(name: &str) -> String {
    format!("{name}_{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// Waits until the condition is true.
pub async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let mut checks = interval(CHECK_INTERVAL);
    let wait = async {
        while !is_true().await {
            checks.tick().await;
        }
    };
    assert!(timeout(DEADLINE, wait).await.is_ok(), "never: {what}");
}
