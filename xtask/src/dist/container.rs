//! A clean Debian with systemd as its first process, in a container of systemd-nspawn.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::Release;
use crate::download::{program, run};

/// Oldest supported release of Debian.
const SUITE: &str = "bookworm";
/// Packages beside the essential ones. `man-db` checks the manual pages.
const INCLUDE: &str = "--include=systemd,systemd-sysv,dbus,ca-certificates,man-db";
/// Maximum time of a boot or shutdown on a busy machine.
const BOOT_TIMEOUT: Duration = Duration::from_mins(2);

/// A directory with a Debian system.
pub struct Machine {
    pub root: PathBuf,
    log: PathBuf,
}

/// A running [`Machine`].
pub struct Container {
    nspawn: Child,
    /// First process of the container, as this machine numbers it.
    leader: String,
    log: PathBuf,
}

impl Machine {
    /// Installs a clean system. A base that was downloaded before is used again.
    pub fn install(release: &Release<'_>) -> Result<Self> {
        ensure!(geteuid().is_root(), "the check installs a system: run it as root");
        program("systemd-nspawn", "systemd-container")?;
        let dir = release.workspace.join("target/dist");
        let base = base(&dir.join(format!("debian-{SUITE}")))?;
        let root = release.scratch("machine")?.join("root");
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&base).arg(&root))?;
        Ok(Self { root, log: dir.join("machine/log") })
    }

    /// Boots the system, and waits until systemd has started everything. The system has only a loopback interface.
    pub fn boot(&self) -> Result<Container> {
        let log = File::create(&self.log)?;
        let mut command = Command::new("systemd-nspawn");
        // Without a registration, a machine without systemd can run the container.
        command.args(["--quiet", "--register=no", "--keep-unit", "--private-network", "--boot"]);
        command.args(["--console=pipe", "--hostname=check", "--directory"]).arg(&self.root);
        let nspawn = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut container = Container { nspawn, leader: String::new(), log: self.log.clone() };
        container.wait_for_systemd()?;
        Ok(container)
    }
}

fn base(base: &Path) -> Result<PathBuf> {
    if base.is_dir() {
        return Ok(base.to_owned());
    }
    let debootstrap = program("debootstrap", "debootstrap")?;
    println!("  downloading Debian {SUITE}");
    let scratch = base.with_extension("partial");
    if scratch.is_dir() {
        fs::remove_dir_all(&scratch)?;
    }
    run(Command::new(debootstrap).args(["--variant=minbase", INCLUDE, SUITE]).arg(&scratch))
        .with_context(|| format!("cannot install Debian {SUITE}: a Debian mirror must be reachable"))?;
    fs::rename(&scratch, base)?;
    Ok(base.to_owned())
}

impl Container {
    /// Runs a command in the container, and returns its standard output. Fails if the command fails.
    pub fn run(&self, command: &str) -> Result<String> {
        let output = self.output(command)?;
        let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{command}` failed in the container: {printed}\n{}", error.trim());
        Ok(printed)
    }

    /// Runs a command until its output, with its errors, satisfies the condition.
    pub fn wait(&self, command: &str, condition: impl Fn(&str) -> bool) -> Result<String> {
        let start = Instant::now();
        loop {
            let output = self.output(command)?;
            let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            if condition(printed.trim()) {
                return Ok(printed.trim().to_owned());
            }
            ensure!(
                start.elapsed() < BOOT_TIMEOUT,
                "`{command}` does not come to the expected state: {}",
                printed.trim()
            );
            sleep(Duration::from_millis(100));
        }
    }

    fn output(&self, command: &str) -> Result<Output> {
        let namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--target"];
        let shell = ["/bin/sh", "-c", command];
        let mut nsenter = Command::new("nsenter");
        nsenter.args(namespaces).arg(&self.leader).args(shell).stdin(Stdio::null());
        // The environment of this machine is not that of a clean system.
        nsenter.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        nsenter.env("HOME", "/root").env("DEBIAN_FRONTEND", "noninteractive");
        nsenter.output().context("nsenter is missing: install the package util-linux")
    }

    fn wait_for_systemd(&mut self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < BOOT_TIMEOUT {
            if let Some(status) = self.nspawn.try_wait()? {
                bail!("the container ended: {status}: {}", fs::read_to_string(&self.log)?.trim());
            }
            if let Some(leader) = child_of(self.nspawn.id()) {
                self.leader = leader;
                let state = self.output("systemctl is-system-running")?;
                if matches!(state.stdout.trim_ascii(), b"running" | b"degraded") {
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(100));
        }
        bail!("systemd does not start in the container; {} has its output", self.log.display())
    }

    /// Shuts the system down, as `poweroff` does.
    pub fn stop(mut self) -> Result<()> {
        // nspawn passes the signal on as the request to shut down.
        self.signal(Signal::TERM)?;
        let start = Instant::now();
        while self.nspawn.try_wait()?.is_none() {
            ensure!(start.elapsed() < BOOT_TIMEOUT, "the container does not shut down");
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.nspawn.id().cast_signed()).context("a process has an id")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // After `stop`, nothing runs. The end of the first process ends all processes of the container, and the end of
        // nspawn would not.
        if self.nspawn.try_wait().is_ok_and(|ended| ended.is_none()) {
            if let Some(leader) = self.leader.parse().ok().and_then(Pid::from_raw) {
                let _ = kill_process(leader, Signal::KILL);
            }
            let _ = self.nspawn.kill();
            let _ = self.nspawn.wait();
        }
    }
}

fn child_of(pid: u32) -> Option<String> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next().map(str::to_owned)
}
