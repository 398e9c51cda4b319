//! A Redis for one measurement of a peer. Its data is on the disk, unlike the Redis of a cluster.

use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::process::{Running, empty};
use crate::bench::subject::Session;
use crate::net::free_port;
use crate::{download, net};

/// When Redis calls fsync.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Once a second.
    EverySecond,
    /// Before each answer.
    Always,
}

impl Fsync {
    /// Returns the value of `appendfsync`.
    pub fn setting(self) -> &'static str {
        match self {
            Self::EverySecond => "everysec",
            Self::Always => "always",
        }
    }

    /// Returns what an acknowledged write survives.
    pub fn durability(self) -> &'static str {
        match self {
            Self::EverySecond => "Redis, append-only file, `appendfsync everysec`: a crash loses up to 2 s",
            Self::Always => {
                "Redis, append-only file, `appendfsync always`: each acknowledged write is on the disk"
            }
        }
    }
}

/// Starts an empty Redis. Returns the process and the port.
pub fn start(session: &Session, fsync: Fsync) -> Result<(Running, u16)> {
    let dir = session.dir.join("redis");
    empty(&dir)?;
    let port = free_port()?;
    let mut command = Command::new(download::program("redis-server", "redis-server")?);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--daemonize", "no"]);
    command.args(["--appendonly", "yes", "--appendfsync", fsync.setting()]);
    // By default Redis overwrites its command line, and `Home::running` would not recognise the process.
    command.args(["--set-proc-title", "no", "--dir"]).arg(&dir);
    let running = Running::start(&dir, &mut command, &session.interrupt, || net::is_taken(port))?;
    Ok((running, port))
}

/// Returns the version of Redis.
pub fn version() -> Result<String> {
    let program = download::program("redis-server", "redis-server")?;
    let output = Command::new(program).arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    let version = text.split(' ').find_map(|word| word.strip_prefix("v="));
    version.map(str::to_owned).context("redis-server does not print its version")
}
