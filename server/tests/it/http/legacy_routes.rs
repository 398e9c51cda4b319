//! Every route of the legacy APIs, read from their sources, so that the tests cover new routes.

use std::path::{Path, PathBuf};

use reqwest::Method;
use taskcenter_server::compat::taskdash::TOPICS;

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Returns the text up to the bracket that closes an already open one.
fn until_closing_bracket(text: &str) -> &str {
    let mut open = 1;
    let end = text.find(|c| {
        open += i32::from(c == '(') - i32::from(c == ')');
        open == 0
    });
    &text[..end.expect("the brackets are balanced")]
}

fn quoted(text: &str) -> Vec<String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns the paths that the first argument of a route yields. `before` is the source up to the
/// argument.
fn paths(argument: &str, before: &str) -> Vec<String> {
    if let Some(literal) = argument.strip_prefix('"') {
        return vec![literal.split('"').next().unwrap_or_default().to_owned()];
    }
    let pattern = match argument.strip_prefix("&format!(\"") {
        Some(pattern) => pattern.split('"').next().unwrap_or_default().to_owned(),
        None => format!("{{{}}}", argument.split(',').next().unwrap_or_default()),
    };
    let made = |name: &str, values: Vec<String>| {
        let each = values.into_iter().map(|value| pattern.replace(name, &value));
        each.map(|path| path.replace("{{", "{").replace("}}", "}")).collect()
    };
    match () {
        () if pattern.contains("{path}") => {
            let values = before.rsplit("for path in [").next().and_then(|rest| rest.split(']').next());
            made("{path}", quoted(values.unwrap_or_default()))
        }
        () if pattern.contains("{topic}") => made("{topic}", TOPICS.map(str::to_owned).to_vec()),
        () => panic!("{argument}: this test cannot derive the paths"),
    }
}

fn methods(handlers: &str) -> Vec<Method> {
    let words = [
        ("any(", Method::POST),
        ("get(", Method::GET),
        ("post(", Method::POST),
        ("put(", Method::PUT),
        ("patch(", Method::PATCH),
        ("delete(", Method::DELETE),
    ];
    let begins = |word: &str| {
        let at =
            |(at, _): (usize, &str)| !handlers[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        handlers.match_indices(word).any(at)
    };
    let methods: Vec<Method> =
        words.into_iter().filter(|(word, _)| begins(word)).map(|(_, method)| method).collect();
    assert!(!methods.is_empty(), "{handlers}: this test finds no method");
    methods
}

/// Returns method and path pattern of each route.
pub fn every_legacy_route() -> Vec<(Method, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/compat");
    let mut all = Vec::new();
    for file in sources(&root) {
        let source = std::fs::read_to_string(&file).unwrap();
        for (at, mark) in source.match_indices(".route(") {
            let arguments = until_closing_bracket(&source[at + mark.len()..]).trim();
            // No path contains a comma, so the handlers follow the first one.
            let handlers = arguments.split_once(", ").expect("a route has a path and handlers").1;
            for path in paths(arguments, &source[..at]) {
                all.extend(methods(handlers).into_iter().map(|method| (method, path.clone())));
            }
        }
    }
    all.sort_by_key(|(method, path)| (path.clone(), method.to_string()));
    all
}

#[test]
fn every_route_of_the_sources_is_found() {
    let all: Vec<String> =
        every_legacy_route().iter().map(|(method, path)| format!("{method} {path}")).collect();
    for known in [
        "POST /api/v1/task/script",
        "GET /api/v1/task/result/{uuid}",
        "POST /confirm_task",
        "PUT /api/putask",
        "PUT /addtask/{type}",
        "POST /api/login",
        "GET /rget/task",
        "POST /rpost/heartBeat",
        "GET /rpost/test",
    ] {
        assert!(all.iter().any(|route| route == known), "{known} is missing from {all:?}");
    }
    assert!(all.len() >= 33, "only {} routes: {all:?}", all.len());
}
