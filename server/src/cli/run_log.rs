//! `run log`: the log of a run.

use std::time::Duration;

use clap::Args;
use taskcenter_client::resources::{RunLogLine, RunLogPage};

use super::client::Client;
use super::exit::{Failure, Thing};
use super::{ids, output, table, time};

pub const EXAMPLES: &str = "\
Scripts write the log with their standard output (info) and standard error
(error), and handlers with `ctx.log`. Each line has the local time, the level
and the text.

Examples:
  taskcenter run log 019aa4c81b7a-1-1763705000000
  taskcenter run log 019aa4c81b7a-1-1763705000000 --follow
  taskcenter run log 019aa4c81b7a-1-1763705000000 --json | jq -r .text";

/// How long one request waits for lines.
const WAIT: Duration = Duration::from_secs(20);
/// Pause after a failed request.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Width of the longest level.
const LEVEL_WIDTH: usize = 5;

/// The run whose log to print.
#[derive(Debug, Args)]
#[group(skip)]
pub struct RunLog {
    /// Id of the run, or its beginning.
    id: String,
    /// Print further lines until the run ends, or until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
}

impl RunLog {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let id = ids::find_run(client, &self.id).await?;
        let printed = async {
            let printed = if self.follow { follow(client, &id).await } else { print_all(client, &id).await };
            printed.map_err(|failure| failure.about(Thing::Run, &self.id))
        };
        tokio::select! {
            result = printed => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }
}

async fn print_all(client: &Client, id: &str) -> Result<(), Failure> {
    let mut printer = Printer::new(client);
    loop {
        let page = client.call(client.api.run_log(id, printer.next, Duration::ZERO)).await?;
        printer.print(&page)?;
        if !page.has_more {
            return Ok(());
        }
    }
}

/// Prints lines until the run ends. Keeps trying while the server is away, because it may be restarting.
async fn follow(client: &Client, id: &str) -> Result<(), Failure> {
    let mut printer = Printer::new(client);
    let mut is_disconnected = false;
    loop {
        match client.call(client.api.run_log(id, printer.next, WAIT)).await {
            Ok(page) => {
                if std::mem::take(&mut is_disconnected) {
                    eprintln!("reconnected to {}", client.address);
                }
                printer.print(&page)?;
                if let Some(state) = page.end_state {
                    eprintln!("the run has ended: {state}");
                    return Ok(());
                }
            }
            Err(Failure::Failed(message)) => {
                if !std::mem::replace(&mut is_disconnected, true) {
                    eprintln!("error: {message}\nretrying every second, until Ctrl-C");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Prints pages one after the other.
struct Printer<'a> {
    client: &'a Client,
    /// Number of the next line.
    next: u64,
    attempt: u32,
}

impl<'a> Printer<'a> {
    fn new(client: &'a Client) -> Self {
        Self { client, next: 0, attempt: 1 }
    }

    fn print(&mut self, page: &RunLogPage) -> Result<(), Failure> {
        for line in &page.lines {
            if self.client.json {
                output::print_json(line)?;
            } else {
                self.notes(line).into_iter().try_for_each(output::print_line)?;
                output::print_line(format_line(line))?;
            }
            (self.next, self.attempt) = (line.line + 1, line.attempt);
        }
        self.next = page.next_from;
        Ok(())
    }

    /// Returns what a reader must know before a line: removed lines, and the start of another attempt.
    fn notes(&self, line: &RunLogLine) -> Vec<String> {
        let removed = line.line.saturating_sub(self.next);
        let removed = (removed > 0).then(|| format!("-- {removed} lines removed: the log is too long --"));
        let attempt = (line.attempt != self.attempt).then(|| format!("-- attempt {} --", line.attempt));
        removed.into_iter().chain(attempt).collect()
    }
}

fn format_line(line: &RunLogLine) -> String {
    let text = table::escape(&line.text);
    format!("{}  {:LEVEL_WIDTH$}  {text}", time::format_time_of_day(line.at), line.level)
}
