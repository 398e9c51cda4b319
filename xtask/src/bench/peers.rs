//! Other systems for the same works: BullMQ, asynq and River. Their programs are in `bench/peers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::bench::figures::{Figures, parse};
use crate::bench::postgres::Postgres;
use crate::bench::redis::{self, Fsync};
use crate::bench::subject::{Session, Subject, Subjects};
use crate::bench::work::{RATE, Work};
use crate::download;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/peers");
const PACKAGE: &str = include_str!("../../../bench/peers/bullmq/package.json");
const MODULES: &str = include_str!("../../../bench/peers/go/go.mod");
/// asynq creates one task a call.
const WITHOUT_BATCHES: [Work; 4] = [Work::CreateOne, Work::Run, Work::Burst, Work::Steady];

/// A system and its store.
enum Kind {
    BullMq(Fsync),
    Asynq(Fsync),
    River(Postgres),
}

/// Another system.
struct Peer<'a> {
    session: &'a Session,
    kind: Kind,
    /// Directory of the installed programs.
    dir: PathBuf,
}

/// Adds the systems that this machine can run, and omits the others.
pub fn add_to<'a>(subjects: &mut Subjects<'a>, session: &'a Session) -> Result<()> {
    const FSYNC: [Fsync; 2] = [Fsync::EverySecond, Fsync::Always];
    let peer = |dir: &Path, kind| Peer { session, kind, dir: dir.to_path_buf() };
    match install_node_package(session) {
        Ok(dir) => FSYNC.map(Kind::BullMq).into_iter().for_each(|kind| subjects.push(peer(&dir, kind))),
        Err(error) => subjects.omit("BullMQ", &error),
    }
    session.interrupt.check()?;
    let go = build_go_program(session);
    session.interrupt.check()?;
    match &go {
        Ok(dir) => FSYNC.map(Kind::Asynq).into_iter().for_each(|kind| subjects.push(peer(dir, kind))),
        Err(error) => subjects.omit("asynq", error),
    }
    match go.and_then(|dir| Ok((dir, Postgres::find()?))) {
        Ok((dir, postgres)) => subjects.push(peer(&dir, Kind::River(postgres))),
        Err(error) => subjects.omit("River", &error),
    }
    Ok(())
}

/// Installs the versions of the lock file.
fn install_node_package(session: &Session) -> Result<PathBuf> {
    let npm = program("npm", "nodejs npm")?;
    program("node", "nodejs npm")?;
    let dir = copy(session, "bullmq")?;
    let (lock, installed) = (dir.join("package-lock.json"), dir.join("installed-lock.json"));
    if fs::read(&lock)? != fs::read(&installed).unwrap_or_default() {
        eprintln!("Installing BullMQ");
        download::run(Command::new(npm).args(["ci", "--no-audit", "--no-fund"]).current_dir(&dir))?;
        fs::copy(lock, installed)?;
    }
    Ok(dir)
}

/// Builds the program of asynq and River. `go.sum` pins the modules.
fn build_go_program(session: &Session) -> Result<PathBuf> {
    let go = program("go", "golang-go")?;
    let dir = copy(session, "go")?;
    eprintln!("Building asynq and River");
    let build = ["build", "-mod=readonly", "-buildvcs=false", "-o", "peers", "."];
    download::run(Command::new(go).args(build).current_dir(&dir))?;
    Ok(dir)
}

/// Copies the sources of a program, so that the checkout gets no installed files.
fn copy(session: &Session, name: &str) -> Result<PathBuf> {
    let (from, to) = (Path::new(SOURCES).join(name), session.dir.join("peers").join(name));
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        if let Some(file) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(file))?;
        }
    }
    Ok(to)
}

fn program(name: &str, packages: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is missing: install it, e.g. `apt-get install {packages}` as root"))
}

/// Returns the pinned version of a dependency: the word after its name, without punctuation.
fn pinned(manifest: &str, dependency: &str) -> String {
    let mut words = manifest.split_whitespace().map(|word| word.trim_matches(['"', ',', ':']));
    words.find(|word| *word == dependency);
    words.next().unwrap_or_default().trim_start_matches('v').to_owned()
}

impl Peer<'_> {
    fn command(&self, peer: &str, work: Work, address: &str) -> Command {
        let mut command = if peer == "bullmq" {
            let mut node = Command::new("node");
            node.arg(self.dir.join("bench.mjs")).args([work.name(), address]);
            node
        } else {
            let mut go = Command::new(self.dir.join("peers"));
            go.args([peer, work.name(), address]);
            go
        };
        command.args([self.session.sizes.count(work).to_string(), RATE.to_string()]);
        command
    }
}

impl Subject for Peer<'_> {
    fn title(&self) -> String {
        match &self.kind {
            Kind::BullMq(fsync) => format!("BullMQ {}, {}", pinned(PACKAGE, "bullmq"), fsync.setting()),
            Kind::Asynq(fsync) => {
                format!("asynq {}, {}", pinned(MODULES, "github.com/hibiken/asynq"), fsync.setting())
            }
            Kind::River(_) => format!("River {}", pinned(MODULES, "github.com/riverqueue/river")),
        }
    }

    fn durability(&self) -> String {
        let redis = redis::version().unwrap_or_default();
        match &self.kind {
            Kind::BullMq(fsync) => format!("{} (Redis {redis})", fsync.durability()),
            Kind::Asynq(fsync) => {
                format!(
                    "{} (Redis {redis}); looks for due tasks every 100 ms, default 5 s",
                    fsync.durability()
                )
            }
            Kind::River(postgres) => {
                let version = postgres.version();
                format!("PostgreSQL {version}, default settings: each acknowledged write is on the disk")
            }
        }
    }

    fn works(&self) -> &'static [Work] {
        if matches!(self.kind, Kind::Asynq(_)) { &WITHOUT_BATCHES } else { &Work::OF_PEERS }
    }

    fn measure(&mut self, work: Work) -> Result<Figures> {
        let interrupt = &self.session.interrupt;
        let output = match &self.kind {
            Kind::BullMq(fsync) => {
                let (_redis, port) = redis::start(self.session, *fsync)?;
                interrupt.output(&mut self.command("bullmq", work, &port.to_string()))?
            }
            Kind::Asynq(fsync) => {
                let (_redis, port) = redis::start(self.session, *fsync)?;
                interrupt.output(&mut self.command("asynq", work, &format!("127.0.0.1:{port}")))?
            }
            Kind::River(postgres) => {
                let (_postgres, url) = postgres.start(self.session)?;
                interrupt.output(&mut self.command("river", work, &url))?
            }
        };
        parse(&output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_pinned() {
        for (manifest, dependency) in [
            (PACKAGE, "bullmq"),
            (MODULES, "github.com/hibiken/asynq"),
            (MODULES, "github.com/riverqueue/river"),
        ] {
            let version = pinned(manifest, dependency);
            assert_eq!(version.split('.').count(), 3, "{dependency} {version}");
            assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{dependency} {version}");
        }
    }
}
