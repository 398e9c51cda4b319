//! Who may use whom, as docs/ARCHITECTURE.md says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A layer, and the layers, modules and crates of ours that it may name: with a module all that is in it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("core", &["core"]),
    ("ports", &["core", "ports"]),
    ("engine", &["core", "ports", "engine"]),
    ("adapters", &["core", "ports", "adapters"]),
    ("adapters/rocketmq", &["core", "ports", "adapters", "taskcenter_client"]),
    ("http", &["core", "engine::service", "http", "taskcenter_client", "wire"]),
    ("compat", &["compat", "core", "engine::service"]),
    ("console", &["console", "core", "engine::service"]),
    ("wire", &["core", "engine::service", "taskcenter_client"]),
    ("workers", &["core", "engine::service", "wire", "workers", "taskcenter_client"]),
    ("config", &["compat", "config", "core", "engine", "http", "workers"]),
    ("back_ends", &["adapters", "compat", "config", "core", "ports", "taskcenter_client"]),
    ("cli", &["logging", "taskcenter_client", "taskcenter_server"]),
    ("logging", &["taskcenter_server"]),
    ("main", &["cli"]),
    ("failpoint", &["failpoint"]),
];
/// Wires everything.
const WIRING: &str = "lib";
/// Every layer may stand on this.
const EVERYWHERE: &[&str] = &["failpoint"];

pub fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The paths that stand after `crate::` in the code, and crates of ours; comments do not count.
fn named(text: &str) -> BTreeSet<String> {
    let code =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut names = BTreeSet::new();
    for (at, begin) in code.match_indices("crate::") {
        read_path(&code[at + begin.len()..], "", &mut names);
    }
    for of_ours in ["taskcenter_client", "taskcenter_rocketmq", "taskcenter_server"] {
        // In quotes it is a log target.
        let path = format!("{of_ours}::");
        if code.match_indices(&path).any(|(at, _)| !code[..at].ends_with('"')) {
            names.insert(of_ours.to_owned());
        }
    }
    names
}

/// Notes the path at the head of the text, behind `before`, or the paths of the list in braces there; what follows them.
pub fn read_path<'a>(text: &'a str, before: &str, names: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut list) = text.strip_prefix('{') {
        while !list.trim_start().starts_with('}') {
            list = read_path(list, before, names).trim_start();
            // An alias says nothing.
            list = list.trim_start_matches(|c: char| !matches!(c, ',' | '}')).trim_start_matches(',');
        }
        return list.trim_start().strip_prefix('}').unwrap_or_default();
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(text.len());
    assert!(end > 0, "no name stands before {:?}", text.chars().take(40).collect::<String>());
    let (word, rest) = text.split_at(end);
    let path = if before.is_empty() { word.to_owned() } else { format!("{before}::{word}") };
    match rest.trim_start().strip_prefix("::") {
        // A turbofish belongs to what was named.
        Some(rest) if !rest.trim_start().starts_with('<') => read_path(rest, &path, names),
        _ => {
            names.insert(path);
            rest
        }
    }
}

/// Whether the path is the one that may be named, or lies in it.
fn lies_in(path: &str, may: &str) -> bool {
    path.strip_prefix(may).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The rule for a file: that of its own path where there is one, otherwise that of its folder.
fn rule(file: &str) -> Option<&'static [&'static str]> {
    let stem = file.trim_end_matches(".rs");
    let own = MAY_USE.iter().find(|(layer, _)| *layer == stem);
    let folder = || MAY_USE.iter().find(|(layer, _)| Some(*layer) == stem.split('/').next());
    own.or_else(folder).map(|(_, may)| *may)
}

#[test]
fn a_path_is_read_however_it_is_written() {
    let text = "
        use crate::{adapters::mongo::{self, MongoStore as Ledger}, engine::{health, service::{Service}, *}}; // crate::comment
        use crate::core;
        fn f() { crate::ports::read::<u8>(crate :: x); let a: crate::http::Context = taskcenter_client::a(); }
    ";
    let expected = [
        "adapters::mongo::MongoStore",
        "adapters::mongo::self",
        "core",
        "engine::*",
        "engine::health",
        "engine::service::Service",
        "http::Context",
        "ports::read",
        "taskcenter_client",
    ];
    assert_eq!(named(text).iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert!(lies_in("engine::service::Service", "engine::service") && lies_in("core", "core"));
    assert!(!lies_in("engine", "engine::service") && !lies_in("engine::services", "engine::service"));
    assert!(!lies_in("engine::*", "engine::service"));
}

#[test]
fn every_layer_uses_only_what_it_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for path in sources(&root) {
        let file = path.strip_prefix(&root).expect("it lies below").to_string_lossy().into_owned();
        if file.trim_end_matches(".rs") == WIRING {
            continue;
        }
        let may = rule(&file)
            .unwrap_or_else(|| panic!("{file} belongs to no layer that docs/ARCHITECTURE.md knows"));
        let names = named(&std::fs::read_to_string(&path).expect("the source is text"));
        let strangers: Vec<_> =
            names.iter().filter(|name| !may.iter().chain(EVERYWHERE).any(|may| lies_in(name, may))).collect();
        assert!(strangers.is_empty(), "{file} uses {strangers:?}, and may use {may:?}");
        seen += 1;
    }
    assert!(seen > 20, "{seen} files are not the whole source");
}

#[test]
fn the_sdk_uses_nothing_of_ours_but_the_rocketmq_client_in_its_transport() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client-sdk");
    for path in sources(&sdk.join("src")) {
        let names = named(&std::fs::read_to_string(&path).expect("the source is text"));
        assert!(!names.contains("taskcenter_server"), "{}", path.display());
        let is_transport = path.starts_with(sdk.join("src/transport/rocketmq"));
        assert!(is_transport || !names.contains("taskcenter_rocketmq"), "{}", path.display());
    }
    let manifest = std::fs::read_to_string(sdk.join("Cargo.toml")).expect("the manifest is text");
    assert!(!manifest.contains("taskcenter-server"));
}

#[test]
fn the_rocketmq_client_uses_nothing_of_ours() {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client-sdk/rocketmq");
    for path in sources(&client.join("src")) {
        let names = named(&std::fs::read_to_string(&path).expect("the source is text"));
        let others = ["taskcenter_client", "taskcenter_server"];
        assert!(others.iter().all(|other| !names.contains(*other)), "{}", path.display());
    }
    let manifest = std::fs::read_to_string(client.join("Cargo.toml")).expect("the manifest is text");
    assert!(!manifest.contains("taskcenter-client") && !manifest.contains("taskcenter-server"));
}

#[test]
fn the_core_is_without_io_and_without_async() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core");
    for path in sources(&core) {
        let text = std::fs::read_to_string(&path).expect("the source is text");
        for foreign in ["tokio", "async fn", ".await", "std::fs", "std::net", "mongodb", "redis::", "axum"] {
            assert!(!text.contains(foreign), "{} mentions {foreign}", path.display());
        }
    }
}

#[test]
fn words_that_say_nothing_name_no_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for part in
        ["server/src", "client-sdk/src", "client-sdk/rocketmq/src", "examples/src", "xtask/src", "bench/src"]
    {
        for path in sources(&root.join(part)) {
            let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let says_nothing =
                ["util", "utils", "common", "manager", "helper", "helpers"].contains(&stem.as_str());
            assert!(!says_nothing, "{}", path.display());
        }
    }
}
