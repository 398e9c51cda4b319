//! The concurrency limits for whose slots runs wait.

use std::collections::BTreeMap;

use crate::core::admission::Usage;
use crate::core::concurrency::LimitName;
use crate::core::wait_group::WaitGroup;
use crate::ports::{Result, Store};

/// Groups of waiting runs that are examined.
pub const MAX_GROUPS: u32 = 200;
/// Waiting runs of a limit that are counted.
pub const MAX_COUNTED: u32 = 10_000;

/// A limit for whose slots runs wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    pub name: LimitName,
    /// Maximum number of runs; the largest one, if runs that wait have different maxima.
    pub max: u32,
    /// Number of runs that have slots.
    pub used: u32,
    /// Number of runs that wait, at most [`MAX_COUNTED`].
    pub waiting: u64,
}

impl LimitUse {
    /// Returns whether the limit has no free slot.
    pub fn is_full(&self) -> bool {
        self.used >= self.max
    }
}

/// Returns the groups of runs that wait for slots of limits, at most [`MAX_GROUPS`].
///
/// # Errors
/// A port's error.
pub async fn groups(store: &dyn Store) -> Result<Vec<WaitGroup>> {
    let mut groups = store.held_groups(None, "", MAX_GROUPS).await?;
    groups.retain(|group| !group.limits().slots.is_empty());
    Ok(groups)
}

/// Returns the limits for whose slots the groups wait, by the keys of their slots.
///
/// # Errors
/// A port's error.
pub async fn uses(store: &dyn Store, groups: &[WaitGroup]) -> Result<BTreeMap<String, LimitUse>> {
    let mut maxima = BTreeMap::<String, u32>::new();
    for limit in groups.iter().flat_map(|group| group.limits().slots) {
        let max = maxima.entry(limit.key).or_default();
        *max = limit.max.max(*max);
    }
    let keys: Vec<String> = maxima.keys().cloned().collect();
    let usage = if keys.is_empty() { Usage::default() } else { Usage::of(store.slots_in_use(&keys).await?) };
    let mut uses = BTreeMap::new();
    for (key, max) in maxima {
        let Some(name) = LimitName::of_slots(&key) else { continue };
        let waiting = store.count_held(&key, MAX_COUNTED).await?;
        uses.insert(key.clone(), LimitUse { name, max, used: usage.used(&key), waiting });
    }
    Ok(uses)
}

/// Returns the number of waiting runs of each limit without a free slot.
///
/// # Errors
/// A port's error.
pub async fn saturated(store: &dyn Store) -> Result<Vec<(String, u64)>> {
    let uses = uses(store, &groups(store).await?).await?.into_values();
    let full = uses.filter(|limit| limit.is_full() && limit.waiting > 0);
    Ok(full.map(|limit| (limit.name.to_string(), limit.waiting)).collect())
}
