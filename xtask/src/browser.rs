//! `cargo xtask browser`: the console in a real browser, driven by Playwright.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo::{self, Environment};
use crate::download;

const TESTS: &str = "server/tests/browser";

/// Options of `cargo xtask browser`.
#[derive(clap::Args)]
pub struct Browser {
    /// Take new pictures of every page into docs/console
    #[arg(long)]
    pictures: bool,
    /// Run only the tests whose names match this regular expression
    #[arg(value_name = "PATTERN")]
    only: Option<String>,
}

impl Browser {
    /// All tests, without pictures.
    pub fn all() -> Self {
        Self { pictures: false, only: None }
    }
}

/// Builds the server, installs the packages of the lock file, and runs the tests.
pub fn run(workspace: &Path, options: &Browser) -> Result<()> {
    // The build of a test also builds the program. Features of shared dependencies differ between packages, and
    // between builds with and without tests: this one is the build of `cargo xtask test`.
    let server = ["test", "--locked", "--workspace", "--test", "faults", "--no-run"];
    cargo::cargo(workspace, &Environment::new(), &server)?;
    let browser = download::browser()?;
    let node = download::program("node", "nodejs")?;
    let dir = install(workspace)?;
    let mut tests = Command::new(node);
    tests
        .args(["--test", "--test-concurrency=1", "--test-timeout=300000", "--test-reporter=spec"])
        .current_dir(&dir);
    if let Some(pattern) = &options.only {
        tests.arg(format!("--test-name-pattern={pattern}"));
    }
    tests.env("TASKCENTER_TEST_BIN", target(workspace).join("debug/taskcenter"));
    tests.env("TASKCENTER_TEST_CHROMIUM", browser);
    tests.env("TASKCENTER_DOCS", workspace.join("docs"));
    if options.pictures {
        tests.env("TASKCENTER_PICTURES", workspace.join("docs/console"));
    }
    let status = tests.status().context("cannot start node")?;
    ensure!(status.success(), "a test of the console failed");
    Ok(())
}

/// Copies the tests, so that the checkout gets no installed packages. Returns their directory.
fn install(workspace: &Path) -> Result<PathBuf> {
    let (from, to) = (workspace.join(TESTS), target(workspace).join("browser"));
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(&to)?.chain(fs::read_dir(&from)?) {
        let path = entry?.path();
        let Some(file) = path.file_name().filter(|_| path.is_file()) else { continue };
        if path.parent() == Some(&from) {
            fs::copy(&path, to.join(file))?;
        } else if path.extension().is_some_and(|extension| extension == "mjs") {
            // A test that was removed from the checkout.
            fs::remove_file(&path)?;
        }
    }
    let (lock, installed) = (to.join("package-lock.json"), to.join("installed-lock.json"));
    if fs::read(&lock)? != fs::read(&installed).unwrap_or_default() {
        let npm = download::program("npm", "npm")?;
        download::run(Command::new(npm).args(["ci", "--no-audit", "--no-fund"]).current_dir(&to))?;
        fs::copy(lock, installed)?;
    }
    Ok(to)
}

fn target(workspace: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from)
}
