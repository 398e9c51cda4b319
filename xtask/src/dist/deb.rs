//! The Debian package of a target.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Release;
use super::build::required_glibc;
use super::layout::{self, Layout, Place};
use crate::download::{program, run};

const NAME: &str = "taskcenter";
/// Compressed documents in the directory of the package below usr/share/doc.
const CHANGELOG: &str = "usr/share/doc/taskcenter/changelog.gz";

/// How the content of a package is compressed.
#[derive(Debug, Clone, Copy)]
pub enum Compression {
    /// Small, and slow to write.
    Xz,
    None,
}

impl Compression {
    /// A program of another profile than `release` is for trials.
    pub fn of_profile(profile: &str) -> Self {
        if profile == "release" { Self::Xz } else { Self::None }
    }

    fn option(self) -> &'static str {
        match self {
            Self::Xz => "-Zxz",
            Self::None => "-Znone",
        }
    }
}

const fn script(from: &'static str, to: &'static str) -> Place {
    Place { from, to, mode: 0o755 }
}

const SCRIPTS: [Place; 3] = [
    script("deploy/debian/postinst", "DEBIAN/postinst"),
    script("deploy/debian/prerm", "DEBIAN/prerm"),
    script("deploy/debian/postrm", "DEBIAN/postrm"),
];

/// Writes `taskcenter_VERSION_ARCHITECTURE.deb`, and returns its path.
pub fn write(
    release: &Release<'_>,
    layout: &Layout,
    documents: &Path,
    version: &str,
    compression: Compression,
) -> Result<PathBuf> {
    let dpkg_deb = program("dpkg-deb", "dpkg")?;
    let root = release.scratch("package")?;
    fill(release, layout, documents, &root)?;
    write_control(release.workspace, layout, version, &root)?;
    let architecture = layout.target.debian_architecture()?;
    let path = release.out.join(format!("{NAME}_{version}_{architecture}.deb"));
    let mut command = Command::new(dpkg_deb);
    command.args(["--root-owner-group", compression.option(), "--build"]).arg(&root).arg(&path);
    run(command.env("SOURCE_DATE_EPOCH", &release.epoch))?;
    Ok(path)
}

fn fill(release: &Release<'_>, layout: &Layout, documents: &Path, root: &Path) -> Result<()> {
    layout::copy(&layout.program, &root.join("usr/bin/taskcenter"), 0o755)?;
    layout::install(release.workspace, root, &layout::PACKAGE)?;
    layout::install(documents, root, &layout::PACKAGE_DOCUMENTS)?;
    layout::copy(
        &release.workspace.join("CHANGELOG.md"),
        &root.join(CHANGELOG.trim_end_matches(".gz")),
        0o644,
    )?;
    gzip(&root.join(CHANGELOG.trim_end_matches(".gz")))?;
    for page in layout::files(&documents.join("man1"))? {
        let name = page.file_name().context("a page has a name")?;
        let to = root.join("usr/share/man/man1").join(name);
        layout::copy(&page, &to, 0o644)?;
        gzip(&to)?;
    }
    Ok(())
}

fn gzip(path: &Path) -> Result<()> {
    run(Command::new("gzip").args(["-9", "-n"]).arg(path))
}

fn write_control(workspace: &Path, layout: &Layout, version: &str, root: &Path) -> Result<()> {
    let glibc = required_glibc(&layout.target, &fs::read(&layout.program)?)?;
    let size = installed_kib(root)?;
    layout::install(workspace, root, &SCRIPTS)?;
    let conffiles = layout::PACKAGE.iter().filter(|place| place.to.starts_with("etc/"));
    let conffiles: Vec<String> = conffiles.map(|place| format!("/{}\n", place.to)).collect();
    fs::write(root.join("DEBIAN/conffiles"), conffiles.concat())?;
    let control = control(layout.target.debian_architecture()?, version, size, glibc.as_deref());
    fs::write(root.join("DEBIAN/control"), control)?;
    Ok(())
}

/// Without ca-certificates, the program cannot set up TLS, and does not start.
fn control(architecture: &str, version: &str, installed_kib: u64, glibc: Option<&str>) -> String {
    let libc = glibc.map(|version| format!(", libc6 (>= {version}), libgcc-s1")).unwrap_or_default();
    format!(
        "Package: {NAME}\n\
         Version: {version}\n\
         Architecture: {architecture}\n\
         Maintainer: taskcenter <taskcenter@localhost>\n\
         Installed-Size: {installed_kib}\n\
         Depends: ca-certificates, init-system-helpers (>= 1.54){libc}\n\
         Recommends: tzdata\n\
         Section: net\n\
         Priority: optional\n\
         Description: delivery of delayed and scheduled tasks\n \
         taskcenter delivers tasks once, at a fixed interval, or by a cron expression.\n \
         It stores each run, retries failures, and shows past runs. The service keeps\n \
         its tasks in a SQLite file, or in MongoDB with Redis and RocketMQ.\n"
    )
}

fn installed_kib(dir: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        total +=
            if path.is_dir() { installed_kib(&path)? } else { fs::metadata(&path)?.len().div_ceil(1024) };
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_program_needs_no_libc() {
        let depends = |glibc| {
            let control = control("amd64", "1.0", 1, glibc);
            control.lines().find(|line| line.starts_with("Depends")).unwrap().to_owned()
        };
        assert!(!depends(None).contains("libc6"));
        assert!(depends(Some("2.34")).contains("libc6 (>= 2.34)"));
    }

    #[test]
    fn every_line_of_the_description_is_indented() {
        let control = control("amd64", "1.0", 1, None);
        let (_, description) = control.split_once("Description: ").unwrap();
        assert!(description.lines().skip(1).all(|line| line.starts_with(' ')), "{description}");
        assert!(control.lines().all(|line| line.len() <= 80), "{control}");
    }
}
