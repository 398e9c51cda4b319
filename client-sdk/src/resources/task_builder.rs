//! Builder methods of [`TaskSpec`].

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Concurrency, CronDialect, CronDst, Debounce, Misfire, OnConflict, Overlap, Rate, Retry, ScheduleSpec,
    TaskSpec,
};

impl TaskSpec {
    /// Returns a task that fires once: immediately, or at the moment of [`at`](Self::at) or
    /// [`after`](Self::after).
    pub fn once(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Returns a task that fires immediately and then once a period, which has a precision of one
    /// millisecond.
    pub fn every(name: impl Into<String>, period: Duration) -> Self {
        let period_ms = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
        Self { schedule: ScheduleSpec::Every { period_ms }, ..Self::once(name) }
    }

    /// Returns a task that fires at each match of a cron expression in the time zone of the server.
    pub fn cron(name: impl Into<String>, cron: impl Into<String>) -> Self {
        Self { schedule: ScheduleSpec::cron(cron, None), ..Self::once(name) }
    }

    /// Sets the time zone of a cron expression, an IANA name such as `Asia/Shanghai`. Other schedules
    /// do not change.
    #[must_use]
    pub fn in_zone(mut self, name: impl Into<String>) -> Self {
        if let ScheduleSpec::Cron { zone, .. } = &mut self.schedule {
            *zone = Some(name.into());
        }
        self
    }

    /// Adds a cron expression: its moments are moments of the task too. Other schedules do not change.
    #[must_use]
    pub fn and_cron(mut self, cron: impl Into<String>) -> Self {
        if let ScheduleSpec::Cron { also, .. } = &mut self.schedule {
            also.push(cron.into());
        }
        self
    }

    /// Reads the cron expressions in this dialect. Other schedules do not change.
    #[must_use]
    pub fn in_dialect(mut self, name: CronDialect) -> Self {
        if let ScheduleSpec::Cron { dialect, .. } = &mut self.schedule {
            *dialect = name;
        }
        self
    }

    /// Sets what happens to a cron schedule when clocks change. Other schedules do not change.
    #[must_use]
    pub fn with_dst(mut self, rules: CronDst) -> Self {
        if let ScheduleSpec::Cron { dst, .. } = &mut self.schedule {
            *dst = rules;
        }
        self
    }

    /// Sets the payload.
    #[must_use]
    pub fn with_data(self, data: impl Into<String>) -> Self {
        Self { data: data.into(), json: None, ..self }
    }

    /// Sets the payload to the JSON text of a value.
    ///
    /// # Errors
    /// If the value has no JSON form, such as a map whose keys are not strings.
    pub fn with_json(self, value: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(self.with_data(serde_json::to_string(value)?))
    }

    /// Adds a header that every delivery of the runs carries, such as `traceparent`. Replaces a header
    /// with the same name.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Adds a label, which the runs carry and lists filter by, such as `team`. Replaces a label with the same
    /// key.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Sets the earliest moment of the first fire.
    #[must_use]
    pub fn at(self, at: Timestamp) -> Self {
        Self { start_at: Some(at), delay_ms: None, ..self }
    }

    /// Sets the delay before the first fire, with a precision of one millisecond.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self { start_at: None, delay_ms: Some(delay_ms), ..self }
    }

    /// Sets the latest moment that fires.
    #[must_use]
    pub fn until(self, end: Timestamp) -> Self {
        Self { end_at: Some(end), ..self }
    }

    /// Sets the maximum number of fires, at least 1.
    #[must_use]
    pub fn times(self, fires: u64) -> Self {
        Self { max_fires: Some(fires), ..self }
    }

    /// Sets the queue in which the runs wait for workers.
    #[must_use]
    pub fn in_queue(self, queue: impl Into<String>) -> Self {
        Self { queue: Some(queue.into()), ..self }
    }

    /// Sets the deduplication key: at most one live task per name and key.
    #[must_use]
    pub fn with_dedup_key(self, key: impl Into<String>) -> Self {
        Self { dedup_key: Some(key.into()), ..self }
    }

    /// Sets what a create does if a live task has the name and the deduplication key.
    #[must_use]
    pub fn on_conflict(self, action: OnConflict) -> Self {
        Self { on_conflict: Some(action), ..self }
    }

    /// Fires once for many creates with the name and the deduplication key: after a time without another create, and
    /// at the latest `max` after the first one. The last payload is delivered.
    #[must_use]
    pub fn debounced(self, quiet: Duration, max: Duration) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { debounce: Some(Debounce { quiet_ms: ms(quiet), max_ms: ms(max) }), ..self }
    }

    /// Sets how long after its moment the first attempt of a run may start. Later, the run ends as skipped.
    #[must_use]
    pub fn start_within(self, limit: Duration) -> Self {
        let ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Self { start_within_ms: Some(ms), ..self }
    }

    /// Sets the retry policy.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry: Some(retry), ..self }
    }

    /// Sets what happens to moments that are too late.
    #[must_use]
    pub fn with_misfire(self, misfire: Misfire) -> Self {
        Self { misfire: Some(misfire), ..self }
    }

    /// Sets what happens to a run while an earlier one has not ended.
    #[must_use]
    pub fn with_overlap(self, overlap: Overlap) -> Self {
        Self { overlap: Some(overlap), ..self }
    }

    /// Adds a concurrency limit, of which a task has at most 3.
    #[must_use]
    pub fn with_concurrency(mut self, limit: Concurrency) -> Self {
        self.concurrency.push(limit);
        self
    }

    /// Limits the moments to those that a calendar contains. A task has at most 4 calendars.
    #[must_use]
    pub fn only_within(mut self, calendar: impl Into<String>) -> Self {
        self.calendars.get_or_insert_default().only.push(calendar.into());
        self
    }

    /// Excludes the moments that a calendar contains. A task has at most 4 calendars.
    #[must_use]
    pub fn excluding(mut self, calendar: impl Into<String>) -> Self {
        self.calendars.get_or_insert_default().exclude.push(calendar.into());
        self
    }

    /// Sets how many runs may start in a period.
    #[must_use]
    pub fn with_rate(self, rate: Rate) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// Sets the longest delay of a moment, with a precision of one millisecond.
    #[must_use]
    pub fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter_ms: Some(u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::ConcurrencyScope;

    #[test]
    fn a_builder_sets_the_fields_of_the_api() {
        let spec = TaskSpec::cron("report", "0 9 * * *").in_zone("Asia/Shanghai").times(3).in_queue("q");
        let spec = spec.with_header("traceparent", "0").with_header("traceparent", "1");
        let spec =
            spec.with_label("team", "pay").with_concurrency(Concurrency::new(2, ConcurrencyScope::Task));
        let spec = spec.with_concurrency(Concurrency::new(9, ConcurrencyScope::Queue).with_key("eu"));
        assert_eq!(
            serde_json::to_value(spec.with_json(&json!({"id": 7})).unwrap()).unwrap(),
            json!({
                "name": "report", "data": "{\"id\":7}", "ack": false, "max_fires": 3, "queue": "q",
                "headers": {"traceparent": "1"}, "labels": {"team": "pay"},
                "schedule": {"kind": "cron", "cron": "0 9 * * *", "zone": "Asia/Shanghai"},
                "concurrency": [{"max": 2, "scope": "task"}, {"max": 9, "scope": "queue", "key": "eu"}],
            })
        );
        let workdays = TaskSpec::cron("report", "@daily").only_within("workdays").excluding("holidays");
        let expected = json!({"only": ["workdays"], "exclude": ["holidays"]});
        assert_eq!(serde_json::to_value(workdays.calendars).unwrap(), expected);
        let ping = TaskSpec::every("ping", Duration::from_secs(5)).at(Timestamp::UNIX_EPOCH);
        assert_eq!(ping.schedule, ScheduleSpec::Every { period_ms: 5_000 });
        let later = ping.after(Duration::from_mins(15));
        assert_eq!((later.start_at, later.delay_ms), (None, Some(900_000)));
        let saved = TaskSpec::once("save").with_dedup_key("7").on_conflict(OnConflict::Replace);
        assert_eq!((saved.dedup_key.as_deref(), saved.on_conflict), (Some("7"), Some(OnConflict::Replace)));
        let debounced = TaskSpec::once("save").debounced(Duration::from_secs(30), Duration::from_mins(5));
        let rate = Rate::new(10, Duration::from_secs(1), ConcurrencyScope::All).with_key("eu").with_burst(3);
        assert_eq!(
            serde_json::to_value(TaskSpec::once("a").with_rate(rate.dropping()).rate).unwrap(),
            json!({"limit": 10, "period_ms": 1_000, "burst": 3, "scope": "all", "key": "eu", "on_excess": "drop"})
        );
        assert_eq!(debounced.debounce, Some(Debounce { quiet_ms: 30_000, max_ms: 300_000 }));
        assert_eq!(TaskSpec::once("a").in_zone("UTC").schedule, ScheduleSpec::Once {});
    }

    #[test]
    fn the_last_days_of_the_calendar_are_its_end() {
        let read = |end: &str| {
            serde_json::from_value::<TaskSpec>(json!({"name": "n", "end_at": end})).map(|spec| spec.end_at)
        };
        assert_eq!(read("9999-12-31T23:59:59Z").unwrap(), Some(Timestamp::MAX));
        assert_eq!(read("9999-12-31T23:59:59+08:00").unwrap(), Some(Timestamp::MAX));
        assert_eq!(read("2030-01-01T00:00:00Z").unwrap(), "2030-01-01T00:00:00Z".parse().ok());
        for invalid in ["9999-12-31", "9999-12-31T23:59:59", "9999-13-31T00:00:00Z", "soon", ""] {
            assert!(read(invalid).is_err(), "{invalid}");
        }
        let absent = serde_json::from_value::<TaskSpec>(json!({"name": "n", "end_at": null})).unwrap();
        assert_eq!(absent.end_at, None);
    }
}
