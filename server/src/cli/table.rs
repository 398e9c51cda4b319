//! Tables and field lists on standard output.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::exit::Failure;
use super::output;

const GAP: &str = "  ";
/// Maximum width of a column of free text; `get` and `--json` print the full text.
pub const MAX_WIDTH: usize = 40;

/// Table that is printed in several parts. A column can only become wider from part to part.
pub struct Table {
    header: Vec<String>,
    widths: Vec<usize>,
    is_header_printed: bool,
}

impl Table {
    /// Creates an empty table.
    pub fn new(header: &[&str]) -> Self {
        let header: Vec<String> = header.iter().map(ToString::to_string).collect();
        let widths = header.iter().map(|cell| cell.width()).collect();
        Self { header, widths, is_header_printed: false }
    }

    /// Prints more rows; the header precedes the first row.
    pub fn print(&mut self, rows: &[Vec<String>]) -> Result<(), Failure> {
        for line in self.lines(rows) {
            output::print_line(line)?;
        }
        Ok(())
    }

    fn lines(&mut self, rows: &[Vec<String>]) -> Vec<String> {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let header = (!self.is_header_printed && !rows.is_empty()).then_some(&self.header);
        let lines = header.into_iter().chain(rows).map(|row| self.line(row)).collect();
        self.is_header_printed |= !rows.is_empty();
        lines
    }

    fn line(&self, row: &[String]) -> String {
        let pad = |(cell, width): (&String, &usize)| format!("{cell}{}", " ".repeat(width - cell.width()));
        let cells: Vec<_> = row.iter().zip(&self.widths).map(pad).collect();
        cells.join(GAP).trim_end().to_owned()
    }
}

/// Prints one `name  value` line per field.
pub fn print_fields(fields: &[(&str, String)]) -> Result<(), Failure> {
    let widest = fields.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    for (name, value) in fields {
        output::print_line(format_args!("{name:widest$}{GAP}{value}"))?;
    }
    Ok(())
}

/// Escapes control characters, so that text from the server can neither break the line nor control
/// the terminal.
pub fn escape(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Escapes control characters and truncates the text to [`MAX_WIDTH`] columns.
pub fn truncate(text: &str) -> String {
    let mut width = 0;
    // The text may have megabytes; only the part that can be visible is escaped.
    let head: String = text.chars().take(MAX_WIDTH + 1).collect();
    let text = escape(&head);
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width < MAX_WIDTH
    };
    if text.width() <= MAX_WIDTH { text } else { text.chars().take_while(fits).chain(['…']).collect() }
}

/// Returns the text, or `-` for an absent value.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_display_width() {
        let mut table = Table::new(&["A", "B"]);
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        assert_eq!(table.lines(&[row("任务", "x"), row("ab", "")]), ["A     B", "任务  x", "ab"]);
        assert_eq!(table.lines(&[row("a", "y")]), ["a     y"]);
        assert!(table.lines(&[]).is_empty());
    }

    #[test]
    fn free_text_is_truncated_and_cannot_control_the_terminal() {
        assert_eq!(truncate("a\u{1b}[2J\n"), "a\\u{1b}[2J\\n");
        assert_eq!(truncate(&"x".repeat(40)), "x".repeat(40));
        assert_eq!(truncate(&"x".repeat(1_000)), format!("{}…", "x".repeat(39)));
        assert!(truncate(&"任".repeat(1_000)).width() <= MAX_WIDTH);
    }
}
