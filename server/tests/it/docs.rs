//! The documents agree with the code, with each other and with the style rules.

mod compare;
pub mod pages;

use std::collections::BTreeSet;

use pages::{Page, workspace};

fn text(path: &str) -> String {
    Page::read(path).text
}

/// A source file without its unit tests.
fn source(path: &str) -> String {
    let source = text(path);
    source.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// The quoted string right after each `mark`, and the rest of its line.
fn quoted<'a>(source: &'a str, mark: &str) -> Vec<(&'a str, &'a str)> {
    let line = |after: &'a str| after.lines().next()?.strip_prefix('"')?.split_once('"');
    source.split(mark).skip(1).filter_map(line).collect()
}

fn assert_named(document: &str, words: &[String], at_least: usize) {
    assert!(words.len() >= at_least, "the source has more than {words:?}");
    let page = text(document);
    let missing: Vec<_> = words.iter().filter(|word| !page.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "{document} does not name {missing:?}");
}

/// HTTP method of a route: the first word after its path.
fn method(rest_of_line: &str) -> &'static str {
    match rest_of_line.trim_start_matches([',', ' ']) {
        rest if rest.starts_with("get(") => "GET",
        rest if rest.starts_with("post(") => "POST",
        rest => panic!("unknown method: {rest}"),
    }
}

fn routes(source: &str, prefix: &str) -> Vec<String> {
    let routes = quoted(source, ".route(");
    routes.into_iter().map(|(path, rest)| format!("{} {prefix}{path}", method(rest))).collect()
}

#[test]
fn every_route_is_documented() {
    let source = source("server/src/http/mod.rs");
    let (outer, v1) = source.split_once("fn v1()").expect("a function v1() has the v1 routes");
    let mut all = routes(outer, "");
    for (prefix, _) in quoted(outer, ".nest(") {
        all.extend(routes(v1, prefix));
    }
    assert_named("docs/api.md", &all, 17);
}

/// Names of the counter fields. Their metrics end in `_total`.
fn counters(source: &str) -> Vec<&str> {
    let fields = source.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(": "));
    fields
        .filter(|(_, kind)| *kind == "Count" || kind.ends_with(", Count>"))
        .map(|(field, _)| field)
        .collect()
}

#[test]
fn every_metric_is_documented() {
    let source = source("server/src/engine/metrics.rs");
    let counters = counters(&source);
    let name = |(name, rest): (&str, &str)| {
        let counts = counters.iter().any(|field| rest.contains(&format!("self.{field}.")));
        format!("taskcenter_{name}{}", if counts { "_total" } else { "" })
    };
    let metrics: Vec<String> = quoted(&source, ".register(").into_iter().map(name).collect();
    assert_named("docs/operations.md", &metrics, 15);
}

#[test]
fn every_alert_is_documented() {
    let source = source("server/src/core/alert.rs");
    let words: Vec<String> = quoted(&source, " => ").iter().map(|(word, _)| (*word).to_owned()).collect();
    assert_named("docs/operations.md", &words, 16);
}

#[test]
fn every_action_of_the_audit_log_is_documented() {
    let source = source("server/src/engine/service/audit.rs");
    let words = quoted(&source, " => ").into_iter().map(|(word, _)| word.to_owned());
    let changes: Vec<String> = words.filter(|word| word.contains('.')).collect();
    assert_named("docs/access.md", &changes, 13);
}

#[test]
fn every_scope_is_documented() {
    let source = source("server/src/core/access.rs");
    let words = quoted(&source, " => ").into_iter().map(|(word, _)| word.to_owned());
    let scopes: Vec<String> = words.filter(|word| word.contains(':') || word == "admin").collect();
    for page in ["docs/access.md", "docs/api.md"] {
        assert_named(page, &scopes, 4);
    }
}

fn is_external(link: &str) -> bool {
    link.starts_with("https://") || link.starts_with("http://")
}

#[test]
fn every_relative_link_resolves() {
    let mut broken = Vec::new();
    for page in Page::all() {
        let directory = workspace().join(&page.name).parent().expect("a page is in a directory").to_owned();
        for link in page.links().iter().filter(|link| !is_external(link)) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { workspace().join(&page.name) } else { directory.join(path) };
            let Ok(target) = target.canonicalize() else {
                broken.push(format!("{}: {link}", page.name));
                continue;
            };
            let name = target.strip_prefix(workspace()).expect("a link stays in the workspace");
            if !fragment.is_empty()
                && !Page::read(&name.display().to_string()).anchors().contains(&fragment.to_owned())
            {
                broken.push(format!("{}: {link} has no such heading", page.name));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Directories whose files the pages name in code spans.
const SOURCES: [&str; 7] = ["server/", "client-sdk/", "docs/", "config/", "deploy/", "xtask/", "bench/"];

#[test]
fn every_file_named_in_a_page_exists() {
    let mut missing = Vec::new();
    for page in Page::all() {
        for span in page.spans() {
            let is_path = SOURCES.iter().any(|directory| span.starts_with(directory));
            let is_plain = !span.contains([' ', '*', '<', '{', '…']);
            if is_path && is_plain && !workspace().join(&span).exists() {
                missing.push(format!("{}: {span}", page.name));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Names of all functions below `directory`.
fn functions(directory: &std::path::Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("a source directory is readable") {
        let path = entry.expect("a directory entry is readable").path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).expect("a source file is readable");
            let after_fn = source.split("fn ").skip(1);
            names.extend(after_fn.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
        }
    }
}

#[test]
fn every_test_named_in_a_page_exists() {
    let mut names = BTreeSet::new();
    for directory in ["server/src", "server/tests", "client-sdk"] {
        functions(&workspace().join(directory), &mut names);
    }
    let mut missing = Vec::new();
    for page in Page::all() {
        for span in page.spans() {
            let name = span.rsplit("::").next().unwrap_or_default();
            let is_test = name.matches('_').count() > 5
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if is_test && !names.contains(name) {
                missing.push(format!("{}: {span}", page.name));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_json_example_is_valid() {
    let check = |page: &Page, text: &str| {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
        assert!(parsed.is_ok(), "{}: {parsed:?} in {text}", page.name);
    };
    let (mut blocks, mut bodies) = (0, 0);
    for page in Page::all() {
        for code in page.code("json") {
            check(&page, &code);
            blocks += 1;
        }
        for code in page.code("sh") {
            for body in code.split("-d '").skip(1).filter_map(|rest| rest.split('\'').next()) {
                check(&page, body);
                bodies += 1;
            }
        }
    }
    assert!(blocks > 20 && bodies > 15, "found {blocks} blocks and {bodies} bodies");
}

/// The example worker of a README: its manifest and its source.
fn example_worker(page: &str) -> (toml::Table, String) {
    let page = Page::read(page);
    let manifest = page.code("toml").into_iter().find(|code| code.starts_with("[dependencies]"));
    let source = page.code("rust,no_run").into_iter().find(|code| code.contains("fn main"));
    let manifest = manifest.expect("the page has a manifest").parse().expect("the manifest is valid TOML");
    (manifest, source.expect("the page has a worker"))
}

fn features(dependency: &toml::Value) -> BTreeSet<&str> {
    let list = dependency.get("features").and_then(toml::Value::as_array);
    list.into_iter().flatten().filter_map(toml::Value::as_str).collect()
}

/// A documentation test of the SDK compiles the source; this test covers the manifest.
#[test]
fn the_manifest_of_the_example_worker_has_what_the_source_uses() {
    let sdk: toml::Table = text("client-sdk/Cargo.toml").parse().unwrap();
    for page in ["README.md", "README.zh-CN.md"] {
        let (manifest, source) = example_worker(page);
        let dependencies = manifest["dependencies"].as_table().unwrap();
        let used: BTreeSet<&str> = ["serde", "taskcenter_client", "tokio"]
            .into_iter()
            .filter(|name| source.contains(&format!("{name}::")))
            .collect();
        let declared: Vec<String> = dependencies.keys().map(|name| name.replace('-', "_")).collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), declared, "{page}");

        let client = &dependencies["taskcenter-client"];
        assert_eq!(sdk["package"]["name"].as_str(), Some("taskcenter-client"));
        assert!(client["path"].as_str().unwrap().ends_with("/client-sdk"), "{page}");
        for feature in features(client) {
            assert!(sdk["features"].get(feature).is_some(), "{page}: the SDK has no feature {feature}");
        }
        assert!(features(&dependencies["serde"]).contains("derive"), "{page}");
        let needed = BTreeSet::from(["macros", "rt-multi-thread"]);
        assert_eq!(features(&dependencies["tokio"]), needed, "{page}");
        assert!(source.contains("#[tokio::main]") && !source.contains("tokio::signal::"), "{page}");
    }
}

/// The commands of both READMEs are the same.
#[test]
fn the_readmes_show_the_same_first_commands() {
    let first = |page: &str| Page::read(page).code("sh").into_iter().take(2).collect::<Vec<_>>();
    assert_eq!(first("README.md"), first("README.zh-CN.md"));
}

/// Words that the style rules replace. CONTRIBUTING.md quotes them.
const AVOIDED: &[&str] = &[
    "how-manieth",
    "mended",
    "whoever",
    "nobody",
    "kin",
    "bears",
    "is told",
    "a word",
    "brought",
    "called off",
    "as it stands",
    "goes on",
    "looked after",
    "left out",
    "whatever is not",
    "untold",
];

#[test]
fn no_page_uses_words_that_the_style_rules_replace() {
    let mut found = Vec::new();
    for page in Page::all().iter().filter(|page| page.name != "CONTRIBUTING.md") {
        let words = page.words().to_lowercase();
        let words: Vec<&str> =
            words.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|w| !w.is_empty()).collect();
        let text = format!(" {} ", words.join(" "));
        let used = AVOIDED.iter().filter(|avoided| text.contains(&format!(" {avoided} ")));
        found.extend(used.map(|avoided| format!("{}: {avoided}", page.name)));
    }
    assert!(found.is_empty(), "{found:#?}");
}
