//! Error messages for an invalid task definition, with the field names of the resource API or of
//! the legacy v1 API.

use std::borrow::Cow;

use crate::core::submission::{InvalidSubmission, LAST_SEC, MAX_RUNTIME_SEC};
use crate::core::tag::InvalidTag;

/// Returns the path of the invalid field in a task spec.
pub fn field(invalid: &InvalidSubmission) -> &'static str {
    use InvalidSubmission as I;
    match invalid {
        I::Name(_) => "name",
        I::DataTooLong(_) => "data",
        I::Headers(_) => "headers",
        I::Labels(_) => "labels",
        I::Cron(why) if why.to_string().starts_with("unknown time zone") => "schedule.zone",
        I::Cron(why) if why.to_string().starts_with("also: ") => "schedule.also",
        I::Cron(_) => "schedule.cron",
        I::Period => "schedule.period_ms",
        I::Start => "start_at",
        I::EndPassed | I::EndBeforeStart | I::NeverDue => "end_at",
        I::Calendars(invalid) => invalid.field,
        I::MaxRuntime => "max_runtime_sec",
        I::StartWithin => "start_within_ms",
        I::MaxFiresReached(_) => "max_fires",
        I::Queue(_) => "queue",
        I::Retry(invalid) => invalid.field(),
        I::Timing(invalid) => invalid.field,
        I::Concurrency(invalid) => invalid.field,
        I::Rate(invalid) => invalid.field,
        I::WithoutOutcome(field) => field,
        I::ConflictWithoutKey => "on_conflict",
        I::DedupKey => "dedup_key",
    }
}

/// Returns the message with the names and units of the resource API. The text of
/// [`InvalidSubmission`] has the names and units of the legacy v1 API.
pub fn message(invalid: &InvalidSubmission) -> Cow<'static, str> {
    use InvalidSubmission as I;
    match invalid {
        I::Period => format!("period_ms should be between 1 and {}", LAST_SEC * 1_000 - 1).into(),
        I::Start => "start_at should be between the years 1970 and 9999".into(),
        I::EndPassed => "end_at should be later than now".into(),
        I::EndBeforeStart => "end_at should not be before start_at".into(),
        I::NeverDue => "the schedule has no moment before end_at".into(),
        I::MaxRuntime => format!("max_runtime_sec should be between 1 and {MAX_RUNTIME_SEC}").into(),
        other => other.to_string().into(),
    }
}

/// `msg`, `field` and `detail`.
type LegacyMessage = (Cow<'static, str>, Option<String>, Option<String>);

/// Returns the message of the legacy v1 API.
pub fn legacy_message(invalid: &InvalidSubmission) -> LegacyMessage {
    use InvalidSubmission as I;
    let text = invalid.to_string();
    let (field, contract) = match invalid {
        I::Name(InvalidTag::Empty) => ("name", Some("name should not be empty")),
        I::Name(_) => ("name", None),
        I::DataTooLong(_) => ("data", None),
        I::Headers(_) => ("headers", None),
        I::Labels(_) => ("labels", None),
        I::Cron(_) => ("crontab", Some("params cron invalid")),
        I::Period => ("loop_time", Some("params loop_time invalid")),
        I::Start => ("start_time", None),
        I::EndPassed => ("end_time", Some("end_time should large than current timestamp")),
        I::EndBeforeStart | I::NeverDue => ("end_time", None),
        I::Calendars(invalid) => (invalid.field, None),
        I::MaxRuntime => ("max_runtime", None),
        I::StartWithin => ("start_within_ms", None),
        I::ConflictWithoutKey => ("on_conflict", None),
        I::DedupKey => ("dedup_key", None),
        I::MaxFiresReached(_) => ("loop_count", None),
        I::Queue(_) => ("queue", None),
        I::Retry(invalid) => (invalid.field(), None),
        I::Timing(invalid) => (invalid.field, None),
        I::Concurrency(invalid) => (invalid.field, None),
        I::Rate(invalid) => (invalid.field, None),
        I::WithoutOutcome(field) => (*field, None),
    };
    match contract {
        Some(msg) => (msg.into(), Some(field.to_owned()), Some(text)),
        None => (text.into(), Some(field.to_owned()), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_names_its_field() {
        let fields =
            |invalid: InvalidSubmission| (legacy_message(&invalid).1.unwrap(), field(&invalid).to_owned());
        for (invalid, legacy, field) in [
            (InvalidTag::Untrimmed.into(), "name", "name"),
            (InvalidSubmission::DataTooLong(1), "data", "data"),
            (InvalidSubmission::Period, "loop_time", "schedule.period_ms"),
            (InvalidSubmission::Start, "start_time", "start_at"),
            (InvalidSubmission::EndPassed, "end_time", "end_at"),
            (InvalidSubmission::EndBeforeStart, "end_time", "end_at"),
            (InvalidSubmission::NeverDue, "end_time", "end_at"),
            (InvalidSubmission::MaxRuntime, "max_runtime", "max_runtime_sec"),
            (InvalidSubmission::StartWithin, "start_within_ms", "start_within_ms"),
            (InvalidSubmission::MaxFiresReached(1), "loop_count", "max_fires"),
            (InvalidSubmission::DedupKey, "dedup_key", "dedup_key"),
        ] {
            assert_eq!(fields(invalid), (legacy.to_owned(), field.to_owned()));
        }
        let cron = |zone: &str| crate::core::cron::CronRule::parse("* * * * 9", zone).unwrap_err().into();
        assert_eq!(fields(cron("UTC")).1, "schedule.cron");
        assert_eq!(fields(cron("Moon/Tycho")).1, "schedule.zone");
    }

    #[test]
    fn no_message_has_a_field_name_of_the_legacy_api() {
        for invalid in [
            InvalidSubmission::Start,
            InvalidSubmission::EndPassed,
            InvalidSubmission::EndBeforeStart,
            InvalidSubmission::NeverDue,
            InvalidSubmission::MaxRuntime,
            InvalidSubmission::MaxFiresReached(1),
        ] {
            let message = message(&invalid);
            for legacy in ["start_time", "end_time", "max_runtime ", "loop_"] {
                assert!(!message.contains(legacy), "{message}");
            }
        }
    }
}
