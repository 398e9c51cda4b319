//! What users submit and what handlers say, drawn by lot.

use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::{Moment, Schedule};

const NAMES: [&str; 4] = ["order.close", "report", "mail", "sync"];
const QUEUES: [&str; 2] = ["slow", "fast"];
const CRONS: [&str; 6] =
    ["*/2 * * * * *", "*/7 * * * * *", "10,40 * * * * *", "* * * * *", "@every 5s", "* * * * * *"];

/// Every queue that a run can be in.
pub fn queues() -> Vec<String> {
    QUEUES.iter().chain(&NAMES).map(ToString::to_string).collect()
}

/// One of the tasks' names.
pub fn name(lots: &mut fastrand::Rng) -> String {
    NAMES[lots.usize(..NAMES.len())].to_owned()
}

/// Something happens once in so many times.
pub fn once_in(lots: &mut fastrand::Rng, times: u32) -> bool {
    lots.u32(..times) == 0
}

/// A task as a user might hand it in at `now`.
pub fn submission(lots: &mut fastrand::Rng, now: Moment) -> Submission {
    let max_fires = lots.bool().then(|| lots.u64(1..6));
    let schedule = match lots.u32(..10) {
        0..4 => Schedule::Once,
        4..7 => Schedule::Every { period_ms: lots.i64(if max_fires.is_some() { 1 } else { 1_500 }..8_000) },
        _ => {
            Schedule::Cron { expression: CRONS[lots.usize(..CRONS.len())].to_owned(), zone: "UTC".to_owned() }
        }
    };
    let start_at = lots.bool().then(|| now.plus_ms(lots.i64(-5_000..12_000)));
    let end_at = once_in(lots, 5).then(|| now.plus_ms(lots.i64(13_000..60_000)));
    let in_queue = lots.bool();
    Submission {
        schedule,
        start_at,
        end_at,
        max_fires,
        ack: lots.bool(),
        max_runtime_sec: Some(lots.u64(1..5)),
        queue: in_queue.then(|| if lots.bool() { name(lots) } else { QUEUES[lots.usize(..2)].to_owned() }),
        retry: lots.bool().then(|| RetryPolicy {
            max_attempts: lots.u32(1..4),
            backoff_ms: lots.u64(..1_500),
            max_backoff_ms: 2_000,
        }),
        dedup: dedup(lots),
        ..Submission::named(name(lots), format!("{}", lots.u32(..200)))
    }
}

fn dedup(lots: &mut fastrand::Rng) -> Dedup {
    match lots.u32(..3) {
        0 => Dedup::Pair,
        1 => Dedup::Key(format!("{}", lots.u32(..10))),
        _ => Dedup::Nothing,
    }
}

/// What a handler says of an attempt; `calm` ones say only good things.
pub fn outcome(lots: &mut fastrand::Rng, calm: bool, in_queue: bool) -> Outcome {
    match lots.u32(..20) {
        _ if calm => Outcome::Succeeded { result: None },
        0 => Outcome::Dead,
        1 => Outcome::Skipped,
        2..4 if in_queue => Outcome::Released,
        4..7 => Outcome::Failed { retry_after_ms: lots.bool().then(|| lots.u64(..3_000)) },
        _ => Outcome::Succeeded { result: Some("{}".to_owned()) },
    }
}

/// What an outcome is called.
pub fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { .. } => "succeeded",
        Outcome::Failed { .. } => "failed",
        Outcome::Dead => "dead",
        Outcome::Skipped => "skipped",
        Outcome::Released => "released",
    }
}
