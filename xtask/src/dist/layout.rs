//! Where the files of a release are in an archive and in a package.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::build::Target;

/// The program of one target.
pub struct Layout {
    pub target: Target,
    pub program: PathBuf,
}

/// A file of the repository, or of the generated documents, and its place.
pub struct Place {
    pub from: &'static str,
    pub to: &'static str,
    pub mode: u32,
}

const fn file(from: &'static str, to: &'static str) -> Place {
    Place { from, to, mode: 0o644 }
}

/// Generated completions by shell, each with the name that its shell expects.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "taskcenter"), ("zsh", "_taskcenter"), ("fish", "taskcenter.fish")];

/// Files of the repository in an archive.
pub const ARCHIVE: [Place; 8] = [
    file("LICENSE", "LICENSE"),
    file("README.md", "README.md"),
    file("CHANGELOG.md", "CHANGELOG.md"),
    file("config/default.toml", "config/default.toml"),
    file("config/cluster.toml", "config/cluster.toml"),
    file("deploy/systemd/taskcenter.service", "systemd/taskcenter.service"),
    file("deploy/prometheus/rules.yml", "prometheus/rules.yml"),
    file("deploy/grafana/taskcenter.json", "grafana/taskcenter.json"),
];

/// Files of the repository in a package.
pub const PACKAGE: [Place; 8] = [
    file("deploy/systemd/taskcenter.service", "usr/lib/systemd/system/taskcenter.service"),
    file("deploy/debian/taskcenter.toml", "etc/taskcenter/taskcenter.toml"),
    Place { from: "deploy/debian/environment", to: "etc/taskcenter/environment", mode: 0o600 },
    file("deploy/debian/copyright", "usr/share/doc/taskcenter/copyright"),
    file("config/default.toml", "usr/share/doc/taskcenter/default.toml"),
    file("config/cluster.toml", "usr/share/doc/taskcenter/cluster.toml"),
    file("deploy/prometheus/rules.yml", "usr/share/taskcenter/prometheus/rules.yml"),
    file("deploy/grafana/taskcenter.json", "usr/share/taskcenter/grafana/taskcenter.json"),
];

/// Generated files in a package.
pub const PACKAGE_DOCUMENTS: [Place; 3] = [
    file("completions/taskcenter", "usr/share/bash-completion/completions/taskcenter"),
    file("completions/_taskcenter", "usr/share/zsh/vendor-completions/_taskcenter"),
    file("completions/taskcenter.fish", "usr/share/fish/vendor_completions.d/taskcenter.fish"),
];

/// Writes the completions of all shells to `dir/completions`.
pub fn write_completions(program: &Path, dir: &Path) -> Result<()> {
    let dir = dir.join("completions");
    fs::create_dir_all(&dir)?;
    for (shell, name) in COMPLETIONS {
        let output = Command::new(program).args(["completions", shell]).output()?;
        ensure!(output.status.success(), "{} completions {shell}: {}", program.display(), output.status);
        fs::write(dir.join(name), output.stdout)?;
    }
    Ok(())
}

/// Copies the files from `from` to their places below `to`.
pub fn install(from: &Path, to: &Path, places: &[Place]) -> Result<()> {
    for place in places {
        copy(&from.join(place.from), &to.join(place.to), place.mode)?;
    }
    Ok(())
}

/// Copies one file, and creates its directories.
pub fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, Permissions::from_mode(mode))?;
    Ok(())
}

/// Returns the files of a directory, sorted.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_repository_exists() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for place in ARCHIVE.iter().chain(&PACKAGE) {
            assert!(workspace.join(place.from).is_file(), "{} is missing", place.from);
        }
    }

    #[test]
    fn only_root_reads_the_file_with_secrets() {
        let secrets = PACKAGE.iter().find(|place| place.to.ends_with("environment")).unwrap();
        assert_eq!(secrets.mode, 0o600);
        let places = tempfile::tempdir().unwrap();
        let from = places.path().join("from");
        fs::write(&from, "X=1").unwrap();
        copy(&from, &places.path().join("a/b"), secrets.mode).unwrap();
        let mode = fs::metadata(places.path().join("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
