//! Tables and field lists on standard output.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::exit::Failure;
use super::output;
use super::screen::Screen;

const GAP: &str = "  ";
/// Maximum width of a column of free text; `get` and `--json` print the full text.
pub const MAX_WIDTH: usize = 40;
/// Width to which text columns shrink before optional columns are hidden.
const COMFORTABLE_WIDTH: usize = 16;
/// Width to which text columns shrink at most.
const MIN_WIDTH: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fixed,
    Text,
    State,
}

/// Column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    name: &'static str,
    kind: Kind,
    is_optional: bool,
    is_hidden: bool,
    /// Width of the widest cell.
    natural: usize,
    width: usize,
}

impl Column {
    fn new(name: &'static str, kind: Kind) -> Self {
        let width = name.width();
        Self { name, kind, is_optional: false, is_hidden: false, natural: width, width }
    }

    /// A column whose cells are never cut.
    pub fn fixed(name: &'static str) -> Self {
        Self::new(name, Kind::Fixed)
    }

    /// A column of free text, whose cells are cut on a narrow terminal.
    pub fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text)
    }

    /// The states of tasks or runs.
    pub fn state() -> Self {
        Self::new("STATE", Kind::State)
    }

    /// Hides the column on a terminal that is too narrow.
    pub fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }
}

/// Row of a table.
pub struct Row {
    cells: Vec<String>,
    /// Text on a line of its own, below the row.
    note: Option<String>,
}

impl Row {
    /// Creates a row with a note.
    pub fn with_note(cells: Vec<String>, note: Option<String>) -> Self {
        Self { cells, note }
    }
}

impl From<Vec<String>> for Row {
    fn from(cells: Vec<String>) -> Self {
        Self { cells, note: None }
    }
}

/// Table that is printed in several parts. A column can only become wider from part to part.
pub struct Table {
    screen: Screen,
    columns: Vec<Column>,
    is_header_printed: bool,
}

impl Table {
    /// Creates an empty table.
    pub fn new(screen: Screen, columns: Vec<Column>) -> Self {
        Self { screen, columns, is_header_printed: false }
    }

    /// Prints more rows; the header precedes the first row.
    pub fn print(&mut self, rows: impl IntoIterator<Item = impl Into<Row>>) -> Result<(), Failure> {
        let rows: Vec<Row> = rows.into_iter().map(Into::into).collect();
        self.lines(&rows).into_iter().try_for_each(output::print_line)
    }

    fn lines(&mut self, rows: &[Row]) -> Vec<String> {
        if rows.is_empty() {
            return Vec::new();
        }
        self.measure(rows);
        let mut lines = Vec::new();
        if !std::mem::replace(&mut self.is_header_printed, true) {
            let names: Vec<String> = self.columns.iter().map(|column| column.name.to_owned()).collect();
            lines.push(self.line(&names, false));
        }
        for row in rows {
            lines.push(self.line(&row.cells, true));
            lines.extend(row.note.as_ref().map(|note| format!("{GAP}{note}")));
        }
        lines
    }

    fn measure(&mut self, rows: &[Row]) {
        for (at, column) in self.columns.iter_mut().enumerate() {
            let widest = rows.iter().filter_map(|row| row.cells.get(at)).map(|cell| cell.width()).max();
            column.natural = column.natural.max(widest.unwrap_or(0));
            column.width = column.natural;
        }
        if let Some(limit) = self.screen.width {
            self.fit(limit);
        }
    }

    /// Shrinks text columns and hides optional columns, until a line has at most `limit` columns.
    fn fit(&mut self, limit: usize) {
        self.shrink(limit, COMFORTABLE_WIDTH);
        while self.total_width() > limit && !self.is_header_printed {
            let last = self.columns.iter_mut().rfind(|column| column.is_optional && !column.is_hidden);
            let Some(last) = last else { break };
            last.is_hidden = true;
            self.columns.iter_mut().for_each(|column| column.width = column.natural);
            self.shrink(limit, COMFORTABLE_WIDTH);
        }
        self.shrink(limit, MIN_WIDTH);
    }

    fn shrink(&mut self, limit: usize, min: usize) {
        while self.total_width() > limit {
            let texts = self.columns.iter_mut().filter(|column| column.kind == Kind::Text);
            let shrinkable = texts.filter(|column| column.width > min.max(column.name.width()));
            let Some(widest) =
                shrinkable.filter(|column| !column.is_hidden).max_by_key(|column| column.width)
            else {
                return;
            };
            widest.width -= 1;
        }
    }

    fn total_width(&self) -> usize {
        let shown = self.columns.iter().filter(|column| !column.is_hidden);
        shown.map(|column| column.width + GAP.len()).sum::<usize>().saturating_sub(GAP.len())
    }

    fn line(&self, cells: &[String], paints: bool) -> String {
        let shown = self.columns.iter().zip(cells).filter(|(column, _)| !column.is_hidden);
        let cells = shown.map(|(column, cell)| {
            let cell = if column.kind == Kind::Text { cut(cell, column.width) } else { cell.clone() };
            let padding = " ".repeat(column.width.saturating_sub(cell.width()));
            let is_painted = paints && column.kind == Kind::State;
            format!("{}{padding}", if is_painted { self.screen.paint_state(&cell) } else { cell })
        });
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
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
    truncate_to(text, MAX_WIDTH)
}

/// Escapes control characters and truncates the text to a number of columns.
pub fn truncate_to(text: &str, limit: usize) -> String {
    // The text may have megabytes; only the part that can be visible is escaped.
    let head: String = text.chars().take(limit + 1).collect();
    cut(&escape(&head), limit)
}

fn cut(text: &str, limit: usize) -> String {
    let mut width = 0;
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width < limit
    };
    if text.width() <= limit {
        text.to_owned()
    } else {
        text.chars().take_while(fits).chain(['…']).collect()
    }
}

/// Returns the text, or `-` for an absent value.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// Formats labels as `KEY=VALUE`, separated by semicolons.
pub fn format_labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    or_dash((!labels.is_empty()).then(|| escape(&labels.join("; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Row {
        cells.iter().map(ToString::to_string).collect::<Vec<_>>().into()
    }

    #[test]
    fn columns_are_aligned_by_display_width() {
        let mut table = Table::new(Screen::default(), vec![Column::fixed("A"), Column::text("B")]);
        assert_eq!(table.lines(&[row(&["任务", "x"]), row(&["ab", ""])]), ["A     B", "任务  x", "ab"]);
        assert_eq!(table.lines(&[row(&["a", "y"])]), ["a     y"]);
        assert!(table.lines(&[]).is_empty());
    }

    #[test]
    fn a_line_fits_the_terminal() {
        let columns =
            || vec![Column::fixed("ID"), Column::text("A"), Column::text("B"), Column::text("C").optional()];
        let (long, id) = ("x".repeat(40), "i".repeat(20));
        let cells = [id.as_str(), &long, "short", &long];
        for width in [40, 60, 80, 130] {
            let screen = Screen { width: Some(width), ..Screen::default() };
            let mut table = Table::new(screen, columns());
            let lines = table.lines(&[row(&cells)]);
            assert!(lines.iter().all(|line| line.width() <= width), "{width}: {lines:#?}");
            assert_eq!(lines[0].contains('C'), width >= 80, "{width}: {lines:#?}");
            assert!(lines[1].contains(&id) && lines[1].contains("short"), "{lines:#?}");
        }
        let mut full = Table::new(Screen::default(), columns());
        assert!(full.lines(&[row(&cells)])[1].ends_with(&long));
    }

    #[test]
    fn free_text_is_truncated_and_cannot_control_the_terminal() {
        assert_eq!(truncate("a\u{1b}[2J\n"), "a\\u{1b}[2J\\n");
        assert_eq!(truncate(&"x".repeat(40)), "x".repeat(40));
        assert_eq!(truncate(&"x".repeat(1_000)), format!("{}…", "x".repeat(39)));
        assert!(truncate(&"任".repeat(1_000)).width() <= MAX_WIDTH);
    }
}
