//! Many moments during a downtime of all servers.

use anyhow::{Result, ensure};
use futures_util::{StreamExt, stream};

use crate::check::check;
use crate::evidence::{Evidence, ExpectedTask, Rhythm, Window};
use crate::harness::Harness;
use crate::load::Caller;
use crate::stage::{Setting, Stage};
use crate::time;
use crate::verdict::{Kind, Verdict};

/// Misfire policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    FireAll,
    FireLast,
    Skip,
}

impl Policy {
    fn name(self) -> &'static str {
        match self {
            Self::FireAll => "fire_all",
            Self::FireLast => "fire_last",
            Self::Skip => "skip",
        }
    }

    /// Returns the number of moments of each task that fire if all of them are late.
    fn fires(self, moments: usize) -> usize {
        if self == Self::FireAll { moments } else { 1 }
    }
}

const PERIOD_MS: i64 = 100;
/// Maximum number of concurrent calls.
const CONCURRENT_CALLS: usize = 16;

/// Plays 100,000 moments; in the short form 10,000 if each of them fires.
pub async fn play(harness: &mut Harness, name: &str, policy: Policy) -> Result<Verdict> {
    let extra = format!("[engine.misfire]\npolicy = \"{}\"\ngrace_ms = 1000\n", policy.name());
    let mut stage = harness.stage(name, Setting { nodes: 1, extra, ..Setting::default() }).await?;
    let total = if policy == Policy::FireAll { harness.seconds(10_000, 100_000) } else { 100_000 };
    let tasks = if policy == Policy::FireAll { harness.seconds(100, 500) } else { 500 };
    let moments = total / tasks;
    let starts_at = time::now_ms() + 5_000 + tasks * 10;
    create(&stage, (0..tasks).map(|number| expected_task(number, starts_at, moments))).await?;
    let down = time::now_ms();
    stage.nodes[0].stop().await?;
    ensure!(time::now_ms() < starts_at, "the server stopped after the first moment");
    time::sleep_until(starts_at + moments * PERIOD_MS + 2_000).await;
    let up = time::now_ms();
    stage.nodes[0].start()?;
    stage.recorder.get().may_skip = policy != Policy::FireAll;
    stage.nodes[0].until(&["ready"], 60_000).await?;
    // The time of so many fires depends on the machine. The fault lasts until the last delivery, so
    // that lateness is not checked.
    let mut evidence = stage.take_down(harness.seconds(120, 900) * 1_000).await?;
    let last = evidence.deliveries.iter().map(|delivery| delivery.arrived_at).max().unwrap_or(up);
    println!("   {name}: all {total} moments were handled {} ms after the start of the server", last - up);
    let what = format!("no server runs for {total} moments");
    evidence.faults.insert(what.clone(), 1);
    evidence.windows.push(Window { what, from: down, to: last, delays: true });
    let mut verdict = check(&evidence);
    check_fires(&evidence, policy.fires(moments as usize), &mut verdict);
    Ok(verdict)
}

async fn create(stage: &Stage, all: impl Iterator<Item = ExpectedTask>) -> Result<()> {
    let caller = Caller::new(&stage.server_url, &stage.recorder)?;
    let calls = all.map(|expected| caller.create(expected));
    stream::iter(calls).buffer_unordered(CONCURRENT_CALLS).collect::<Vec<_>>().await;
    Ok(())
}

fn expected_task(number: i64, starts_at: i64, moments: i64) -> ExpectedTask {
    ExpectedTask {
        key: format!("m{number}"),
        name: "misfire".to_owned(),
        rhythm: Rhythm::Every(PERIOD_MS),
        start_at: starts_at,
        end_at: Some(starts_at + (moments - 1) * PERIOD_MS),
        max_fires: None,
        ack: false,
        queue: None,
        end_state: None,
    }
}

/// Checks that each task fires as often as the policy says, including its last moment.
fn check_fires(evidence: &Evidence, expected: usize, verdict: &mut Verdict) {
    for task in &evidence.tasks {
        let fired: Vec<i64> = evidence
            .runs
            .iter()
            .filter(|run| run.task_id == task.id && run.stretch.is_none())
            .map(|run| run.scheduled_at)
            .collect();
        if fired.len() != expected || fired.iter().max() != task.last_due_at.as_ref() {
            let kind = if fired.len() < expected { Kind::Missing } else { Kind::Surplus };
            verdict.add(kind, format!("task {} fired {} times; expected {expected}", task.id, fired.len()));
        }
    }
}
