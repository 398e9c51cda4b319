//! Columns for people.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::exit::Failure;
use super::out;

const GAP: &str = "  ";
/// Widest column of free text; what is longer is shown in full by `get` and `--json`.
pub const WIDEST: usize = 40;

/// A table that is printed page by page: columns only ever grow wider.
pub struct Table {
    header: Vec<String>,
    widths: Vec<usize>,
    is_begun: bool,
}

impl Table {
    /// An empty one.
    pub fn new(header: &[&str]) -> Self {
        let header: Vec<String> = header.iter().map(ToString::to_string).collect();
        let widths = header.iter().map(|cell| cell.width()).collect();
        Self { header, widths, is_begun: false }
    }

    /// Prints further rows, under the header if they are the first.
    pub fn print(&mut self, rows: &[Vec<String>]) -> Result<(), Failure> {
        for line in self.lines(rows) {
            out::line(line)?;
        }
        Ok(())
    }

    fn lines(&mut self, rows: &[Vec<String>]) -> Vec<String> {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let header = (!self.is_begun && !rows.is_empty()).then_some(&self.header);
        let lines = header.into_iter().chain(rows).map(|row| self.line(row)).collect();
        self.is_begun |= !rows.is_empty();
        lines
    }

    fn line(&self, row: &[String]) -> String {
        let pad = |(cell, width): (&String, &usize)| format!("{cell}{}", " ".repeat(width - cell.width()));
        let cells: Vec<_> = row.iter().zip(&self.widths).map(pad).collect();
        cells.join(GAP).trim_end().to_owned()
    }
}

/// Prints names and what stands behind them.
pub fn facts(facts: &[(&str, String)]) -> Result<(), Failure> {
    let widest = facts.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    for (name, fact) in facts {
        out::line(format_args!("{name:widest$}{GAP}{fact}"))?;
    }
    Ok(())
}

/// Text of unknown origin: it can neither break the line nor command the terminal.
pub fn clean(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// The same, cut to the widest that a column may be.
pub fn short(text: &str) -> String {
    let mut width = 0;
    // What is cut off need not be looked at, and may be megabytes.
    let head: String = text.chars().take(WIDEST + 1).collect();
    let text = clean(&head);
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width < WIDEST
    };
    if text.width() <= WIDEST { text } else { text.chars().take_while(fits).chain(['…']).collect() }
}

/// What is not there.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let mut table = Table::new(&["A", "B"]);
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(table.lines(&[row("任务", "x"), row("ab", "")]), ["A     B", "任务  x", "ab"]);
        assert_eq!(table.lines(&[row("a", "y")]), ["a     y"]);
        assert!(table.lines(&[]).is_empty());
    }

    #[test]
    fn free_text_is_cut_and_cannot_command_the_terminal() {
        assert_eq!(short("a\u{1b}[2J\n"), "a\\u{1b}[2J\\n");
        assert_eq!(short(&"x".repeat(40)), "x".repeat(40));
        assert_eq!(short(&"x".repeat(1_000)), format!("{}…", "x".repeat(39)));
        assert!(short(&"任".repeat(1_000)).width() <= WIDEST);
    }
}
