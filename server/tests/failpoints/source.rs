//! The list contains every failpoint of the source, and a release build contains none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::points::POINTS;

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the entry is readable").path()).collect();
    paths.into_iter().flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn every_failpoint_of_the_source_is_in_the_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    for path in sources(&root).into_iter().filter(|path| !path.ends_with("failpoint.rs")) {
        let text = std::fs::read_to_string(&path).expect("the source is UTF-8");
        let name = |rest: &str| rest.split('"').next().unwrap_or_default().to_owned();
        found.extend(text.split("failpoint!(\"").skip(1).map(name));
    }
    let listed: BTreeSet<String> = POINTS.iter().map(|point| point.name.to_owned()).collect();
    assert_eq!(listed.len(), POINTS.len(), "the list has no duplicates");
    assert_eq!(found, listed);
}

/// Compiles the file of the macro, and a constant that contains a failpoint.
fn compile(dir: &Path, debug_assertions: &str) -> Output {
    let macro_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/failpoint.rs");
    let source = format!(
        "#[macro_use] #[path = {:?}] pub mod failpoint;\npub const PASSED: () = {{ failpoint!(\"a\"); }};\n",
        macro_file.display().to_string()
    );
    std::fs::write(dir.join("lib.rs"), source).expect("the file is written");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(rustc);
    compile.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata"]);
    compile.arg("-C").arg(format!("debug-assertions={debug_assertions}"));
    compile.arg("--out-dir").arg(dir).arg(dir.join("lib.rs")).output().expect("the compiler runs")
}

/// A constant cannot contain a call, and the crate `fail` is not available here. So the code
/// compiles only if the macro expands to nothing.
#[test]
fn a_release_build_has_no_failpoint() {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let release = compile(dir.path(), "off");
    assert!(release.status.success(), "{}", String::from_utf8_lossy(&release.stderr));
    let debug = compile(dir.path(), "on");
    let errors = String::from_utf8_lossy(&debug.stderr).into_owned();
    assert!(
        !debug.status.success() && errors.contains("fail"),
        "the check does not detect a failpoint: {errors}"
    );
}
