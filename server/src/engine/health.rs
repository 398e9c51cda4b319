//! The health of the back ends, as this node sees it.

use std::sync::{Mutex, PoisonError};

/// The last known condition of one back end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// No call has ended yet.
    Unknown,
    /// The last call succeeded.
    Up,
    /// The last call failed, with the reason.
    Down(String),
}

/// The condition of one back end. The loops that use the back end set it.
#[derive(Debug)]
pub struct Check(Mutex<Condition>);

impl Default for Check {
    fn default() -> Self {
        Self(Mutex::new(Condition::Unknown))
    }
}

impl Check {
    /// Notes that the back end answered.
    pub fn up(&self) {
        self.set(Condition::Up);
    }

    /// Notes that the back end failed. `/readyz` shows the reason to every caller, so it must hold no
    /// addresses and no credentials.
    pub fn down(&self, reason: impl Into<String>) {
        self.set(Condition::Down(reason.into()));
    }

    pub fn is_down(&self) -> bool {
        matches!(self.condition(), Condition::Down(_))
    }

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
    /// Every back end answers.
    Ready,
    /// The node accepts tasks. The lock service or the bus does not answer, a row is unreadable, or the
    /// clock is wrong.
    Degraded,
    /// The node cannot accept tasks, because the store does not answer.
    Unready,
}

/// The back ends of the node.
#[derive(Debug, Default)]
pub struct Health {
    /// Without the store the node cannot accept tasks.
    pub store: Check,
    /// Without the lock service every node watches all shards, which is slower and still correct.
    pub lock: Check,
    /// Without the bus runs wait.
    pub bus: Check,
    /// Unreadable rows wait for a repair, and nothing else does.
    pub rows: Check,
    /// With a clock that is wrong, moments wait.
    pub clock: Check,
}

impl Health {
    pub fn readiness(&self) -> Readiness {
        let is_up = |check: &Check| check.condition() == Condition::Up;
        let is_healthy = is_up(&self.lock) && is_up(&self.bus) && !self.rows.is_down();
        let is_healthy = is_healthy && !self.clock.is_down();
        match (is_up(&self.store), is_healthy) {
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
    fn only_the_store_makes_a_node_unready() {
        let health = Health::default();
        health.store.up();
        health.lock.up();
        health.bus.down("no route");
        assert_eq!(health.readiness(), Readiness::Degraded);
        assert_eq!(health.bus.condition(), Condition::Down("no route".into()));
        health.bus.up();
        health.lock.down("gone");
        assert_eq!(health.readiness(), Readiness::Degraded);
        health.lock.up();
        health.rows.down("1 row is unreadable");
        assert_eq!(health.readiness(), Readiness::Degraded);
        health.store.down("no primary");
        assert_eq!(health.readiness(), Readiness::Unready);
    }
}
