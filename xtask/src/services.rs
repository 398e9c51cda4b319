//! Starts, stops and inspects the services, also after a crash.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::catalog::{ACL_USER, Profile, Service, all};
use crate::process::Ending;
use crate::{download, net, programs, tls};

/// Maximum time of a start. A JVM on a busy machine takes several seconds, a recovery of mongod
/// longer.
const READY_TIMEOUT: Duration = Duration::from_mins(2);
/// Time after which a service that does not answer is restarted. Longer than the registration
/// period of a broker.
const RESTART_AFTER: Duration = Duration::from_secs(12);

/// The services of one checkout.
pub struct Services {
    all: Vec<Service>,
    root: PathBuf,
}

impl Services {
    /// Services whose files are below `root`.
    pub fn new(root: &Path) -> Self {
        Self { all: all(root), root: root.to_path_buf() }
    }

    /// Starts missing services of a profile, restarts those that do not answer, and waits until all
    /// work.
    pub fn up(&self, profile: Profile) -> Result<()> {
        let _lock = self.lock()?;
        let wanted: Vec<&Service> = self.all.iter().filter(|service| service.belongs_to(profile)).collect();
        let (brokers, first): (Vec<&Service>, Vec<&Service>) = wanted.iter().partition(|s| s.is_broker());
        start_all(&first)?;
        start_all(&brokers)?;
        download::cron_oracle(&self.root)?;
        download::rocketmq(&self.root)?;
        download::go_modules()?;
        download::browser()?;
        self.write_environment()
    }

    /// Waits for plain services that another program starts.
    pub fn wait_for_plain(&self) -> Result<()> {
        for service in self.all.iter().filter(|service| service.belongs_to(Profile::Plain)) {
            wait_until_ready(service, Instant::now(), &mut || true)?;
        }
        self.write_environment()
    }

    /// Stops all services that were started here. `wipe` also deletes their data.
    pub fn down(&self, wipe: bool) -> Result<()> {
        let names: Vec<&str> = self.all.iter().map(|service| service.name).collect();
        self.stop_all(&names, wipe)
    }

    /// Returns the names of running services that were started here.
    pub fn running(&self) -> Vec<&'static str> {
        self.all
            .iter()
            .filter(|service| service.home().running().is_some())
            .map(|service| service.name)
            .collect()
    }

    /// Stops the named services.
    pub fn stop_all(&self, names: &[&str], wipe: bool) -> Result<()> {
        let _lock = self.lock()?;
        let wanted: Vec<&Service> = self.all.iter().filter(|service| names.contains(&service.name)).collect();
        let (brokers, rest): (Vec<&Service>, Vec<&Service>) = wanted.into_iter().partition(|s| s.is_broker());
        stop_together(&brokers, wipe)?;
        stop_together(&rest, wipe)
    }

    /// Starts one service, unless it works.
    pub fn start(&self, name: &str) -> Result<()> {
        let _lock = self.lock()?;
        start_all(&[self.find(name)?])
    }

    /// Stops one service.
    pub fn stop(&self, name: &str, ending: Ending) -> Result<()> {
        let _lock = self.lock()?;
        stop(self.find(name)?, ending, false)
    }

    /// Prints each service with its address and state.
    pub fn print_status(&self) {
        for service in &self.all {
            println!("{:12} {:45} {}", service.name, service.address(), state(service));
        }
    }

    /// Returns the variables by which tests find the services. Includes secure services only while
    /// they run.
    pub fn environment(&self) -> BTreeMap<&'static str, String> {
        let mut variables = BTreeMap::new();
        for service in &self.all {
            let is_listed = service.belongs_to(Profile::Plain) || service.home().running().is_some();
            if let Some(name) = service.variable().filter(|_| is_listed) {
                variables.insert(name, service.address());
            }
        }
        if variables.contains_key("TASKCENTER_TEST_ROCKETMQ_ACL_NAMESRV") {
            variables.insert("TASKCENTER_TEST_ROCKETMQ_ACCESS_KEY", ACL_USER.access_key.to_owned());
            variables.insert("TASKCENTER_TEST_ROCKETMQ_SECRET_KEY", ACL_USER.secret_key.to_owned());
        }
        if variables.contains_key("TASKCENTER_TEST_ROCKETMQ_TLS_NAMESRV") {
            let authority = tls::authority(&self.root).display().to_string();
            variables.insert("TASKCENTER_TEST_ROCKETMQ_TLS_CA", authority);
        }
        if let Some(jars) = download::fetched_rocketmq(&self.root) {
            variables.insert("TASKCENTER_TEST_ROCKETMQ_JARS", jars.display().to_string());
        }
        if let Some(jars) = download::fetched_rocketmq_4(&self.root) {
            variables.insert("TASKCENTER_TEST_ROCKETMQ_4_JARS", jars.display().to_string());
        }
        if let Some(oracle) = download::fetched_cron_oracle(&self.root) {
            variables.insert("TASKCENTER_TEST_CRON_ORACLE", oracle.display().to_string());
        }
        variables
    }

    fn write_environment(&self) -> Result<()> {
        let lines: Vec<String> =
            self.environment().into_iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let file = self.root.join("env");
        fs::write(&file, lines.concat())?;
        eprintln!("Addresses (written to {}):", file.display());
        print!("{}", lines.concat());
        Ok(())
    }

    fn find(&self, name: &str) -> Result<&Service> {
        let names: Vec<&str> = self.all.iter().map(|service| service.name).collect();
        let unknown = || anyhow!("unknown service {name:?}: use one of {}", names.join(", "));
        self.all.iter().find(|service| service.name == name).ok_or_else(unknown)
    }

    /// Locks the directory: two commands at once would restart each other's services. The lock ends
    /// with the handle.
    fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.root)?;
        let file = File::create(self.root.join("lock"))?;
        file.lock().context("cannot lock the services directory")?;
        Ok(file)
    }
}

/// Starts all services, then waits for each, so that the waits overlap.
fn start_all(services: &[&Service]) -> Result<()> {
    let start = Instant::now();
    let mut started = Vec::new();
    for service in services {
        if works(service) {
            eprintln!("{:12} {:45} {}", service.name, service.address(), state_when_up(service));
        } else {
            started.push((service, spawn(service)?));
        }
    }
    for (service, mut child) in started {
        wait_until_ready(service, start, &mut || matches!(child.try_wait(), Ok(None)))?;
        eprintln!(
            "{:12} {:45} up after {:.1} s",
            service.name,
            service.address(),
            start.elapsed().as_secs_f32()
        );
    }
    Ok(())
}

/// Returns whether a service works. Waits up to [`RESTART_AFTER`] for a running process: a broker
/// needs time to find a restarted name server.
fn works(service: &Service) -> bool {
    let start = Instant::now();
    while programs::probe(service).is_err() {
        if service.home().running().is_none() || start.elapsed() > RESTART_AFTER {
            return false;
        }
        sleep(Duration::from_millis(100));
    }
    true
}

/// Starts a service. Kills a process of the service that does not work.
fn spawn(service: &Service) -> Result<Child> {
    let home = service.home();
    // The process did not answer for `RESTART_AFTER`: a graceful stop would take longer.
    if end(service, Ending::Kill)? {
        eprintln!("{:12} did not answer; restarting", service.name);
    }
    if net::is_taken(service.port) {
        bail!("{}: port {} is in use by another process: stop that process", service.name, service.port);
    }
    home.spawn(&mut programs::command(service)?)
}

fn wait_until_ready(service: &Service, start: Instant, alive: &mut dyn FnMut() -> bool) -> Result<()> {
    loop {
        let Err(error) = programs::probe(service) else { return Ok(()) };
        let home = service.home();
        if !alive() {
            bail!(
                "{} ended during its start; last lines of {}:\n{}",
                service.name,
                home.log().display(),
                home.log_tail()
            );
        }
        if start.elapsed() > READY_TIMEOUT {
            return Err(error.context(format!(
                "{} is not ready; see {}",
                service.name,
                home.dir().display()
            )));
        }
        sleep(Duration::from_millis(100));
    }
}

fn stop_together(services: &[&Service], wipe: bool) -> Result<()> {
    let stops = std::thread::scope(|scope| {
        let stops: Vec<_> =
            services.iter().map(|service| scope.spawn(|| stop(service, Ending::Graceful, wipe))).collect();
        stops.into_iter().map(|handle| handle.join().expect("a stop never panics")).collect::<Vec<_>>()
    });
    stops.into_iter().collect()
}

fn stop(service: &Service, ending: Ending, wipe: bool) -> Result<()> {
    let start = Instant::now();
    if end(service, ending)? {
        eprintln!("{:12} stopped after {:.1} s", service.name, start.elapsed().as_secs_f32());
    }
    if wipe && service.home().dir().is_dir() {
        fs::remove_dir_all(service.home().dir())?;
    }
    Ok(())
}

/// Stops the process and waits until its port is free: a killed process closes its sockets after it
/// has left `/proc`.
fn end(service: &Service, ending: Ending) -> Result<bool> {
    let ended = service.home().stop(ending)?;
    let start = Instant::now();
    while ended && net::is_taken(service.port) && start.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(20));
    }
    Ok(ended)
}

fn state(service: &Service) -> String {
    match (programs::probe(service), service.home().running()) {
        (Ok(()), _) => state_when_up(service),
        (Err(error), Some(pid)) => format!("pid {pid} runs but does not work: {error:#}"),
        (Err(_), None) => "down".to_owned(),
    }
}

fn state_when_up(service: &Service) -> String {
    service
        .home()
        .running()
        .map_or("up, started by another program".to_owned(), |pid| format!("up, pid {pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_has_the_plain_services_before_they_run() {
        let root = tempfile::tempdir().unwrap();
        let environment = Services::new(root.path()).environment();
        let names: Vec<&str> = environment.keys().copied().collect();
        assert_eq!(
            names,
            ["TASKCENTER_TEST_MONGODB_URI", "TASKCENTER_TEST_REDIS_ADDR", "TASKCENTER_TEST_ROCKETMQ_NAMESRV"]
        );
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_names() {
        let root = tempfile::tempdir().unwrap();
        let error = Services::new(root.path()).stop("kafka", Ending::Kill).unwrap_err().to_string();
        assert!(error.contains("kafka") && error.contains("mongo, redis"), "{error}");
    }

    #[test]
    fn down_succeeds_without_running_services() {
        let root = tempfile::tempdir().unwrap();
        Services::new(root.path()).down(true).unwrap();
    }
}
