//! A PostgreSQL for one measurement of River, with its default settings.
//!
//! Only an installed PostgreSQL is used: the package of Debian also starts a server on the default port.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::process::{Running, empty};
use crate::bench::subject::Session;
use crate::download;
use crate::net::free_port;

const INSTALLED: &str = "/usr/lib/postgresql";

/// An installed PostgreSQL.
pub struct Postgres {
    programs: PathBuf,
    /// User and group that the server runs as. PostgreSQL does not run as root.
    user: Option<(u32, u32)>,
}

impl Postgres {
    /// Finds the newest installed version.
    pub fn find() -> Result<Self> {
        let entries = fs::read_dir(INSTALLED).into_iter().flatten().flatten();
        let has_server = |path: &PathBuf| path.join("initdb").is_file() && path.join("postgres").is_file();
        let mut programs: Vec<PathBuf> =
            entries.map(|entry| entry.path().join("bin")).filter(has_server).collect();
        programs.sort_by_key(|path| version(path));
        let programs = programs.pop().with_context(|| {
            format!("PostgreSQL is not installed in {INSTALLED}: run `apt-get install postgresql` as root")
        })?;
        let is_root = rustix::process::geteuid().is_root();
        let user = is_root.then(|| ids("postgres").context("the system has no user postgres")).transpose()?;
        Ok(Self { programs, user })
    }

    /// Returns the major version.
    pub fn version(&self) -> u32 {
        version(&self.programs)
    }

    /// Starts an empty server. Returns the process and the connection string.
    pub fn start(&self, session: &Session) -> Result<(Running, String)> {
        let (dir, port) = (session.dir.join("postgres"), free_port()?);
        empty(&dir)?;
        if let Some((user, group)) = self.user {
            chown(&dir, Some(user), Some(group))?;
        }
        let data = dir.join("data");
        let mut init = self.command("initdb", &dir);
        init.args(["--username=bench", "--auth=trust", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data);
        download::run(&mut init).context("PostgreSQL cannot create its data directory")?;
        let mut server = self.command("postgres", &dir);
        server.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        let url = format!("postgres://bench@127.0.0.1:{port}/postgres");
        let running = Running::start(&dir, &mut server, &session.interrupt, || is_ready(&data))?;
        Ok((running, url))
    }

    fn command(&self, name: &str, dir: &Path) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(dir);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Returns whether the server accepts connections, from the eighth line of the file that the server keeps.
fn is_ready(data: &Path) -> bool {
    let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    state.lines().nth(7).is_some_and(|state| state.trim() == "ready")
}

/// Returns the major version of the programs in `/usr/lib/postgresql/<version>/bin`.
fn version(programs: &Path) -> u32 {
    let version = programs.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().parse());
    version.and_then(Result::ok).unwrap_or_default()
}

/// Returns the user id and the group id of a user of this system.
fn ids(user: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(user))?;
    let mut numbers = line.split(':').skip(2);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let programs = |name: &str| Path::new(INSTALLED).join(name).join("bin");
        assert_eq!((version(&programs("9")), version(&programs("15"))), (9, 15));
        assert_eq!(version(&programs("other")), 0);
    }

    #[test]
    fn every_system_has_a_root() {
        assert_eq!(ids("root"), Some((0, 0)));
        assert_eq!(ids("no such user"), None);
    }
}
