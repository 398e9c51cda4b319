//! `task revisions`: definitions of a task over time, and the difference between two of them.

use serde_json::{Map, Value};
use taskcenter_client::resources::TaskRevision;

use super::super::client::Client;
use super::super::exit::{Failure, Thing};
use super::super::paging::{Paging, PrintedPage};
use super::super::table::{self, Column, Table};
use super::super::{ids, output, time};
use super::view::format_schedule;

pub const EXAMPLES: &str = "\
Pause and resume count as revisions too, but keep the definition, so the list
has gaps. The server keeps the current definition and the 100 before it.

Examples:
  taskcenter task revisions 019aa4c81b7a7c3e8a51f3d6c2b90417
  taskcenter task revisions 019aa4c81b7a7c3e8a51f3d6c2b90417 --diff 1 4";

/// Prints the definitions of a task, latest first.
pub async fn list(client: &Client, text: &str, paging: &Paging) -> Result<(), Failure> {
    let id = ids::find_task(client, text).await?;
    let columns =
        [Column::fixed("REVISION"), Column::fixed("CHANGE"), Column::fixed("AT"), Column::text("BY")];
    let columns = columns.into_iter().chain([Column::text("SCHEDULE"), Column::text("DATA").optional()]);
    let mut table = Table::new(client.screen, columns.collect());
    let listed = paging.print_pages(async |limit, cursor| {
        let page = client.call(client.api.list_task_revisions(&id, Some(limit), cursor.as_deref())).await;
        let page = page.map_err(|failure| failure.about(Thing::Task, text))?;
        if client.json {
            output::print_json(&page)?;
        } else {
            table.print(page.revisions.iter().map(|revision| row(client, revision)))?;
        }
        Ok::<PrintedPage, _>((page.revisions.len(), page.next_cursor))
    });
    let listed = listed.await?;
    if !client.json {
        listed.print_note("revisions");
    }
    Ok(())
}

fn row(client: &Client, revision: &TaskRevision) -> Vec<String> {
    let definition = &revision.definition;
    vec![
        revision.rev.to_string(),
        revision.change.clone(),
        client.screen.format_instant(revision.at, time::now()),
        table::or_dash(revision.by.as_deref().map(table::escape)),
        table::truncate(&format_schedule(&definition.schedule)),
        table::truncate(&definition.data),
    ]
}

/// Prints the fields that differ between two definitions, as `- old` and `+ new`.
pub async fn print_diff(client: &Client, text: &str, revs: [u32; 2]) -> Result<(), Failure> {
    let id = ids::find_task(client, text).await?;
    let [before, after] = [fields(client, &id, revs[0]).await?, fields(client, &id, revs[1]).await?];
    if client.json {
        return output::print_json(&changes(&before, &after));
    }
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        if old != new {
            print_side("-", name, old)?;
            print_side("+", name, new)?;
        }
    }
    Ok(())
}

/// Returns the fields of a definition that have a value.
async fn fields(client: &Client, id: &str, rev: u32) -> Result<Map<String, Value>, Failure> {
    let found = client.call(client.api.get_task_revision(id, rev)).await?;
    let missing =
        || Failure::Failed(format!("task {id} has no revision {rev}, or the server no longer keeps it"));
    let definition = found.ok_or_else(missing)?.definition;
    match serde_json::to_value(definition) {
        Ok(Value::Object(fields)) => Ok(fields.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        _ => Err(Failure::Failed("the definition is not an object".to_owned())),
    }
}

/// Returns the changes as a JSON merge patch.
fn changes(before: &Map<String, Value>, after: &Map<String, Value>) -> Value {
    let removed =
        before.keys().filter(|name| !after.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let changed = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    Value::Object(removed.chain(changed.map(|(name, value)| (name.clone(), value.clone()))).collect())
}

fn print_side(sign: &str, name: &str, value: Option<&Value>) -> Result<(), Failure> {
    let Some(value) = value else { return Ok(()) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    output::print_line(format_args!("{sign} {name}: {}", table::escape(&text)))
}
