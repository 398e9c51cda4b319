//! What this node knows of the back ends it stands on.

use std::sync::{Mutex, PoisonError};

/// How one back end answered last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It has not been asked yet.
    Unknown,
    /// It answered.
    Up,
    /// It did not, and why.
    Down(String),
}

/// One back end's condition, set by the loops that use it.
#[derive(Debug)]
pub struct Check(Mutex<Condition>);

impl Default for Check {
    fn default() -> Self {
        Self(Mutex::new(Condition::Unknown))
    }
}

impl Check {
    /// It answered.
    pub fn up(&self) {
        self.set(Condition::Up);
    }

    /// It did not. The reason is shown to whoever asks `/readyz`: no addresses, no credentials.
    pub fn down(&self, reason: impl Into<String>) {
        self.set(Condition::Down(reason.into()));
    }

    /// Whether it is known not to answer.
    pub fn is_down(&self) -> bool {
        matches!(self.condition(), Condition::Down(_))
    }

    /// How it answered last.
    pub fn condition(&self) -> Condition {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, condition: Condition) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = condition;
    }
}

/// Whether the node can do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Everything answers.
    Ready,
    /// Tasks are accepted and kept; something else is slow or waits.
    Degraded,
    /// Tasks cannot be accepted.
    Unready,
}

/// The node's back ends.
#[derive(Debug, Default)]
pub struct Health {
    /// The ledger. Without it nothing can be accepted.
    pub store: Check,
    /// The leases. Without them every node watches everything: slower, as correct.
    pub lock: Check,
    /// The broker. Without it runs wait.
    pub bus: Check,
}

impl Health {
    /// The sum of the checks.
    pub fn readiness(&self) -> Readiness {
        let up = |check: &Check| check.condition() == Condition::Up;
        match (up(&self.store), up(&self.lock) && up(&self.bus)) {
            (false, _) => Readiness::Unready,
            (true, false) => Readiness::Degraded,
            (true, true) => Readiness::Ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_unready_until_the_store_has_answered_once() {
        let health = Health::default();
        health.lock.up();
        health.bus.up();
        assert_eq!(health.readiness(), Readiness::Unready);
        health.store.up();
        assert_eq!(health.readiness(), Readiness::Ready);
    }

    #[test]
    fn only_the_store_makes_it_unready() {
        let health = Health::default();
        health.store.up();
        health.lock.up();
        health.bus.down("no route");
        assert_eq!(health.readiness(), Readiness::Degraded);
        assert_eq!(health.bus.condition(), Condition::Down("no route".into()));
        health.bus.up();
        health.lock.down("gone");
        assert_eq!(health.readiness(), Readiness::Degraded);
        health.store.down("no primary");
        assert_eq!(health.readiness(), Readiness::Unready);
    }
}
