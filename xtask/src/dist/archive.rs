//! The archive of a target, and the checksums of all files.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Release;
use super::layout::{self, Layout};
use crate::download::run;

const SUMS: &str = "SHA256SUMS";

/// Writes `taskcenter-VERSION-TRIPLE.tar.gz`.
pub fn write(release: &Release<'_>, layout: &Layout, documents: &Path) -> Result<()> {
    let name = format!("taskcenter-{}-{}", release.version, layout.target.triple);
    let scratch = release.scratch("archive")?;
    let dir = scratch.join(&name);
    layout::install(release.workspace, &dir, &layout::ARCHIVE)?;
    layout::copy(&layout.program, &dir.join("taskcenter"), 0o755)?;
    for part in ["man1", "completions"] {
        for file in layout::files(&documents.join(part))? {
            let name = file.file_name().context("a file has a name")?;
            layout::copy(&file, &dir.join(part.replace("man1", "man/man1")).join(name), 0o644)?;
        }
    }
    // The same source gives the same bytes: no time of the build, no name of a user, no order of the file system.
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--use-compress-program=gzip -n"]);
    tar.arg(format!("--mtime=@{}", release.epoch)).arg("-cf");
    tar.arg(release.out.join(format!("{name}.tar.gz"))).arg("-C").arg(&scratch).arg(&name);
    run(&mut tar)
}

/// Writes the checksums of all files of a directory.
pub fn write_checksums(dir: &Path) -> Result<()> {
    let files = layout::files(dir)?;
    let names = files.iter().filter_map(|path| path.file_name()).filter(|name| *name != SUMS);
    let output = Command::new("sha256sum").args(names).current_dir(dir).output();
    let output = output.context("sha256sum is missing: install the package coreutils")?;
    ensure!(output.status.success(), "sha256sum: {}", output.status);
    fs::write(dir.join(SUMS), output.stdout)?;
    Ok(())
}
