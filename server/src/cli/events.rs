//! `events`: the changes of the server, live.

use std::time::Duration;

use clap::Args;
use taskcenter_client::resources::Event;
use taskcenter_client::{EventQuery, EventStream};

use super::client::Client;
use super::exit::Failure;
use super::{ids, output, table};

pub const EXAMPLES: &str = "\
Each line has the kind of the change, the state, the tag or queue, and the id.
`resync` means that changes were lost, because there were too many.

Examples:
  taskcenter events
  taskcenter events --kind task,operation
  taskcenter events --tag order.close --json | jq -r .run_id";

/// Pause after a failed connection.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const GAP: &str = "  ";
/// Width of the longest kind and of the longest state.
const WIDTH: usize = 9;

/// Filter of the events to print.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Events {
    /// Only these kinds, separated by commas: task, run, log, queue, operation.
    #[arg(long, value_name = "KINDS")]
    kind: Option<String>,
    /// Only changes of tasks with this name, of their runs, and of the queue with this name.
    #[arg(long, alias = "name", value_name = "NAME")]
    tag: Option<String>,
    /// Only changes of the task with this id, or beginning of an id, and of its runs.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
}

impl Events {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        tokio::select! {
            result = self.follow(client) => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }

    /// Prints events. Keeps trying while the server is away, because it may be restarting.
    async fn follow(self, client: &Client) -> Result<(), Failure> {
        let task_id = ids::find_optional_task(client, self.task).await?;
        let query = EventQuery { kind: self.kind, tag: self.tag, task_id, run_id: None };
        let mut is_disconnected = false;
        loop {
            match client.call(client.api.events(&query)).await {
                Ok(stream) => {
                    if std::mem::take(&mut is_disconnected) {
                        eprintln!("reconnected to {}; changes in between are not printed", client.address);
                    }
                    print_all(client, stream).await?;
                }
                Err(Failure::Failed(message)) => {
                    if !std::mem::replace(&mut is_disconnected, true) {
                        eprintln!("error: {message}\nretrying every second, until Ctrl-C");
                    }
                }
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Prints events until the stream ends.
async fn print_all(client: &Client, mut stream: EventStream) -> Result<(), Failure> {
    while let Ok(Some(event)) = stream.next().await {
        if client.json {
            output::print_json(&event)?;
        } else {
            output::print_line(format_line(&event))?;
        }
    }
    Ok(())
}

fn format_line(event: &Event) -> String {
    let id = event.run_id.as_ref().or(event.operation_id.as_ref()).or(event.task_id.as_ref());
    let tag = event.tag.as_ref().or(event.queue.as_ref());
    let state = event.state.as_deref().unwrap_or_default();
    let parts = [tag, id].into_iter().flatten().map(|text| table::truncate(text));
    let mut line = format!("{:WIDTH$}{GAP}{state:WIDTH$}", event.kind);
    parts.for_each(|part| line = format!("{line}{GAP}{part}"));
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_the_event_has() {
        let text = |text: &str| Some(text.to_owned());
        let run = Event {
            kind: "run".to_owned(),
            run_id: text("r"),
            task_id: text("t"),
            tag: text("a\u{1b}[2J"),
            state: text("ready"),
            ..Event::default()
        };
        assert_eq!(format_line(&run), format!("run        ready      {}  r", table::truncate("a\u{1b}[2J")));
        assert!(!format_line(&run).contains('\u{1b}'));
        let queue = Event { kind: "queue".to_owned(), queue: text("mail"), ..Event::default() };
        assert_eq!(format_line(&queue), "queue                 mail");
        assert_eq!(format_line(&Event { kind: "resync".to_owned(), ..Event::default() }), "resync");
    }
}
