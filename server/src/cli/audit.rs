//! `audit`: who changed what.

use clap::Args;
use jiff::Timestamp;
use taskcenter_client::AuditQuery;
use taskcenter_client::resources::AuditEntryResource;

use super::client::Client;
use super::exit::Failure;
use super::paging::{Paging, PrintedPage};
use super::table::{self, Column, Table};
use super::{output, time};

pub const EXAMPLES: &str = "\
The server keeps an entry for at least 90 days. The command needs a token with
the scope admin, or a call from the machine of the server.

Examples:
  taskcenter audit --since 2h
  taskcenter audit --actor ci --action task.edit
  taskcenter audit --object 019aa4c81b7a7c3e8a51f3d6c2b90417 --all";

/// Filter of the audit log.
#[derive(Debug, Args)]
pub struct AuditCommand {
    /// Only changes of this object: the id of a task, a run, an operation or a token, or kind and key
    /// of a document, such as "user ann".
    #[arg(long, value_name = "ID")]
    object: Option<String>,
    /// Only requests of this actor: the name of a token, or loopback, trusted or configuration.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only this action, such as task.edit.
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only entries from this time on, such as 2030-01-31T08:00:00Z, or of the last 2h.
    #[arg(long, value_name = "TIME", value_parser = time::parse_since, allow_hyphen_values = true)]
    since: Option<Timestamp>,
    #[command(flatten)]
    paging: Paging,
}

impl AuditCommand {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let Self { object, actor, action, since, paging } = self;
        let query = AuditQuery { object, actor, action, since, ..AuditQuery::default() };
        let mut table = Table::new(client.screen, columns());
        let listed = paging.print_pages(async |limit, cursor| {
            let query = AuditQuery { limit: Some(limit), cursor, ..query.clone() };
            let page = client.call(client.api.list_audit(&query)).await?;
            if client.json {
                output::print_json(&page)?;
            } else {
                table.print(page.entries.iter().map(|entry| row(client, entry)))?;
            }
            Ok::<PrintedPage, _>((page.entries.len(), page.next_cursor))
        });
        let listed = listed.await?;
        if !client.json {
            listed.print_note("entries");
        }
        Ok(())
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::fixed("AT"),
        Column::text("ACTOR"),
        Column::fixed("ACTION"),
        Column::text("OBJECT"),
        Column::text("OUTCOME"),
        Column::text("DETAIL").optional(),
    ]
}

fn row(client: &Client, entry: &AuditEntryResource) -> Vec<String> {
    let text = |text: &Option<String>| table::or_dash(text.as_deref().map(table::truncate));
    vec![
        client.screen.format_instant(entry.at, time::now()),
        table::truncate(&entry.actor),
        entry.action.clone(),
        text(&entry.object),
        table::truncate(&entry.outcome),
        text(&entry.detail),
    ]
}
