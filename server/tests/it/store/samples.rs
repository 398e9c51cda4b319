//! Sample tasks and runs, and unique names.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use taskcenter_server::core::calendar::{Calendar, Calendars};
use taskcenter_server::core::concurrency::{Limit, Scope};
use taskcenter_server::core::cron::{CronOptions, Dialect, Dst, Gap, Repeat};
use taskcenter_server::core::headers::Headers;
use taskcenter_server::core::labels::Labels;
use taskcenter_server::core::misfire::{MisfirePolicy, MisfireRule};
use taskcenter_server::core::overlap::Overlap;
use taskcenter_server::core::rate::{MAX_PERIOD_MS, OnExcess, Rate};
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::revision::Revised;
use taskcenter_server::core::run::{
    CancelRequest, EditedPayload, FailedAttempt, HoldMark, OriginalPayload, PayloadDigest, PayloadEdit,
    Permit, Progress, ReportedProgress, Stretch,
};
use taskcenter_server::core::task::PastRev;
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Moment, Run, RunId, RunState, Schedule, Task, TaskId, TaskState};
use taskcenter_server::ports::{Advance, Tombstone};

/// A moment in the past of every clock.
pub const PAST: Moment = Moment::from_sec(1_000_000);

/// Returns a number that is unique in this process, in other processes and after a restart. It
/// grows like a version-7 UUID.
#[allow(clippy::disallowed_methods, reason = "names must differ from those of earlier test runs")]
pub fn unique() -> u128 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    (nanos & ((1 << 80) - 1)) << 48
        | u128::from(std::process::id() & 0xff_ffff) << 24
        | u128::from(counter & 0xff_ffff)
}

pub fn task_id() -> TaskId {
    TaskId::new(uuid::Uuid::from_u128(unique()))
}

/// Returns an active periodic task that is due at `due`.
pub fn due_at(due: Moment) -> Task {
    Task {
        id: task_id(),
        name: "order.close".to_owned(),
        data: "42".to_owned(),
        schedule: Schedule::Every { period_ms: 60_000 },
        start_at: None,
        end_at: None,
        max_fires: None,
        ack: false,
        headers: Headers::new(),
        labels: Labels::new(),
        max_runtime_sec: None,
        start_within_ms: None,
        queue: None,
        retry: None,
        timing: Timing::default(),
        created_at: PAST,
        anchored_at: PAST,
        rev: 1,
        state: TaskState::Active,
        next_due_at: Some(due),
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

pub fn task() -> Task {
    due_at(PAST)
}

pub fn keyed(key: &str) -> Task {
    Task { dedup_key: Some(key.to_owned()), ..task() }
}

/// Returns a task with every field set, and with operators of query languages in its texts.
pub fn full_task() -> Task {
    Task {
        name: "订单.$close/a b".to_owned(),
        data: "{\"$set\": \"a.b\"}\n\u{1F980}\"'\\".to_owned(),
        schedule: Schedule::Cron {
            expression: "0 0 9 ? * 2".to_owned(),
            zone: "Asia/Shanghai".to_owned(),
            options: CronOptions {
                also: vec!["0 0 10 L * ?".to_owned()],
                dialect: Dialect::Quartz,
                dst: Dst { gap: Some(Gap::Skip), repeat: Some(Repeat::Both) },
            },
        },
        start_at: Some(Moment::from_ms(-1)),
        end_at: Some(Moment::from_ms(i64::MAX)),
        max_fires: Some(u64::MAX),
        ack: true,
        headers: Headers::from([("x.trace-parent".to_owned(), "$a".to_owned())]),
        labels: Labels::from([
            ("a.b/c".to_owned(), "$in=1".to_owned()),
            ("team".to_owned(), "\u{652f}".to_owned()),
        ]),
        max_runtime_sec: Some(30),
        start_within_ms: Some(60_000),
        queue: Some("订单.$close queue".to_owned()),
        retry: Some(RetryPolicy::doubling(3, 1, 86_400_000)),
        timing: Timing {
            misfire: MisfireRule {
                policy: Some(MisfirePolicy::FireAll),
                grace_ms: Some(86_400_000),
                max: Some(7),
            },
            jitter_ms: Some(9),
            overlap: Some(Overlap::QueueAll { max: 7 }),
            concurrency: vec![Limit { max: 7, scope: Scope::Queue, key: Some("$k.1".to_owned()) }],
            calendars: Some(Box::new(calendars())),
            rate: Some(full_rate()),
        },
        nominal_at: Some(PAST.plus_ms(-7)),
        anchored_at: PAST.plus_ms(3),
        past: vec![PastRev { rev: 1, last_due_at: PAST }, PastRev { rev: 9, last_due_at: PAST.plus_ms(1) }],
        rev: u32::MAX,
        state: TaskState::Paused,
        last_due_at: Some(PAST.plus_ms(-1)),
        fired_count: 7,
        dedup_key: Some(format!("key:$a.b|{}", unique())),
        stands_for: Some(task_id()),
        write_id: Some("$w.1".to_owned()),
        created_by: Some("ann".to_owned()),
        quota_token: Some("$t.1".to_owned()),
        revised: Some(Box::new(Revised {
            rev: 5,
            at: PAST.plus_ms(4),
            by: Some("$ann.1".to_owned()),
            first_due_at: Some(PAST.plus_ms(5)),
            last_due_at: Some(PAST),
            fired_count: 6,
        })),
        ..task()
    }
}

fn calendars() -> Calendars {
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    let workdays = Calendar {
        version: 7,
        zone: "Asia/Shanghai".to_owned(),
        weekly: texts(&["mon-fri 09:00-18:00"]),
        include: texts(&["2026-10-10"]),
        exclude: texts(&["2026-10-01/2026-10-07"]),
        ..Calendar::named("work.days")
    };
    Calendars { only: vec![workdays], exclude: vec![Calendar { version: 1, ..Calendar::named("nights") }] }
}

/// Returns the ids of an answer, in order.
pub fn ids(tombstones: Vec<Tombstone>) -> Vec<TaskId> {
    tombstones.into_iter().map(|tombstone| tombstone.id).collect()
}

/// Returns the step that fires a task's next moment; the moment after it is a minute later.
pub fn fire(task: &Task) -> Advance {
    let due = task.next_due_at.unwrap();
    Advance {
        task_id: task.id.clone(),
        rev: task.rev,
        due,
        last_due_at: due,
        next_due_at: Some(due.plus_ms(60_000)),
        nominal_at: None,
        fires: true,
        waits: false,
    }
}

/// Returns a run in `firing` whose lease ends at `attention`.
pub fn run_until(task: &Task, attention: Moment) -> Run {
    Run::firing(task, task.next_due_at.unwrap(), "node-a", format!("token-{}", unique()), attention)
}

pub fn run() -> Run {
    run_until(&task(), PAST)
}

fn full_rate() -> Rate {
    Rate {
        limit: 1_000_000,
        period_ms: MAX_PERIOD_MS,
        burst: Some(7),
        scope: Scope::Tag,
        key: Some("$k.1".to_owned()),
        on_excess: OnExcess::Drop,
    }
}

pub fn full_run() -> Run {
    Run {
        tag: "订单.$close".to_owned(),
        data: "{\"$set\": 1}".to_owned(),
        headers: Headers::from([("x.trace-parent".to_owned(), "$a".to_owned())]),
        labels: Labels::from([
            ("a.b/c".to_owned(), "$in=1".to_owned()),
            ("team".to_owned(), "\u{652f}".to_owned()),
        ]),
        number: 7,
        overlap: Some(Overlap::QueueAll { max: 7 }),
        concurrency: vec![Limit { max: 7, scope: Scope::All, key: Some("$k.1".to_owned()) }],
        hold: Some(HoldMark::Over),
        rate: Some(full_rate()),
        permit: Some(Permit::Used),
        blocked_by: Some(RunId::from_text("$r.1")),
        triggered: true,
        queue: Some("$q".to_owned()),
        retry: Some(RetryPolicy::doubling(3, 1, 2)),
        result: Some("{\"$a\":[1,\"\u{1F980}\"]}".to_owned()),
        outcome_within_ms: Some(30_000),
        expires_at: Some(PAST.plus_ms(60_000)),
        state: RunState::Retrying,
        reason: Some("reason: \"$no.\"".to_owned()),
        attempt: 3,
        postponed: true,
        claim: 4,
        fired_at: Some(PAST.plus_ms(5)),
        leased_at: Some(PAST.plus_ms(6)),
        started_at: Some(PAST.plus_ms(8)),
        handed_over_claim: Some(3),
        cancel_request: Some(CancelRequest {
            requested_at: PAST.plus_ms(9),
            forced_at: Some(PAST.plus_ms(10)),
        }),
        progress: Some(Box::new(ReportedProgress {
            progress: Progress { percent: 42, text: "$a.b".to_owned() },
            claim: 4,
            at: PAST.plus_ms(9),
        })),
        failed_attempts: vec![
            FailedAttempt {
                attempt: 1,
                worker: Some("$w.1".to_owned()),
                started_at: Some(PAST.plus_ms(5)),
                ended_at: PAST.plus_ms(7),
                error: Some("$a.b".to_owned()),
            },
            FailedAttempt { attempt: 2, worker: None, started_at: None, ended_at: PAST, error: None },
        ],
        edited: Some(Box::new(EditedPayload {
            original: OriginalPayload {
                data: "$first".to_owned(),
                headers: Headers::from([("x.$a".to_owned(), "1".to_owned())]),
            },
            edits: vec![PayloadEdit { attempt: 2, at: PAST, payload: PayloadDigest::of("{\"$set\": 1}") }],
        })),
        stretch: Some(Stretch { to: PAST.plus_ms(9), count: 10 }),
        ..run()
    }
}

/// Returns `run`, cancelled at `at`.
pub fn ended(mut run: Run, at: Moment) -> Run {
    run.cancel("cancelled by the test", at).unwrap();
    run
}
