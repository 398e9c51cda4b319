//! The table of features in docs/compare.md: its cells, its notes, and the tests that it names.

use std::collections::BTreeSet;

use super::pages::{Page, workspace};

const FEATURES: [&str; 9] =
    ["feature", "taskcenter", "XXL-JOB", "Temporal", "River", "Oban", "Hatchet", "BullMQ", "asynq"];
const TESTS: [&str; 3] = ["feature", "file", "test"];

/// Cells that the page defines.
const CELLS: [&str; 5] = ["yes", "part", "code", "Pro", "no"];

/// Macros that make a test of each function they list.
const MACROS: [&str; 2] = ["on_every_store! {", "in_both_modes! {"];

fn page() -> String {
    Page::read("docs/compare.md").text
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// Rows of the table that has this head.
fn table<'a>(page: &'a str, head: &[&str]) -> Vec<Vec<&'a str>> {
    let from_head = page.lines().skip_while(|line| cells(line) != head);
    let rows: Vec<_> = from_head.take_while(|line| line.starts_with('|')).skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "a table has the head {head:?}");
    for row in &rows {
        assert_eq!(row.len(), head.len(), "{row:?}");
    }
    rows
}

/// Returns the words of the cell of taskcenter, if the cell refers to tests.
fn proved(cell: &str) -> Option<&str> {
    cell.strip_prefix('[')?.strip_suffix("](#tests)")
}

/// Returns true if the function that follows `before` has the attribute of a test.
fn has_attribute(before: &str) -> bool {
    let above = before.rsplit('\n').skip(1).map(str::trim_start);
    let mut attributes = above.take_while(|line| line.starts_with("#[") || line.starts_with("///"));
    attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

/// Returns true if one of the macros makes a test of `name`.
fn lists(source: &str, name: &str) -> bool {
    let listed = MACROS.iter().flat_map(|start| source.split(start).skip(1));
    let mut listed = listed.filter_map(|rest| rest.split('}').next());
    listed.any(|names| names.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name))
}

/// Returns true if `file` has the test `name`.
fn is_test(file: &str, name: &str) -> bool {
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    let path = workspace().join(file);
    let source = read(&path);
    let Some((before, _)) = source.split_once(&format!("fn {name}(")) else { return false };
    has_attribute(before) || lists(&source, name) || lists(&read(&path.with_file_name("mod.rs")), name)
}

#[test]
fn each_feature_of_taskcenter_names_tests_that_exist() {
    let page = page();
    let features = table(&page, &FEATURES);
    let tests = table(&page, &TESTS);
    let with_tests: BTreeSet<&str> = tests.iter().map(|row| row[0]).collect();
    let claimed = features.iter().filter(|row| proved(row[1]).is_some()).map(|row| row[0]);
    assert_eq!(claimed.collect::<BTreeSet<_>>(), with_tests);
    let missing: Vec<_> =
        tests.iter().filter(|row| !is_test(row[1].trim_matches('`'), row[2].trim_matches('`'))).collect();
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}

#[test]
fn each_cell_of_the_features_is_defined() {
    let page = page();
    let features = table(&page, &FEATURES);
    let names: BTreeSet<&str> = features.iter().map(|row| row[0]).collect();
    assert_eq!(names.len(), features.len(), "each feature is one row");
    for row in features {
        assert!(proved(row[1]).is_some() || row[1] == "no", "taskcenter has tests or no feature: {row:?}");
        let undefined: Vec<_> = row[2..].iter().filter(|cell| !CELLS.contains(cell)).collect();
        assert!(undefined.is_empty(), "{}: {undefined:?}", row[0]);
    }
}

#[test]
fn each_limited_cell_has_a_note() {
    let page = page();
    let limited = |row: &Vec<&str>| row[2..].iter().any(|cell| !["yes", "no"].contains(cell));
    let rows = table(&page, &FEATURES);
    let features = rows.iter().filter(|row| limited(row)).map(|row| row[0]);
    let missing: Vec<_> = features.filter(|name| !page.contains(&format!("\n- **{name}**."))).collect();
    assert!(missing.is_empty(), "no note: {missing:?}");
}

#[test]
fn a_test_is_a_function_that_the_test_runner_runs() {
    let here = "server/tests/it/docs/compare.rs";
    assert!(is_test(here, "a_test_is_a_function_that_the_test_runner_runs"));
    assert!(is_test("server/tests/it/service/overlap.rs", "a_second_run_is_suppressed_under_skip"));
    assert!(is_test("server/tests/e2e/defects.rs", "a_loop_does_not_drift"));
    for (file, name) in [(here, "is_test"), (here, "absent"), ("server/tests/absent.rs", "is_test")] {
        assert!(!is_test(file, name), "{file} {name}");
    }
}
