//! Turns of the groups of runs that wait for slots of one key.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::core::wait_group::WaitGroup;

/// Keys whose turns a node remembers.
const MAX_TURNS: usize = 10_000;

/// The group that had the last turn, by key. A node that forgets a turn begins with the first group.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<String, WaitGroup>>);

impl Turns {
    /// Returns the name of the group. Empty: no group had a turn.
    pub fn last(&self, key: &str) -> String {
        let turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.get(key).map(|group| group.as_str().to_owned()).unwrap_or_default()
    }

    /// Notes the turn of a group.
    pub fn set(&self, key: &str, group: WaitGroup) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= MAX_TURNS {
            turns.clear();
        }
        turns.insert(key.to_owned(), group);
    }
}
