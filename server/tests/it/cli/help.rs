//! `--help` teaches.

use super::taskcenter;

/// The verbs that a help lists.
fn verbs(help: &str) -> Vec<String> {
    let listed = help.split_once("\nCommands:\n").map(|(_, listed)| listed).unwrap_or_default();
    let names = listed.lines().take_while(|line| !line.is_empty()).filter(|line| line.starts_with("  "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn help(words: &[String]) -> String {
    let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    arguments.push("--help");
    let (code, out, err) = taskcenter(&arguments, &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
    out
}

#[test]
fn the_help_of_every_verb_has_an_example() {
    let (mut to_do, mut leaves) = (vec![Vec::new()], 0);
    while let Some(words) = to_do.pop() {
        let help = help(&words);
        assert!(help.contains("Example"), "{words:?} has no example:\n{help}");
        let verbs = verbs(&help);
        leaves += usize::from(verbs.is_empty());
        to_do.extend(verbs.into_iter().map(|verb| [words.clone(), vec![verb]].concat()));
    }
    assert!(leaves >= 21, "{leaves} are not all verbs");
}

#[test]
fn the_help_tells_the_exit_codes_and_a_line_for_curl() {
    let help = help(&[]);
    for word in ["curl -d", "0  done", "1  failed", "2  wrong arguments", "3  not found", "4  refused"] {
        assert!(help.contains(word), "{word} is missing from\n{help}");
    }
}
