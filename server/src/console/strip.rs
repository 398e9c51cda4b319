//! The strip of a task: its last runs as a row of cells, newest right.
//!
//! Height, place and fill of a cell show the state, so that the strip can be read without colours. The strip
//! has a summary in words, and each cell has a title with its state and moment.

use std::fmt::{self, Display, Formatter};

use askama::filters::HtmlSafe;

use super::frame::Frame;
use super::html;
use super::words::{Words, fill};
use crate::core::RunState;
use crate::core::run::RunMark;

/// Runs in the strip of a list.
pub const IN_LIST: u32 = 20;
/// Runs in the strip of a task's page.
pub const ON_PAGE: u32 = 60;

/// Width of a cell with its gap, and height of the strip.
const STEP: usize = 6;
const HEIGHT: usize = 20;

struct Cell {
    state: RunState,
    title: String,
}

/// The last runs of a task.
pub struct Strip {
    /// The summary in words.
    pub text: String,
    cells: Vec<Cell>,
}

impl Strip {
    /// Returns the strip of runs, latest first.
    pub fn new(latest_first: &[RunMark], f: &Frame) -> Self {
        let title =
            |run: &RunMark| format!("{} · {}", html::run_word(run.state, f.t), f.text(run.scheduled_at));
        let cell = |run: &RunMark| Cell { state: run.state, title: title(run) };
        Self::of(latest_first.iter().rev().map(cell).collect(), f.t)
    }

    fn of(cells: Vec<Cell>, t: &Words) -> Self {
        let number = |among: &[RunState]| {
            html::count(cells.iter().filter(|cell| among.contains(&cell.state)).count() as u64)
        };
        let open = [RunState::Firing, RunState::Held, RunState::Ready, RunState::Leased, RunState::Retrying];
        let text = fill(
            &t.strip_text,
            &[
                &number(&[RunState::Succeeded, RunState::Fired]),
                &number(&[RunState::Dead]),
                &number(&open),
                &number(&[RunState::Skipped, RunState::Cancelled]),
            ],
        );
        Self { text, cells }
    }

    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// Returns class, top and height of a cell. No two groups of states have the same shape.
const fn shape(state: RunState) -> (&'static str, usize, usize) {
    match state {
        RunState::Succeeded | RunState::Fired => ("f-ok", 11, 9),
        RunState::Dead => ("f-dead", 0, HEIGHT),
        RunState::Retrying => ("f-retry", 6, 14),
        RunState::Firing | RunState::Leased => ("f-run", 0, 14),
        RunState::Held | RunState::Ready => ("f-wait", 0, 5),
        RunState::Skipped | RunState::Cancelled => ("f-none", 15, 5),
    }
}

impl Display for Strip {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let width = (self.cells.len() * STEP).max(1);
        write!(
            f,
            r#"<svg class="strip wide" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" "#
        )?;
        let text = html::escape(&self.text);
        write!(f, r#"preserveAspectRatio="xMinYMid meet" role="img" aria-label="{text}">"#)?;
        for (at, cell) in self.cells.iter().enumerate() {
            let ((class, y, height), x) = (shape(cell.state), at * STEP);
            let title = html::escape(&cell.title);
            write!(f, r#"<rect class="{class}" x="{x}" y="{y}" width="4" height="{height}">"#)?;
            write!(f, "<title>{title}</title></rect>")?;
        }
        f.write_str("</svg>")
    }
}

impl HtmlSafe for Strip {}

#[cfg(test)]
mod tests {
    use super::super::words::Lang;
    use super::*;

    fn strip(states: &[RunState]) -> Strip {
        let cell = |state: &RunState| Cell { state: *state, title: "<b>".to_owned() };
        Strip::of(states.iter().map(cell).collect(), Lang::En.words())
    }

    #[test]
    fn a_strip_is_a_picture_with_a_summary_and_a_title_for_each_run() {
        let strip = strip(&[RunState::Succeeded, RunState::Dead]);
        assert_eq!(strip.text, "1 succeeded, 1 dead, 0 open, 0 skipped or cancelled");
        let svg = strip.to_string();
        for part in [
            r#"role="img" aria-label="1 succeeded, 1 dead, 0 open, 0 skipped or cancelled""#,
            r#"<rect class="f-ok" x="0" y="11" width="4" height="9"><title>&#60;b&#62;</title></rect>"#,
            r#"<rect class="f-dead" x="6" y="0" width="4" height="20">"#,
        ] {
            assert!(svg.contains(part), "{part} is missing from {svg}");
        }
    }

    #[test]
    fn states_of_different_colours_have_different_shapes() {
        let mut shapes: Vec<_> = RunState::ALL.into_iter().map(shape).collect();
        shapes.sort_unstable();
        shapes.dedup();
        let mut places: Vec<_> = shapes.iter().map(|(_, y, height)| (y, height)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!((shapes.len(), places.len()), (6, 6));
        assert!(strip(&[]).is_empty());
    }
}
