//! The slots of concurrency limits, and the permits of rate limits.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::permits::{self, Permits};
use super::{KEYS_AT_ONCE, TRIES, changes};
use crate::core::admission::{Asks, Contender, Usage, Verdict, admit as decide, in_turn};
use crate::core::run::OpenRun;
use crate::core::wait_group::WaitGroup;
use crate::core::{Moment, Run, RunState};
use crate::engine::node::Node;
use crate::ports::{PortError, Result};

/// Groups of waiting runs that one decision examines. The next decision examines the groups after them.
const GROUPS: u32 = 64;
/// Decisions without an admitted run that follow each other in one turn: groups that wait for other keys must not hide a group
/// that can start.
const PAGES: u32 = 16;
/// Maximum number of waiting runs that one decision reads.
const MAX_HELD: u32 = 1_024;

/// Returns the key whose decision has all groups that compete with the runs of `key`: another key of the runs, if only one
/// group waits for `key`, and several for the other key. `None`: no run waits for `key`.
///
/// # Errors
/// A port's error.
pub(super) async fn leading_key(node: &Node, key: &str, new: &[Run]) -> Result<Option<String>> {
    let mut groups = groups_of(new);
    if groups.iter().all(|group| group.keys().len() > 1) {
        groups.extend(node.store.held_groups(Some(key), "", 2).await?);
    }
    let others = match groups.first() {
        Some(group) if groups.len() == 1 => group.keys(),
        _ => Vec::new(),
    };
    for other in others.into_iter().filter(|other| other != key) {
        let mut rivals = groups.clone();
        rivals.extend(node.store.held_groups(Some(&other), "", 2).await?);
        if rivals.len() > 1 {
            return Ok(Some(other));
        }
    }
    Ok((!groups.is_empty()).then(|| key.to_owned()))
}

/// Returns the groups of new runs.
fn groups_of(new: &[Run]) -> BTreeSet<WaitGroup> {
    new.iter().filter_map(Run::asks).map(|asks| asks.group()).collect()
}

/// A decision on the runs of some groups.
struct Decision {
    contenders: Vec<Contender>,
    verdicts: Vec<Verdict>,
    /// Whether more runs of a group may start than were read.
    is_cut: bool,
    /// Whether the key has neither a slot nor a permit for any of the groups.
    is_full: bool,
    /// Groups that were not read.
    unread: Vec<WaitGroup>,
}

impl Decision {
    /// Returns the groups of which runs wait after this decision.
    fn waiting(&self) -> BTreeSet<WaitGroup> {
        let waits = self.contenders.iter().zip(&self.verdicts).filter(|(_, verdict)| verdict.waits());
        waits.map(|(run, _)| run.asks.group()).chain(self.unread.iter().cloned()).collect()
    }
}

/// Decides on the `new` runs and on the waiting runs of a key. Returns the runs that were admitted.
pub(super) async fn admit(node: &Node, key: &str, mut new: Vec<Run>, now: Moment) -> Result<Vec<Run>> {
    let (mut admitted, mut permits) = (Vec::new(), Permits::default());
    let (mut tries, mut pages) = (0, 0);
    while tries < TRIES && pages < PAGES {
        let groups = next_groups(node, key, &new).await?;
        let has_more = groups.len() >= GROUPS as usize;
        let decision = decide_on(node, key, &groups, &new, &mut permits).await?;
        permits::wake(node, decision.waiting().into_iter(), !new.is_empty());
        let Decision { contenders, verdicts, is_cut, is_full: has_no_room, .. } = decision;
        let starts = contenders.iter().zip(&verdicts).filter(|(_, verdict)| !verdict.waits());
        let last = starts.map(|(run, _)| run.asks.group()).next_back();
        let last = last.or_else(|| groups.last().filter(|_| has_more).cloned());
        if let Some(last) = last.filter(|_| groups.len() > 1) {
            node.turns.set(key, last);
        }
        let changed = changes::of_verdicts(node, contenders, verdicts, &new, now).await?;
        if changed.is_empty() {
            if !has_more || has_no_room {
                break;
            }
            pages += 1;
            continue;
        }
        tries += 1;
        let expected = changed.len();
        let written = changes::store(node, changed).await?;
        permits.note_used(&written);
        // Another node may have been faster. The runs that are left are decided again.
        let is_complete = written.len() == expected && !is_cut && !has_more;
        new.retain(|run| written.iter().all(|written| written.id != run.id));
        admitted.extend(written.into_iter().filter(|run| run.state == RunState::Firing));
        if is_complete {
            break;
        }
    }
    Ok(admitted)
}

/// Returns the groups that wait for the key, from the one whose turn it is, with those of the new runs.
async fn next_groups(node: &Node, key: &str, new: &[Run]) -> Result<Vec<WaitGroup>> {
    let last = node.turns.last(key);
    let mut groups = node.store.held_groups(Some(key), &last, GROUPS).await?;
    let missing = GROUPS - groups.len() as u32;
    if missing > 0 && !last.is_empty() {
        let first = node.store.held_groups(Some(key), "", missing).await?;
        groups.extend(first.into_iter().filter(|group| group.as_str() <= last.as_str()));
    }
    let of_new: Vec<WaitGroup> = groups_of(new).into_iter().filter(|group| !groups.contains(group)).collect();
    groups.extend(of_new);
    Ok(groups)
}

/// Reads the slots in use, and of each group as many runs as may start, takes permits, and decides. A group whose slots or
/// permits are in use is not read.
async fn decide_on(
    node: &Node,
    key: &str,
    groups: &[WaitGroup],
    new: &[Run],
    permits: &mut Permits,
) -> Result<Decision> {
    let usage = usage_of(node, groups).await?;
    let most = MAX_HELD / u32::try_from(groups.len().max(1)).unwrap_or(MAX_HELD);
    let wanted = |group| permits::readable(node, &usage, group, u32::MAX);
    // Groups whose runs are dropped have no bound, and are short.
    let is_cut = groups.iter().map(wanted).any(|wanted| most < wanted && wanted < u32::MAX);
    let is_full = !groups.iter().any(|group| has_room(node, key, &usage, group));
    let unread = groups.iter().filter(|group| permits::readable(node, &usage, group, most) == 0);
    let unread = unread.cloned().collect();
    let read = |group: WaitGroup| {
        let free = permits::readable(node, &usage, &group, most);
        async move {
            let held = match free {
                0 => Vec::new(),
                free => node.store.held_in_group(&group, free).await?,
            };
            Ok::<_, PortError>((group, held))
        }
    };
    let reads: Vec<_> = groups.iter().cloned().map(read).collect();
    let held: Vec<(WaitGroup, Vec<OpenRun>)> =
        stream::iter(reads).buffered(KEYS_AT_ONCE).try_collect().await?;
    let contenders = in_turn(with_new(held, new));
    let usage = permits.take(node, usage, &contenders).await?;
    let verdicts = decide(&usage, &contenders);
    Ok(Decision { contenders, verdicts, is_cut, is_full, unread })
}

/// Returns the slots in use of the groups' concurrency limits.
async fn usage_of(node: &Node, groups: &[WaitGroup]) -> Result<Usage> {
    let keys = groups.iter().flat_map(|group| group.limits().slots).map(|limit| limit.key);
    let keys: Vec<String> = keys.collect::<BTreeSet<_>>().into_iter().collect();
    Ok(if keys.is_empty() { Usage::default() } else { Usage::of(node.store.slots_in_use(&keys).await?) })
}

/// Returns whether the key has a slot or a permit for the group.
fn has_room(node: &Node, key: &str, usage: &Usage, group: &WaitGroup) -> bool {
    let limits = group.limits();
    let has_slot = limits.slots.iter().any(|limit| limit.key == key && usage.used(key) < limit.max);
    let is_used = |rate| node.rate_times.used_until(rate, node.latest_now()).is_some();
    has_slot || limits.rate.as_ref().is_some_and(|rate| rate.key == key && !is_used(rate))
}

/// Returns the contenders of each group: the waiting runs and the new ones, earliest first.
fn with_new(held: Vec<(WaitGroup, Vec<OpenRun>)>, new: &[Run]) -> Vec<Vec<Contender>> {
    let mut of_group = BTreeMap::<WaitGroup, Vec<(Moment, Contender)>>::new();
    for run in new {
        if let Some(contender) = run.contender() {
            of_group.entry(contender.asks.group()).or_default().push((run.scheduled_at, contender));
        }
    }
    let contenders = |(group, held): (WaitGroup, Vec<OpenRun>)| {
        let mut runs = of_group.remove(&group).unwrap_or_default();
        runs.extend(held.into_iter().map(|run| {
            let (asks, is_redriven) = (Asks::Limits(group.limits()), run.was_admitted());
            (run.scheduled_at, Contender { id: run.id, asks, is_redriven })
        }));
        changes::earliest_first(runs)
    };
    held.into_iter().map(contenders).collect()
}
