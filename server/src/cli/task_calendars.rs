//! Options about the calendars of a task.

use clap::Args;
use serde_json::{Value, json};
use taskcenter_client::resources::TaskCalendars;

/// Options of a task about calendars.
#[derive(Debug, Default, Args)]
pub struct CalendarOptions {
    /// Calendar that must contain a moment. Repeat the option for several calendars,
    /// at most 4 with --except. `taskcenter calendar list` shows them. Default: none.
    #[arg(long, value_name = "CALENDAR", help_heading = "Schedule")]
    only_within: Vec<String>,
    /// Calendar that must not contain a moment. Default: none.
    #[arg(long, value_name = "CALENDAR", help_heading = "Schedule")]
    except: Vec<String>,
}

impl CalendarOptions {
    /// Returns the calendars as the API reads them, complete. `None`: no option is given.
    pub fn field(&self) -> Option<Value> {
        let is_given = !self.only_within.is_empty() || !self.except.is_empty();
        is_given.then(|| json!({ "only": self.only_within, "exclude": self.except }))
    }
}

/// Formats the calendars of a task.
pub fn format(calendars: &TaskCalendars) -> String {
    let said =
        |word: &str, names: &[String]| (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")));
    let parts = [said("only within", &calendars.only), said("except", &calendars.exclude)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
