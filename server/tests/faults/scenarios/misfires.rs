//! Many moments that pass while no server runs.

use anyhow::{Result, ensure};
use futures_util::{StreamExt, stream};

use crate::check::check;
use crate::evidence::{Evidence, Rhythm, Wanted, Window};
use crate::house::House;
use crate::load::Caller;
use crate::stage::{Setting, Stage};
use crate::time;
use crate::verdict::{Kind, Verdict};

/// The policies, as the configuration spells them.
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

    /// How many moments of each task fire when all of them are late.
    fn fires(self, moments: usize) -> usize {
        if self == Self::FireAll { moments } else { 1 }
    }
}

const PERIOD_MS: i64 = 100;
/// Tasks handed in at the same time.
const AT_ONCE: usize = 16;

/// 100,000 moments; the short form has 10,000 where each of them fires.
pub async fn play(house: &mut House, name: &str, policy: Policy) -> Result<Verdict> {
    let extra = format!("[engine.misfire]\npolicy = \"{}\"\ngrace_ms = 1000\n", policy.name());
    let mut stage = house.stage(name, Setting { nodes: 1, extra, ..Setting::default() }).await?;
    let total = if policy == Policy::FireAll { house.seconds(10_000, 100_000) } else { 100_000 };
    let tasks = if policy == Policy::FireAll { house.seconds(100, 500) } else { 500 };
    let moments = total / tasks;
    let starts_at = time::now_ms() + 5_000 + tasks * 10;
    create(&stage, (0..tasks).map(|number| wanted(number, starts_at, moments))).await?;
    let down = time::now_ms();
    stage.nodes[0].stop().await?;
    ensure!(time::now_ms() < starts_at, "the server was still there when the first moments came");
    time::moment(starts_at + moments * PERIOD_MS + 2_000).await;
    let up = time::now_ms();
    stage.nodes[0].start()?;
    stage.recorder.get().may_skip = policy != Policy::FireAll;
    stage.nodes[0].until(&["ready"], 60_000).await?;
    // How long so many fires take is the machine's affair, so lateness is not judged here: the fault lasts until the last arrival.
    let mut evidence = stage.strike(house.seconds(120, 900) * 1_000).await?;
    let last = evidence.deliveries.iter().map(|delivery| delivery.arrived_at).max().unwrap_or(up);
    println!(
        "   {name}: {total} moments were decided and delivered {} ms after the start of the server",
        last - up
    );
    let what = format!("no server runs for {total} moments");
    evidence.faults.insert(what.clone(), 1);
    evidence.windows.push(Window { what, from: down, to: last, delays: true });
    let mut verdict = check(&evidence);
    fires(&evidence, policy.fires(moments as usize), &mut verdict);
    Ok(verdict)
}

async fn create(stage: &Stage, all: impl Iterator<Item = Wanted>) -> Result<()> {
    let caller = Caller::new(&stage.front, &stage.recorder)?;
    let calls = all.map(|wanted| caller.create(wanted));
    stream::iter(calls).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    Ok(())
}

fn wanted(number: i64, starts_at: i64, moments: i64) -> Wanted {
    Wanted {
        key: format!("m{number}"),
        name: "misfire".to_owned(),
        rhythm: Rhythm::Every(PERIOD_MS),
        start_at: starts_at,
        end_at: Some(starts_at + (moments - 1) * PERIOD_MS),
        max_fires: None,
        ack: false,
        queue: None,
        ends: None,
    }
}

/// Each task fires as often as the policy says, and the last of its moments is among them.
fn fires(evidence: &Evidence, wanted: usize, verdict: &mut Verdict) {
    for task in &evidence.tasks {
        let fired: Vec<i64> = evidence
            .runs
            .iter()
            .filter(|run| run.task_id == task.id && run.stretch.is_none())
            .map(|run| run.scheduled_at)
            .collect();
        if fired.len() != wanted || fired.iter().max() != task.last_due_at.as_ref() {
            let kind = if fired.len() < wanted { Kind::Missing } else { Kind::Surplus };
            verdict.find(kind, format!("task {} fired {} times, not {wanted}", task.id, fired.len()));
        }
    }
}
