//! The documents name what the code serves, counts and tells.

use std::path::Path;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A source without its unit tests.
fn source(path: &str) -> String {
    let source = text(path);
    source.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// What stands in quotes right after each `mark`, with the rest of that line.
fn quoted<'a>(source: &'a str, mark: &str) -> Vec<(&'a str, &'a str)> {
    let line = |after: &'a str| after.lines().next()?.strip_prefix('"')?.split_once('"');
    source.split(mark).skip(1).filter_map(line).collect()
}

fn assert_named(document: &str, words: &[String], at_least: usize) {
    assert!(words.len() >= at_least, "{words:?} are not all that the source has");
    let page = text(document);
    let missing: Vec<_> = words.iter().filter(|word| !page.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "{document} does not name {missing:?}");
}

/// The method of a route, which is the first word after its path.
fn method(rest_of_line: &str) -> &'static str {
    match rest_of_line.trim_start_matches([',', ' ']) {
        rest if rest.starts_with("get(") => "GET",
        rest if rest.starts_with("post(") => "POST",
        rest => panic!("{rest} begins with no method that this test knows"),
    }
}

fn routes(source: &str, prefix: &str) -> Vec<String> {
    let routes = quoted(source, ".route(");
    routes.into_iter().map(|(path, rest)| format!("{} {prefix}{path}", method(rest))).collect()
}

#[test]
fn every_route_is_documented() {
    let source = source("server/src/http/mod.rs");
    let (outer, v1) = source.split_once("fn v1()").expect("the v1 routes have a function of their own");
    let mut all = routes(outer, "");
    for (prefix, _) in quoted(outer, ".nest(") {
        all.extend(routes(v1, prefix));
    }
    assert_named("docs/api.md", &all, 17);
}

/// Fields that hold counters: their names end in `_total` on the page.
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
fn every_change_of_the_audit_log_is_documented() {
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
