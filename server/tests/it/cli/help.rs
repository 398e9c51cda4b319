//! `--help` of each command.

use super::taskcenter;

/// Returns the subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.split_once("\nCommands:\n").map(|(_, listed)| listed).unwrap_or_default();
    let names = listed.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn help(command: &[String]) -> String {
    let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    arguments.push("--help");
    let (code, out, err) = taskcenter(&arguments, &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
    out
}

#[test]
fn the_help_of_every_command_has_an_example() {
    let (mut pending, mut leaves) = (vec![Vec::new()], 0);
    while let Some(command) = pending.pop() {
        let help = help(&command);
        assert!(help.contains("Example"), "{command:?} has no example:\n{help}");
        let subcommands = subcommands(&help);
        leaves += usize::from(subcommands.is_empty());
        pending.extend(subcommands.into_iter().map(|name| [command.clone(), vec![name]].concat()));
    }
    assert!(leaves >= 21, "found only {leaves} commands");
}

#[test]
fn the_help_lists_the_exit_codes_and_a_curl_example() {
    let help = help(&[]);
    for word in ["curl -d", "0  done", "1  failed", "2  wrong arguments", "3  not found", "4  refused"] {
        assert!(help.contains(word), "{word} is missing from\n{help}");
    }
}
