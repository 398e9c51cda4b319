//! The list of all crates in the program, as CycloneDX.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Release;
use crate::cargo::{Environment, command};

const SERVER: &str = "taskcenter-server";

/// Returns what cargo knows about the workspace and its dependencies on Linux.
pub fn metadata(workspace: &Path) -> Result<Value> {
    let arguments =
        ["metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-musl"];
    let output = command(workspace, &Environment::new()).args(arguments).output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Returns the version of the server.
pub fn version(metadata: &Value) -> Result<String> {
    let packages = packages(metadata);
    let server = packages.values().find(|package| package["name"] == SERVER);
    Ok(server.and_then(|server| server["version"].as_str()).context("the server has no version")?.to_owned())
}

/// Writes the list.
pub fn write(release: &Release<'_>, metadata: &Value) -> Result<()> {
    let lock = fs::read_to_string(release.workspace.join("Cargo.lock"))?;
    let document = document(metadata, &checksums(&lock))?;
    let path = release.out.join(format!("taskcenter-{}.cdx.json", release.version));
    fs::write(path, serde_json::to_string_pretty(&document)? + "\n")?;
    Ok(())
}

fn packages(metadata: &Value) -> BTreeMap<&str, &Value> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.filter_map(|package| Some((package["id"].as_str()?, package))).collect()
}

/// Dependencies by package, without those of tests and build scripts, which are not in the program.
fn edges(metadata: &Value) -> BTreeMap<&str, Vec<&str>> {
    let nodes = metadata["resolve"]["nodes"].as_array().into_iter().flatten();
    nodes.filter_map(|node| Some((node["id"].as_str()?, normal_dependencies(node)))).collect()
}

fn normal_dependencies(node: &Value) -> Vec<&str> {
    let dependencies = node["deps"].as_array().into_iter().flatten();
    let is_normal = |dependency: &&Value| {
        dependency["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null())
    };
    dependencies.filter(is_normal).filter_map(|dependency| dependency["pkg"].as_str()).collect()
}

fn reachable<'a>(root: &'a str, edges: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![root]);
    while let Some(id) = waiting.pop() {
        if found.insert(id) {
            waiting.extend(edges.get(id).into_iter().flatten());
        }
    }
    found
}

fn document(metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Result<Value> {
    let (packages, edges) = (packages(metadata), edges(metadata));
    let root = packages.iter().find(|(_, package)| package["name"] == SERVER);
    let (root, server) = root.context("the workspace has no server")?;
    let found = reachable(root, &edges);
    let components: Vec<Value> = found
        .iter()
        .filter(|id| *id != root)
        .map(|id| component(packages[id], "library", checksums))
        .collect();
    let dependencies: Vec<Value> = found
        .iter()
        .map(|id| {
            let needed: Vec<String> = edges[id].iter().map(|id| reference(packages[id])).collect();
            json!({ "ref": reference(packages[id]), "dependsOn": needed })
        })
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(server, "application", checksums) },
        "components": components,
        "dependencies": dependencies,
    }))
}

fn reference(package: &Value) -> String {
    format!("pkg:cargo/{}@{}", text(package, "name"), text(package, "version"))
}

fn component(package: &Value, kind: &str, checksums: &BTreeMap<(String, String), String>) -> Value {
    let (name, version) = (text(package, "name"), text(package, "version"));
    let mut component = json!({
        "type": kind,
        "bom-ref": reference(package),
        "name": name,
        "version": version,
        "purl": reference(package),
    });
    if let Some(license) = package["license"].as_str() {
        // Old crates separate licences by a slash.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(sum) = checksums.get(&(name.to_owned(), version.to_owned())) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    component
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package[field].as_str().unwrap_or_default()
}

/// Reads the checksums of Cargo.lock, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let blocks = lock.split("[[package]]");
    blocks
        .filter_map(|block| {
            Some(((field(block, "name")?, field(block, "version")?), field(block, "checksum")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_what_is_in_the_program_only() {
        let package =
            |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let dependency = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [package(SERVER), package("a"), package("b"), package("test-only"), package("other")],
            "resolve": { "nodes": [
                { "id": SERVER, "deps": [dependency("a", Value::Null), dependency("test-only", json!("dev"))] },
                { "id": "a", "deps": [dependency("b", Value::Null)] },
                { "id": "b", "deps": [] },
                { "id": "test-only", "deps": [] },
                { "id": "other", "deps": [] },
            ] },
        });
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n";
        let document = document(&metadata, &checksums(lock)).unwrap();
        let components = document["components"].as_array().unwrap();
        let names: Vec<&str> = components.iter().map(|component| text(component, "name")).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(components[0]["hashes"][0]["content"], "abc");
        assert_eq!(components[0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(document["metadata"]["component"]["name"], SERVER);
        assert_eq!(version(&metadata).unwrap(), "1.0.0");
    }
}
