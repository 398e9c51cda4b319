//! Screen on which results are shown: the width of the terminal, and colors.

use std::io::{IsTerminal as _, stdout};

use clap::ColorChoice;
use clap::builder::styling::{AnsiColor, Style};
use jiff::Timestamp;
use rustix::termios::tcgetwinsize;

use super::time;

const DEFAULT_WIDTH: usize = 80;

/// Format of tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Screen {
    /// Columns of the terminal. `None`: the output is not a terminal, or the user wants full ids, times
    /// and texts.
    pub width: Option<usize>,
    pub has_color: bool,
}

impl Screen {
    /// Examines standard output.
    pub fn detect(wide: bool, color: ColorChoice) -> Self {
        let is_terminal = stdout().is_terminal();
        let has_color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && allows_color(),
        };
        Self { width: (is_terminal && !wide).then(terminal_width), has_color }
    }

    /// Formats an instant: on a terminal only its distance from `now`.
    pub fn format_instant(self, at: Timestamp, now: Timestamp) -> String {
        match self.width {
            Some(_) => time::format_distance(at, now),
            None => time::format_with_distance(at, now),
        }
    }

    /// Colors the state of a task or a run.
    pub fn paint_state(self, state: &str) -> String {
        if !self.has_color {
            return state.to_owned();
        }
        let style = state_style(state);
        format!("{style}{state}{style:#}")
    }
}

fn terminal_width() -> usize {
    let columns = tcgetwinsize(stdout()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { DEFAULT_WIDTH } else { columns }
}

/// Follows <https://no-color.org>.
fn allows_color() -> bool {
    let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    !is_dumb && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn state_style(state: &str) -> Style {
    let color = match state {
        "active" | "succeeded" => AnsiColor::Green,
        "dead" => AnsiColor::Red,
        "paused" | "held" | "retrying" => AnsiColor::Yellow,
        "firing" | "fired" | "ready" | "leased" => AnsiColor::Cyan,
        "finished" | "skipped" | "cancelled" => AnsiColor::BrightBlack,
        _ => return Style::new(),
    };
    color.on_default()
}
