//! The options that say what a task is, for a new one and for a change.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use taskcenter_client::Timestamp;
use taskcenter_client::resources::{Retry, TaskResource, TaskSpec};
use taskcenter_server::config::Config;

use super::exit::Failure;
use super::when;

/// Stands for standard input in `--data-file`.
const STDIN: &str = "-";

/// What a task is.
#[derive(Debug, Default, Args)]
pub struct Definition {
    /// What is delivered.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    data: Option<String>,
    /// What is delivered, from a file, byte for byte; `-`: standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    data_file: Option<PathBuf>,
    /// Not before this: RFC 3339, or without an offset in this machine's time zone.
    #[arg(long, value_name = "TIME", value_parser = when::instant, conflicts_with = "delay_ms")]
    at: Option<Timestamp>,
    /// Not before so long from now: 10s, 5m, 2h, 1d.
    #[arg(long = "in", value_name = "DURATION", value_parser = when::duration_ms)]
    delay_ms: Option<u64>,
    /// Again and again, this far apart.
    #[arg(long, value_name = "DURATION", value_parser = when::duration_ms, conflicts_with_all = ["cron", "zone"])]
    every: Option<u64>,
    /// At each match of a cron expression: 5 fields, 6 with leading seconds, @daily and its kin.
    #[arg(long, value_name = "EXPR")]
    cron: Option<String>,
    /// Time zone of --cron, such as Asia/Shanghai; left out: the server's.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Not after this; written as --at.
    #[arg(long, value_name = "TIME", value_parser = when::instant)]
    until: Option<Timestamp>,
    /// Fires in all.
    #[arg(long, value_name = "N")]
    times: Option<u64>,
    /// The queue that its runs wait in for workers; left out: the bus, or without one the queue with the task's name.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// Wait for an outcome of what is published on the bus; in a queue that is always so. --ack=false takes it back.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ack: Option<bool>,
    /// How long to wait for one, in whole seconds: 90s, 5m.
    #[arg(long, value_name = "DURATION", value_parser = when::duration_sec)]
    max_runtime: Option<u64>,
    /// Of the live tasks of a name with the same key there is one.
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<String>,
    /// Attempts in all before a run is dead. What is left out of these three is as a server's defaults have it.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Pause after the first failure; each further one doubles it.
    #[arg(long, value_name = "DURATION", value_parser = when::duration_ms)]
    backoff: Option<u64>,
    /// Longest pause.
    #[arg(long, value_name = "DURATION", value_parser = when::duration_ms)]
    max_backoff: Option<u64>,
}

/// What can be taken away from a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Clear {
    /// The data: empty.
    Data,
    /// The schedule: once.
    Schedule,
    /// --at and --in.
    At,
    /// --until.
    Until,
    /// --times.
    Times,
    /// --queue.
    Queue,
    /// --max-runtime.
    MaxRuntime,
    /// --dedup-key.
    DedupKey,
    /// --max-attempts, --backoff and --max-backoff.
    Retry,
}

impl Clear {
    const fn field(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Schedule => "schedule",
            Self::At => "start_at",
            Self::Until => "end_at",
            Self::Times => "max_fires",
            Self::Queue => "queue",
            Self::MaxRuntime => "max_runtime_sec",
            Self::DedupKey => "dedup_key",
            Self::Retry => "retry",
        }
    }
}

impl Definition {
    /// A new task.
    pub fn spec(self, name: String) -> Result<TaskSpec, Failure> {
        if self.zone.is_some() && self.cron.is_none() {
            return Err(Failure::Misused("--zone belongs to --cron, which is missing".to_owned()));
        }
        let mut fields = self.fields(None)?;
        fields.insert("name".to_owned(), name.into());
        let spec = serde_json::from_value(Value::Object(fields));
        spec.map_err(|error| Failure::Misused(format!("these options make no task: {error}")))
    }

    /// What changes of `task`, as a merge patch.
    pub fn patch(
        self,
        name: Option<String>,
        task: &TaskResource,
        clear: &[Clear],
    ) -> Result<Map<String, Value>, Failure> {
        let mut fields = self.fields(task.retry)?;
        fields.extend(name.map(|name| ("name".to_owned(), name.into())));
        for cleared in clear {
            if fields.insert(cleared.field().to_owned(), Value::Null).is_some() {
                let field = cleared.field();
                return Err(Failure::Misused(format!("{field} cannot both be set and be cleared")));
            }
        }
        if fields.is_empty() {
            return Err(Failure::Misused(
                "nothing to change: name what should be different, see --help".to_owned(),
            ));
        }
        Ok(fields)
    }

    /// The fields of the API that the options stand for. Those of a retry come together, the rest of them from `retry`.
    fn fields(self, retry: Option<Retry>) -> Result<Map<String, Value>, Failure> {
        let fields = [
            ("schedule", self.schedule()),
            ("retry", self.retry(retry).map(|retry| json!(retry))),
            ("start_at", self.at.map(|at| json!(at))),
            ("delay_ms", self.delay_ms.map(Value::from)),
            ("end_at", self.until.map(|until| json!(until))),
            ("max_fires", self.times.map(Value::from)),
            ("ack", self.ack.map(Value::from)),
            ("max_runtime_sec", self.max_runtime.map(Value::from)),
            ("data", self.text()?.map(Value::from)),
            ("queue", self.queue.map(Value::from)),
            ("dedup_key", self.dedup_key.map(Value::from)),
        ];
        let given = fields.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?)));
        Ok(given.collect())
    }

    fn schedule(&self) -> Option<Value> {
        let mut schedule = Map::new();
        if let Some(period_ms) = self.every {
            schedule = Map::from_iter([
                ("kind".to_owned(), "every".into()),
                ("period_ms".to_owned(), period_ms.into()),
            ]);
        } else if let Some(cron) = &self.cron {
            schedule = Map::from_iter([
                ("kind".to_owned(), "cron".into()),
                ("cron".to_owned(), cron.as_str().into()),
            ]);
        }
        if let Some(zone) = &self.zone {
            schedule.insert("zone".to_owned(), zone.as_str().into());
        }
        (!schedule.is_empty()).then_some(Value::Object(schedule))
    }

    fn retry(&self, base: Option<Retry>) -> Option<Retry> {
        if self.max_attempts.is_none() && self.backoff.is_none() && self.max_backoff.is_none() {
            return None;
        }
        let usual = Config::default().engine.retry;
        let base = base.unwrap_or(Retry {
            max_attempts: usual.max_attempts,
            backoff_ms: usual.backoff_ms,
            max_backoff_ms: usual.max_backoff_ms,
        });
        Some(Retry {
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts),
            backoff_ms: self.backoff.unwrap_or(base.backoff_ms),
            max_backoff_ms: self.max_backoff.unwrap_or(base.max_backoff_ms),
        })
    }

    fn text(&self) -> Result<Option<String>, Failure> {
        match &self.data_file {
            None => Ok(self.data.clone()),
            Some(file) => read(file)
                .map(Some)
                .map_err(|error| Failure::Misused(format!("--data-file {}: {error}", file.display()))),
        }
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    if file.as_os_str() == STDIN {
        return std::io::read_to_string(std::io::stdin());
    }
    std::fs::read_to_string(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use taskcenter_client::resources::ScheduleSpec;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        definition: Definition,
    }

    fn parse(options: &str) -> Definition {
        let words = ["line"].into_iter().chain(options.split_whitespace());
        Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).definition
    }

    fn spec(options: &str) -> Result<TaskSpec, Failure> {
        parse(options).spec("n".to_owned())
    }

    #[test]
    fn options_become_fields() {
        let all = "--data -7 --in 5m --every 1500ms --until 2030-01-01T00:00:00Z --times 3 --queue q --ack \
                   --max-runtime 2m --dedup-key k --max-attempts 4";
        let wanted = TaskSpec {
            name: "n".into(),
            data: "-7".into(),
            schedule: ScheduleSpec::Every { period_ms: 1_500 },
            delay_ms: Some(300_000),
            end_at: Some("2030-01-01T00:00:00Z".parse().unwrap()),
            max_fires: Some(3),
            ack: true,
            max_runtime_sec: Some(120),
            queue: Some("q".into()),
            retry: Some(Retry { max_attempts: 4, backoff_ms: 10_000, max_backoff_ms: 7_200_000 }),
            dedup_key: Some("k".into()),
            ..TaskSpec::default()
        };
        assert_eq!(spec(all), Ok(wanted));
        assert_eq!(spec(""), Ok(TaskSpec { name: "n".into(), ..TaskSpec::default() }));
        let cron = ScheduleSpec::Cron { cron: "@daily".into(), zone: Some("Asia/Shanghai".into()) };
        assert_eq!(spec("--cron @daily --zone Asia/Shanghai").unwrap().schedule, cron);
    }

    #[test]
    fn options_that_make_no_sense_together_are_refused() {
        assert_eq!(spec("--zone UTC").unwrap_err().code(), 2);
        for options in
            ["--every 1s --cron @daily", "--at 2030-01-01T00:00:00Z --in 1s", "--data x --data-file y"]
        {
            let words = ["line"].into_iter().chain(options.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{options}");
        }
    }

    #[test]
    fn a_patch_holds_what_changes_and_keeps_the_rest_of_a_retry() {
        let retry = Retry { max_attempts: 3, backoff_ms: 1, max_backoff_ms: 2 };
        let task = json!({
            "id": "i", "name": "n", "data": "", "schedule": {"kind": "once"}, "ack": false, "state": "active", "rev": 1,
            "created_at": "2030-01-01T00:00:00Z", "fired_count": 0, "retry": retry,
        });
        let task: TaskResource = serde_json::from_value(task).unwrap();
        let patch = |options, clear: &[_]| parse(options).patch(None, &task, clear).map(Value::Object);
        let wanted = json!({"retry": {"max_attempts": 3, "backoff_ms": 5_000, "max_backoff_ms": 2}});
        assert_eq!(patch("--backoff 5s", &[]), Ok(wanted));
        assert_eq!(patch("--zone UTC", &[]), Ok(json!({"schedule": {"zone": "UTC"}})));
        assert_eq!(patch("--ack=false", &[Clear::Until]), Ok(json!({"ack": false, "end_at": null})));
        assert_eq!(patch("", &[]).unwrap_err().code(), 2);
        assert_eq!(patch("--times 3", &[Clear::Times]).unwrap_err().code(), 2);
    }
}
