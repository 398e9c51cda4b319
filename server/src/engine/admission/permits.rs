//! The permits of rate limits.

use std::collections::BTreeMap;

use crate::core::admission::{Asks, Contender, Usage, Verdict, admit as decide};
use crate::core::rate::RateLimit;
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunState};
use crate::engine::node::Node;
use crate::ports::Result;

/// Time in which the permits of a limit with a burst gather, so that a decision starts several runs, in milliseconds. The
/// time is shorter than half of the burst, so that no permit is lost.
const GATHER_MS: i64 = 10;

/// Permits that were taken, and that no run has used yet. A permit that is left is lost.
#[derive(Debug, Default)]
pub(super) struct Permits(BTreeMap<RateLimit, u32>);

impl Permits {
    /// Takes the permits of the runs that have their slots. Returns the usage with the permits of all contenders.
    ///
    /// # Errors
    /// A port's error. The permits may or may not be taken.
    pub(super) async fn take(
        &mut self,
        node: &Node,
        mut usage: Usage,
        contenders: &[Contender],
    ) -> Result<Usage> {
        for (rate, wanted) in wanted(&usage, contenders) {
            let spare = self.0.entry(rate.clone()).or_default();
            if *spare < wanted {
                *spare += take(node, &rate, wanted - *spare).await?;
            }
            usage.set_permits(rate, *spare);
        }
        Ok(usage)
    }

    /// Notes that runs were stored: each that may be handed over has used its permit.
    pub(super) fn note_used(&mut self, written: &[Run]) {
        let admitted = written.iter().filter(|run| run.state == RunState::Firing);
        for rate in admitted.filter_map(Run::rate_limit) {
            if let Some(spare) = self.0.get_mut(&rate) {
                *spare = spare.saturating_sub(1);
            }
        }
    }
}

/// Takes up to `wanted` permits.
async fn take(node: &Node, rate: &RateLimit, wanted: u32) -> Result<u32> {
    if node.rate_times.used_until(rate, node.latest_now()).is_some() {
        return Ok(0);
    }
    crate::failpoint!("admit::before_permits");
    let permits = node.store.take_permits(rate, 1, wanted).await?;
    crate::failpoint!("admit::permits_taken");
    // The clocks of the node and of the store differ, but not their lengths of time.
    node.rate_times.note(rate, node.latest_now().plus_ms(permits.wait_ms));
    Ok(permits.granted)
}

/// Returns for each rate limit the number of runs that start if it has enough permits. A limit without such a run needs none.
fn wanted(usage: &Usage, contenders: &[Contender]) -> BTreeMap<RateLimit, u32> {
    let mut wanted = BTreeMap::new();
    if contenders.iter().all(|run| rate_of(run).is_none()) {
        return wanted;
    }
    for (run, verdict) in contenders.iter().zip(decide(usage, contenders)) {
        if let (Some(rate), Verdict::Start { .. }) = (rate_of(run), verdict) {
            *wanted.entry(rate.clone()).or_default() += 1;
        }
    }
    wanted
}

fn rate_of(run: &Contender) -> Option<&RateLimit> {
    match &run.asks {
        Asks::Limits(limits) => limits.rate.as_ref(),
        Asks::Task(..) => None,
    }
}

/// Returns how many waiting runs of a group a decision reads: those that may start, and one more, which shows that runs are
/// left. Of a group whose runs are dropped, it reads `most`.
pub(super) fn readable(node: &Node, usage: &Usage, group: &WaitGroup, most: u32) -> u32 {
    let limits = group.limits();
    let free = if limits.is_empty() { 0 } else { usage.free(&limits.slots).min(most) };
    match &limits.rate {
        Some(rate) if !rate.drops && free > 0 => {
            let is_used = node.rate_times.used_until(rate, node.latest_now()).is_some();
            if is_used { 0 } else { free.min(rate.burst.saturating_add(1)) }
        }
        Some(rate) if rate.drops && free > 0 => most,
        _ => free,
    }
}

/// Lets the node admit the runs that are left when their rate limits have their next permits. Without `is_new`, only the
/// node that looks at the runs of a group does so.
pub(super) fn wake(node: &Node, groups: impl Iterator<Item = WaitGroup>, is_new: bool) {
    let now: Moment = node.latest_now();
    for group in groups {
        let Some(rate) = group.limits().rate else { continue };
        let is_mine = || node.watch().shards.contains(&super::shard_of_key(&group.first_key()));
        if let Some(at) = node.rate_times.used_until(&rate, now).filter(|_| is_new || is_mine()) {
            let gather_ms = GATHER_MS.min(rate.tolerance_us() / 2_000);
            node.rate_times.wake(&rate.key, at.plus_ms(gather_ms));
        }
    }
}
