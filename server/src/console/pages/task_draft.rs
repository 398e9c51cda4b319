//! The fields of the form for tasks: as a person has typed them, and as a definition.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::super::schedule_phrase::Composed;
use super::super::visit::Fields;
use super::super::words::{Words, fill};
use super::calendar_choice;
pub use super::field_text::Refusal;
use super::field_text::{decimal, milliseconds, positive, seconds};
use super::field_time::{read_time, whole_seconds, write_time};
use super::limits;
use super::overlap_choice;
use super::payload_form;
use super::rate_draft::RateDraft;
use super::retry_draft::RetryDraft;
use crate::core::conflict::OnConflict;
use crate::core::cron::{CronOptions, Dialect, Dst, Gap, Repeat};
use crate::core::labels::{self, Labels};
use crate::core::misfire::{MisfirePolicy, MisfireRule};
use crate::core::submission::{Dedup, InvalidSubmission, Submission};
use crate::core::timing::Timing;
use crate::core::{Moment, Schedule};

/// Units of a period, largest first: value of the field, and milliseconds.
const UNITS: [(&str, i64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];

/// The fields as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    pub name: String,
    pub data: String,
    pub queue: String,
    pub kind: String,
    pub start: String,
    pub end: String,
    pub period: String,
    pub unit: String,
    pub cron: String,
    pub zone: String,
    /// Further expressions, one a line.
    pub also: String,
    pub dialect: String,
    pub dst_gap: String,
    pub dst_repeat: String,
    pub max_fires: String,
    pub max_runtime_sec: String,
    pub start_within_sec: String,
    #[serde(flatten)]
    pub retry: RetryDraft,
    /// Empty: the setting of the server.
    pub misfire: String,
    pub grace_sec: String,
    pub misfire_max: String,
    pub jitter_sec: String,
    /// Empty: runs may overlap.
    pub overlap: String,
    pub overlap_max: String,
    /// One concurrency limit a line.
    pub concurrency: String,
    /// Names of calendars.
    pub only_within: String,
    pub except: String,
    #[serde(flatten)]
    pub rate: RateDraft,
    pub dedup_key: String,
    /// Only of a new task. Empty: the live task is returned.
    pub on_conflict: String,
    /// One `KEY=VALUE` a line.
    pub labels: String,
    pub ack: bool,
}

impl Draft {
    /// Returns the draft of a new task.
    pub fn new(zone: &str) -> Self {
        let (kind, period, unit) = ("once".to_owned(), "5".to_owned(), "min".to_owned());
        Self { kind, period, unit, cron: "0 9 * * *".to_owned(), zone: zone.to_owned(), ..Self::default() }
    }

    /// Reads a sent form.
    pub fn read(fields: &Fields) -> Self {
        let text = |name| fields.get(name).unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            data: payload_form::with_line_feeds(fields.raw("data").unwrap_or_default()),
            queue: text("queue"),
            kind: text("kind"),
            start: whole_seconds(text("start")),
            end: whole_seconds(text("end")),
            period: text("period"),
            unit: text("unit"),
            cron: text("cron"),
            zone: text("zone"),
            also: text("also").replace("\r\n", "\n"),
            dialect: text("dialect"),
            dst_gap: text("dst_gap"),
            dst_repeat: text("dst_repeat"),
            max_fires: text("max_fires"),
            max_runtime_sec: text("max_runtime_sec"),
            start_within_sec: text("start_within_sec"),
            retry: RetryDraft::read(fields),
            misfire: text("misfire"),
            grace_sec: text("grace_sec"),
            misfire_max: text("misfire_max"),
            jitter_sec: text("jitter_sec"),
            overlap: text("overlap"),
            overlap_max: text("overlap_max"),
            concurrency: text("concurrency").replace("\r\n", "\n"),
            only_within: text("only_within"),
            except: text("except"),
            rate: RateDraft::read(fields),
            dedup_key: text("dedup_key"),
            on_conflict: text("on_conflict"),
            labels: text("labels").replace("\r\n", "\n"),
            ack: fields.get("ack").is_some(),
        }
    }

    /// Returns a draft with this schedule, and with valid values in the other fields.
    pub fn schedule_only(&self) -> Self {
        Self {
            name: "preview".to_owned(),
            kind: self.kind.clone(),
            start: self.start.clone(),
            end: self.end.clone(),
            period: self.period.clone(),
            unit: self.unit.clone(),
            cron: self.cron.clone(),
            zone: self.zone.clone(),
            also: self.also.clone(),
            dialect: self.dialect.clone(),
            dst_gap: self.dst_gap.clone(),
            dst_repeat: self.dst_repeat.clone(),
            max_fires: self.max_fires.clone(),
            misfire: self.misfire.clone(),
            grace_sec: self.grace_sec.clone(),
            misfire_max: self.misfire_max.clone(),
            jitter_sec: self.jitter_sec.clone(),
            only_within: self.only_within.clone(),
            except: self.except.clone(),
            ..Self::default()
        }
    }

    /// Returns this draft of the definition `then`, with the fields of the newer definition `now` that a person has not
    /// changed.
    pub fn merged(&self, then: &Self, now: &Self) -> serde_json::Result<Self> {
        let [mine, then, now] = [self, then, now].map(serde_json::to_value);
        let (mut merged, then, now) = (mine?, then?, now?);
        for (name, value) in merged.as_object_mut().into_iter().flatten() {
            if *value == then[name] {
                value.clone_from(&now[name]);
            }
        }
        serde_json::from_value(merged)
    }

    /// Sets the schedule that words or choices have composed.
    pub fn set_schedule(&mut self, composed: &Composed) {
        match composed {
            Composed::Cron(expression) => {
                (self.kind, self.cron) = ("cron".to_owned(), expression.clone());
            }
            Composed::Every(number, unit) => {
                (self.kind, self.period) = ("every".to_owned(), number.to_string());
                (*unit).clone_into(&mut self.unit);
            }
        }
    }

    /// Returns the draft that edits a definition. Instants are shown in `zone`.
    pub fn of(definition: &Submission, zone_name: &str, zone: &TimeZone) -> Self {
        let at = |at: Option<Moment>| at.map(|at| write_time(at, zone)).unwrap_or_default();
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let Timing { misfire, jitter_ms, overlap, concurrency, calendars, rate } = definition.timing.clone();
        let (only_within, except) = calendar_choice::fields(calendars.as_deref());
        let (overlap, overlap_max) = overlap_choice::choice(overlap);
        let mut draft = Self {
            name: definition.name.clone(),
            // Without a field, the payload stays as it is.
            data: payload_form::shown(&definition.data).unwrap_or_default(),
            queue: definition.queue.clone().unwrap_or_default(),
            start: at(definition.start_at),
            end: at(definition.end_at),
            max_fires: number(definition.max_fires),
            max_runtime_sec: number(definition.max_runtime_sec),
            start_within_sec: definition.start_within_ms.map(seconds).unwrap_or_default(),
            retry: definition.retry.as_ref().map(RetryDraft::of).unwrap_or_default(),
            misfire: misfire.policy.map(|policy| policy.to_string()).unwrap_or_default(),
            grace_sec: misfire.grace_ms.map(|ms| seconds(ms.unsigned_abs())).unwrap_or_default(),
            misfire_max: number(misfire.max.map(u64::from)),
            jitter_sec: jitter_ms.map(|ms| seconds(ms.unsigned_abs())).unwrap_or_default(),
            overlap: overlap.to_owned(),
            overlap_max: number(overlap_max.map(u64::from)),
            concurrency: limits::lines(&concurrency),
            only_within,
            except,
            rate: rate.as_ref().map(RateDraft::of).unwrap_or_default(),
            dedup_key: match &definition.dedup {
                Dedup::Key(key) => key.clone(),
                Dedup::Pair | Dedup::Nothing => String::new(),
            },
            labels: labels::texts(&definition.labels).join("\n"),
            ack: definition.ack,
            ..Self::new(zone_name)
        };
        match &definition.schedule {
            Schedule::Once => {}
            Schedule::Every { period_ms } => {
                draft.kind = "every".to_owned();
                (draft.period, draft.unit) = write_period(*period_ms);
            }
            Schedule::Cron { expression, zone, options } => {
                draft.kind = "cron".to_owned();
                (draft.cron, draft.zone) = (expression.clone(), zone.clone());
                draft.show_options(options);
            }
        }
        draft
    }

    /// Returns the definition. `base` is the definition that the form edits: it keeps what the form does not
    /// show, and the exact values of fields that a person has not changed.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn submission(
        &self,
        base: Option<&Submission>,
        zone_name: &str,
        zone: &TimeZone,
        t: &Words,
    ) -> Result<Submission, Refusal> {
        let shown = base.map(|base| Self::of(base, zone_name, zone)).unwrap_or_default();
        let read = |field, text: &str, as_shown: &str, base: Option<Moment>| {
            if base.is_some() && text == as_shown { Ok(base) } else { read_time(field, text, zone, t) }
        };
        let start_at = read("start", &self.start, &shown.start, base.and_then(|base| base.start_at))?;
        let end_at = read("end", &self.end, &shown.end, base.and_then(|base| base.end_at))?;
        let schedule = match base {
            Some(base) if self.schedule_as(&shown) => base.schedule.clone(),
            _ => self.schedule(t)?,
        };
        let data = base.filter(|_| self.data == shown.data).map_or(&self.data, |base| &base.data);
        let fresh = Submission::named(self.name.clone(), data.clone());
        let dedup = match base.map(|base| &base.dedup) {
            Some(Dedup::Pair) if self.dedup_key.is_empty() => Dedup::Pair,
            _ if self.dedup_key.is_empty() => Dedup::Nothing,
            _ => Dedup::Key(self.dedup_key.clone()),
        };
        Ok(Submission {
            headers: base.map(|base| base.headers.clone()).unwrap_or_default(),
            labels: self.labels(t)?,
            schedule,
            start_at,
            end_at,
            max_fires: positive("max_fires", &self.max_fires, t)?,
            ack: self.ack,
            max_runtime_sec: positive("max_runtime_sec", &self.max_runtime_sec, t)?,
            start_within_ms: self.start_within(t)?,
            queue: (!self.queue.is_empty()).then(|| self.queue.clone()),
            retry: self.retry.policy(t)?,
            timing: self.timing(base, t)?,
            dedup,
            on_conflict: self.on_conflict(),
            ..fresh
        })
    }

    fn on_conflict(&self) -> OnConflict {
        match self.on_conflict.as_str() {
            "reject" => OnConflict::Reject,
            "replace" => OnConflict::Replace,
            _ => OnConflict::Return,
        }
    }

    fn schedule_as(&self, other: &Self) -> bool {
        let typed = |draft: &Self| {
            let every = (draft.kind.clone(), draft.period.clone(), draft.unit.clone());
            (every, draft.cron.clone(), draft.zone.clone(), draft.options())
        };
        typed(self) == typed(other)
    }

    fn schedule(&self, t: &Words) -> Result<Schedule, Refusal> {
        match self.kind.as_str() {
            "once" => Ok(Schedule::Once),
            "every" => {
                let unit = UNITS.iter().find(|(unit, _)| *unit == self.unit).map_or(1_000, |(_, ms)| *ms);
                let period_ms = decimal("period", &self.period, t)? * unit as f64;
                Ok(Schedule::Every { period_ms: period_ms.round() as i64 })
            }
            "cron" => Ok(Schedule::Cron {
                expression: self.cron.clone(),
                zone: self.zone.clone(),
                options: self.options(),
            }),
            _ => Err(Refusal { field: "kind", why: t.wrong_kind.clone() }),
        }
    }

    fn start_within(&self, t: &Words) -> Result<Option<u64>, Refusal> {
        match self.start_within_sec.as_str() {
            "" => Ok(None),
            text => milliseconds("start_within_sec", text, t).map(Some),
        }
    }

    fn show_options(&mut self, options: &CronOptions) {
        self.also = options.also.join("\n");
        options.dialect.as_str().clone_into(&mut self.dialect);
        self.dst_gap = options.dst.gap.map(|gap| gap.as_str().to_owned()).unwrap_or_default();
        self.dst_repeat = options.dst.repeat.map(|repeat| repeat.as_str().to_owned()).unwrap_or_default();
    }

    fn options(&self) -> CronOptions {
        let also = self.also.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
        CronOptions {
            also: also.collect(),
            dialect: Dialect::ALL.into_iter().find(|all| all.as_str() == self.dialect).unwrap_or_default(),
            dst: Dst {
                gap: Gap::ALL.into_iter().find(|gap| gap.as_str() == self.dst_gap),
                repeat: Repeat::ALL.into_iter().find(|repeat| repeat.as_str() == self.dst_repeat),
            },
        }
    }

    fn labels(&self, t: &Words) -> Result<Labels, Refusal> {
        let refuse = |text: &str, what: &str| Refusal { field: "labels", why: fill(text, &[what]) };
        let mut labels = Labels::new();
        for line in self.labels.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once('=').ok_or_else(|| refuse(&t.wrong_label, line))?;
            if labels.insert(key.trim().to_owned(), value.trim().to_owned()).is_some() {
                return Err(refuse(&t.label_twice, key.trim()));
            }
        }
        Ok(labels)
    }

    fn timing(&self, base: Option<&Submission>, t: &Words) -> Result<Timing, Refusal> {
        let policy = MisfirePolicy::ALL.into_iter().find(|policy| policy.as_str() == self.misfire);
        let grace_ms = optional_ms("grace_sec", &self.grace_sec, t)?;
        let max = positive("misfire_max", &self.misfire_max, t)?;
        let max = max.map(|max| u32::try_from(max).unwrap_or(u32::MAX));
        let jitter_ms = optional_ms("jitter_sec", &self.jitter_sec, t)?;
        let overlap = overlap_choice::policy(&self.overlap, positive("overlap_max", &self.overlap_max, t)?);
        let concurrency = limits::read("concurrency", &self.concurrency, t)?;
        let base = base.and_then(|base| base.timing.calendars.as_deref());
        let calendars = calendar_choice::read(&self.only_within, &self.except, base);
        let (misfire, rate) = (MisfireRule { policy, grace_ms, max }, self.rate.rate(t)?);
        Ok(Timing { misfire, jitter_ms, overlap, concurrency, calendars, rate })
    }
}

impl Refusal {
    /// Returns the refusal of a definition, at its field.
    pub fn of(invalid: &InvalidSubmission) -> Self {
        let field = match invalid {
            InvalidSubmission::Name(_) => "name",
            InvalidSubmission::DataTooLong(_) => "data",
            InvalidSubmission::Headers(_) | InvalidSubmission::NeverDue => "kind",
            InvalidSubmission::Labels(_) => "labels",
            InvalidSubmission::Cron(why) if why.to_string().starts_with("also: ") => "also",
            InvalidSubmission::Cron(_) => "cron",
            InvalidSubmission::Period => "period",
            InvalidSubmission::Start => "start",
            InvalidSubmission::EndPassed | InvalidSubmission::EndBeforeStart => "end",
            InvalidSubmission::MaxRuntime => "max_runtime_sec",
            InvalidSubmission::StartWithin => "start_within_sec",
            InvalidSubmission::MaxFiresReached(_) => "max_fires",
            InvalidSubmission::Queue(_) => "queue",
            InvalidSubmission::Retry(invalid) => match invalid.field() {
                "retry.intervals_ms" => "intervals_sec",
                "retry.jitter_percent" => "jitter_percent",
                "retry.factor_percent" => "factor_percent",
                _ => "max_attempts",
            },
            InvalidSubmission::Calendars(invalid) if invalid.field == "calendars.exclude" => "except",
            InvalidSubmission::Calendars(_) => "only_within",
            InvalidSubmission::Timing(invalid) if invalid.field == "misfire.max" => "misfire_max",
            InvalidSubmission::Timing(invalid) if invalid.field == "jitter_ms" => "jitter_sec",
            InvalidSubmission::Timing(invalid) if invalid.field == "overlap.max" => "overlap_max",
            InvalidSubmission::WithoutOutcome(field) => field,
            InvalidSubmission::Concurrency(_) => "concurrency",
            InvalidSubmission::Rate(invalid) if invalid.field == "rate.burst" => "rate_burst",
            InvalidSubmission::Rate(_) => "rate",
            InvalidSubmission::Timing(_) => "grace_sec",
            InvalidSubmission::ConflictWithoutKey => "on_conflict",
            InvalidSubmission::DedupKey => "dedup_key",
        };
        Self { field, why: invalid.to_string() }
    }
}

fn write_period(period_ms: i64) -> (String, String) {
    let unit = UNITS.iter().find(|(_, ms)| period_ms % ms == 0);
    match unit {
        Some((unit, ms)) => ((period_ms / ms).to_string(), (*unit).to_owned()),
        None => ((period_ms as f64 / 1_000.0).to_string(), "s".to_owned()),
    }
}

/// Reads seconds as milliseconds. An empty field has none.
fn optional_ms(field: &'static str, text: &str, t: &Words) -> Result<Option<i64>, Refusal> {
    match text {
        "" => Ok(None),
        text => milliseconds(field, text, t).map(|ms| Some(i64::try_from(ms).unwrap_or(i64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::words::Lang;
    use crate::core::calendar::Calendars;
    use crate::core::overlap::Overlap;
    use crate::core::rate::{OnExcess, Rate};
    use crate::core::retry::RetryPolicy;

    fn berlin() -> TimeZone {
        crate::core::zone::find("Europe/Berlin").unwrap()
    }

    fn submission(draft: &Draft, base: Option<&Submission>) -> Result<Submission, Refusal> {
        draft.submission(base, "Europe/Berlin", &berlin(), Lang::En.words())
    }

    #[test]
    fn an_unchanged_draft_keeps_the_definition() {
        let schedules = [
            Schedule::Once,
            Schedule::Every { period_ms: 1_234 },
            Schedule::Every { period_ms: 7_200_000 },
            Schedule::cron("0  9 * * *", "UTC"),
            Schedule::Cron {
                expression: "0 0 9 ? * 2".to_owned(),
                zone: "Europe/Berlin".to_owned(),
                options: CronOptions {
                    also: vec!["0 0 10 ? * 3".to_owned()],
                    dialect: Dialect::Quartz,
                    dst: Dst { gap: Some(Gap::Skip), repeat: Some(Repeat::Last) },
                },
            },
        ];
        let rate = "7/90s:all:eu west".parse::<Rate>().unwrap();
        let rate = Rate { burst: Some(3), on_excess: OnExcess::Drop, ..rate };
        for schedule in schedules {
            for dedup in [Dedup::Pair, Dedup::Nothing, Dedup::Key("k".to_owned())] {
                let definition = Submission {
                    headers: [("a".to_owned(), "b".to_owned())].into(),
                    labels: [("team".to_owned(), "pay".to_owned())].into(),
                    schedule: schedule.clone(),
                    start_at: Some(Moment::from_ms(1_900_000_000_123)),
                    max_fires: Some(3),
                    start_within_ms: Some(1_500),
                    retry: Some(RetryPolicy::doubling(2, 1_500, 60_000)),
                    timing: Timing {
                        misfire: MisfireRule {
                            policy: Some(MisfirePolicy::FireAll),
                            grace_ms: Some(1_500),
                            max: Some(3),
                        },
                        jitter_ms: Some(2_500),
                        overlap: Some(Overlap::QueueAll { max: 7 }),
                        concurrency: vec!["2:queue:eu west".parse().unwrap(), "9:tag".parse().unwrap()],
                        calendars: Calendars::named(vec!["workdays".into()], vec!["a".into(), "b".into()]),
                        rate: Some(rate.clone()),
                    },
                    queue: Some("q".to_owned()),
                    dedup,
                    ..Submission::named("n", "two\r\nlines")
                };
                let draft = Draft::of(&definition, "Europe/Berlin", &berlin());
                assert_eq!(submission(&draft, Some(&definition)).unwrap(), definition);
            }
        }
    }

    #[test]
    fn a_payload_that_a_person_has_not_changed_keeps_every_byte() {
        for data in ["", "one", "a\nb", "a\r\nb\r", "a\rb", "\n a \n", "a\0b"] {
            let definition = Submission::named("n", data);
            let shown = Draft::of(&definition, "UTC", &berlin()).data.replace('\n', "\r\n");
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs([("name", "m"), ("kind", "once"), ("data", shown.as_str())]);
            let sent = Draft::read(&Fields::parse(form.finish().as_bytes()));
            let saved = submission(&sent, Some(&definition)).unwrap();
            assert_eq!((saved.name.as_str(), saved.data.as_str()), ("m", data), "{data:?}");
        }
    }

    #[test]
    fn times_are_read_in_the_zone_of_the_server() {
        let draft = Draft { name: "n".into(), start: "2026-07-01T12:00".into(), ..Draft::new("UTC") };
        let start = submission(&draft, None).unwrap().start_at.unwrap();
        assert_eq!(start.to_string(), "2026-07-01T10:00:00.000Z");
    }

    #[test]
    fn labels_are_lines() {
        let draft = Draft { labels: "team=pay\n\n url = a=b ".into(), ..Draft::new("UTC") };
        let labels = submission(&draft, None).unwrap().labels;
        assert_eq!(labels::texts(&labels), ["team=pay", "url=a=b"]);
    }

    #[test]
    fn a_wrong_field_is_named() {
        let new = || Draft::new("UTC");
        for (draft, field) in [
            (Draft { start: "tomorrow".into(), ..new() }, "start"),
            (Draft { end: "2026-02-30T00:00".into(), ..new() }, "end"),
            (Draft { kind: "often".into(), ..new() }, "kind"),
            (Draft { kind: "every".into(), period: "x".into(), ..new() }, "period"),
            (Draft { max_fires: "0".into(), ..new() }, "max_fires"),
            (Draft { max_runtime_sec: "-1".into(), ..new() }, "max_runtime_sec"),
            (Draft { labels: "team".into(), ..new() }, "labels"),
            (Draft { rate: RateDraft { limit: "10".into(), ..RateDraft::default() }, ..new() }, "rate"),
        ] {
            assert_eq!(submission(&draft, None).unwrap_err().field, field);
        }
    }

    #[test]
    fn changes_of_two_people_are_merged_and_the_own_change_of_a_field_wins() {
        let retry =
            |max_attempts: &str| RetryDraft { max_attempts: max_attempts.into(), ..RetryDraft::default() };
        let then =
            Draft { data: "one".into(), cron: "0 1 * * *".into(), retry: retry("2"), ..Draft::new("UTC") };
        let now = Draft {
            data: "theirs".into(),
            labels: "a=1".into(),
            retry: retry("3"),
            ack: true,
            ..then.clone()
        };
        let mine = Draft { data: "mine".into(), cron: "0 2 * * *".into(), ..then.clone() };
        let merged = mine.merged(&then, &now).unwrap();
        assert_eq!(merged, Draft { data: "mine".into(), cron: "0 2 * * *".into(), ..now.clone() });
        assert_eq!(then.merged(&then, &now).unwrap(), now, "who changes nothing gets the newer definition");
    }
}
