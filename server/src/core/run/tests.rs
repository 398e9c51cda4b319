use super::*;
use crate::core::Schedule;
use crate::core::task::TaskState;

const NOW: Moment = Moment::from_ms(1_000_000);

fn task(ack: bool) -> Task {
    Task {
        id: TaskId::new(uuid::Uuid::nil()),
        name: "tag".into(),
        data: "body".into(),
        schedule: Schedule::Once,
        start_at: None,
        end_at: None,
        max_fires: None,
        ack,
        headers: Headers::from([("traceparent".to_owned(), "00".to_owned())]),
        labels: Labels::from([("team".to_owned(), "pay".to_owned())]),
        start_within_ms: None,
        max_runtime_sec: Some(5),
        queue: None,
        retry: None,
        timing: crate::core::timing::Timing::default(),
        created_at: NOW,
        anchored_at: NOW,
        rev: 1,
        state: TaskState::Active,
        next_due_at: Some(NOW),
        nominal_at: None,
        last_due_at: None,
        fired_count: 0,
        dedup_key: None,
        past: Vec::new(),
        hidden: false,
        stands_for: None,
        write_id: None,
        created_by: None,
        quota_token: None,
        revised: None,
    }
}

fn firing(ack: bool) -> Run {
    Run::firing(&task(ack), NOW, "node", "token".into(), NOW.plus_ms(10_000))
}

fn two_attempts() -> RetryPolicy {
    RetryPolicy::doubling(2, 100, 100)
}

#[test]
fn the_id_is_derived_from_task_revision_and_moment() {
    assert_eq!(firing(false).id.as_str(), "00000000000000000000000000000000-1-1000000");
}

#[test]
fn fired_is_final_only_without_outcome_reports() {
    let mut silent = firing(false);
    silent.mark_fired(NOW).unwrap();
    assert!(silent.has_ended());
    assert!(
        silent.report(&Outcome::Succeeded { result: None }, None, &two_attempts(), NOW).is_err(),
        "the run has ended"
    );

    let mut awaited = firing(true);
    awaited.mark_fired(NOW).unwrap();
    assert_eq!(awaited.attention_at, Some(NOW.plus_ms(5_000)));
    awaited.report(&Outcome::Succeeded { result: None }, None, &two_attempts(), NOW).unwrap();
    assert_eq!((awaited.state, awaited.has_ended()), (RunState::Succeeded, true));
}

#[test]
fn an_unreported_run_is_published_again_and_then_dies() {
    let mut run = firing(true);
    run.mark_fired(NOW).unwrap();
    run.fail_overdue(&two_attempts(), NOW).unwrap();
    assert_eq!((run.state, run.attention_at), (RunState::Retrying, Some(NOW)));
    run.start_next_attempt("second".into()).unwrap();
    assert_eq!((run.state, run.attempt, run.token.as_str()), (RunState::Firing, 2, "second"));
    run.mark_fired(NOW).unwrap();
    run.fail_overdue(&two_attempts(), NOW).unwrap();
    assert_eq!(run.state, RunState::Dead);
    assert_eq!(run.reason.as_deref(), Some("no outcome was reported within max_runtime (attempt 2 of 2)"));
}

#[test]
fn a_report_may_arrive_before_the_broker_confirms() {
    let mut run = firing(true);
    run.report(&Outcome::Succeeded { result: None }, None, &two_attempts(), NOW).unwrap();
    assert_eq!(run.state, RunState::Succeeded);
    assert!(run.mark_fired(NOW).is_err());
}

#[test]
fn a_handler_may_set_the_pause() {
    let mut run = firing(true);
    run.report(&Outcome::Failed { retry_after_ms: Some(7_000) }, Some("busy".into()), &two_attempts(), NOW)
        .unwrap();
    assert_eq!(run.attention_at, Some(NOW.plus_ms(7_000)));
    assert_eq!(run.reason.as_deref(), Some("busy"));
}

#[test]
fn a_skipped_stretch_has_ended_and_has_a_reason() {
    let stretch = Stretch { to: NOW.plus_ms(9_000), count: 10 };
    let run = Run::skipped(&task(false), NOW, stretch, "misfire".into(), "node", NOW.plus_ms(20_000));
    assert!(run.has_ended());
    assert_eq!(run.decides_up_to(), NOW.plus_ms(9_000));
    assert_eq!(run.reason.as_deref(), Some("misfire"));
}

#[test]
fn a_late_confirmation_corrects_a_dead_run() {
    let message = || Some("ok".to_owned());
    let mut run = firing(true);
    run.report(&Outcome::Dead, None, &two_attempts(), NOW).unwrap();
    run.confirm(true, message(), Some("{}".into()), NOW.plus_ms(5)).unwrap();
    assert_eq!((run.state, run.ended_at), (RunState::Succeeded, Some(NOW.plus_ms(5))));
    assert_eq!((run.reason.as_deref(), run.result.as_deref()), (Some("ok"), Some("{}")));
    assert!(run.confirm(false, None, None, NOW).is_err(), "the run has succeeded");
}

#[test]
fn a_late_confirmation_ends_the_wait_for_the_next_attempt() {
    for succeeded in [true, false] {
        let mut run = firing(true);
        run.report(&Outcome::Failed { retry_after_ms: Some(1) }, None, &two_attempts(), NOW).unwrap();
        run.confirm(succeeded, None, None, NOW).unwrap();
        let state = if succeeded { RunState::Succeeded } else { RunState::Dead };
        assert_eq!((run.state, run.has_ended()), (state, true));
    }
}

#[test]
fn a_run_without_outcome_reports_takes_no_confirmation() {
    let mut run = firing(false);
    run.mark_fired(NOW).unwrap();
    assert!(run.confirm(true, None, None, NOW).is_err());
    assert_eq!(run.state, RunState::Fired);
}

#[test]
fn only_a_hand_over_decides_a_triggered_run() {
    let mut stepped = task(true);
    stepped.last_due_at = Some(NOW);
    let mut run = Run::triggered(&stepped, "mark", "token".into(), NOW);
    assert!(firing(true).is_decided(&stepped), "the task has passed its moment");
    assert!(!run.is_decided(&stepped), "a moment of the schedule does not decide a triggered run");
    run.mark_fired(NOW).unwrap();
    assert!(run.is_decided(&stepped));
    let mut refused = firing(true);
    refused.fail(None, None, &two_attempts(), NOW).unwrap();
    refused.start_next_attempt("other".into()).unwrap();
    assert!(
        refused.fired_at.is_none() && refused.is_decided(&task(true)),
        "an earlier attempt was handed over"
    );
}

#[test]
fn the_history_keeps_the_last_failed_attempts_with_short_errors() {
    let policy = RetryPolicy::doubling(30, 0, 0);
    let task = Task { queue: Some("q".into()), ..task(false) };
    let mut run = Run::firing(&task, NOW, "node", "token".into(), NOW);
    run.enqueue(NOW).unwrap();
    for attempt in 1..=30 {
        let at = NOW.plus_ms(i64::from(attempt) * 10);
        run.lease(&format!("w{attempt}"), "t".into(), at, at).unwrap();
        let error = format!("{attempt}{}", "é".repeat(MAX_KEPT_ERROR_BYTES));
        run.report(&Outcome::Failed { retry_after_ms: None }, Some(error), &policy, at.plus_ms(1)).unwrap();
        if attempt < 30 {
            run.start_next_attempt("t".into()).unwrap();
        }
    }
    assert_eq!((run.state, run.worker()), (RunState::Dead, Some("w30")));
    let numbers: Vec<u32> = run.failed_attempts.iter().map(|failed| failed.attempt).collect();
    assert_eq!(numbers, (10..30).collect::<Vec<_>>(), "the current attempt is not in the history");
    let first = &run.failed_attempts[0];
    assert_eq!((first.worker.as_deref(), first.started_at), (Some("w10"), Some(NOW.plus_ms(100))));
    assert_eq!((first.ended_at, first.error.as_ref().map(String::len)), (NOW.plus_ms(101), Some(1024)));
    run.redrive(&PayloadChange::default(), NOW.plus_ms(500)).unwrap();
    let last = run.failed_attempts.last().unwrap();
    assert_eq!((run.failed_attempts.len(), last.attempt, last.ended_at), (20, 30, NOW.plus_ms(301)));
    run.start_next_attempt("t".into()).unwrap();
    assert_eq!((run.attempt, run.leased_at), (31, None));
}

#[test]
fn edits_of_a_payload_belong_to_attempts_and_are_bounded() {
    let data = |data: &str| PayloadChange { data: Some(data.to_owned()), headers: None };
    let mut run = firing(true);
    run.data = "0".to_owned();
    for attempt in 1..=30 {
        assert_eq!(run.attempt, attempt);
        run.report(&Outcome::Dead, None, &two_attempts(), NOW).unwrap();
        run.redrive(&data(&attempt.to_string()), NOW.plus_ms(i64::from(attempt))).unwrap();
        assert!(run.is_edit());
        run.start_next_attempt("t".into()).unwrap();
        assert!(!run.is_edit());
    }
    let edited = run.edited.as_ref().unwrap();
    assert_eq!((edited.original.data.as_str(), edited.edits.len()), ("0", MAX_KEPT_EDITS));
    assert_eq!(edited.edits[0].attempt, 12);
    assert_eq!(run.payload_of(31), Some(PayloadDigest::of("30")));
    assert_eq!(run.payload_of(12), Some(PayloadDigest::of("11")));
    run.report(&Outcome::Dead, None, &two_attempts(), NOW).unwrap();
    run.redrive(&data("30"), NOW.plus_ms(40)).unwrap();
    assert!(!run.is_edit(), "an equal payload is no edit");
}

#[test]
fn an_edit_of_a_postponed_run_is_for_its_current_attempt() {
    let task = Task { queue: Some("q".into()), ..task(false) };
    let mut run = Run::firing(&task, NOW, "node", "token".into(), NOW);
    run.enqueue(NOW).unwrap();
    run.lease("w", "t".into(), NOW, NOW.plus_ms(60_000)).unwrap();
    run.report(&Outcome::Released { after_ms: Some(5) }, None, &two_attempts(), NOW).unwrap();
    let change = PayloadChange { data: Some("new".to_owned()), headers: None };
    run.redrive(&change, NOW).unwrap();
    run.start_next_attempt("t".into()).unwrap();
    assert_eq!((run.attempt, run.payload_of(1)), (1, Some(PayloadDigest::of("new"))));
}

#[test]
fn a_reported_start_lies_within_the_attempt() {
    let task = Task { queue: Some("q".into()), ..task(false) };
    let mut run = Run::firing(&task, NOW, "node", "token".into(), NOW);
    run.enqueue(NOW).unwrap();
    let leased_at = NOW.plus_ms(1_000);
    run.lease("w", "t".into(), leased_at, NOW.plus_ms(60_000)).unwrap();
    let now = NOW.plus_ms(40_000);
    let mut start = |reported: Option<i64>| {
        run.note_start(reported.map(|ms| NOW.plus_ms(ms)), now);
        (run.started_at, run.attempt_started_at())
    };
    let late = NOW.plus_ms(35_000);
    assert_eq!(start(Some(35_000)), (Some(late), Some(late)), "the handler waited for 34 s");
    assert_eq!(
        start(Some(1_099)),
        (None, Some(leased_at)),
        "an equal outcome of another run shares the write"
    );
    assert_eq!(start(Some(-5_000)), (None, Some(leased_at)), "the worker's clock is behind");
    assert_eq!(start(Some(90_000)), (Some(now), Some(now)), "the worker's clock is ahead");
    assert_eq!(start(None), (None, Some(leased_at)));
    run.note_start(Some(late), now);
    run.report(&Outcome::Failed { retry_after_ms: Some(0) }, None, &two_attempts(), now).unwrap();
    assert_eq!(run.failed_attempts[0].started_at, Some(late));
    run.start_next_attempt("t".into()).unwrap();
    assert_eq!(run.started_at, None);
}

#[test]
fn a_row_without_history_is_read_as_an_empty_one() {
    let mut row = serde_json::to_value(firing(true)).unwrap();
    let fields = row.as_object_mut().unwrap();
    assert!(!fields.contains_key("failed_attempts") && !fields.contains_key("leased_at"));
    assert!(serde_json::from_value::<Run>(row).unwrap().failed_attempts.is_empty());
}
