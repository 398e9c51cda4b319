//! Installs the package in a clean Debian, and lives with it: start, fire, crash, restart, upgrade, remove, purge.

use anyhow::{Context as _, Result, ensure};

use super::Release;
use super::container::{Container, Machine};
use super::deb::{self, Compression};
use super::layout::Layout;

/// Highest exposure that `systemd-analyze security` may report for the unit, in tenths.
const EXPOSURE: u32 = 20;
const UNIT: &str = "taskcenter.service";

/// The life of the package. Each step begins where the one before ended.
struct Check {
    machine: Machine,
    container: Container,
    /// Id of a task that all steps must keep.
    task: String,
}

/// Runs all steps.
pub fn run(release: &Release<'_>, layout: &Layout) -> Result<()> {
    let documents = release.workspace.join("target/dist/documents");
    let machine = Machine::install(release)?;
    let upgrade = format!("{}+upgrade", release.version);
    for (version, name) in [(&release.version, "first.deb"), (&upgrade, "second.deb")] {
        let built = release.with_out(machine.root.join("root"));
        let path = deb::write(&built, layout, &documents, version, Compression::None)?;
        std::fs::rename(path, machine.root.join("root").join(name))?;
    }
    let container = machine.boot()?;
    let mut check = Check { machine, container, task: String::new() };
    check.install()?;
    check.fire()?;
    check.survive_crash()?;
    check = check.survive_reboot()?;
    check.refuse_invalid_configuration()?;
    check.upgrade(&upgrade)?;
    check.remove()?;
    check.container.stop()
}

impl Check {
    fn sh(&self, command: &str) -> Result<String> {
        self.container.run(command)
    }

    fn wait_ready(&self) -> Result<()> {
        self.container.wait("taskcenter stat", |printed| !printed.contains("error:"))?;
        Ok(())
    }

    fn property(&self, name: &str) -> Result<String> {
        self.sh(&format!("systemctl show --value --property={name} {UNIT}"))
    }

    fn assert_task(&self) -> Result<()> {
        self.wait_ready()?;
        self.sh(&format!("taskcenter task get {}", self.task)).context("the task is lost")?;
        Ok(())
    }

    fn install(&mut self) -> Result<()> {
        println!("  install");
        self.sh("dpkg -i /root/first.deb")?;
        self.sh(&format!("systemctl is-active {UNIT} && systemctl is-enabled {UNIT}"))?;
        self.wait_ready()?;
        let verified = self.sh(&format!("systemd-analyze verify {UNIT} 2>&1"))?;
        ensure!(verified.is_empty(), "systemd-analyze: {verified}");
        self.sh(&format!("systemd-analyze security --threshold={EXPOSURE} {UNIT}"))?;
        self.assert_confined()?;
        self.assert_manual()?;
        self.task = self.sh("taskcenter task add kept --every 1h --in 1h --quiet")?;
        Ok(())
    }

    /// The process has another user than root, no capabilities, and data that only this user can read.
    fn assert_confined(&self) -> Result<()> {
        let status = self.sh(&format!("cat /proc/{}/status", self.property("MainPID")?))?;
        for (field, value) in
            [("CapEff:", "0000000000000000"), ("CapBnd:", "0000000000000000"), ("NoNewPrivs:", "1")]
        {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            ensure!(line.map(str::trim) == Some(value), "{field} is {line:?}, expected {value}");
        }
        let owner = self.sh("stat -c '%u %a' /var/lib/private/taskcenter")?;
        ensure!(owner.ends_with(" 700") && !owner.starts_with("0 "), "owner and mode of the data: {owner}");
        Ok(())
    }

    /// Every page is found and has no error of format.
    fn assert_manual(&self) -> Result<()> {
        let warnings = self.sh(
            "for page in /usr/share/man/man1/taskcenter*.gz; do man --warnings -l \"$page\" 2>&1 >/dev/null; done",
        )?;
        ensure!(warnings.is_empty(), "manual pages: {warnings}");
        let page = self.sh("man taskcenter-task-add | col -b")?;
        ensure!(page.contains("--cron"), "the manual page of `task add` has no options: {page}");
        self.sh("bash -n /usr/share/bash-completion/completions/taskcenter")?;
        Ok(())
    }

    fn fire(&self) -> Result<()> {
        println!("  fire");
        let task = self.sh("taskcenter task add shipped --in 1s --quiet")?;
        let list = format!("taskcenter run list --task {task}");
        self.container.wait(&list, |printed| printed.contains("ready"))?;
        Ok(())
    }

    fn survive_crash(&self) -> Result<()> {
        println!("  crash");
        let before = self.property("MainPID")?;
        ensure!(before != "0", "the server does not run");
        self.sh(&format!("kill -KILL {before}"))?;
        self.container.wait(&format!("systemctl show --value --property=MainPID {UNIT}"), |pid| {
            pid != "0" && pid != before
        })?;
        self.assert_task()
    }

    /// A stop finishes the work in progress: exit code 0. The service starts with the system.
    fn survive_reboot(self) -> Result<Self> {
        println!("  stop, reboot");
        self.sh(&format!("systemctl stop {UNIT}"))?;
        let result = (self.property("Result")?, self.property("ExecMainStatus")?);
        ensure!(result == ("success".to_owned(), "0".to_owned()), "the service stopped with {result:?}");
        let log = self.sh(&format!("journalctl --quiet --output=cat --unit={UNIT}"))?;
        ensure!(log.contains("\"stopped\""), "the server did not report its stop: {log}");
        self.container.stop()?;
        let container = self.machine.boot()?;
        let check = Self { container, ..self };
        check.assert_task()?;
        Ok(check)
    }

    /// systemd does not start a server again that refuses its configuration.
    fn refuse_invalid_configuration(&self) -> Result<()> {
        println!("  invalid configuration");
        self.sh("cp /etc/taskcenter/taskcenter.toml /root/good; echo 'unknown = 1' >> /etc/taskcenter/taskcenter.toml")?;
        self.sh(&format!("systemctl restart {UNIT}"))?;
        self.container.wait(&format!("systemctl is-active {UNIT}"), |state| state == "failed")?;
        ensure!(self.property("NRestarts")? == "0", "systemd started the server again");
        self.sh(&format!("cp /root/good /etc/taskcenter/taskcenter.toml; systemctl restart {UNIT}"))?;
        self.assert_task()
    }

    /// An upgrade restarts the service, and keeps tasks and configuration. A stopped service stays stopped.
    fn upgrade(&self, version: &str) -> Result<()> {
        println!("  upgrade");
        self.sh("echo '# local' >> /etc/taskcenter/taskcenter.toml")?;
        let before = self.property("MainPID")?;
        self.sh("dpkg -i /root/second.deb")?;
        let installed = self.sh("dpkg-query --show --showformat='${Version}' taskcenter")?;
        ensure!(installed == version, "version {installed} is installed");
        ensure!(before != self.property("MainPID")?, "the upgrade did not restart the server");
        self.assert_task()?;
        self.sh("grep -q '# local' /etc/taskcenter/taskcenter.toml")?;
        self.sh(&format!("systemctl disable --now {UNIT} && dpkg -i /root/second.deb"))?;
        let state = self.sh(&format!("systemctl is-active {UNIT} || systemctl is-enabled {UNIT} || true"))?;
        ensure!(state == "inactive\ndisabled", "a stopped service is {state:?} after an upgrade");
        self.sh(&format!("systemctl enable --now {UNIT}"))?;
        self.assert_task()
    }

    /// `remove` keeps tasks and configuration, and `purge` leaves nothing.
    fn remove(&self) -> Result<()> {
        println!("  remove, purge");
        self.sh("dpkg --remove taskcenter")?;
        let running = self.sh("pgrep -x taskcenter || true")?;
        ensure!(running.is_empty(), "the server runs after its removal");
        self.sh("dpkg -i /root/second.deb")?;
        self.assert_task()?;
        self.sh("dpkg --purge taskcenter")?;
        // Logs and the cache of `man` belong to the system.
        let left =
            self.sh("find / -xdev -name '*taskcenter*' -not -path '/proc/*' -not -path '/var/log/*' -not -path '/var/cache/*'")?;
        ensure!(left.is_empty(), "purge has left: {left}");
        Ok(())
    }
}
