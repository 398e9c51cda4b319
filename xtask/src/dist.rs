//! `cargo xtask dist`: the files of a release.

mod archive;
mod build;
mod check;
mod container;
mod deb;
mod image;
mod kubernetes;
mod layout;
mod manual;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::build::Target;
use self::layout::Layout;
use crate::monitoring;

/// Options of `cargo xtask dist`.
#[derive(Debug, clap::Args)]
pub struct Dist {
    /// Rust target; repeat the option for several targets. Default: x86_64-unknown-linux-musl, and
    /// aarch64-unknown-linux-musl if its C compiler aarch64-linux-musl-gcc is installed
    #[arg(long = "target", value_name = "TRIPLE")]
    targets: Vec<String>,
    /// Cargo profile. `dev` is for trials: it builds faster, and the program is large and slow
    #[arg(long, default_value = "release", value_name = "NAME")]
    profile: String,
    /// Package this program instead of building one. Needs one --target: the target of the program
    #[arg(long, value_name = "FILE", requires = "targets")]
    program: Option<PathBuf>,
    /// Install the package in a clean Debian with systemd, and run it: start, fire, crash, restart,
    /// upgrade, remove, purge. Also run the program as the image does, check the Helm chart, and ask a
    /// real Prometheus every query of the dashboard. Needs root
    #[arg(long)]
    check: bool,
}

impl Dist {
    /// The check of `cargo xtask test --full`: the package of a program that builds quickly.
    pub fn trial() -> Self {
        Self { targets: Vec::new(), profile: "dev".to_owned(), program: None, check: true }
    }
}

/// A release in progress.
struct Release<'a> {
    workspace: &'a Path,
    /// Directory of the finished files.
    out: PathBuf,
    version: String,
    /// Time of the commit in seconds since 1970: the time of all packed files, so that two builds of one source have the
    /// same bytes.
    epoch: String,
}

/// Writes the files of a release to target/dist.
pub fn run(workspace: &Path, dist: &Dist) -> Result<()> {
    let out = workspace.join("target/dist/files");
    if out.is_dir() {
        fs::remove_dir_all(&out)?;
    }
    fs::create_dir_all(&out)?;
    let metadata = sbom::metadata(workspace)?;
    let release = Release { workspace, out, version: sbom::version(&metadata)?, epoch: epoch(workspace)? };
    let native = release.make(dist)?;
    sbom::write(&release, &metadata)?;
    archive::write_checksums(&release.out)?;
    println!("The files are in {}", release.out.display());
    if dist.check {
        check::run(&release, &native)?;
        image::check(workspace, &native.program, &release.scratch("image")?)?;
        kubernetes::check(workspace, &native.program)?;
        monitoring::check(workspace, &native.program)?;
    }
    Ok(())
}

impl Release<'_> {
    /// Builds archive and package of each target. Returns the layout of the first target, which this machine can run.
    fn make(&self, dist: &Dist) -> Result<Layout> {
        let targets = Target::select(&dist.targets)?;
        let mut layouts = Vec::new();
        for target in targets {
            let program = match &dist.program {
                Some(program) => program.clone(),
                None => build::build(self.workspace, &target, &dist.profile)?,
            };
            layouts.push(Layout { target, program });
        }
        let documents = self.documents(&layouts)?;
        for layout in &layouts {
            println!("  packing {}", layout.target.triple);
            archive::write(self, layout, &documents)?;
            deb::write(self, layout, &documents, &self.version, deb::Compression::of_profile(&dist.profile))?;
        }
        layouts.into_iter().find(|layout| layout.target.is_native()).context("no target runs on this machine")
    }

    /// Writes manual pages and completions, which are the same on all targets.
    fn documents(&self, layouts: &[Layout]) -> Result<PathBuf> {
        let native = layouts.iter().find(|layout| layout.target.is_native());
        let native = native.context(
            "manual pages and completions come from the program itself: add a --target that runs on this machine",
        )?;
        let dir = self.scratch("documents")?;
        manual::write(&native.program, &self.version, &dir.join("man1"))?;
        layout::write_completions(&native.program, &dir)?;
        Ok(dir)
    }

    /// Returns the release with another directory of the finished files.
    fn with_out(&self, out: PathBuf) -> Self {
        Self { workspace: self.workspace, out, version: self.version.clone(), epoch: self.epoch.clone() }
    }

    /// Returns an empty directory below target/dist.
    fn scratch(&self, name: &str) -> Result<PathBuf> {
        let dir = self.workspace.join("target/dist").join(name);
        if dir.is_dir() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }
}

fn epoch(workspace: &Path) -> Result<String> {
    let time = ["log", "-1", "--format=%ct"];
    let output = std::process::Command::new("git").args(time).current_dir(workspace).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
