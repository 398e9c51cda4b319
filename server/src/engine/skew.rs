//! This node's clock against the store's, which is the one that decides.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::node::Node;
use super::settings::Settings;
use crate::core::Moment;
use crate::ports::Result;

/// The last measurement.
#[derive(Debug, Default)]
pub struct Skew {
    store_ahead_ms: AtomicI64,
    too_far: AtomicBool,
}

impl Skew {
    /// `now` by the slower of the two clocks. A node whose clock is fast would ask for a fire that the store refuses.
    pub fn cautious(&self, now: Moment) -> Moment {
        now.plus_ms(self.store_ahead_ms.load(Ordering::Relaxed).min(0))
    }

    /// Milliseconds to wait beyond a moment by this node's clock until both clocks have reached it.
    pub fn node_ahead_ms(&self) -> i64 {
        -self.store_ahead_ms.load(Ordering::Relaxed).min(0)
    }

    /// Whether the clocks are so far apart that this node must not fire.
    pub fn too_far(&self) -> bool {
        self.too_far.load(Ordering::Relaxed)
    }

    fn set(&self, store_ahead_ms: i64, stop_at_ms: i64) {
        self.store_ahead_ms.store(store_ahead_ms, Ordering::Relaxed);
        self.too_far.store(store_ahead_ms.abs() > stop_at_ms, Ordering::Relaxed);
    }
}

/// Measures the difference, and with it whether the store answers.
///
/// # Errors
/// When the store fails; the last measurement stands.
pub async fn run_once(node: &Node) -> Result<()> {
    let asked_at = node.clock.now();
    let store_now = node.store.now().await?;
    let round_trip_ms = node.clock.now().since(asked_at);
    let store_ahead_ms = store_now.since(asked_at.plus_ms(round_trip_ms / 2));
    node.metrics.skew_ms(store_ahead_ms);
    // A slow answer says little about the clock.
    if round_trip_ms > node.settings.skew_warn_ms {
        return Ok(());
    }
    let Settings { skew_warn_ms, skew_stop_ms, .. } = &node.settings;
    if store_ahead_ms.abs() > *skew_stop_ms {
        tracing::error!(
            store_ahead_ms,
            "this node's clock is too far from the store's: it does not fire until that is mended"
        );
    } else if store_ahead_ms.abs() > *skew_warn_ms {
        tracing::warn!(store_ahead_ms, "this node's clock and the store's are apart");
    }
    node.skew.set(store_ahead_ms, *skew_stop_ms);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_node_waits_for_the_store_and_a_slow_one_for_itself() {
        let skew = Skew::default();
        skew.set(-40, 2_000);
        assert_eq!((skew.cautious(Moment::from_ms(100)), skew.node_ahead_ms()), (Moment::from_ms(60), 40));
        skew.set(40, 2_000);
        assert_eq!((skew.cautious(Moment::from_ms(100)), skew.node_ahead_ms()), (Moment::from_ms(100), 0));
    }

    #[test]
    fn beyond_the_bound_the_node_stops_firing() {
        let skew = Skew::default();
        skew.set(-2_001, 2_000);
        assert!(skew.too_far());
        skew.set(2_000, 2_000);
        assert!(!skew.too_far());
    }
}
