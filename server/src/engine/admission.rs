//! Admission: runs with an overlap policy or limits get their slots and permits, wait in `held`, or are suppressed, and
//! the runs of a tag that is on hold wait. This is the step between the fire of a run and its hand-over.

mod changes;
mod holds;
mod limits;
mod permits;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::node::Node;
use super::pace::Pace;
use super::publish;
use crate::core::admission::Asks;
use crate::core::task::{SHARDS, stable_hash};
use crate::core::wait_group::{WaitGroup, is_of_hold};
use crate::core::{Moment, Run};
use crate::ports::{Fired, PortError, Result};

/// Time between two looks at the waiting runs. Hints do not arrive from other nodes.
const LOOK_MS: i64 = 1_000;
/// Tries to admit runs while other nodes admit runs of the same key.
const TRIES: u32 = 8;
/// Keys whose runs are admitted at the same time.
const KEYS_AT_ONCE: usize = 16;
/// Groups of waiting runs that a look reads at a time.
const GROUPS: u32 = 1_000;

/// Admits waiting runs until the node stops: of a key whose slot was freed here, of a rate limit that has its next permit, and
/// once a second of each key.
pub async fn run(node: &Node) {
    let mut pace = Pace::new("admission", Duration::from_millis(LOOK_MS.unsigned_abs()));
    let mut looked_at = None::<i64>;
    while !node.shutdown.is_cancelled() {
        let steady = node.clock.steady_ms();
        let mut freed = node.hints.take_freed();
        freed.extend(node.rate_times.take_due(node.earliest_now()));
        let is_due = looked_at.is_none_or(|at| steady - at >= LOOK_MS);
        let turn = match () {
            () if !node.is_fit() => Ok(()),
            () if is_due => look(node, freed, node.earliest_now()).await,
            () => admit_held(node, freed, node.earliest_now()).await,
        };
        looked_at = if is_due { Some(steady) } else { looked_at };
        match turn {
            Ok(()) => pace.pause_until(has_work(node)).await,
            Err(error) => pace.failed(&error, &node.shutdown).await,
        }
    }
}

/// Waits until runs of a key may be admitted.
async fn has_work(node: &Node) {
    loop {
        let next_permit = async {
            match node.rate_times.first() {
                Some(at) => node.clock.sleep_until(at.plus_ms(node.skew.node_ahead_ms())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A fixed order, so that a simulation can be repeated.
            biased;
            () = node.hints.has_freed() => return,
            () = next_permit => return,
            () = node.rate_times.has_earlier() => {}
        }
    }
}

/// Admits waiting runs of every key of the node's shards.
///
/// # Errors
/// A port's error. The next call finds the remaining runs.
pub async fn run_once(node: &Node, now: Moment) -> Result<()> {
    let mut freed = node.hints.take_freed();
    freed.extend(node.rate_times.take_due(now));
    look(node, freed, now).await
}

/// Looks at the groups of the node's shards, by their first keys.
async fn look(node: &Node, mut keys: BTreeSet<String>, now: Moment) -> Result<()> {
    let shards = node.watch().shards;
    let mut after = String::new();
    loop {
        let groups = node.store.held_groups(None, &after, GROUPS).await?;
        let of_holds = groups.iter().filter(|group| is_of_hold(group.as_str()));
        of_holds.for_each(|group| node.hints.holds.note_waiting(group.clone()));
        let firsts = groups.iter().map(WaitGroup::first_key);
        keys.extend(firsts.filter(|key| shards.contains(&shard_of_key(key))));
        match groups.last().filter(|_| groups.len() == GROUPS as usize) {
            Some(last) => last.as_str().clone_into(&mut after),
            None => break,
        }
    }
    admit_held(node, keys, now).await
}

/// Returns the shard whose node looks at the waiting runs of a key.
fn shard_of_key(key: &str) -> u16 {
    (stable_hash(key.as_bytes()) % u64::from(SHARDS)) as u16
}

/// Admits waiting runs of the keys, and hands them over. Holds come first, because their runs then wait for slots.
async fn admit_held(node: &Node, keys: BTreeSet<String>, now: Moment) -> Result<()> {
    let (of_holds, mut keys): (BTreeSet<String>, BTreeSet<String>) =
        keys.into_iter().partition(|key| is_of_hold(key));
    for key in of_holds {
        keys.extend(holds::release(node, &key, now).await?);
    }
    let (admitted, result) = admit_all(node, keys.into_iter().map(|key| (key, Vec::new())), now).await;
    publish::publish(node, admitted).await;
    result
}

/// Returns the runs that may be handed over now: those that need no slots, those that have them, and those that get
/// them. The others wait or are suppressed, and so do the runs whose tags are on hold. The tasks of the runs have passed
/// their moments.
pub async fn gate(node: &Node, runs: Vec<Run>, now: Moment) -> Vec<Run> {
    let runs = match holds::keep_back(node, runs, now).await {
        Ok(runs) => runs,
        Err(error) => {
            tracing::warn!(%error, "holds were not read; the runs are tried again after their leases");
            return Vec::new();
        }
    };
    let (gated, mut free): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(Run::needs_admission);
    if gated.is_empty() {
        return free;
    }
    let mut by_key = BTreeMap::<String, Vec<Run>>::new();
    for run in gated {
        let group = run.asks().map(|asks| asks.group());
        by_key.entry(group.map(|group| group.first_key()).unwrap_or_default()).or_default().push(run);
    }
    let (admitted, result) = admit_all(node, by_key.into_iter(), now).await;
    if let Err(error) = result {
        tracing::warn!(%error, "runs were not admitted; they are tried again after their leases");
    }
    free.extend(admitted);
    free
}

/// Lets the runs wait whose tags are on hold, of those that the store has put into their queues at their fire. A lease
/// does the same for the runs that are left.
pub async fn keep_back_fired(node: &Node, fired: &[Fired], now: Moment) {
    if let Err(error) = holds::keep_back_fired(node, fired, now).await {
        tracing::warn!(%error, "runs of tags on hold are left in their queues; no worker gets them");
    }
}

/// Admits `new` runs and waiting runs of the keys. Returns the runs that were admitted, and the last error.
///
/// The slots of tasks come first, because their runs then wait for limits. A key for which one group waits is replaced by
/// a key that the group shares with others: otherwise the group would get the shared slot without its turn.
async fn admit_all(
    node: &Node,
    keys: impl Iterator<Item = (String, Vec<Run>)>,
    now: Moment,
) -> (Vec<Run>, Result<()>) {
    let (of_tasks, of_limits): (Vec<_>, Vec<_>) = keys.partition(|(key, _)| key.starts_with("task:"));
    let mut all = Admitted::default();
    let admit = |(key, new): (String, Vec<Run>)| async move { tasks::admit(node, &key, new, now).await };
    all.collect(stream::iter(of_tasks).map(admit).buffer_unordered(KEYS_AT_ONCE)).await;
    let further = std::mem::take(&mut all.further).into_iter().map(|key| (key, Vec::new()));
    match by_leading_key(node, of_limits.into_iter().chain(further)).await {
        Ok(keys) => {
            let admit =
                |(key, new): (String, Vec<Run>)| async move { limits::admit(node, &key, new, now).await };
            all.collect(stream::iter(keys).map(admit).buffer_unordered(KEYS_AT_ONCE)).await;
        }
        Err(error) => all.result = Err(error),
    }
    // A tag may be on hold since its runs began to wait for slots.
    match holds::keep_back_admitted(node, all.runs, now).await {
        Ok(runs) => (runs, all.result),
        Err(error) => (Vec::new(), Err(error)),
    }
}

/// Returns the keys to decide on, with the new runs of each.
async fn by_leading_key(
    node: &Node,
    keys: impl Iterator<Item = (String, Vec<Run>)>,
) -> Result<BTreeMap<String, Vec<Run>>> {
    let leading = |(key, new): (String, Vec<Run>)| async move {
        let leading = limits::leading_key(node, &key, &new).await?;
        Ok::<_, PortError>((leading, new))
    };
    let keys: Vec<_> = keys.map(leading).collect();
    let mut leading = stream::iter(keys).buffer_unordered(KEYS_AT_ONCE);
    let mut by_key = BTreeMap::<String, Vec<Run>>::new();
    while let Some((key, new)) = leading.try_next().await? {
        if let Some(key) = key {
            by_key.entry(key).or_default().extend(new);
        }
    }
    Ok(by_key)
}

/// What decisions have admitted.
struct Admitted {
    runs: Vec<Run>,
    /// Keys for which runs wait that have got the slots of their tasks.
    further: BTreeSet<String>,
    result: Result<()>,
}

impl Default for Admitted {
    fn default() -> Self {
        Self { runs: Vec::new(), further: BTreeSet::new(), result: Ok(()) }
    }
}

impl Admitted {
    /// Adds the runs that decisions have changed.
    async fn collect(&mut self, mut decisions: impl futures_util::Stream<Item = Result<Vec<Run>>> + Unpin) {
        while let Some(decided) = decisions.next().await {
            match decided {
                Ok(runs) => self.add(runs),
                Err(error) => self.result = Err(error),
            }
        }
    }

    fn add(&mut self, runs: Vec<Run>) {
        for run in runs {
            match run.asks() {
                None => self.runs.push(run),
                Some(asks @ Asks::Limits(_)) => drop(self.further.insert(asks.group().first_key())),
                Some(Asks::Task(..)) => {}
            }
        }
    }
}
