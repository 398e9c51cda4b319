//! Operations as texts: progress, fields and failures.

use std::io::Write as _;

use serde_json::Value;
use taskcenter_client::resources::{BackfillRange, OperationCanary, OperationFailure, OperationResource};

use super::super::client::Client;
use super::super::exit::Failure;
use super::super::screen::Screen;
use super::super::table::{self, Column, Table};
use super::super::{output, time};

/// Characters of the bar.
const BAR_WIDTH: u64 = 10;

/// Prints a line of progress. On a terminal, the next one replaces the line, unless the line is the last one.
pub fn print_progress(screen: Screen, line: &str, is_last: bool) -> Result<(), Failure> {
    let Some(width) = screen.width else { return output::print_line(line) };
    // The code clears the rest of the line.
    let line = format!("\r{}\x1b[K", table::truncate_to(line, width.saturating_sub(1)));
    if is_last {
        return output::print_line(line);
    }
    let mut out = std::io::stdout().lock();
    let written = write!(out, "{line}").and_then(|()| out.flush());
    written.map_err(|error| Failure::Failed(format!("cannot write to standard output: {error}")))
}

/// Formats the state and the counts, with a bar if the number of items is known.
pub fn format_progress(operation: &OperationResource) -> String {
    let processed = operation.processed();
    let has_more = operation.is_running() || operation.state == "held";
    let total = if has_more { operation.expected.max(processed) } else { processed };
    let of = if has_more {
        format!("{processed} of {}", format_count(total, operation.expected_more))
    } else {
        processed.to_string()
    };
    let bar = match processed.saturating_mul(BAR_WIDTH).checked_div(total) {
        Some(filled) if has_more && !operation.expected_more => {
            let filled = filled.min(BAR_WIDTH) as usize;
            format!("[{}{}] ", "#".repeat(filled), "-".repeat(BAR_WIDTH as usize - filled))
        }
        _ => String::new(),
    };
    let waits = if operation.waits_for_canary() { ", waiting for the canary" } else { "" };
    format!(
        "{} {} {bar}{of}: {} done, {} failed, {} skipped{waits}",
        operation.action, operation.state, operation.done, operation.failed, operation.skipped
    )
}

/// Formats a count that ends at a limit.
pub fn format_count(count: u64, more: bool) -> String {
    if more { format!("more than {count}") } else { count.to_string() }
}

/// Prints why the operation is held, and what a user can do.
pub fn print_held(operation: &OperationResource) -> Result<(), Failure> {
    let Some(message) = operation.message.as_deref().filter(|_| operation.state == "held") else {
        return Ok(());
    };
    output::print_line(table::escape(message))?;
    let id = &operation.id;
    output::print_line(format_args!(
        "`taskcenter operation continue {id}` redrives the others, `taskcenter operation abort {id}` ends the operation"
    ))
}

/// Prints all fields of an operation.
pub fn show(client: &Client, operation: &OperationResource) -> Result<(), Failure> {
    if client.json {
        return output::print_json(operation);
    }
    let now = time::now();
    let text = |text: &Option<String>| table::or_dash(text.as_deref().map(table::escape));
    table::print_fields(&[
        ("operation", operation.id.clone()),
        ("action", operation.action.clone()),
        ("state", client.screen.paint_state(&operation.state)),
        ("message", text(&operation.message)),
        ("reason", text(&operation.reason)),
        ("items", format_selection(operation)),
        (
            "patch",
            table::or_dash(
                operation.patch.clone().map(|patch| table::escape(&Value::Object(patch).to_string())),
            ),
        ),
        ("rate", table::or_dash(operation.rate_per_sec.map(|rate| format!("{rate} per second")))),
        ("canary", table::or_dash(operation.canary.as_ref().map(format_canary))),
        ("expected", format_count(operation.expected, operation.expected_more)),
        ("found", operation.matched.to_string()),
        ("done", operation.done.to_string()),
        ("failed", operation.failed.to_string()),
        ("skipped", operation.skipped.to_string()),
        ("created", time::format_with_distance(operation.created_at, now)),
        ("created by", table::escape(&operation.created_by)),
        ("ended", table::or_dash(operation.ended_at.map(|at| time::format_with_distance(at, now)))),
    ])?;
    print_failures(client.screen, operation)
}

fn format_canary(canary: &OperationCanary) -> String {
    format!("{} of {} runs, {}", canary.run_ids.len(), canary.size, canary.state)
}

fn format_selection(operation: &OperationResource) -> String {
    if let Some(BackfillRange { task_id, from, to }) = &operation.backfill {
        return format!("task {task_id} from {from} to {to}");
    }
    let Some(filter) = &operation.filter else {
        return format!("{} ids", operation.ids.unwrap_or_default());
    };
    let parts =
        [("name", &filter.name), ("tag", &filter.tag), ("task", &filter.task_id), ("state", &filter.state)];
    let parts =
        parts.iter().filter_map(|(name, part)| Some(format!("{name} {}", table::escape(part.as_ref()?))));
    let labels = filter.labels.iter().map(|(key, value)| table::escape(&format!("label {key}={value}")));
    let parts = parts.chain(labels).collect::<Vec<_>>().join(", ");
    if parts.is_empty() { "all".to_owned() } else { parts }
}

/// Prints the items that could not be changed.
pub fn print_failures(screen: Screen, operation: &OperationResource) -> Result<(), Failure> {
    if operation.failures.is_empty() {
        return Ok(());
    }
    let columns = vec![Column::fixed("ID"), Column::text("ERROR")];
    let row = |failure: &OperationFailure| vec![failure.id.clone(), table::escape(&failure.error)];
    Table::new(screen, columns).print(operation.failures.iter().map(row))?;
    let more = operation.failed.saturating_sub(operation.failures.len() as u64);
    if more > 0 {
        output::print_line(format_args!("{more} more failures are not kept"))?;
    }
    Ok(())
}
