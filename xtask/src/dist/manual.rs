//! Manual pages, made from the help texts of the program.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Width of the help texts: a manual page of 80 columns is indented.
const COLUMNS: &str = "72";

/// A part of a help text: a heading without its colon, and the lines below.
struct Section {
    heading: String,
    lines: Vec<String>,
}

/// Writes one page for the program, and one for each of its commands.
pub fn write(program: &Path, version: &str, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let name = program.file_name().context("the program has no name")?.to_string_lossy().into_owned();
    let mut waiting = vec![Vec::new()];
    while let Some(words) = waiting.pop() {
        let text = help(program, &words)?;
        let page_name = [&[name.clone()][..], &words[..]].concat().join("-");
        fs::write(dir.join(format!("{page_name}.1")), page(&page_name, version, &text))?;
        waiting.extend(subcommands(&text).into_iter().map(|command| [&words[..], &[command]].concat()));
    }
    Ok(())
}

fn help(program: &Path, words: &[String]) -> Result<String> {
    let mut command = Command::new(program);
    let output = command.args(words).arg("--help").env("COLUMNS", COLUMNS).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(output.status.success(), "{} {} --help: {}", program.display(), words.join(" "), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns the names of the commands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    // Continuation lines are indented further.
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    let names = names.filter_map(|rest| rest.split_whitespace().next()).map(str::to_owned);
    names.filter(|name| name != "help").collect()
}

/// Splits a help text at its headings. The text before the usage has the heading DESCRIPTION, and text without a heading
/// after a section has the heading NOTES.
fn sections(help: &str) -> Vec<Section> {
    let mut sections = vec![Section { heading: "DESCRIPTION".to_owned(), lines: Vec::new() }];
    for line in help.lines() {
        let indented = line.starts_with(' ');
        let last = sections.last_mut().filter(|last| !last.lines.is_empty() || last.heading != "SYNOPSIS");
        if let Some(usage) = line.strip_prefix("Usage: ") {
            sections.push(Section { heading: "SYNOPSIS".to_owned(), lines: vec![usage.to_owned()] });
        } else if let Some(heading) = line.strip_suffix(':').filter(|_| !indented) {
            sections.push(Section { heading: heading.to_uppercase(), lines: Vec::new() });
        } else if let Some(last) = last.filter(|last| line.is_empty() || indented || is_prose(last)) {
            last.lines.push(line.to_owned());
        } else {
            sections.push(Section { heading: "NOTES".to_owned(), lines: vec![line.to_owned()] });
        }
    }
    sections
}

fn is_prose(section: &Section) -> bool {
    matches!(section.heading.as_str(), "DESCRIPTION" | "NOTES")
}

fn page(name: &str, version: &str, help: &str) -> String {
    let sections = sections(help);
    let summary: Vec<&str> =
        sections[0].lines.iter().map(|line| line.trim()).take_while(|line| !line.is_empty()).collect();
    let mut page = format!(
        ".TH {} 1 \"\" \"taskcenter {version}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n",
        escape(name).to_uppercase(),
        escape(name),
        escape(&summary.join(" "))
    );
    // A page begins with its synopsis.
    let (synopsis, others): (Vec<_>, Vec<_>) =
        sections.iter().partition(|section| section.heading == "SYNOPSIS");
    for section in synopsis.into_iter().chain(others) {
        write_section(&mut page, section);
    }
    write_see_also(&mut page, name, &subcommands(help));
    page
}

fn write_section(page: &mut String, section: &Section) {
    let text = section.lines.join("\n");
    let text = text.trim_matches('\n');
    if text.is_empty() {
        return;
    }
    let _ = writeln!(page, ".SH {}\n.nf", escape(&section.heading));
    for line in text.lines() {
        let line = escape(line.strip_prefix("  ").unwrap_or(line));
        let mark = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        let _ = writeln!(page, "{mark}{line}");
    }
    let _ = writeln!(page, ".fi");
}

fn write_see_also(page: &mut String, name: &str, subcommands: &[String]) {
    let parent = name.rsplit_once('-').map(|(parent, _)| parent.to_owned());
    let children = subcommands.iter().map(|command| format!("{name}-{command}"));
    let pages: Vec<String> = parent.into_iter().chain(children).collect();
    if !pages.is_empty() {
        let links: Vec<String> = pages.iter().map(|page| format!(".BR {} (1)", escape(page))).collect();
        let _ = writeln!(page, ".SH SEE ALSO\n{}", links.join("\n"));
    }
}

/// A hyphen without a backslash would become a typographic hyphen, which a shell does not know.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "\
Create, list and control tasks

Usage: taskcenter task <COMMAND>

Commands:
  add   Create a task, with a text
        that continues
  list
  help  Print this message

Options:
      --json  Print JSON

The environment overrides the file.
Options override both.

Examples:
  taskcenter task add 'a\\n' --in 30m
";

    #[test]
    fn the_commands_of_a_help_text_are_found() {
        assert_eq!(subcommands(HELP), ["add", "list"]);
        assert_eq!(subcommands("About\n\nUsage: x\n"), Vec::<String>::new());
    }

    #[test]
    fn a_page_has_the_sections_of_the_help_text() {
        let page = page("taskcenter-task", "1.2.3", HELP);
        let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        assert_eq!(
            headings,
            ["NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "NOTES", "EXAMPLES", "SEE ALSO"]
        );
        for part in [
            "taskcenter\\-task \\- Create, list and control tasks\n",
            ".nf\ntaskcenter task <COMMAND>\n.fi",
            "\nThe environment overrides the file.\nOptions override both.\n.fi",
            "\ntaskcenter task add 'a\\en' \\-\\-in 30m\n",
            ".BR taskcenter (1)\n.BR taskcenter\\-task\\-add (1)",
        ] {
            assert!(page.contains(part), "{part:?} is missing in {page}");
        }
    }

    #[test]
    fn a_line_that_begins_with_a_dot_is_text() {
        let page = page("x", "1", "About\n\nUsage: x\n\nNotes:\n  .cron files\n");
        assert!(page.contains("\n\\&.cron files\n"), "{page}");
    }
}
