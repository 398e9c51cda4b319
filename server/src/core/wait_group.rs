//! Groups of runs that wait for slots and permits of the same limits, or for the end of the same hold.

use super::concurrency::{SlotLimit, escape};
use super::hold::HoldScope;
use super::rate::RateLimit;

/// Prefix of the groups of runs that wait for the end of a hold.
const HOLD_PREFIX: &str = "hold:";

/// Returns whether a key is that of runs that wait for the end of a hold.
pub fn is_of_hold(key: &str) -> bool {
    key.starts_with(HOLD_PREFIX)
}

/// The limits of a run: it starts with a slot of each concurrency limit and a permit of the rate limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// In the order of their keys.
    pub slots: Vec<SlotLimit>,
    pub rate: Option<RateLimit>,
}

impl Limits {
    /// Returns whether a run has no limit.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.rate.is_none()
    }
}

/// Runs that wait for slots of the same keys, with the same maxima, and for permits of the same rate limit; or for the end
/// of the same hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitGroup(String);

impl WaitGroup {
    /// Returns the group of runs that wait for the slot of a task.
    pub fn of_task(key: String) -> Self {
        Self(key)
    }

    /// Returns the group of runs that wait for the end of a hold.
    pub fn of_hold(scope: HoldScope, name: &str) -> Self {
        Self(format!("{HOLD_PREFIX}{}:{}", scope.as_str(), escape(name)))
    }

    /// Returns the group of runs with these limits.
    pub fn of_limits(limits: &Limits) -> Self {
        let slots = limits.slots.iter().map(|SlotLimit { key, max }| format!("{key}/{max}"));
        let names: Vec<String> = slots.chain(limits.rate.as_ref().map(ToString::to_string)).collect();
        Self(names.join(" "))
    }

    /// Reads the name of a group from a store.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the name of the group.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the limits of the group. A group of a task or of a hold has none.
    pub fn limits(&self) -> Limits {
        let slot = |name: &str| {
            let (key, max) = name.rsplit_once('/')?;
            Some(SlotLimit { key: key.to_owned(), max: max.parse().ok()? })
        };
        let slots = self.0.split(' ').filter_map(slot).collect();
        Limits { slots, rate: self.0.split(' ').find_map(RateLimit::parse) }
    }

    /// Returns the keys for whose slots and permits the runs of the group wait.
    pub fn keys(&self) -> Vec<String> {
        let key = |name: &str| name.rsplit_once('/').map_or(name, |(key, _)| key).to_owned();
        self.0.split(' ').map(key).collect()
    }

    /// Returns the first of the [`keys`](Self::keys).
    pub fn first_key(&self) -> String {
        self.keys().swap_remove(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::concurrency::Limit;
    use crate::core::rate::Rate;

    #[test]
    fn a_group_has_its_limits_and_keys() {
        let slots = ["2:all:a/1", "2:all:\n"].map(|text| text.parse::<Limit>().unwrap().of_value(None));
        let rate = "5/1s:queue:/ #".parse::<Rate>().unwrap().of_value(Some("q"));
        let keys = [slots[0].key.clone(), slots[1].key.clone(), rate.key.clone()];
        for rate in [None, Some(rate)] {
            let limits = Limits { slots: slots.to_vec(), rate };
            let group = WaitGroup::of_limits(&limits);
            assert_eq!(group.keys(), keys[..2 + usize::from(limits.rate.is_some())]);
            assert_eq!(group.limits(), limits);
            assert_eq!(WaitGroup::from_text(group.as_str()), group);
        }
        let of_task = WaitGroup::of_task("task:1".to_owned());
        assert_eq!((of_task.limits(), of_task.keys()), (Limits::default(), vec!["task:1".to_owned()]));
        let of_hold = WaitGroup::of_hold(HoldScope::Tag, "a/1 #\u{652f}");
        assert_eq!(
            (of_hold.limits(), of_hold.keys()),
            (Limits::default(), vec!["hold:tag:a%2F1%20%23\u{652f}".to_owned()])
        );
        assert!(is_of_hold(&of_hold.first_key()) && !is_of_hold(&of_task.first_key()));
    }
}
