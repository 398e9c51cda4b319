//! Random tasks of users, and random outcomes of handlers.

use taskcenter_server::core::calendar::{Calendar, Calendars};
use taskcenter_server::core::concurrency::{Limit, Scope};
use taskcenter_server::core::conflict::OnConflict;
use taskcenter_server::core::misfire::{MisfirePolicy, MisfireRule};
use taskcenter_server::core::overlap::{Keep, Overlap};
use taskcenter_server::core::rate::{OnExcess, Rate};
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::timing::Timing;
use taskcenter_server::core::{Moment, Schedule};

const NAMES: [&str; 4] = ["order.close", "report", "mail", "sync"];
const QUEUES: [&str; 2] = ["slow", "fast"];
const CRONS: [&str; 6] =
    ["*/2 * * * * *", "*/7 * * * * *", "10,40 * * * * *", "* * * * *", "@every 5s", "* * * * * *"];

/// Returns every queue that a run can be in.
pub fn queues() -> Vec<String> {
    QUEUES.iter().chain(&NAMES).map(ToString::to_string).collect()
}

/// Returns a task name.
pub fn name(rng: &mut fastrand::Rng) -> String {
    NAMES[rng.usize(..NAMES.len())].to_owned()
}

/// Returns `true` with a probability of one in `times`.
pub fn one_in(rng: &mut fastrand::Rng, times: u32) -> bool {
    rng.u32(..times) == 0
}

/// Returns a task that a user submits at `now`.
pub fn submission(rng: &mut fastrand::Rng, now: Moment) -> Submission {
    let max_fires = rng.bool().then(|| rng.u64(1..6));
    let schedule = match rng.u32(..10) {
        0..4 => Schedule::Once,
        4..7 => Schedule::Every { period_ms: rng.i64(if max_fires.is_some() { 1 } else { 1_500 }..8_000) },
        _ => Schedule::cron(CRONS[rng.usize(..CRONS.len())].to_owned(), "UTC"),
    };
    let start_at = rng.bool().then(|| now.plus_ms(rng.i64(-5_000..12_000)));
    let end_at = one_in(rng, 5).then(|| now.plus_ms(rng.i64(13_000..60_000)));
    let (queued, ack) = (rng.bool(), rng.bool());
    let has_outcome = queued || ack;
    let overlap = has_outcome.then(|| overlap(rng)).flatten();
    let concurrency = if has_outcome { concurrency(rng, queued) } else { Vec::new() };
    Submission {
        schedule: schedule.clone(),
        start_at,
        end_at,
        max_fires,
        ack,
        max_runtime_sec: Some(rng.u64(1..5)),
        start_within_ms: one_in(rng, 4).then(|| rng.u64(1..6_000)),
        queue: queued.then(|| if rng.bool() { name(rng) } else { QUEUES[rng.usize(..2)].to_owned() }),
        retry: rng.bool().then(|| retry(rng)),
        timing: Timing {
            overlap,
            concurrency,
            calendars: calendars(rng, &schedule, now),
            rate: rate(rng, queued),
            ..timing(rng)
        },
        dedup: dedup(rng),
        ..Submission::named(name(rng), format!("{}", rng.u32(..200)))
    }
}

/// Returns a one-shot task that replaces the live task with its key.
pub fn replacement(rng: &mut fastrand::Rng, now: Moment) -> Submission {
    let key = Dedup::Key(format!("{}", rng.u32(..10)));
    let at = now.plus_ms(rng.i64(..12_000));
    Submission {
        start_at: Some(at),
        queue: Some(name(rng)),
        dedup: key,
        on_conflict: OnConflict::Replace,
        ..Submission::named(name(rng), format!("replaced {}", rng.u32(..1_000)))
    }
}

fn retry(rng: &mut fastrand::Rng) -> RetryPolicy {
    let jitter_percent = if rng.bool() { rng.u32(..=100) } else { 0 };
    let growing = RetryPolicy::doubling(rng.u32(1..4), rng.u64(..1_500), 2_000);
    match rng.u32(..3) {
        0 => RetryPolicy { factor_percent: rng.u32(100..=300), jitter_percent, ..growing },
        1 => {
            RetryPolicy { jitter_percent, ..RetryPolicy::intervals(vec![rng.u64(..1_500); rng.usize(1..4)]) }
        }
        _ => growing,
    }
}

fn timing(rng: &mut fastrand::Rng) -> Timing {
    let policies = [MisfirePolicy::FireAll, MisfirePolicy::FireLast, MisfirePolicy::Skip];
    let misfire = MisfireRule {
        policy: one_in(rng, 4).then(|| policies[rng.usize(..3)]),
        grace_ms: one_in(rng, 4).then(|| rng.i64(6_000..30_000)),
        max: one_in(rng, 4).then(|| rng.u32(1..5)),
    };
    Timing { misfire, jitter_ms: one_in(rng, 4).then(|| rng.i64(1..6_000)), ..Timing::default() }
}

/// Returns a calendar that a repeating task excludes: one minute of each day, which begins soon.
fn calendars(rng: &mut fastrand::Rng, schedule: &Schedule, now: Moment) -> Option<Box<Calendars>> {
    let begin = now.plus_ms(rng.i64(-30_000..30_000)).sec().div_euclid(60).rem_euclid(24 * 60);
    if *schedule == Schedule::Once || !one_in(rng, 3) {
        return None;
    }
    let time = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
    let closed = Calendar {
        version: 1,
        zone: "UTC".to_owned(),
        weekly: vec![format!("mon-sun {}-{}", time(begin), time(begin + 1))],
        ..Calendar::named("closed")
    };
    Some(Box::new(Calendars { only: Vec::new(), exclude: vec![closed] }))
}

fn overlap(rng: &mut fastrand::Rng) -> Option<Overlap> {
    match rng.u32(..10) {
        0 => Some(Overlap::Skip),
        1 => Some(Overlap::QueueOne { keep: Keep::First }),
        2 => Some(Overlap::QueueOne { keep: Keep::Latest }),
        3 => Some(Overlap::QueueAll { max: rng.u32(1..4) }),
        4 => Some(Overlap::CancelPrevious),
        _ => None,
    }
}

/// Returns limits, of which several tasks share the keys, also with other maxima.
fn concurrency(rng: &mut fastrand::Rng, queued: bool) -> Vec<Limit> {
    let mut limits: Vec<Limit> = Vec::new();
    for scope in [Scope::Task, Scope::Tag, Scope::Queue, Scope::All] {
        if one_in(rng, 6) && limits.len() < 3 && (queued || scope != Scope::Queue) {
            let key = rng.bool().then(|| format!("k{}", rng.u32(..2)));
            limits.push(Limit { max: rng.u32(1..4), scope, key });
        }
    }
    limits
}

/// Returns a rate limit, of which several tasks share the keys, also with other numbers.
fn rate(rng: &mut fastrand::Rng, queued: bool) -> Option<Rate> {
    let scopes = [Scope::Task, Scope::Tag, Scope::All, Scope::Queue];
    let scope = scopes[rng.usize(..if queued { 4 } else { 3 })];
    one_in(rng, 4).then(|| Rate {
        limit: rng.u32(1..6),
        period_ms: rng.i64(300..2_500),
        burst: rng.bool().then(|| rng.u32(1..4)),
        scope,
        key: rng.bool().then(|| format!("k{}", rng.u32(..2))),
        on_excess: if one_in(rng, 4) { OnExcess::Drop } else { OnExcess::Wait },
    })
}

fn dedup(rng: &mut fastrand::Rng) -> Dedup {
    match rng.u32(..3) {
        0 => Dedup::Pair,
        1 => Dedup::Key(format!("{}", rng.u32(..10))),
        _ => Dedup::Nothing,
    }
}

/// Returns the outcome that a handler reports; with `only_success`, always a success.
pub fn outcome(rng: &mut fastrand::Rng, only_success: bool, in_queue: bool) -> Outcome {
    match rng.u32(..20) {
        _ if only_success => Outcome::Succeeded { result: None },
        0 => Outcome::Dead,
        1 => Outcome::Skipped,
        2 if in_queue => Outcome::Released { after_ms: None },
        3 if in_queue => Outcome::Released { after_ms: Some(rng.u64(..3_000)) },
        4..7 => Outcome::Failed { retry_after_ms: rng.bool().then(|| rng.u64(..3_000)) },
        _ => Outcome::Succeeded { result: Some("{}".to_owned()) },
    }
}

/// Returns the name of an outcome.
pub fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Failed { .. } => "failed",
        Outcome::Dead => "dead",
        Outcome::Skipped => "skipped",
        Outcome::Released { .. } => "released",
    }
}
