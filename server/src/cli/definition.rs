//! Options that define a task, for `task add` and `task edit`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use taskcenter_client::Timestamp;
use taskcenter_client::resources::{Retry, ScheduleSpec, TaskResource, TaskSpec};
use taskcenter_server::config::Config;

use super::concurrency::ConcurrencyOptions;
use super::document::DefinitionFile;
use super::exit::Failure;
use super::misfire::MisfireOptions;
use super::overlap::OverlapOptions;
use super::payload::{parse_header, read_data};
use super::rate::RateOptions;
use super::task_calendars::CalendarOptions;
use super::time;

const SCHEDULE: &str = "Schedule";
const DELIVERY: &str = "Delivery";
const RETRIES: &str = "Retries";

/// Definition of a task.
#[derive(Debug, Default, Args)]
pub struct Definition {
    /// Earliest time of the first fire, such as 2030-01-31T08:00:00Z. A time without an offset is
    /// local time. Default: now.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = time::parse_instant,
        conflicts_with = "delay_ms",
        help_heading = SCHEDULE
    )]
    at: Option<Timestamp>,
    /// Delay before the first fire, such as 500ms, 10s, 5m, 2h or 1d; at most 100 years. Default:
    /// 0.
    #[arg(
        long = "in",
        value_name = "DURATION",
        value_parser = time::parse_duration_ms, allow_hyphen_values = true,
        help_heading = SCHEDULE
    )]
    delay_ms: Option<u64>,
    /// Period of a repeating task, at least 1ms. Default: fire once.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = time::parse_duration_ms, allow_hyphen_values = true,
        conflicts_with_all = ["cron", "zone", "dialect", "dst_gap", "dst_repeat"],
        help_heading = SCHEDULE
    )]
    every: Option<u64>,
    /// Cron expression of a repeating task, in quotes: 5 fields, 6 with seconds first, 7
    /// with years last, or a name such as @daily. Repeat the option for up to 16 expressions: a moment of
    /// several expressions fires once.
    #[arg(long, value_name = "EXPR", help_heading = SCHEDULE)]
    cron: Vec<String>,
    /// Time zone of --cron, as an IANA name such as Asia/Shanghai. Default: engine.time_zone of the
    /// server.
    #[arg(long, value_name = "ZONE", help_heading = SCHEDULE)]
    zone: Option<String>,
    /// Meaning of the fields of --cron: unix, or quartz, where Sunday is 1. Default: unix.
    #[arg(
        long,
        value_name = "DIALECT",
        value_parser = ["unix", "quartz"],
        hide_possible_values = true,
        help_heading = SCHEDULE
    )]
    dialect: Option<String>,
    /// Moments of --cron that the clock skips: skip, or after the gap. Default: the expression decides.
    #[arg(
        long,
        value_name = "RULE",
        value_parser = ["skip", "after"],
        hide_possible_values = true,
        help_heading = SCHEDULE
    )]
    dst_gap: Option<String>,
    /// Moments of --cron that the clock repeats: the first, the last, or both. Default: the expression
    /// decides.
    #[arg(
        long,
        value_name = "RULE",
        value_parser = ["first", "last", "both"],
        hide_possible_values = true,
        help_heading = SCHEDULE
    )]
    dst_repeat: Option<String>,
    /// Latest time of a fire, in the format of --at. Default: unlimited.
    #[arg(long, value_name = "TIME", value_parser = time::parse_end, help_heading = SCHEDULE)]
    until: Option<Timestamp>,
    /// Maximum number of fires, at least 1. Default: unlimited.
    #[arg(long, value_name = "N", help_heading = SCHEDULE)]
    times: Option<u64>,
    /// Longest delay of a moment, 1ms to 24h. The delay of a task is the same at each moment. Default: no delay.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = time::parse_duration_ms, allow_hyphen_values = true,
        help_heading = SCHEDULE
    )]
    jitter: Option<u64>,
    /// Data to deliver, at most 4,128,768 bytes. Default: empty.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, help_heading = DELIVERY)]
    data: Option<String>,
    /// File with the data to deliver, in UTF-8; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "data", help_heading = DELIVERY)]
    data_file: Option<PathBuf>,
    /// Header that every delivery carries, such as traceparent=00-...; at most 16 headers. `task edit`
    /// keeps the other headers of the task. Default: none.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header, help_heading = DELIVERY)]
    headers: Vec<(String, String)>,
    /// Label that the runs carry and lists filter by, such as team=pay; at most 16 labels. `task edit`
    /// keeps the other labels of the task, and removes the label of an empty value (team=). Default: none.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label, help_heading = DELIVERY)]
    labels: Vec<(String, String)>,
    /// Queue in which the runs wait for workers, 1 to 128 bytes. Default: the message bus; without
    /// a bus, the queue with the name of the task.
    #[arg(long, value_name = "QUEUE", help_heading = DELIVERY)]
    queue: Option<String>,
    /// Wait for an outcome report after delivery over the message bus. Runs in a queue always wait.
    /// Default: false.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = DELIVERY
    )]
    ack: Option<bool>,
    /// Time until an attempt without an outcome report fails, in whole seconds: 1s to 366d. Over the
    /// message bus only with --ack, and 60s by default; in a queue unlimited by default.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = time::parse_duration_sec, allow_hyphen_values = true,
        help_heading = DELIVERY
    )]
    max_runtime: Option<u64>,
    /// Time after its moment within which the first attempt of a run must start, 1ms to 366d; otherwise the
    /// run ends as skipped. Default: unlimited.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration_ms, allow_hyphen_values = true, help_heading = DELIVERY)]
    start_within: Option<u64>,
    /// Deduplication key, 1 to 256 bytes: at most one live task per name and key. Default: no
    /// deduplication.
    #[arg(long, value_name = "KEY", help_heading = DELIVERY)]
    dedup_key: Option<String>,
    /// Maximum number of attempts of a run, including the first, 1 to 1,000. Without any of these
    /// options, engine.retry of the server applies. Default: 17.
    #[arg(long, value_name = "N", help_heading = RETRIES)]
    max_attempts: Option<u32>,
    /// Pause after the first failed attempt, at most 366d; the pause grows with each further failure.
    /// Default: 10s.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration_ms, allow_hyphen_values = true, help_heading = RETRIES)]
    backoff: Option<u64>,
    /// Maximum pause between attempts, at most 366d. Default: 2h.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration_ms, allow_hyphen_values = true, help_heading = RETRIES)]
    max_backoff: Option<u64>,
    /// Length of each further pause, in percent of the pause before, 100 to 1,000; with 100, all pauses
    /// are equal. Default: 200.
    #[arg(long, value_name = "PERCENT", help_heading = RETRIES)]
    backoff_factor: Option<u32>,
    /// Largest part of a pause that is left out at random, in percent, 0 to 100. Default: 0.
    #[arg(long, value_name = "PERCENT", help_heading = RETRIES)]
    backoff_jitter: Option<u32>,
    /// Pauses between the attempts, separated by commas, such as 10s,1m,10m; at most 100. The last attempt
    /// follows the last pause.
    #[arg(
        long,
        value_name = "DURATIONS",
        value_parser = time::parse_duration_ms,
        value_delimiter = ',',
        conflicts_with_all = ["max_attempts", "backoff", "max_backoff", "backoff_factor"],
        help_heading = RETRIES
    )]
    retry_intervals: Vec<u64>,
    #[command(flatten)]
    calendars: CalendarOptions,
    #[command(flatten)]
    misfire: MisfireOptions,
    #[command(flatten)]
    overlap: OverlapOptions,
    #[command(flatten)]
    concurrency: ConcurrencyOptions,
    #[command(flatten)]
    rate: RateOptions,
}

/// Fields of a task that an edit can reset to their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Clear {
    /// Empty data.
    Data,
    /// No headers (--header).
    Headers,
    /// No labels (--label).
    Labels,
    /// Fire once.
    Schedule,
    /// Start now (--at, --in).
    At,
    /// No end (--until).
    Until,
    /// Unlimited fires (--times).
    Times,
    /// Default queue or bus (--queue).
    Queue,
    /// Default time for the report (--max-runtime).
    MaxRuntime,
    /// No limit for the start of a run (--start-within).
    StartWithin,
    /// No deduplication (--dedup-key).
    DedupKey,
    /// Retry policy of the server (--max-attempts, --backoff, --retry-intervals).
    Retry,
    /// Misfire policy of the server (--misfire, --misfire-grace, --misfire-max).
    Misfire,
    /// No delay of moments (--jitter).
    Jitter,
    /// Overlapping runs are allowed (--overlap).
    Overlap,
    /// No concurrency limit (--concurrency).
    Concurrency,
    /// No calendars (--only-within, --except).
    Calendars,
    /// No rate limit (--rate).
    Rate,
}

impl Clear {
    const fn field(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Headers => "headers",
            Self::Labels => "labels",
            Self::Schedule => "schedule",
            Self::At => "start_at",
            Self::Until => "end_at",
            Self::Times => "max_fires",
            Self::Queue => "queue",
            Self::MaxRuntime => "max_runtime_sec",
            Self::StartWithin => "start_within_ms",
            Self::DedupKey => "dedup_key",
            Self::Retry => "retry",
            Self::Misfire => "misfire",
            Self::Jitter => "jitter_ms",
            Self::Overlap => "overlap",
            Self::Concurrency => "concurrency",
            Self::Calendars => "calendars",
            Self::Rate => "rate",
        }
    }
}

impl Definition {
    /// Converts a file and the options to a new task. The options replace the fields of the file.
    pub fn into_spec(
        self,
        name: Option<String>,
        file: Option<&DefinitionFile>,
        on_conflict: Option<String>,
    ) -> Result<TaskSpec, Failure> {
        let mut fields = file.map(DefinitionFile::fields).unwrap_or_default();
        let needs_cron = [&self.zone, &self.dialect, &self.dst_gap, &self.dst_repeat];
        let names = ["--zone", "--dialect", "--dst-gap", "--dst-repeat"];
        let given = needs_cron.iter().zip(names).find(|(value, _)| value.is_some());
        if let Some((_, name)) = given.filter(|_| self.cron.is_empty()) {
            return Err(Failure::Misused(format!("{name} needs a cron expression: add --cron")));
        }
        if self.times.is_some() && self.schedule().is_none() && !fields.contains_key("schedule") {
            return Err(one_fire());
        }
        replace(&mut fields, self.fields(None)?);
        if let Some(Value::Object(schedule)) = fields.get_mut("schedule") {
            // In a patch, `null` removes a member.
            schedule.retain(|_, value| !value.is_null());
        }
        fields.extend(name.map(|name| ("name".to_owned(), name.into())));
        fields.extend(on_conflict.map(|action| ("on_conflict".to_owned(), action.into())));
        if let Some(file) = file {
            return file.typed(Value::Object(fields));
        }
        let spec = serde_json::from_value(Value::Object(fields));
        spec.map_err(|error| Failure::Misused(format!("invalid task: {error}")))
    }

    /// Converts a file and the options to a merge patch of `task`. The options replace the fields of the file.
    pub fn into_patch(
        self,
        name: Option<String>,
        file: Option<&DefinitionFile>,
        task: &TaskResource,
        clear: &[Clear],
    ) -> Result<Map<String, Value>, Failure> {
        let mut patch = file.map(DefinitionFile::fields).unwrap_or_default();
        let is_given = self.every.is_some() || !self.cron.is_empty() || patch.contains_key("schedule");
        let repeats = is_given || task.schedule != ScheduleSpec::Once {};
        if self.times.is_some() && !repeats {
            return Err(one_fire());
        }
        let mut fields = self.fields(task.retry.as_ref())?;
        if let Some(Value::Object(labels)) = fields.get_mut("labels") {
            labels.values_mut().filter(|value| *value == "").for_each(|value| *value = Value::Null);
        }
        replace(&mut patch, fields);
        let mut fields = patch;
        fields.extend(name.map(|name| ("name".to_owned(), name.into())));
        for cleared in clear {
            let field = cleared.field();
            if fields.insert(field.to_owned(), Value::Null).is_some() {
                return Err(Failure::Misused(format!(
                    "{field} is both set and cleared: use either the option or --clear"
                )));
            }
        }
        if fields.is_empty() {
            return Err(Failure::Misused(
                "no change given: use at least one option of `taskcenter task edit --help`".to_owned(),
            ));
        }
        Ok(fields)
    }

    /// Returns the fields of the API that the options set. A retry policy is always complete:
    /// options that are absent take their values from `retry`, or else from the default
    /// configuration.
    fn fields(self, retry: Option<&Retry>) -> Result<Map<String, Value>, Failure> {
        let fields = [
            ("schedule", self.schedule()),
            ("retry", self.retry(retry).map(|retry| json!(retry))),
            ("misfire", self.misfire.fields()),
            ("overlap", self.overlap.field()),
            ("concurrency", self.concurrency.field()),
            ("calendars", self.calendars.field()),
            ("rate", self.rate.field()),
            ("jitter_ms", self.jitter.map(Value::from)),
            ("start_at", self.at.map(|at| json!(at))),
            ("delay_ms", self.delay_ms.map(Value::from)),
            ("end_at", self.until.map(|until| json!(until))),
            ("max_fires", self.times.map(Value::from)),
            ("ack", self.ack.map(Value::from)),
            ("max_runtime_sec", self.max_runtime.map(Value::from)),
            ("start_within_ms", self.start_within.map(Value::from)),
            ("data", self.data()?.map(Value::from)),
            ("headers", object(&self.headers)),
            ("labels", object(&self.labels)),
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
        } else if let [cron, also @ ..] = self.cron.as_slice() {
            schedule = Map::from_iter([
                ("kind".to_owned(), "cron".into()),
                ("cron".to_owned(), cron.as_str().into()),
            ]);
            let also = if also.is_empty() { Value::Null } else { json!(also) };
            schedule.insert("also".to_owned(), also);
        }
        let text = |value: &Option<String>| value.as_deref().map(Value::from);
        schedule.extend(text(&self.dialect).map(|dialect| ("dialect".to_owned(), dialect)));
        let dst = [("gap", text(&self.dst_gap)), ("repeat", text(&self.dst_repeat))];
        let dst: Map<String, Value> =
            dst.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        if !dst.is_empty() {
            schedule.insert("dst".to_owned(), Value::Object(dst));
        }
        if let Some(zone) = &self.zone {
            schedule.insert("zone".to_owned(), zone.as_str().into());
        }
        (!schedule.is_empty()).then_some(Value::Object(schedule))
    }

    /// Returns the complete policy, or the fields of a policy that a patch merges with `base`.
    fn retry(&self, base: Option<&Retry>) -> Option<Retry> {
        if !self.retry_intervals.is_empty() {
            let list = Retry::intervals(self.retry_intervals.clone());
            return Some(Retry { jitter_percent: self.backoff_jitter, ..list });
        }
        let numbers = [self.max_attempts, self.backoff_factor];
        let is_growing = numbers.iter().any(Option::is_some) || self.backoff.or(self.max_backoff).is_some();
        if !is_growing && self.backoff_jitter.is_none() {
            return None;
        }
        let base = base.filter(|base| base.intervals_ms.is_none() || !is_growing).cloned();
        let base = base.unwrap_or_else(server_default);
        Some(Retry {
            max_attempts: self.max_attempts.or(base.max_attempts),
            backoff_ms: self.backoff.or(base.backoff_ms),
            max_backoff_ms: self.max_backoff.or(base.max_backoff_ms),
            factor_percent: self.backoff_factor.or(base.factor_percent),
            jitter_percent: self.backoff_jitter.or(base.jitter_percent),
            intervals_ms: base.intervals_ms,
        })
    }

    fn data(&self) -> Result<Option<String>, Failure> {
        read_data(self.data.clone(), self.data_file.as_deref())
    }
}

/// Replaces fields. A field that excludes another one removes it.
fn replace(fields: &mut Map<String, Value>, others: Map<String, Value>) {
    for (one, other) in [("data", "json"), ("start_at", "delay_ms"), ("delay_ms", "start_at")] {
        if others.contains_key(one) {
            fields.remove(other);
        }
    }
    fields.extend(others);
}

/// Returns the retry policy of the default configuration.
fn server_default() -> Retry {
    let default = Config::default().engine.retry;
    Retry::doubling(default.max_attempts, default.backoff_ms, default.max_backoff_ms)
}

/// Returns the pairs as an object. `None`: there are none.
fn object(pairs: &[(String, String)]) -> Option<Value> {
    let members = pairs.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
    (!pairs.is_empty()).then(|| Value::Object(members.collect()))
}

/// Parses a label, for an option of a definition or of a list.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').ok_or("write KEY=VALUE, such as team=pay")?;
    Ok((parts.0.to_owned(), parts.1.to_owned()))
}

fn one_fire() -> Failure {
    Failure::Misused("--times limits a repeating task: add --every or --cron".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use clap::Parser;
    use taskcenter_client::resources::{
        Concurrency, ConcurrencyScope, CronDialect, CronDst, CronGap, Misfire, MisfirePolicy, Overlap,
        OverlapKeep, OverlapPolicy, Rate, TaskCalendars,
    };

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
        parse(options).into_spec(Some("n".to_owned()), None, None)
    }

    #[test]
    fn options_become_fields() {
        let all = "--data -7 --in 5m --every 1500ms --until 2030-01-01T00:00:00Z --times 3 --queue q --ack \
                   --max-runtime 2m --start-within 3m --header a=1=2 --header b=3 --label team=pay --dedup-key k --max-attempts 4 \
                   --misfire fire_all --misfire-grace 1m --misfire-max 3 --jitter 30s --overlap queue_one --overlap-keep latest \
                   --concurrency 1 --concurrency 9:queue:eu --only-within workdays --except a --except b \
                   --rate 5/1m:tag --rate-burst 2 --rate-excess drop";
        let expected = TaskSpec {
            name: "n".into(),
            data: "-7".into(),
            schedule: ScheduleSpec::Every { period_ms: 1_500 },
            delay_ms: Some(300_000),
            end_at: Some("2030-01-01T00:00:00Z".parse().unwrap()),
            max_fires: Some(3),
            ack: true,
            max_runtime_sec: Some(120),
            start_within_ms: Some(180_000),
            headers: [("a", "1=2"), ("b", "3")].map(|(name, value)| (name.into(), value.into())).into(),
            labels: [("team".into(), "pay".into())].into(),
            queue: Some("q".into()),
            retry: Some(Retry::doubling(4, 10_000, 7_200_000)),
            misfire: Some(Misfire {
                policy: Some(MisfirePolicy::FireAll),
                grace_ms: Some(60_000),
                max: Some(3),
            }),
            jitter_ms: Some(30_000),
            overlap: Some(Overlap {
                keep: Some(OverlapKeep::Latest),
                ..Overlap::new(OverlapPolicy::QueueOne)
            }),
            concurrency: vec![
                Concurrency::new(1, ConcurrencyScope::Task),
                Concurrency::new(9, ConcurrencyScope::Queue).with_key("eu"),
            ],
            calendars: Some(TaskCalendars {
                only: vec!["workdays".into()],
                exclude: vec!["a".into(), "b".into()],
            }),
            rate: Some(Rate::new(5, Duration::from_mins(1), ConcurrencyScope::Tag).with_burst(2).dropping()),
            dedup_key: Some("k".into()),
            ..TaskSpec::default()
        };
        assert_eq!(spec(all), Ok(expected));
        assert_eq!(spec(""), Ok(TaskSpec { name: "n".into(), ..TaskSpec::default() }));
        let cron = ScheduleSpec::cron("@daily", Some("Asia/Shanghai".into()));
        assert_eq!(spec("--cron @daily --zone Asia/Shanghai").unwrap().schedule, cron);
        let several = spec("--cron @daily --cron @hourly --dialect quartz --dst-gap skip").unwrap().schedule;
        let ScheduleSpec::Cron { also, dialect, dst, .. } = several else { panic!("{several:?}") };
        assert_eq!((also, dialect), (vec!["@hourly".to_owned()], CronDialect::Quartz));
        assert_eq!(dst, CronDst { gap: Some(CronGap::Skip), repeat: None });
    }

    #[test]
    fn conflicting_options_are_refused() {
        for options in ["--zone UTC", "--times 3", "--dialect quartz"] {
            assert_eq!(spec(options).unwrap_err().code(), 2, "{options}");
        }
        for options in
            ["--every 1s --cron @daily", "--at 2030-01-01T00:00:00Z --in 1s", "--data x --data-file y"]
        {
            let words = ["line"].into_iter().chain(options.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{options}");
        }
    }

    #[test]
    fn a_patch_has_only_changed_fields_and_a_complete_retry_policy() {
        let retry = Retry::doubling(3, 1, 2);
        let task = json!({
            "id": "i", "name": "n", "data": "", "schedule": {"kind": "once"}, "ack": false, "state": "active", "rev": 1,
            "created_at": "2030-01-01T00:00:00Z", "fired_count": 0, "retry": retry,
        });
        let task: TaskResource = serde_json::from_value(task).unwrap();
        let patch =
            |options, clear: &[_]| parse(options).into_patch(None, None, &task, clear).map(Value::Object);
        let expected = json!({"retry": {"max_attempts": 3, "backoff_ms": 5_000, "max_backoff_ms": 2}});
        assert_eq!(patch("--backoff 5s", &[]), Ok(expected));
        let expected = json!({"retry": {"intervals_ms": [1_000, 60_000], "jitter_percent": 5}});
        assert_eq!(patch("--retry-intervals 1s,1m --backoff-jitter 5", &[]), Ok(expected));
        assert_eq!(patch("--zone UTC", &[]), Ok(json!({"schedule": {"zone": "UTC"}})));
        assert_eq!(patch("--ack=false", &[Clear::Until]), Ok(json!({"ack": false, "end_at": null})));
        let expected = json!({"labels": {"team": "pay", "tier": null}});
        assert_eq!(patch("--label team=pay --label tier=", &[]), Ok(expected));
        assert_eq!(patch("--rate-burst 3", &[]), Ok(json!({"rate": {"burst": 3}})));
        let expected = json!({"limit": 2, "period_ms": 1_000, "scope": "task", "key": null});
        assert_eq!(patch("--rate 2/1s", &[]), Ok(json!({ "rate": expected })));
        assert_eq!(patch("", &[]).unwrap_err().code(), 2);
        assert_eq!(patch("--times 3 --every 1s", &[Clear::Times]).unwrap_err().code(), 2);
        assert_eq!(patch("--times 3", &[]).unwrap_err().code(), 2);
    }
}
